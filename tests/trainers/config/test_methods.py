"""Tests of what a method may be: its refusals, and what its steps cost."""

import dataclasses
import math
from typing import Any

import pytest

from trainers.config import (
    INPUT_SIDES,
    LOSSES,
    WEIGHT_SIDES,
    Asam,
    Awp,
    ConfigError,
    CrossEntropy,
    FgsmRs,
    Gsam,
    Mart,
    Method,
    NFgsm,
    NoInputs,
    Noise,
    Pgd,
    Sam,
    Trades,
    passes,
)

BALL = {"norm": "linf", "epsilon": 0.1}
PGD = BALL | {"steps": 2}
REFUSED: dict[str, tuple[type[Any], dict[str, Any], str, str]] = {
    # class, settings, the field that is named, the rule
    "sam rho": (Sam, {"rho": -0.1}, "rho", r"must lie in \[0, 10\]"),
    "sam rho in another unit": (Sam, {"rho": 10.1}, "rho", r"must lie in \[0, 10\]"),
    "sam rho nan": (Sam, {"rho": math.nan}, "rho", "must lie in"),
    "sam rho bool": (Sam, {"rho": True}, "rho", "must lie in"),
    "sam rho text": (Sam, {"rho": "0.1"}, "rho", "must lie in"),
    "asam rho": (Asam, {"rho": math.inf}, "rho", "must lie in"),
    "asam eta": (Asam, {"rho": 0.5, "eta": -1e-9}, "eta", "must be ≥ 0"),
    "gsam rho": (Gsam, {"rho": 11.0}, "rho", "must lie in"),
    "gsam alpha": (Gsam, {"rho": 0.1, "alpha": -0.4}, "alpha", "must be ≥ 0"),
    "gsam rho_min": (Gsam, {"rho": 0.1, "rho_min": 0.2}, "rho_min", r"\[0, rho\], .* rho is 0.1"),
    "awp gamma": (Awp, {"gamma": 1.01}, "gamma", r"must lie in \[0, 1\]"),
    "awp warm-up": (Awp, {"gamma": 0.1, "warmup_epochs": 1.5}, "warmup_epochs", "whole number ≥ 0"),
    "pgd norm": (Pgd, PGD | {"norm": "l3"}, "norm", "must be one of linf, l2, l1"),
    "fgsm_rs norm": (FgsmRs, BALL | {"norm": "l3"}, "norm", "must be one of linf, l2$|l2, got"),
    "fgsm_rs in l1": (FgsmRs, BALL | {"norm": "l1"}, "norm", "one step in l1 is not a published"),
    "n_fgsm in l1": (NFgsm, BALL | {"norm": "l1"}, "norm", "use pgd for l1"),
    "pgd l1 epsilon": (Pgd, PGD | {"norm": "l1", "epsilon": -1.0}, "epsilon", "must be ≥ 0"),
    "pgd epsilon": (Pgd, PGD | {"epsilon": -0.1}, "epsilon", "must lie in"),
    "pgd epsilon of 8": (Pgd, PGD | {"epsilon": 8}, "epsilon", r"\[0, 0.5\] of the pixel range"),
    "pgd steps": (Pgd, PGD | {"steps": 0}, "steps", "must be a whole number ≥ 1"),
    "pgd step size": (Pgd, PGD | {"step_size": 0.0}, "step_size", "must be auto or a number > 0"),
    "pgd warm-up": (Pgd, PGD | {"warmup_epochs": -1}, "warmup_epochs", "whole number ≥ 0"),
    "fgsm_rs epsilon": (FgsmRs, BALL | {"epsilon": 0.51}, "epsilon", "must lie in"),
    "fgsm_rs l2 epsilon": (FgsmRs, {"norm": "l2", "epsilon": -1.0}, "epsilon", "must be ≥ 0"),
    "n_fgsm noise": (NFgsm, BALL | {"noise_scale": -1.0}, "noise_scale", "must be ≥ 0"),
    "n_fgsm step at zero": (
        NFgsm,
        {"norm": "linf", "epsilon": 0.0, "step_size": 0.1},
        "step_size",
        "must be auto where epsilon is 0",
    ),
    "noise sigma": (Noise, {"sigma": 1.5}, "sigma", r"must lie in \[0, 1\] of the pixel range"),
    "smoothing": (CrossEntropy, {"label_smoothing": 1.0}, "label_smoothing", r"lie in \[0, 1\)"),
    "trades beta": (Trades, {"beta": -1.0}, "beta", "must be ≥ 0"),
    "mart beta": (Mart, {"beta": math.inf}, "beta", "must be ≥ 0"),
}


@pytest.mark.parametrize(("cls", "settings", "field", "rule"), REFUSED.values(), ids=REFUSED)
def test_a_value_that_no_training_can_use_is_refused_by_its_name(
    cls: type[Any], settings: dict[str, Any], field: str, rule: str
) -> None:
    with pytest.raises(ConfigError, match=rule) as caught:
        cls(**settings)
    assert caught.value.field == field
    assert caught.value.value == settings[field] or math.isnan(settings[field])


@pytest.mark.parametrize("loss", [Trades(), Mart()], ids=["trades", "mart"])
def test_a_loss_that_compares_images_is_refused_where_none_are_crafted(loss: Trades | Mart) -> None:
    name = type(loss).__name__.lower()
    rule = rf"{name} compares clean with crafted images and needs an input side \(pgd, fgsm_rs, n_f"
    with pytest.raises(ConfigError, match=rule) as caught:
        Method(weights=Sam(rho=0.1), loss=loss)
    assert caught.value.field == "loss"
    Method(inputs=Noise(sigma=0.1), loss=loss)


def test_the_borders_of_every_range_are_allowed() -> None:
    for side in (
        Sam(rho=0),
        Sam(rho=10),
        Gsam(rho=0.0, rho_min=0.0, alpha=0.0),
        Awp(gamma=0.0),
        Awp(gamma=1.0),
        Pgd(norm="linf", epsilon=0.5, steps=1),
        Pgd(norm="l2", epsilon=20.0, steps=1),
        NFgsm(norm="l2", epsilon=0.0, noise_scale=0.0),
        Noise(sigma=0.0),
        Trades(beta=0.0),
    ):
        assert dataclasses.replace(side) == side


def test_published_defaults() -> None:
    assert Asam(rho=0.5).eta == 0.01
    assert Gsam(rho=0.1).alpha == 0.4
    assert (Trades().beta, Mart().beta) == (6.0, 5.0)
    epsilon = 8 / 255
    pgd = Pgd(norm="linf", epsilon=epsilon, steps=10)
    assert pgd.step_length == pytest.approx(2 / 255)
    assert FgsmRs(norm="linf", epsilon=epsilon).step_length == pytest.approx(10 / 255)
    wide = NFgsm(norm="linf", epsilon=epsilon)
    assert (wide.step_length, wide.noise_scale) == (epsilon, 2.0)
    for side in (
        dataclasses.replace(pgd, step_size=0.02),
        FgsmRs(norm="l2", epsilon=1.0, step_size=0.02),
        NFgsm(norm="l2", epsilon=1.0, step_size=0.02),
    ):
        assert side.step_length == 0.02


K = 10
COSTS: dict[str, tuple[Method, int]] = {
    "standard": (Method(), 3),
    "noise": (Method(inputs=Noise(sigma=0.1)), 3),
    "sam": (Method(weights=Sam(rho=0.1)), 6),
    "asam": (Method(weights=Asam(rho=0.1)), 6),
    "gsam": (Method(weights=Gsam(rho=0.1)), 6),
    "fgsm_rs": (Method(inputs=FgsmRs(norm="linf", epsilon=0.1)), 5),
    "n_fgsm": (Method(inputs=NFgsm(norm="l2", epsilon=0.1)), 5),
    "at": (Method(inputs=Pgd(norm="linf", epsilon=0.1, steps=K)), 2 * K + 3),
    "sam at": (
        Method(weights=Sam(rho=0.1), inputs=Pgd(norm="linf", epsilon=0.1, steps=K)),
        2 * K + 6,
    ),
    "awp at": (
        Method(weights=Awp(gamma=0.1), inputs=Pgd(norm="l2", epsilon=0.1, steps=K)),
        2 * K + 6,
    ),
    "mart": (Method(inputs=Pgd(norm="l2", epsilon=0.1, steps=K), loss=Mart()), 2 * K + 6),
    "trades": (Method(inputs=Pgd(norm="l2", epsilon=0.1, steps=K), loss=Trades()), 2 * K + 7),
    "sam trades": (
        Method(weights=Sam(rho=0.1), inputs=Pgd(norm="l2", epsilon=0.1, steps=K), loss=Trades()),
        2 * K + 1 + 12,
    ),
    "trades of noise": (Method(inputs=Noise(sigma=0.1), loss=Trades()), 6),
}


@pytest.mark.parametrize(("method", "cost"), COSTS.values(), ids=COSTS)
def test_a_step_costs_so_many_forward_passes(method: Method, cost: int) -> None:
    """That these passes are those that run is counted in `test_combinations`."""
    assert passes(method).cost == cost


def test_a_single_step_is_what_may_overfit_catastrophically() -> None:
    for inputs, is_single in (
        (NoInputs(), False),
        (Noise(sigma=0.1), False),
        (FgsmRs(norm="linf", epsilon=0.1), True),
        (NFgsm(norm="linf", epsilon=0.1), True),
        (Pgd(norm="linf", epsilon=0.1, steps=1), True),
        (Pgd(norm="linf", epsilon=0.1, steps=2), False),
    ):
        assert Method(inputs=inputs).is_single_step == is_single


def test_every_kind_has_one_name() -> None:
    for names in (WEIGHT_SIDES, INPUT_SIDES, LOSSES):
        assert len(set(names.values())) == len(names)
    defaults = Method()
    assert type(defaults.weights) is WEIGHT_SIDES["none"]
    assert type(defaults.inputs) is INPUT_SIDES["none"]
    assert type(defaults.loss) is LOSSES["cross_entropy"]
