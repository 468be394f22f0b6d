"""How a study searches, and what it may spend: `search` and `budget` of a studies file."""

import math
from collections.abc import Mapping
from functools import partial
from itertools import groupby, pairwise
from typing import Annotated, Literal, Self

from annotated_types import Ge, Gt, Lt, MinLen
from pydantic import AfterValidator, BeforeValidator, model_validator

from study.spec.claims import required
from study.spec.mistakes import shown
from study.spec.settings import Part, rule_error
from trainers.config import Fidelity

Sampler = Literal["tpe", "nsga2", "gp", "random"]
"""The samplers of Optuna that studies.yaml may ask for; `study.search.samplers` builds each."""

NEVER = "never"
"""What `stop` says where no training is stopped, which is the default."""
DIGITS = 9
"""Accuracies and shares are compared to so many decimals: those of equal counts must be equal."""


def _rising(shares: tuple[float, ...]) -> tuple[float, ...]:
    """Check that each share is above the one before it."""
    for before, share in pairwise(shares):
        if share <= before:
            raise rule_error(f"must rise, got {share:g} after {before:g}; sort the shares")
    return shares


def _not_falling(steps: tuple[int, ...]) -> tuple[int, ...]:
    """Check that no number of steps is below the one before it."""
    for before, number in pairwise(steps):
        if number < before:
            raise rule_error(f"must not fall, got {number} after {before}; sort the numbers")
    return steps


class FidelitySpec(Part):
    """With how few steps adversarial training crafts its images before each rung.

    Steps of the attack as a fidelity of a search: Mendes, Romano and Garlan (2024),
    "Hyper-parameter tuning for adversarially robust models", arXiv 2304.02497. We depart from it:
    they train a configuration anew with more steps, while here the same training goes on with more,
    so that the networks of a report have seen the fewer steps, too.
    """

    steps: Annotated[tuple[Annotated[int, Ge(1)], ...], AfterValidator(_not_falling)]
    """Of the input side, up to each rung and after the last one; the last number is the method's
    own. A `step_size: auto` is that of each number."""


class StopSpec(Part):
    """At which shares of their training configurations are compared, and how many go on.

    What no other configuration of its method dominates there always goes on.
    """

    rungs: Annotated[tuple[Annotated[float, Gt(0), Lt(1)], ...], MinLen(1), AfterValidator(_rising)]
    """Shares of the training, rising."""
    keep: Annotated[float, Gt(0), Lt(1)]
    """The share of the configurations at a rung that goes on."""
    grids: bool = False
    """Whether configurations of methods without ranges are stopped, too."""
    fidelity: Annotated[FidelitySpec | None, BeforeValidator(partial(required, "fidelity"))] = None
    """`steps`: fewer steps of adversarial training before the rungs; left out: all its steps."""

    @model_validator(mode="after")
    def _check_fidelity(self) -> Self:
        if self.fidelity is not None and len(self.fidelity.steps) != len(self.rungs) + 1:
            got, rungs = len(self.fidelity.steps), len(self.rungs)
            text = f"fidelity needs {rungs + 1} numbers of steps, one up to each rung and one after"
            raise rule_error(f"{text} the last, got {got}; write one for each")
        return self


def rung_epochs(shares: tuple[float, ...], total: int) -> tuple[int, ...]:
    """Return the epoch of each rung in a training of `total` epochs, rounded up.

    >>> rung_epochs((0.2, 0.5, 0.99), 15)
    (3, 8, 15)
    """
    # 0.2 · 15 is 3.0000000000000004, and its ceiling must still be 3.
    return tuple(math.ceil(round(share * total, DIGITS)) for share in shares)


def fidelity_until(stop: StopSpec, total: int) -> Fidelity | Literal["none"]:
    """Return how many steps come first in a training of `total` epochs; `none` if all are equal.

    An epoch that is no rung, as nothing is left after it, ends no part.

    >>> stop = StopSpec(rungs=(0.2, 0.5), keep=0.5, fidelity=FidelitySpec(steps=(2, 4, 10)))
    >>> fidelity_until(stop, 20)
    Fidelity(until=(4, 10), steps=(2, 4))
    """
    if stop.fidelity is None:
        return "none"
    *fewer, whole = stop.fidelity.steps
    parts = zip(rung_epochs(stop.rungs, total), fewer, strict=True)
    rungs = [(until, steps) for until, steps in parts if until < total]
    of_epochs = [
        next((steps for until, steps in rungs if epoch <= until), whole)
        for epoch in range(1, total + 1)
    ]
    until, found = [0], []
    for steps, epochs in groupby(of_epochs):
        until.append(until[-1] + len(list(epochs)))
        found.append(steps)
    if len(found) == 1:
        return "none"
    return Fidelity(until=tuple(until[1:-1]), steps=tuple(found[:-1]))


def _read_stop(value: object) -> object:
    """Read `never`, or a mapping with rungs and keep."""
    if isinstance(value, StopSpec | Mapping):
        return value
    if value == NEVER:
        return None
    raise rule_error(
        f"must be never, or rungs and a share, got {shown(value)}; write for example "
        "stop: {rungs: [0.5], keep: 0.5}"
    )


class SearchSpec(Part):
    """How ranges are searched, which trainings are stopped early, and who gets which seeds."""

    trials: Annotated[int, Ge(1)]
    """Configurations that Optuna suggests in each search block; each runs with every seed."""
    sampler: Sampler = "tpe"
    """The sampler of Optuna that suggests."""
    stop: Annotated[StopSpec | None, BeforeValidator(_read_stop)] = None
    """`never`, or `rungs` and `keep`; left out: every training runs to its last epoch."""
    seeds: Literal["all", "adaptive"] = "all"
    """`adaptive`: one first, and further ones only where they decide who is on a front."""


class BudgetSpec(Part):
    """What one launch may spend. Nothing is started that would, by measured times, pass it."""

    hours: Annotated[float, Gt(0)] | None = None
    """Wall time."""
    device_hours: Annotated[float, Gt(0)] | None = None
    """Of GPUs, where trials take any, else of CPUs."""
    trials: Annotated[int, Ge(1)] | None = None
    """Trials that are started."""
    epochs: Annotated[int, Ge(1)] | None = None
    """Epochs that are trained, of all trials together."""

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        if not any((self.hours, self.device_hours, self.trials, self.epochs)):
            raise rule_error("limits nothing; write for example hours: 8")
        return self
