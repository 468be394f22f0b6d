"""Tests of when a side acts: which steps, which epochs, and how it is written."""

from dataclasses import MISSING, fields, replace
from typing import Any

import pytest

from trainers.config import (
    INPUT_SIDES,
    WEIGHT_SIDES,
    Active,
    Awp,
    ConfigError,
    LookSam,
    Method,
    NoInputs,
    Noise,
    NoWeights,
    Pgd,
    Sam,
    Trades,
    active_text,
    is_active_epoch,
    passes,
    phase_of,
    read_active,
)

PGD = Pgd(norm="linf", epsilon=0.1, steps=4)
LETTERS = {"act": "a", "refresh": "f", "reuse": "u", "rest": "-"}


def phases(side: object, total: int = 8) -> str:
    return "".join(LETTERS[phase_of(side, step, total)] for step in range(total))


PHASES: dict[str, tuple[object, str]] = {
    "always": (Sam(rho=0.1), "aaaaaaaa"),
    "never": (Sam(rho=0.1, active=(1.0, 1.0)), "--------"),
    "nowhere between": (Sam(rho=0.1, active=(0.5, 0.5)), "--------"),
    "late": (Sam(rho=0.1, active=(0.5, 1.0)), "----aaaa"),
    "early": (replace(PGD, active=(0.0, 0.25)), "aa------"),
    "between": (Noise(sigma=0.1, active=(0.25, 0.75)), "--aaaa--"),
    "rounded up": (Sam(rho=0.1, active=(0.26, 0.51)), "---aa---"),
    "a share below one step": (Sam(rho=0.1, active=(0.999, 1.0)), "-------a"),
    "every third": (Sam(rho=0.1, every=3), "a--a--a-"),
    "every third, late": (Awp(gamma=0.1, every=3, active=(0.25, 1.0)), "--a--a--"),
    "reused in between": (LookSam(rho=0.1, every=3, active=(0.25, 0.75)), "--auua--"),
    "none": (NoWeights(), "aaaaaaaa"),
}


@pytest.mark.parametrize(("side", "expected"), PHASES.values(), ids=PHASES)
def test_a_side_acts_on_the_steps_of_its_share(side: object, expected: str) -> None:
    assert phases(side) == expected


@pytest.mark.parametrize("total", [1, 7, 50, 100])
def test_two_sides_that_share_a_border_share_the_steps(total: int) -> None:
    """From standard training to adversarial training, say: no step has both, and none neither."""
    for border in [step / total for step in range(1, total)] + [0.07, 0.291]:
        first = phases(Sam(rho=0.1, active=(0.0, border)), total)
        then = phases(Sam(rho=0.1, active=(border, 1.0)), total)
        assert all({a, b} == {"a", "-"} for a, b in zip(first, then, strict=True)) or total == 1


def test_every_side_but_none_can_be_active_in_a_part_of_a_training() -> None:
    for classes in (WEIGHT_SIDES, INPUT_SIDES):
        for name, cls in classes.items():
            settings = {item.name for item in fields(cls)}
            assert ("active" in settings) == (name != "none"), name
            assert ("every" in settings) == (classes is WEIGHT_SIDES and name != "none"), name


PAIRS: tuple[Any, ...] = (
    *((0.9,), (0.9, 0.1), (-0.1, 1.0), (0.0, 1.1), (True, 1), ("0", "1"), (float("nan"), 1.0)),
    *([0.5, 1.0], 0.5),
)


def with_settings(cls: type[Any], **settings: Any) -> Any:
    """Build a side of any class; its required settings stand at something small."""
    usual = {"norm": "linf", "steps": 1}
    required = [item.name for item in fields(cls) if item.default is MISSING]
    return cls(**{name: usual.get(name, 0.1) for name in required}, **settings)


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_a_pair_that_is_no_share_of_a_training_is_refused_by_every_side(pair: Any) -> None:
    for cls in (*WEIGHT_SIDES.values(), *INPUT_SIDES.values()):
        if "active" in cls.__dataclass_fields__:
            with pytest.raises(ConfigError, match="active: must be a pair"):
                with_settings(cls, active=pair)


def test_every_must_be_a_count_in_every_weight_side() -> None:
    for cls in WEIGHT_SIDES.values():
        if cls is not NoWeights:
            with pytest.raises(ConfigError, match="every: must be a whole number ≥ 1"):
                with_settings(cls, every=0)


@pytest.mark.parametrize("pair", [(0.0, 1.0), (0.9, 1), (1 / 3, 2 / 3), (1e-7, 1e-5)], ids=str)
def test_what_is_formatted_is_read_again(pair: Active) -> None:
    assert read_active(active_text(pair)) == pair
    assert "e" not in active_text(pair)


def test_an_epoch_is_active_only_throughout() -> None:
    side = replace(PGD, active=(0.25, 0.55))
    found = [is_active_epoch(side, epoch, 10) for epoch in range(1, 11)]
    assert found == [False] * 3 + [True] * 2 + [False] * 5
    assert all(is_active_epoch(PGD, epoch, 7) for epoch in range(1, 8))
    assert all(is_active_epoch(NoInputs(), epoch, 7) for epoch in range(1, 8))


COSTS: dict[str, tuple[Method, float]] = {
    "late sam": (Method(weights=Sam(rho=0.1, active=(0.9, 1.0))), 3.3),
    "every fifth": (Method(weights=Sam(rho=0.1, every=5)), 3.6),
    "both": (Method(weights=Sam(rho=0.1, every=5, active=(0.5, 1.0))), 3.3),
    "never": (Method(weights=Sam(rho=0.1, active=(1.0, 1.0))), 3),
    "late at": (Method(inputs=replace(PGD, active=(0.75, 1.0))), 5),
    "at, then sam": (
        Method(weights=Sam(rho=0.1, active=(0.5, 1.0)), inputs=replace(PGD, active=(0.0, 0.5))),
        8.5,
    ),
    # TRADES passes two images where no image is crafted, too: it classifies the clean one twice.
    "late trades": (Method(inputs=replace(PGD, active=(0.5, 1.0)), loss=Trades()), 10.5),
}


@pytest.mark.parametrize(("method", "cost"), COSTS.values(), ids=COSTS)
def test_a_training_costs_what_its_steps_cost_on_average(method: Method, cost: float) -> None:
    assert passes(method).cost == pytest.approx(cost)
    total = 1000
    of_steps = [passes(method, method.phases(step, total)).cost for step in range(total)]
    assert sum(of_steps) / total == pytest.approx(cost)


def test_a_warm_up_counts_from_where_its_side_begins_and_must_end_before_it_does() -> None:
    late = Method(inputs=replace(PGD, warmup_epochs=3, active=(0.5, 1.0)))
    assert late.warm_epoch(10) == 8
    with pytest.raises(ConfigError, match=r"below the 2\.5 epochs in which the side acts"):
        late.warm_epoch(5)
    never = Method(inputs=replace(PGD, warmup_epochs=3, active=(1.0, 1.0)))
    assert never.warm_epoch(2) == 0
