"""How a study searches, and what it may spend: `search` and `budget` of a studies file."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Literal, Self

from annotated_types import Ge, Gt, Lt, MinLen
from pydantic import AfterValidator, BeforeValidator, model_validator

from study.spec.settings import Part, rule_error

Sampler = Literal["tpe", "nsga2", "gp", "random"]
"""The samplers of Optuna that studies.yaml may ask for; `study.search.samplers` builds each."""

NEVER = "never"
"""What `stop` says where no training is stopped, which is the default."""


def _rising(shares: tuple[float, ...]) -> tuple[float, ...]:
    """Check that each share is above the one before it."""
    for before, share in pairwise(shares):
        if share <= before:
            raise rule_error(f"must rise, got {share:g} after {before:g}; sort the shares")
    return shares


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


def _read_stop(value: object) -> object:
    """Read `never`, or a mapping with rungs and keep."""
    if isinstance(value, StopSpec | Mapping):
        return value
    if value == NEVER:
        return None
    got = "nothing" if value is None else f"{value!r}"
    raise rule_error(
        f"must be never, or rungs and a share, got {got}; write for example "
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
