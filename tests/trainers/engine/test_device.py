"""Tests that a step stays on its device and never waits for it, without a GPU.

torch's device `meta` has shapes and no values: reading a value fails there, as does an operator
whose result's shape depends on one. What `meta` lets pass is watched for: a number or an index of
another device among the arguments, and numbers of Python that become a tensor.
(Fake tensors on "cuda" are no way to this: without a GPU, torch does not differentiate them, and
2.13 without CUDA even aborts the process.)
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.trainers.test_combinations import ALLOWED, INPUTS, LOSS, WEIGHTS, method_of
from trainers import train as training
from trainers.config import MODELS, Phases, TrainConfig
from trainers.data.dataset import Dataset
from trainers.engine.engine import PLAIN, Engine, repeatable
from trainers.engine.program import Program
from trainers.step.batches import Draw
from trainers.step.inputs import Classify
from trainers.step.numbers import schedule
from trainers.train import new_state, train

MakeConfig = Callable[..., TrainConfig]
CPU, META = torch.device("cpu"), torch.device("meta")
BATCH_SIZE = 12
ACTING = Phases("act", "act")
ADAMW = {"optimizer": "adamw", "ema_decay": 0.9, "gradient_clip": 0.5}
NETWORKS: dict[str, dict[str, Any]] = {
    "small_cnn": {"model": "small_cnn"},
    "small_cnn by adamw": {"model": "small_cnn", **ADAMW},
    "small_cnn, nesterov, groups": {"model": "small_cnn", "nesterov": True, "norm_layer": "group"},
    "preact_resnet18": {"model": "preact_resnet18", "width": 2},
    "preact_resnet18, rounded": {"model": "preact_resnet18", "width": 2, "precision": "bfloat16"},
    "wide_resnet, rounded": {
        **{"model": "wide_resnet", "width": 1, "depth": 10},
        **{"precision": "bfloat16", "norm_layer": "group"},
    },
    "resnet18": {"model": "resnet18", "width": 64},
    "vit": {"model": "vit", "width": 64, "depth": 2, **ADAMW},
}
PLAIN_SIDES = ("none", "pgd linf")
WALKED = [
    names
    for names in ALLOWED
    if names[:2] == PLAIN_SIDES
    or (
        names[2] in ("cross_entropy", "trades")
        and (names[0], names[1]) != PLAIN_SIDES
        and (names[0] == "none" or names[1] == "pgd linf")
    )
]
"""Every loss, and every weight and input side with a loss of one and a loss of two kinds of images.
All combinations of weight and input sides train in `test_combinations`."""
EVERYTHING = method_of(("sam", "pgd linf", "trades"))
SHAPES = {"as stored": (1, 8, 8), "cropped": (3, 32, 32)}
WAITS = {
    *("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "bincount"),
    *("_unique2", "unique_dim", "unique_consecutive", "repeat_interleave"),
}
"""Operators that read a value, or whose result has a shape that the host has to know."""


class OnOneDevice(TorchDispatchMode):
    """Refuse operators that take or return a tensor of another device."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, result)):
            if isinstance(leaf, Tensor) and leaf.device.type != self.device.type:
                raise RuntimeError(f"{func}: a tensor {tuple(leaf.shape)} on {leaf.device}")
        return result


class WithoutPythonsNumbers(TorchFunctionMode):
    """Refuse functions that copy what Python holds to a device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.tensor, torch.as_tensor, torch.from_numpy):
            raise RuntimeError(f"{func.__name__} copies from the host")
        return func(*args, **(kwargs or {}))


class NotWaiting(TorchDispatchMode):
    """Refuse the operators of `WAITS`."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in WAITS:
            raise RuntimeError(f"{name} waits for the device")
        return func(*args, **(kwargs or {}))


def take_step(
    config: TrainConfig,
    data: Dataset,
    phases: Phases = ACTING,
    planted: Callable[[Classify], Classify] | None = None,
) -> None:
    """Take a step on `meta`; `planted` changes the network as it is attacked."""
    model = new_state(config, data, CPU).model.to(META)
    program = Program(config, data, model, META, Engine(), is_compiled=False)
    if planted is not None:
        network = program.network
        program.network = network._replace(attacked=planted(network.attacked))
    program.load(model, program.network.memory)
    places = torch.zeros((BATCH_SIZE, 2), dtype=torch.int64, device=META)
    shape = (BATCH_SIZE, *data.image_shape)
    noise = program.draw_noise(shape, torch.Generator(), phases.inputs).to(META)
    choice = program.draw_choice(torch.Generator(), phases.weights).to(META)
    draw = Draw(places[:, 0], places, places[:, 0] == 1, noise, choice=choice)
    row = schedule(config, len(data.train.labels), data.divisor)[0, 0].float().to(META)
    with WithoutPythonsNumbers(), OnOneDevice(META):
        program.run(row, draw, phases)


@pytest.mark.parametrize("names", WALKED, ids=" ".join)
def test_a_step_of_every_method_neither_waits_nor_leaves_its_device(
    names: tuple[str, str, str], make_config: MakeConfig, make_images: Callable[..., Dataset]
) -> None:
    """In every phase of its weight side, and where its input side rests."""
    method = method_of(names)
    config = make_config(method, batch_size=BATCH_SIZE, width=2)
    for phases in {method.phases(step, total=4) for step in range(4)} | {Phases("rest", "rest")}:
        take_step(config, make_images((1, 8, 8)), phases)


@pytest.mark.parametrize("settings", NETWORKS.values(), ids=NETWORKS)
def test_a_step_of_every_network_neither_waits_nor_leaves_its_device(
    settings: dict[str, Any], make_config: MakeConfig, make_images: Callable[..., Dataset]
) -> None:
    config = make_config(EVERYTHING, batch_size=BATCH_SIZE, **settings)
    take_step(config, make_images((3, 32, 32)))


def test_every_network_is_among_them() -> None:
    assert {settings["model"] for settings in NETWORKS.values()} == set(MODELS)


PLANTS: dict[str, Callable[[Tensor], object]] = {
    "item": lambda logits: logits.sum().item(),
    "bool": lambda logits: bool(logits.sum() > 0),
    "cpu": lambda logits: logits.cpu(),
    "numpy": lambda logits: logits.detach().numpy(),
    "nonzero": lambda logits: logits.nonzero(),
    "boolean index": lambda logits: logits[logits > 0],
    "a number of the CPU": lambda logits: logits * torch.tensor(2.0),
    "a copy from the CPU": lambda logits: torch.zeros_like(logits).copy_(torch.ones(10)),
    "an index of the CPU": lambda logits: logits[torch.zeros(2, dtype=torch.int64)],
    "numbers of Python": lambda logits: torch.tensor([1.0], device=logits.device),
}


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
def test_a_planted_wait_or_a_tensor_elsewhere_is_seen(
    plant: Callable[[Tensor], object], make_config: MakeConfig, make_images: Callable[..., Dataset]
) -> None:
    def planted(classify: Classify) -> Classify:
        def classify_and_more(images: Tensor) -> Tensor:
            logits = classify(images)
            plant(logits)
            return logits

        return classify_and_more

    config = make_config(EVERYTHING, batch_size=BATCH_SIZE, width=2)
    with pytest.raises((RuntimeError, TypeError)):
        take_step(config, make_images((1, 8, 8)), planted=planted)


@contextmanager
def watched() -> Iterator[None]:
    with repeatable(), NotWaiting():
        yield


@pytest.mark.parametrize("settings", [{}, ADAMW], ids=["sgd", "adamw"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("loss", LOSS)
def test_no_epoch_reads_a_value_before_its_end(
    loss: str,
    shape: tuple[int, int, int],
    settings: dict[str, Any],
    make_config: MakeConfig,
    make_images: Callable[..., Dataset],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its draws neither. On a CPU, as `meta` has no generator."""
    monkeypatch.setattr(training, "repeatable", watched)
    method = method_of(("look_sam", "pgd l2", loss))
    config = make_config(method, batch_size=16, width=2, epochs=1, **settings)
    (metrics,) = train(config, make_images(shape), CPU, engine=PLAIN)
    assert metrics.train_loss > 0


def test_a_value_that_is_read_within_an_epoch_is_seen() -> None:
    numbers = torch.tensor([1.0, 0.0])
    for plant in (lambda: numbers[0].item(), lambda: bool(numbers[0]), lambda: numbers.nonzero()):
        with pytest.raises(RuntimeError, match="waits for the device"), NotWaiting():
            plant()


def test_a_number_that_was_not_moved_is_seen(
    make_config: MakeConfig, make_images: Callable[..., Dataset]
) -> None:
    """A layer that keeps a plain attribute on the CPU, as `.to(device)` moves buffers alone."""
    scale = torch.tensor(2.0)

    class Scaled(nn.Module):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, images: Tensor) -> Tensor:
            return self.inner(images) * scale

    config = make_config(EVERYTHING, batch_size=BATCH_SIZE, width=2)
    with pytest.raises(RuntimeError, match=r"a tensor \(\) on cpu"):
        take_step(config, make_images((1, 8, 8)), planted=Scaled)


def test_every_side_and_loss_is_walked() -> None:
    for place, cases in enumerate((WEIGHTS, INPUTS, LOSS)):
        assert {names[place] for names in WALKED} == set(cases)
