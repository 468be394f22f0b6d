"""A network starts from weights that another training left, whatever wrapped their names."""

import io
import json
import struct
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from trainers.checkpoint import save_weights
from trainers.config import ConfigError, Method, ModelConfig, Pgd, Sam, StartConfig, TrainConfig
from trainers.data.dataset import Dataset
from trainers.networks.build import build_model, fits_start
from trainers.networks.layers import Normalise
from trainers.networks.start import read_weights, start_from
from trainers.train import TrainState, new_state, train

MakeConfig = Callable[..., TrainConfig]
MakeImages = Callable[..., Dataset]
CPU = torch.device("cpu")
AT = Method(inputs=Pgd(norm="linf", epsilon=0.1, steps=2))


def saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def safetensors(tensors: dict[str, Tensor]) -> bytes:
    """Write float32 tensors in the safetensors format, as its documentation says."""
    header: dict[str, object] = {"__metadata__": {"by": "hand"}}
    body = b""
    for name, tensor in tensors.items():
        numbers = tensor.contiguous().numpy().tobytes()
        places = [len(body), len(body) + len(numbers)]
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": places}
        body += numbers
    written = json.dumps(header).encode()
    return struct.pack("<Q", len(written)) + written + body


def network(name: str, data: Dataset, seed: int = 0, **sizes: int) -> nn.Module:
    config = ModelConfig(name=name, **{"width": 4, **sizes})
    return build_model(config, data, torch.Generator().manual_seed(seed))


def floats(model: nn.Module) -> dict[str, Tensor]:
    return {n: t.clone() for n, t in model.state_dict().items() if t.is_floating_point()}


def run(config: TrainConfig, data: Dataset, state: TrainState) -> TrainState:
    for _ in train(config, data, CPU, state):
        pass
    return state


def started(
    config: TrainConfig, data: Dataset, weights: dict[str, Tensor], name: str = "sam.pt"
) -> TrainState:
    """Return the first state of a training that starts from weights."""
    source = StartConfig(weights=name, origin=name)
    made = replace(config, start=source)
    state = new_state(made, data, CPU, lambda model: start_from(model, weights, name))
    return run(made, data, state)


@pytest.mark.parametrize("name", ["small_cnn", "preact_resnet18", "wide_resnet"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.module."])
def test_wrapped_names_are_the_same_names(make_images: MakeImages, name: str, prefix: str) -> None:
    data = make_images((1, 8, 8))
    sizes = {"depth": 10, "width": 1} if name == "wide_resnet" else {}
    ours, theirs = network(name, data, 0, **sizes), network(name, data, 1, **sizes)
    told = start_from(ours, {prefix + n: t for n, t in theirs.state_dict().items()}, "file")
    assert told == "all layers"
    assert all(torch.equal(t, theirs.state_dict()[n]) for n, t in ours.state_dict().items())


def published() -> nn.Module:
    """Build a network with the names of a published one: a stem, a block, a head."""
    parts = {"conv1": nn.Conv2d(1, 2, 3), "pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten()}
    parts |= {"head": nn.Sequential(OrderedDict(norm=nn.LayerNorm(2), fc=nn.Linear(2, 10)))}
    return nn.Sequential(OrderedDict(parts))


def test_published_names_fit_the_network_behind_the_normalisation(make_images: MakeImages) -> None:
    normalise = Normalise(make_images((1, 8, 8)))
    ours, theirs = nn.Sequential(normalise, published()), published()
    before = floats(ours)["0.mean"]
    assert start_from(ours, theirs.state_dict(), "net.pt") == "all layers"
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(floats(ours)[f"1.{name}"], tensor), name
    assert torch.equal(floats(ours)["0.mean"], before), "the data's, as the file has none"


def test_a_head_for_other_classes_is_the_seed_s_and_the_rest_the_file_s(
    make_images: MakeImages,
) -> None:
    ten, five = make_images((1, 8, 8)), make_images((1, 8, 8), classes=5)
    theirs, ours = network("small_cnn", ten, 1), network("small_cnn", five, 0)
    fresh = floats(ours)
    told = start_from(ours, theirs.state_dict(), "file")
    assert told == "all but the last layer, which is fresh"
    head = list(fresh)[-2:]
    for name, tensor in floats(ours).items():
        expected = fresh if name in head else theirs.state_dict()
        assert torch.equal(tensor, expected[name]), name


def test_what_the_network_has_no_place_for_is_named(make_images: MakeImages) -> None:
    data = make_images((1, 8, 8))
    weights = network("small_cnn", data, 1).state_dict() | {"projector.weight": torch.ones(3)}
    told = start_from(network("small_cnn", data), weights, "file")
    assert told == "all layers; unused: 1 tensor (projector.weight)"


def _without(name: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda weights: {n: t for n, t in weights.items() if n != name}


REFUSED: dict[str, tuple[Callable[[dict[str, Tensor]], dict[str, Tensor]], str]] = {
    "a missing tensor": (_without("4.weight"), "lacks 1 tensor (4.weight); choose its network"),
    "another shape": (
        lambda weights: weights | {"1.weight": torch.ones(4, 3, 3, 3)},
        "has another shape of 1 tensor (1.weight) (1.weight: 4 × 3 × 3 × 3, here 4 × 1 × 3 × 3)",
    ),
    "another network": (
        lambda weights: {"conv1.weight": torch.ones(2)},
        "has besides 1 tensor (conv1.weight)",
    ),
    "weights that diverged": (
        lambda weights: weights | {"1.weight": torch.full((4, 1, 3, 3), torch.nan)},
        "must hold finite weights",
    ),
}


@pytest.mark.parametrize(("change", "says"), REFUSED.values(), ids=REFUSED)
def test_weights_of_another_network_are_refused_in_one_line(
    make_images: MakeImages,
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    says: str,
) -> None:
    data = make_images((1, 8, 8))
    weights = change(dict(network("small_cnn", data, 1).state_dict()))
    model = network("small_cnn", data)
    before = floats(model)
    with pytest.raises(ConfigError) as caught:
        start_from(model, weights, "file")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(t, before[n]) for n, t in floats(model).items()), "nothing was written"


def test_every_form_of_a_file_gives_the_same_tensors(
    make_images: MakeImages, tmp_path: Path
) -> None:
    weights = floats(network("small_cnn", make_images((1, 8, 8))))
    save_weights(tmp_path / "ours.pt", weights, {"epoch": 3})
    files = {
        "plain.pt": saved(weights),
        "nested.pt": saved({"epoch": 3, "state_dict": weights, "optimizer": {}}),
        "lightning.ckpt": saved({"model": {"state_dict": weights}}),
        "ours.pt": (tmp_path / "ours.pt").read_bytes(),
        "one.safetensors": safetensors(weights),
    }
    for name, content in files.items():
        found = read_weights(content, name)
        assert list(found) == list(weights), name
        assert all(torch.equal(found[n], weights[n]) for n in weights), name


class Harm:
    """What runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (exec, ("raise SystemExit('harm')",))


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"", "empty.pt"),
        (saved({"weights": Harm()}), "harm.pt"),
        (saved({"epoch": 3}), "nothing.pt"),
        (safetensors({"a": torch.ones(3)})[:-4], "cut.safetensors"),
        (b"\xff" * 40, "noise.safetensors"),
    ],
)
def test_a_file_that_is_no_weights_is_refused_and_runs_no_code(content: bytes, name: str) -> None:
    with pytest.raises(ConfigError, match=r"^start: must (be safetensors|hold)") as caught:
        read_weights(content, name)
    assert name in str(caught.value)


def test_at_starts_from_a_network_trained_by_sam(
    few_digits: Dataset, make_config: MakeConfig
) -> None:
    sam = make_config(Method(weights=Sam(rho=0.1)), epochs=2)
    trained = run(sam, few_digits, new_state(sam, few_digits, CPU)).model.state_dict()
    at = make_config(AT, epochs=1, learning_rate=0.0)
    kept = started(at, few_digits, trained).model
    for (name, ours), theirs in zip(kept.named_parameters(), trained.values(), strict=False):
        assert ours.shape == trained[name].shape, theirs
        assert torch.equal(ours, trained[name]), "without steps they are SAM's"
    moved = started(make_config(AT, epochs=1), few_digits, trained)
    fresh = run(at, few_digits, new_state(at, few_digits, CPU))
    assert moved.metrics[0].train_loss < fresh.metrics[0].train_loss


def test_robust_fine_tuning_keeps_the_averages_at_the_start(
    few_digits: Dataset, make_config: MakeConfig
) -> None:
    config = make_config(AT, epochs=1, ema_decay=0.9)
    weights = floats(network("small_cnn", few_digits, 5))
    made = replace(config, start=StartConfig(weights="w", origin="w"))
    state = new_state(made, few_digits, CPU, lambda model: start_from(model, weights, "w"))
    names = [name for name, _ in state.model.named_parameters()]
    for name, mean in zip(names, state.memory.averages, strict=False):
        assert torch.equal(mean, weights[name]), name


def test_the_weights_that_a_seed_draws_are_a_start_that_changes_nothing(
    few_digits: Dataset, make_config: MakeConfig
) -> None:
    config = make_config(AT, epochs=1)
    fresh = new_state(config, few_digits, CPU)
    first = {name: tensor.clone() for name, tensor in fresh.model.state_dict().items()}
    again = started(config, few_digits, first)
    whole = run(config, few_digits, fresh)
    ends = whole.model.state_dict()
    assert all(torch.equal(t, ends[n]) for n, t in again.model.state_dict().items())


def test_a_training_refuses_to_start_without_its_weights(
    few_digits: Dataset, make_config: MakeConfig
) -> None:
    made = replace(make_config(epochs=1), start=StartConfig(weights="w", origin="w"))
    with pytest.raises(ConfigError, match="start: needs a state made by new_state"):
        next(train(made, few_digits, CPU))


def test_a_file_is_tried_on_the_network_before_a_launch(make_images: MakeImages) -> None:
    data = make_images((1, 8, 8))
    content = saved(dict(network("small_cnn", data).state_dict()))
    config = ModelConfig(name="small_cnn", width=4)
    assert fits_start(config, data, content, "a.pt") == "all layers"
    with pytest.raises(ConfigError, match=r"got 'a\.pt'"):
        fits_start(replace(config, width=8), data, content, "a.pt")
