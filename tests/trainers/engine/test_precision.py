"""Tests of the body in bfloat16: what stays float32, and that a small perturbation survives."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.config import ConfigError, Method, Pgd, TrainConfig
from trainers.data.dataset import Dataset
from trainers.engine.engine import Engine
from trainers.engine.program import _key, _programs
from trainers.networks.build import build_model, evaluation_view
from trainers.networks.layers import Conv, set_precision
from trainers.train import new_state, train

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")
AT = Method(inputs=Pgd(norm="linf", epsilon=0.1, steps=2))


NETWORKS: dict[str, dict[str, Any]] = {
    "preact_resnet18": {"model": "preact_resnet18", "width": 4},
    "wide_resnet": {"model": "wide_resnet", "width": 1, "depth": 10},
    "with group norm": {"model": "wide_resnet", "width": 1, "depth": 10, "norm_layer": "group"},
}
every_network = pytest.mark.parametrize("sizes", NETWORKS.values(), ids=NETWORKS)


@pytest.fixture(params=NETWORKS)
def model(
    request: pytest.FixtureRequest, make_config: MakeConfig, make_images: Callable[..., Dataset]
) -> nn.Module:
    data = make_images((3, 32, 32))
    config = make_config(**NETWORKS[request.param])
    model = build_model(config.model, data, torch.Generator().manual_seed(0)).train()
    set_precision(model, torch.bfloat16)
    return model


def dtypes(model: nn.Module, images: Tensor) -> dict[str, torch.dtype]:
    """The type of what each layer returns."""
    found: dict[str, torch.dtype] = {}
    handles = [
        module.register_forward_hook(
            lambda module, given, out, name=name: found.__setitem__(name, out.dtype)
        )
        for name, module in model.named_modules()
        if not list(module.children())
    ]
    model(images)
    for handle in handles:
        handle.remove()
    return found


def test_only_the_body_is_rounded(model: nn.Module) -> None:
    found = dtypes(model, torch.rand(4, 3, 32, 32))
    assert found["0"] == found["1"] == torch.float32  # normalisation and stem
    body = [name for name in found if name.startswith(("3.", "4.", "5.", "6.", "7.", "8.", "9."))]
    assert {found[name] for name in body} == {torch.bfloat16}
    assert list(found.values())[-1] == torch.float32  # logits
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    counts = {name for name, buffer in model.named_buffers() if buffer.dtype == torch.int64}
    assert all(name.endswith("num_batches_tracked") for name in counts)
    exact = [buffer for name, buffer in model.named_buffers() if name not in counts]
    assert {buffer.dtype for buffer in exact} == {torch.float32}


def test_every_gradient_is_float32(model: nn.Module) -> None:
    images = torch.rand(4, 3, 32, 32, requires_grad=True)
    loss = F.cross_entropy(model(images), torch.arange(4))
    gradients = torch.autograd.grad(loss, [images, *model.parameters()])
    assert {gradient.dtype for gradient in gradients} == {torch.float32}
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_evaluation_is_exact_whatever_the_training(model: nn.Module) -> None:
    view = evaluation_view(model)
    assert set(dtypes(view, torch.rand(2, 3, 32, 32)).values()) == {torch.float32}
    assert dtypes(model, torch.rand(4, 3, 32, 32))["3.conv1"] == torch.bfloat16


def test_the_stem_sees_a_small_perturbation_that_a_rounded_input_would_lose(
    model: nn.Module,
) -> None:
    """Rounding the normalised input, as a whole network in bfloat16 does, turns it by half."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(8, 3, 32, 32, generator=generator)
    offset = torch.randn(images.shape, generator=generator)
    offset *= 16 / 255 / offset.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    normalise, stem = model[0], model[1]  # type: ignore[index]

    def response(normalised: Callable[[Tensor], Tensor]) -> Tensor:
        return (stem(normalised(images + offset)) - stem(normalised(images))).detach()

    exact = response(normalise)
    rounded = response(lambda x: normalise(x).bfloat16().float())
    assert torch.cosine_similarity(exact.flatten(), rounded.flatten(), dim=0) < 0.95
    entering: list[Tensor] = []
    handle = stem.register_forward_hook(lambda module, given, out: entering.append(given[0]))
    with torch.no_grad():
        model(images + offset)
        model(images)
    handle.remove()
    moved = entering[0] - entering[1]
    assert torch.allclose(moved, normalise(images + offset) - normalise(images), atol=0, rtol=0)


@every_network
def test_the_attack_sees_the_weights_of_now_rounded_once(
    sizes: dict[str, Any], make_config: MakeConfig, make_images: Callable[..., Dataset]
) -> None:
    data = make_images((3, 32, 32))
    config = make_config(AT, **sizes, epochs=1, batch_size=12, precision="bfloat16")
    state = new_state(config, data, CPU)
    list(train(config, data, CPU, state))
    assert state.engine["precision"] == "bfloat16"
    program = _programs.get(_key(config, data, CPU, Engine(), is_compiled=False))
    assert program is not None
    network = program.network
    network.refresh()
    assert isinstance(network.attacked, nn.Module)
    pairs = zip(network.model.modules(), network.attacked.modules(), strict=True)
    convolutions = [(own, seen) for own, seen in pairs if isinstance(own, Conv)]
    assert len(convolutions) == {"preact_resnet18": 19, "wide_resnet": 8}[sizes["model"]]
    for own, seen in convolutions:
        assert seen.weight.dtype == torch.bfloat16
        assert torch.equal(seen.weight, own.weight.detach().bfloat16())
    images = torch.rand(3, 3, 32, 32)
    twin = evaluation_view(network.model)
    set_precision(twin, torch.bfloat16)
    assert torch.equal(network.attacked(images), twin(images))


@every_network
def test_a_rounded_training_learns_what_an_exact_one_does(
    sizes: dict[str, Any], make_config: MakeConfig, few_digits: Dataset
) -> None:
    found = []
    for precision in ("float32", "bfloat16"):
        config = make_config(**sizes, epochs=6, learning_rate=0.05, precision=precision)
        found.append([m.train_loss for m in train(config, few_digits, CPU)])
    assert found[1][0] == pytest.approx(found[0][0], rel=0.02)
    assert found[1][-1] == pytest.approx(found[0][-1], rel=0.3)
    assert found[1][-1] < 0.5 * found[1][0]
    assert found[0] != found[1]


def test_a_precision_that_cannot_apply_is_refused(make_config: MakeConfig) -> None:
    for name, width, depth in (("small_cnn", 4, 0), ("resnet18", 64, 0), ("vit", 64, 1)):
        with pytest.raises(ConfigError, match=f"must be float32 for {name}"):
            make_config(model=name, width=width, depth=depth, precision="bfloat16")
    with pytest.raises(ConfigError, match="must be one of float32, bfloat16"):
        make_config(model="preact_resnet18", precision="half")
