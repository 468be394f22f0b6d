"""Tests of every combination of a weight side, an input side and a loss, trained for some steps."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainers.config import (
    INPUT_SIDES,
    LOSSES,
    NORMS,
    WEIGHT_SIDES,
    AdaptiveGsam,
    Asam,
    Awp,
    ConfigError,
    CrossEntropy,
    Dkl,
    EAt,
    EigenSam,
    Esam,
    FgsmRs,
    FSam,
    Gsam,
    Ikl,
    InputSide,
    LookSam,
    Loss,
    Mart,
    Method,
    Msam,
    NFgsm,
    NoInputs,
    Noise,
    Norm,
    NoWeights,
    Pgd,
    Sam,
    Trades,
    TrainConfig,
    WeightSide,
    passes,
)
from trainers.data.dataset import Dataset
from trainers.detectors import EpochMetrics
from trainers.engine.engine import PLAIN, Engine
from trainers.networks.layers import Normalise
from trainers.train import TrainState, new_state, train

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")
NUM_TRAIN = 150
BATCHES = tuple(enumerate((64, 64, 22)))
WEIGHTS: dict[str, WeightSide] = {
    "none": NoWeights(),
    "sam": Sam(rho=0.1),
    "asam": Asam(rho=0.5),
    "gsam": Gsam(rho=0.1, rho_min=0.05),
    "adaptive_gsam": AdaptiveGsam(rho=0.5, rho_min=0.1),
    "look_sam": LookSam(rho=0.1, every=2),
    "esam": Esam(rho=0.1),
    "f_sam": FSam(rho=0.1),
    "msam": Msam(rho=0.5),
    "eigen_sam": EigenSam(rho=0.1, refresh_every=2, power_steps=2),
    "awp": Awp(gamma=0.01),
}
INPUTS: dict[str, InputSide] = {
    "none": NoInputs(),
    "pgd linf": Pgd(norm="linf", epsilon=0.1, steps=2),
    "pgd l2": Pgd(norm="l2", epsilon=0.5, steps=2),
    "pgd l1": Pgd(norm="l1", epsilon=2.0, steps=2),
    "fgsm_rs linf": FgsmRs(norm="linf", epsilon=0.1),
    "fgsm_rs l2": FgsmRs(norm="l2", epsilon=0.5),
    "n_fgsm linf": NFgsm(norm="linf", epsilon=0.1),
    "n_fgsm l2": NFgsm(norm="l2", epsilon=0.5),
    "noise": Noise(sigma=0.1),
    "e_at": EAt(epsilon_linf=0.1, epsilon_l1=2.0, steps=2),
}
LOSS: dict[str, Loss] = {
    "cross_entropy": CrossEntropy(label_smoothing=0.1),
    "trades": Trades(),
    "mart": Mart(),
    "dkl": Dkl(),
    "ikl": Ikl(),
}
PLAIN_ONES = ("none", "pgd linf", "cross_entropy")
EVERY = [
    names
    for names in itertools.product(WEIGHTS, INPUTS, LOSS)
    if any(name == plain for name, plain in zip(names, PLAIN_ONES, strict=True))
    or names[1] == "none"
]
"""Every two of a weight side, an input side and a loss, with the plainest third."""
REFUSED = [names for names in EVERY if names[1] == "none" and names[2] != "cross_entropy"]
ALLOWED = [names for names in EVERY if names not in REFUSED]


def method_of(names: tuple[str, str, str]) -> Method:
    return Method(weights=WEIGHTS[names[0]], inputs=INPUTS[names[1]], loss=LOSS[names[2]])


def run(config: TrainConfig, data: Dataset, engine: Engine | None = None) -> TrainState:
    state = new_state(config, data, CPU)
    list(train(config, data, CPU, state, engine))
    return state


def test_every_side_and_loss_that_there_is_is_combined_here() -> None:
    for cases, known in ((WEIGHTS, WEIGHT_SIDES), (INPUTS, INPUT_SIDES), (LOSS, LOSSES)):
        assert {type(case) for case in cases.values()} == set(known.values())
    assert len(REFUSED) == len(WEIGHTS) * (len(LOSS) - 1)


@pytest.mark.usefixtures("unjudged")
@pytest.mark.parametrize("names", ALLOWED, ids=" ".join)
def test_a_combination_trains(
    names: tuple[str, str, str], make_config: MakeConfig, few_digits: Dataset
) -> None:
    """Two batches of 64 and one of 22: all is finite, every weight moves, the passes are told."""
    method = method_of(names)
    config = make_config(method, epochs=1, learning_rate=0.05)
    before = {
        name: w.clone() for name, w in new_state(config, few_digits, CPU).model.state_dict().items()
    }
    state = run(config, few_digits)
    (metrics,) = state.metrics
    assert not metrics.diverged
    assert 0 < metrics.train_loss < 10
    assert 0 < metrics.train_accuracy < 1
    for name, weight in state.model.named_parameters():
        assert weight.isfinite().all(), name
        assert not torch.equal(weight, before[name]), name
    steps = [(size, passes(method, method.phases(at, 3))) for at, size in BATCHES]
    assert told(metrics) == (
        sum(size * each.forward for size, each in steps),
        sum(size * each.input_backward for size, each in steps),
        sum(size * each.weight_backward for size, each in steps),
    )


@pytest.mark.parametrize("names", REFUSED, ids=" ".join)
def test_a_combination_without_meaning_is_refused_with_its_reason(
    names: tuple[str, str, str],
) -> None:
    rule = f"loss: {names[2]} compares clean with crafted images and needs an input side"
    with pytest.raises(ConfigError, match=rule):
        method_of(names)


def told(metrics: EpochMetrics) -> tuple[int, int, int]:
    return (
        metrics.forward_passes,
        metrics.input_backward_passes,
        metrics.weight_backward_passes,
    )


@contextmanager
def counting() -> Iterator[dict[str, int]]:
    """Count samples through a network's first layer and last, forward and backward.

    The normalised images are differentiated only in an attack, and the logits in every backward
    pass, once for each time that they were computed.
    """
    counted = {"forward": 0, "images": 0, "logits": 0}

    def watch(name: str, tensor: Tensor) -> None:
        def count(gradient: Tensor) -> None:
            counted[name] += len(gradient)

        if tensor.requires_grad:
            tensor.register_hook(count)

    def hook(module: nn.Module, arguments: Any, output: Tensor) -> None:
        if isinstance(module, Normalise):
            counted["forward"] += len(output)
            watch("images", output)
        elif isinstance(module, nn.Linear):
            watch("logits", output)

    handle = nn.modules.module.register_module_forward_hook(hook)
    try:
        yield counted
    finally:
        handle.remove()


K = 4
MANY = Pgd(norm="linf", epsilon=0.1, steps=K)
SIDES_COUNTED = WEIGHTS | {"look_sam": LookSam(rho=0.1, every=1)}
"""What LookSAM costs between its whole gradients is measured with them (`test_memory`)."""
SIDES_COUNTED.pop("eigen_sam")  # its products go backward twice (below)
COST = dict.fromkeys(SIDES_COUNTED, 6.0) | {"none": 3, "msam": 3, "esam": 5.5}
COUNTED: dict[str, tuple[Method, float]] = {
    # with what a step costs in forward passes
    **{f"{name}": (Method(weights=side), COST[name]) for name, side in SIDES_COUNTED.items()},
    **{
        f"{name} at": (Method(weights=side, inputs=MANY), 2 * K + COST[name])
        for name, side in SIDES_COUNTED.items()
    },
    "noise": (Method(inputs=Noise(sigma=0.1)), 3),
    "fgsm_rs": (Method(inputs=INPUTS["fgsm_rs l2"]), 5),
    "n_fgsm": (Method(inputs=INPUTS["n_fgsm linf"]), 5),
    "trades": (Method(inputs=MANY, loss=Trades()), 2 * K + 7),
    "mart": (Method(inputs=MANY, loss=Mart()), 2 * K + 6),
    "sam trades": (Method(weights=Sam(rho=0.1), inputs=MANY, loss=Trades()), 2 * K + 13),
    "awp mart": (Method(weights=Awp(gamma=0.1), inputs=MANY, loss=Mart()), 2 * K + 12),
    "trades of fgsm_rs": (Method(inputs=INPUTS["fgsm_rs linf"], loss=Trades()), 9),
    "trades of n_fgsm": (Method(inputs=INPUTS["n_fgsm l2"], loss=Trades()), 9),
    "trades of noise": (Method(inputs=Noise(sigma=0.1), loss=Trades()), 6),
    "dkl": (Method(inputs=MANY, loss=Dkl()), 2 * K + 7),
    "ikl": (Method(inputs=MANY, loss=Ikl()), 2 * K + 7),
    "sam ikl": (Method(weights=Sam(rho=0.1), inputs=MANY, loss=Ikl()), 2 * K + 13),
    "pgd l1": (Method(inputs=INPUTS["pgd l1"]), 7),
    "e_at": (Method(inputs=INPUTS["e_at"]), 8),
    "ikl of e_at": (Method(inputs=INPUTS["e_at"], loss=Ikl()), 12),
    "ikl of noise": (Method(inputs=Noise(sigma=0.1), loss=Ikl()), 6),
    "mart of noise": (Method(inputs=Noise(sigma=0.1), loss=Mart()), 6),
}


@pytest.mark.usefixtures("unjudged")
@pytest.mark.parametrize(("method", "cost"), COUNTED.values(), ids=COUNTED)
def test_reported_passes_are_those_that_run(
    method: Method, cost: int, make_config: MakeConfig, few_digits: Dataset
) -> None:
    config = make_config(method, epochs=1)
    with counting() as counted:
        (metrics,) = run(config, few_digits, PLAIN).metrics
    forward, images, logits = counted.values()
    assert told(metrics) == (forward, images, logits - images)
    assert forward + images + 2 * (logits - images) == cost * NUM_TRAIN
    assert passes(method).cost == cost


@pytest.mark.usefixtures("unjudged")
@pytest.mark.parametrize("power_steps", [1, 3])
def test_a_renewed_eigenvector_costs_two_passes_backward_for_each_product(
    power_steps: int, make_config: MakeConfig, few_digits: Dataset
) -> None:
    """The graph of a gradient holds the pass backward, and a product goes back through both.

    The logits are reached twice by each: once on the way to the weights, once from the gradient.
    """
    side = EigenSam(rho=0.1, refresh_every=1, power_steps=power_steps)
    config = make_config(Method(weights=side), epochs=1)
    with counting() as counted:
        (metrics,) = run(config, few_digits, PLAIN).metrics
    assert told(metrics) == (3 * NUM_TRAIN, 0, (3 + 2 * power_steps) * NUM_TRAIN)
    assert counted["forward"] == 3 * NUM_TRAIN
    assert counted["logits"] == (3 + power_steps) * NUM_TRAIN


ZERO: dict[str, Method] = {
    "sam": Method(weights=Sam(rho=0.0)),
    "asam": Method(weights=Asam(rho=0.0)),
    "gsam": Method(weights=Gsam(rho=0.0)),
    "adaptive_gsam": Method(weights=AdaptiveGsam(rho=0.0)),
    "look_sam": Method(weights=LookSam(rho=0.0, every=2)),
    "esam": Method(weights=Esam(rho=0.0, gamma=1.0)),
    "f_sam": Method(weights=FSam(rho=0.0)),
    "msam": Method(weights=Msam(rho=0.0)),
    "eigen_sam": Method(weights=EigenSam(rho=0.0, refresh_every=2)),
    "awp": Method(weights=Awp(gamma=0.0)),
    "pgd linf": Method(inputs=Pgd(norm="linf", epsilon=0.0, steps=2)),
    "pgd linf, a step size of its own": Method(
        inputs=Pgd(norm="linf", epsilon=0.0, steps=2, step_size=0.1)
    ),
    "pgd l2": Method(inputs=Pgd(norm="l2", epsilon=0.0, steps=2, step_size=0.1)),
    "pgd l1": Method(inputs=Pgd(norm="l1", epsilon=0.0, steps=2, step_size=0.1)),
    "e_at": Method(inputs=EAt(epsilon_linf=0.0, epsilon_l1=0.0, steps=2)),
    "e_at, step sizes of its own": Method(
        inputs=EAt(epsilon_linf=0.0, epsilon_l1=0.0, steps=2, step_size_linf=0.1, step_size_l1=1.0)
    ),
    "fgsm_rs linf": Method(inputs=FgsmRs(norm="linf", epsilon=0.0)),
    "fgsm_rs l2": Method(inputs=FgsmRs(norm="l2", epsilon=0.0, step_size=0.1)),
    "n_fgsm linf": Method(inputs=NFgsm(norm="linf", epsilon=0.0)),
    "n_fgsm l2": Method(inputs=NFgsm(norm="l2", epsilon=0.0)),
    "noise": Method(inputs=Noise(sigma=0.0)),
    "gsam and pgd": Method(weights=Gsam(rho=0.0), inputs=Pgd(norm="linf", epsilon=0.0, steps=2)),
    "awp and n_fgsm": Method(weights=Awp(gamma=0.0), inputs=NFgsm(norm="l2", epsilon=0.0)),
}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "nesterov": {"nesterov": True},
    "adamw": {"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.1},
}


def written(state: TrainState) -> list[Tensor]:
    """Weights, batch statistics and moments."""
    return [*state.model.state_dict().values(), *state.memory.moments]


@pytest.mark.usefixtures("unjudged")
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_radii_of_zero_equal_standard_training_bit_for_bit_after_three_epochs(
    optimizer: dict[str, Any], make_config: MakeConfig, few_digits: Dataset
) -> None:
    standard = run(make_config(**optimizer), few_digits)
    for name, method in ZERO.items():
        if name == "msam" and "optimizer" in optimizer:
            continue  # has no momentum to follow
        found = run(make_config(method, **optimizer), few_digits)
        pairs = zip(written(found), written(standard), strict=True)
        assert all(torch.equal(ours, theirs) for ours, theirs in pairs), name
        losses = [metrics.train_loss for metrics in standard.metrics]
        assert [metrics.train_loss for metrics in found.metrics] == losses, name


@pytest.mark.usefixtures("unjudged")
def test_a_radius_above_zero_is_another_training(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    """What the test above compares does differ where a radius does."""
    standard = run(make_config(), few_digits)
    for names in ALLOWED:
        if names[2] == "cross_entropy" and names[:2].count("none") == 1:
            method = Method(weights=WEIGHTS[names[0]], inputs=INPUTS[names[1]])
            found = run(make_config(method, epochs=1), few_digits)
            assert found.metrics[0].train_loss != standard.metrics[0].train_loss, names


@pytest.mark.usefixtures("unjudged")
@pytest.mark.parametrize("beta", [0.0, 6.0])
def test_trades_at_radius_zero_is_standard_training_but_for_rounding(
    beta: float, make_config: MakeConfig, few_digits: Dataset
) -> None:
    """In the weights; batch statistics see each batch twice. A small rate keeps rounding small."""
    zero = Pgd(norm="linf", epsilon=0.0, steps=2)
    settings = {"learning_rate": 0.01, "epochs": 2}
    standard = run(make_config(**settings), few_digits)
    found = run(make_config(Method(inputs=zero, loss=Trades(beta=beta)), **settings), few_digits)
    for ours, theirs in zip(found.model.parameters(), standard.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)
    losses = [metrics.train_loss for metrics in standard.metrics]
    assert [metrics.train_loss for metrics in found.metrics] == pytest.approx(losses, rel=1e-6)


@pytest.mark.usefixtures("unjudged")
@pytest.mark.parametrize("norm", NORMS)
def test_losses_of_two_images_are_not_standard_training_bit_for_bit(
    norm: Norm, make_config: MakeConfig, digits: Dataset
) -> None:
    """As the README says: TRADES within rounding after three epochs of the digits study, MART not.

    Measured with seeds 0 and 1: at most 4.8e-7, and 0.02 after twenty epochs, as rounding grows.
    """
    zero = Pgd(norm=norm, epsilon=0.0, steps=2, step_size=0.1)
    standard, trades, mart = (
        list(run(make_config(method, width=8, seed=1), digits).model.parameters())
        for method in (
            Method(),
            Method(inputs=zero, loss=Trades()),
            Method(inputs=zero, loss=Mart()),
        )
    )
    pairs = [list(zip(found, standard, strict=True)) for found in (trades, mart)]
    of_trades, of_mart = (max(float((a - b).detach().abs().max()) for a, b in of) for of in pairs)
    assert 0 < of_trades < 2e-6
    assert of_mart > 1e-2


@pytest.mark.usefixtures("unjudged")
def test_sides_begin_with_their_warm_ups(make_config: MakeConfig, few_digits: Dataset) -> None:
    """AWP is standard training until its own epoch; an attack's radius is less at first."""
    standard = run(make_config(), few_digits).metrics
    late = run(make_config(Method(weights=Awp(gamma=0.05, warmup_epochs=1))), few_digits).metrics
    at_once = run(make_config(Method(weights=Awp(gamma=0.05))), few_digits).metrics
    assert late[0].train_loss == standard[0].train_loss
    assert at_once[0].train_loss != standard[0].train_loss
    assert late[1].train_loss != standard[1].train_loss
    losses = [
        run(
            make_config(
                Method(inputs=Pgd(norm="linf", epsilon=0.2, steps=2, warmup_epochs=warmup)),
                epochs=3,
            ),
            few_digits,
        )
        .metrics[0]
        .train_loss
        for warmup in (0, 1, 2)
    ]
    assert losses[0] > losses[1] > losses[2] > standard[0].train_loss
