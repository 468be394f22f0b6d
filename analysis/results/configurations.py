"""Configurations: the trials of a study grouped over their seeds."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from analysis.results.results import Results
from analysis.results.trials import Key, TrialResult, Value, configuration_key


@dataclass(frozen=True, kw_only=True)
class Spread:
    """One accuracy (or cost) over the seeds of a configuration."""

    mean: float
    low: float
    """The least over the seeds."""
    high: float
    """The greatest over the seeds."""
    deviation: float | None
    """Standard deviation over the seeds (divisor k - 1); None for one seed."""
    seeds: int
    """k, how many seeds it was taken over."""


@dataclass(frozen=True, kw_only=True)
class ConfigurationResult:
    """One configuration: its trials and what they share."""

    method: str
    values: Mapping[str, Value]
    trials: tuple[TrialResult, ...]
    """At least one, by seed."""
    absent_seeds: tuple[int, ...]
    """Seeds declared for its method that have no result."""
    clean: Spread
    robust: tuple[Spread, ...]
    """(R,)"""
    validation_clean: Spread | None
    validation_robust: Spread | None
    """At the objective radius."""

    @property
    def key(self) -> Key:
        """Return a key of the configuration, equal for equal method and values."""
        return configuration_key(self.method, self.values)

    @property
    def complete(self) -> bool:
        """Return whether every declared seed has a result."""
        return not self.absent_seeds


def spread(values: Iterable[float]) -> Spread:
    """Summarise the values of one or more seeds.

    >>> spread([0.25, 0.75])
    Spread(mean=0.5, low=0.25, high=0.75, deviation=0.3535533905932738, seeds=2)
    """
    over_seeds = np.array(list(values), dtype=np.float64)
    low, high = float(over_seeds.min()), float(over_seeds.max())
    return Spread(
        # Rounding may carry a mean of equal numbers past both of its ends.
        mean=min(max(math.fsum(over_seeds) / len(over_seeds), low), high),
        low=low,
        high=high,
        deviation=float(over_seeds.std(ddof=1)) if len(over_seeds) > 1 else None,
        seeds=len(over_seeds),
    )


def configurations(results: Results) -> tuple[ConfigurationResult, ...]:
    """Group the trials into configurations, by the order of the methods, then of the values.

    A configuration without any trial has no numbers and is left out; its absence stays in
    `Results.absent`.
    """
    groups: dict[Key, list[TrialResult]] = {}
    for trial in results.trials:
        groups.setdefault(configuration_key(trial.method, trial.values), []).append(trial)
    order = [note.name for note in results.methods]
    keys = sorted(groups, key=lambda key: (order.index(key[0]), _sortable(key)))
    own = results.seeds_by_key()
    return tuple(
        _configuration(groups[key], own.get(key, results.seeds_of(key[0]))) for key in keys
    )


def _sortable(key: Key) -> list[tuple[str, bool, Value]]:
    return [(name, isinstance(value, str), value) for name, value in key[1]]


def _configuration(trials: list[TrialResult], declared: tuple[int, ...]) -> ConfigurationResult:
    trials = sorted(trials, key=lambda trial: trial.seed)
    present = {trial.seed for trial in trials}
    cleans = [t.validation_clean for t in trials if t.validation_clean is not None]
    robusts = [t.validation_robust for t in trials if t.validation_robust is not None]
    return ConfigurationResult(
        method=trials[0].method,
        values=trials[0].values,
        trials=tuple(trials),
        absent_seeds=tuple(seed for seed in declared if seed not in present),
        clean=spread(trial.clean for trial in trials),
        robust=tuple(
            spread(at_radius) for at_radius in zip(*(t.robust for t in trials), strict=True)
        ),
        validation_clean=spread(cleans) if cleans else None,
        validation_robust=spread(robusts) if robusts else None,
    )
