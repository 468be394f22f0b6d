"""Entries of advice: what one is, and the study that all of them are computed from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from analysis.advice.narrowing import Counts, Measure, VarianceParts, variance_parts
from analysis.inference.bootstrap import Replicates
from analysis.results.configurations import ConfigurationResult
from analysis.results.results import Results
from analysis.results.trials import Array, Value

DIGITS = 3
"""Of a new value: nobody writes 0.0141421 into a list."""

Kind = Literal[
    "seed noise",
    "primary contrast",
    "equivalent epsilon",
    "slope",
    "front step",
    "front end",
    "curve",
]
"""What would be known better. `front step`: what values between two neighbours attain; `front end`:
the most robust value, where it is the largest tried; `curve`, `slope`: one that was refused."""
Ends = tuple[float | None, float | None]
"""The ends of an interval; None: unbounded."""


@dataclass(frozen=True, kw_only=True)
class NewTrials:
    """Trials of one configuration."""

    method: str
    values: Mapping[str, Value]
    seeds: tuple[int, ...]
    is_new: bool
    """True for a configuration that the study does not have yet."""


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What to run, and what it is expected to narrow."""

    kind: Kind
    """What would be known better."""
    methods: tuple[str, ...]
    """Of a contrast, the first and the second; of an equivalent ε, SAM and adversarial training; of
    a front or a curve, its method."""
    values: tuple[Mapping[str, Value], ...]
    """The configurations of SAM whose equivalent ε it is; those at both ends of a step."""
    trials: tuple[NewTrials, ...]
    images: int | None
    """The number of test images, where more of them are advised; then every trial runs again."""
    hours: float | None
    """Of training, one trial at a time; None where no trial's time is known."""
    before: Ends | None
    """The interval, a fraction or an ε; None where it is unknown."""
    after: Ends | None
    """The interval that is expected, around the same estimate."""
    even: Ends | None
    """The same if this time were spent on further seeds of every configuration."""
    gain: float
    """The share of the interval that is removed."""
    need: str = field(default="", metadata={"written": lambda advice: bool(advice.need)})
    """Of what was refused: what was measured, and what is required."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """What every entry is computed from."""

    results: Results
    found: tuple[ConfigurationResult, ...]
    means: Array
    """(N, 2) clean and robust at the objective radius."""
    covariances: Array
    """(N, 2, 2)"""
    counts: Counts
    """(N,)"""
    seconds: Array
    """(N,) of one trial; 1 where no time is known."""
    is_timed: bool

    @property
    def round(self) -> float:
        """Return the seconds of one further seed of every configuration."""
        return float(self.seconds.sum())

    def parts(self, rows: Sequence[int], measure: Measure, variance: float) -> VarianceParts:
        """Split the variance of an estimate from these rows."""
        at = list(rows)
        return variance_parts(
            measure, self.means[at], self.covariances[at], self.counts[at], variance
        )

    def hours(self, seconds: float) -> float | None:
        """Return a time in hours; None where it counts trials alone."""
        return seconds / 3600 if self.is_timed else None


def read_study(
    results: Results, found: tuple[ConfigurationResult, ...], replicates: Replicates
) -> Study:
    """Collect what every entry is computed from."""
    column = 1 + results.threat.objective
    known = [[t.seconds for t in c.trials if t.seconds] for c in found]
    measured = [float(np.mean(times)) if times else np.nan for times in known]
    is_timed = not np.isnan(measured).all()
    seconds = np.array(measured) if is_timed else np.ones(len(found))
    seconds[np.isnan(seconds)] = np.nanmean(seconds)
    return Study(
        results=results,
        found=found,
        means=replicates.means[:, [0, column]],
        covariances=replicates.covariances[:, [[0], [column]], [0, column]],
        counts=np.array(replicates.num_seeds, dtype=np.intp),
        seconds=seconds,
        is_timed=is_timed,
    )


def further_seeds(study: Study, rows: Sequence[int], more: Counts) -> tuple[NewTrials, ...]:
    """Return so many further seeds of these configurations, without those that get none."""
    return tuple(
        NewTrials(
            method=study.found[row].method,
            values=study.found[row].values,
            seeds=_unused(study, study.found[row], int(count)),
            is_new=False,
        )
        for row, count in sorted(zip(rows, more.tolist(), strict=True))
        if count
    )


def _unused(study: Study, c: ConfigurationResult, count: int) -> tuple[int, ...]:
    """Return the next seeds of a configuration, above all that are declared or were run."""
    known = [*study.results.seeds_of(c.method), *(trial.seed for trial in c.trials)]
    return tuple(range(max(known) + 1, max(known) + 1 + count))


def new_trials(study: Study, row: int, name: str, value: float) -> NewTrials:
    """Return the trials of a configuration like this one, but for one value."""
    like = study.found[row]
    return NewTrials(
        method=like.method,
        values={**like.values, name: float(f"{value:.{DIGITS}g}")},
        seeds=study.results.seeds_of(like.method),
        is_new=True,
    )


def new_seconds(study: Study, rows: Sequence[int], made: Sequence[NewTrials]) -> float:
    """Return the seconds that new configurations train, by the mean of these rows."""
    each = float(study.seconds[list(rows)].mean())
    return each * sum(len(new.seeds) for new in made)
