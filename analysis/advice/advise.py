"""Advise: the trials, or images, that narrow a wide or refused interval most in the same time.

One entry for each thing that could be known better: the seed noise, where it is unknown; the
primary contrast; the equivalent ε with the widest interval, and those that are bracketed. Entries
are sorted by how much of an interval they remove in an hour.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.advice.narrowing import Counts, Measure, VarianceParts, spend, variance_parts
from analysis.fronts.contrasts import Contrast, Contrasts
from analysis.fronts.pareto import mean_attainable_robustness
from analysis.inference.bootstrap import LEAST_FREEDOM, Replicates
from analysis.inference.monotone import invert, isotonic
from analysis.responses.equivalence import Equivalence, Equivalent
from analysis.results.configurations import ConfigurationResult
from analysis.results.results import Results
from analysis.results.trials import Array, Value

ROUNDS = 2
"""The most time that an entry takes, in further seeds of the whole study: from 3 seeds to 5."""
LEAST_GAIN = 0.02
"""An entry that narrows an interval by a smaller share is not worth a line."""
FEWEST_SEEDS = 3
"""Where there are fewer, seeds of everything come first."""
IMAGES = 4
"""Times as many test images halve what images leave of an interval."""
MOST_ENTRIES = 6
WIDTH = 3.92
"""Standard errors from end to end of a 95% interval."""

Kind = Literal["seed noise", "primary contrast", "equivalent epsilon"]
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
    """Of a contrast, the first and the second; of an equivalent ε, SAM and adversarial training."""
    values: tuple[Mapping[str, Value], ...]
    """The configurations of SAM whose equivalent ε it is."""
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


@dataclass(frozen=True, kw_only=True)
class _Study:
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


@dataclass(frozen=True, kw_only=True)
class _Target:
    """One interval that seeds or images narrow."""

    kind: Kind
    methods: tuple[str, ...]
    values: tuple[Mapping[str, Value], ...]
    before: Ends
    narrowed: Callable[[float], Ends]
    """The interval, narrowed by a factor."""


def advise(
    results: Results,
    found: tuple[ConfigurationResult, ...],
    replicates: Replicates,
    contrasts: Contrasts,
    equivalences: Sequence[Equivalence],
) -> tuple[Advice, ...]:
    """Return what to run next, the most useful first; nothing for a comparison of studies.

    contrasts, equivalences: at the objective radius under the default estimand.
    """
    if results.is_comparison or not found:
        return ()
    study = _study(results, found, replicates)
    if min(study.counts) < 2 or replicates.freedom < LEAST_FREEDOM:
        return (_of_everything(study),)
    listed = []
    if contrasts.primary is not None:
        listed += _of_contrast(study, replicates, contrasts, contrasts.primary)
    for equivalence in equivalences:
        listed += _of_widest(study, equivalence)
        listed += _of_brackets(study, equivalence)
    useful = [one for one in listed if one.gain >= LEAST_GAIN]
    return tuple(sorted(useful, key=_rate, reverse=True)[:MOST_ENTRIES])


def _rate(one: Advice) -> float:
    trials = sum(len(new.seeds) for new in one.trials)
    return one.gain / (one.hours or float(trials or math.inf))


def _study(
    results: Results, found: tuple[ConfigurationResult, ...], replicates: Replicates
) -> _Study:
    column = 1 + results.threat.objective
    known = [[t.seconds for t in c.trials if t.seconds] for c in found]
    measured = [float(np.mean(times)) if times else np.nan for times in known]
    is_timed = not np.isnan(measured).all()
    seconds = np.array(measured) if is_timed else np.ones(len(found))
    seconds[np.isnan(seconds)] = np.nanmean(seconds)
    return _Study(
        results=results,
        found=found,
        means=replicates.means[:, [0, column]],
        covariances=replicates.covariances[:, [[0], [column]], [0, column]],
        counts=np.array(replicates.num_seeds, dtype=np.intp),
        seconds=seconds,
        is_timed=is_timed,
    )


def _of_everything(study: _Study) -> Advice:
    """Advise seeds of every configuration, as seed noise is unknown or hardly known."""
    wanted = max(FEWEST_SEEDS, 1 + math.ceil(LEAST_FREEDOM / len(study.found)))
    more = np.maximum(wanted - study.counts, 1)
    return Advice(
        kind="seed noise",
        methods=(),
        values=(),
        trials=_trials(study, range(len(more)), more),
        images=None,
        hours=study.hours(float(more @ study.seconds)),
        before=None,
        after=None,
        even=None,
        gain=1.0,
    )


def _of_contrast(
    study: _Study, replicates: Replicates, contrasts: Contrasts, contrast: Contrast
) -> list[Advice]:
    """Advise seeds of the configurations that the primary contrast hangs on, or more images."""
    rows_of = {one.method: one.rows for one in contrasts.hypervolumes}
    split = len(rows_of[contrast.first])
    rows = [*rows_of[contrast.first], *rows_of[contrast.second]]
    floor, column = study.results.clean_floor, 1 + study.results.threat.objective

    def measure(points: Array) -> Array:
        ahead = mean_attainable_robustness(points[:, :split], floor)
        behind: Array = mean_attainable_robustness(points[:, split:], floor)
        return ahead - behind

    drawn = replicates.of(contrast.estimand)[:, rows][:, :, [0, column]]
    parts = study.parts(rows, measure, float(np.var(measure(drawn))))
    target = _Target(
        kind="primary contrast",
        methods=(contrast.first, contrast.second),
        values=(),
        before=contrast.ends,
        narrowed=lambda factor: _linear(contrast.difference.estimate, contrast.ends, factor),
    )
    listed = [_seeds_of(study, target, rows, parts)]
    if contrast.estimand == "population" and parts.fixed > 0.5 * parts.after(0 * parts.counts):
        listed.append(_images_of(study, target, parts))
    return listed


def _of_widest(study: _Study, equivalence: Equivalence) -> list[Advice]:
    """Advise seeds for the equivalent ε with the widest interval."""
    widest, width = None, 0.0
    for value in equivalence.values:
        if value.epsilon is not None:
            wide = math.log(value.epsilon.high / value.epsilon.low)
            widest, width = (value, wide) if wide > width else (widest, width)
    if widest is None or widest.epsilon is None:
        return []
    epsilon, levels = widest.epsilon, np.array(equivalence.levels)
    rows = [widest.row, *equivalence.rows]
    weights = study.counts[list(equivalence.rows)].astype(np.float64)
    positive = levels[levels > 0]

    def measure(points: Array) -> Array:
        heights = isotonic(points[:, 1:, 1], weights)
        found = invert(levels, heights, points[:, :1, 1], "pchip")[:, 0]
        logs: Array = np.log(np.clip(found, positive[0], positive[-1]))
        return logs

    parts = study.parts(rows, measure, (width / WIDTH) ** 2)
    target = _Target(
        kind="equivalent epsilon",
        methods=(equivalence.sam, equivalence.adversarial),
        values=(study.found[widest.row].values,),
        before=(epsilon.low, epsilon.high),
        narrowed=lambda factor: (
            epsilon.estimate * (epsilon.low / epsilon.estimate) ** factor,
            epsilon.estimate * (epsilon.high / epsilon.estimate) ** factor,
        ),
    )
    return [_seeds_of(study, target, rows, parts)]


def _of_brackets(study: _Study, equivalence: Equivalence) -> list[Advice]:
    """Advise the levels of ε that bracketed values need, one entry for each level."""
    by_level: dict[float, list[Equivalent]] = {}
    for value in equivalence.values:
        if value.next_level is not None:
            by_level.setdefault(value.next_level, []).append(value)
    return [_level_of(study, equivalence, *one) for one in by_level.items()]


def _level_of(
    study: _Study, equivalence: Equivalence, level: float, values: list[Equivalent]
) -> Advice:
    level = float(f"{level:.3g}")  # nobody writes 0.0141421 into a list
    low = min(value.floor or 0.0 for value in values)
    ceilings = [value.ceiling for value in values]
    high = None if None in ceilings else max(ceiling for ceiling in ceilings if ceiling)
    after = _after_level(low, high, level)
    own = [row for row in equivalence.rows if study.found[row].method == equivalence.adversarial]
    like = study.found[own[-1]]
    seconds = float(study.seconds[own].mean()) * len(study.results.seeds_of(like.method))
    return Advice(
        kind="equivalent epsilon",
        methods=(equivalence.sam, equivalence.adversarial),
        values=tuple(study.found[value.row].values for value in values),
        trials=(
            NewTrials(
                method=like.method,
                values={**like.values, "epsilon": level},
                seeds=study.results.seeds_of(like.method),
                is_new=True,
            ),
        ),
        images=None,
        hours=study.hours(seconds),
        before=(low, high),
        after=after,
        # No number of seeds narrows a bracket of levels.
        even=(low, high),
        gain=1.0 if high is None else 1.0 - ((after[1] or high) - (after[0] or 0.0)) / (high - low),
    )


def _after_level(low: float, high: float | None, level: float) -> Ends:
    """Return the bracket that is left in the worse case, or, above every level, in the likely."""
    if high is None:
        return low, level
    return max((low, level), (level, high), key=lambda ends: ends[1] - ends[0])


def _linear(estimate: float, ends: tuple[float, float], factor: float) -> Ends:
    return estimate + factor * (ends[0] - estimate), estimate + factor * (ends[1] - estimate)


def _seeds_of(study: _Study, target: _Target, rows: Sequence[int], parts: VarianceParts) -> Advice:
    """Advise the further seeds of these configurations that narrow the target's interval most."""
    seconds = study.seconds[list(rows)]
    more = spend(parts, seconds, ROUNDS * study.round)
    used = float(more @ seconds)
    factor = parts.factor(more)
    return Advice(
        kind=target.kind,
        methods=target.methods,
        values=target.values,
        trials=_trials(study, rows, more),
        images=None,
        hours=study.hours(used),
        before=target.before,
        after=target.narrowed(factor),
        even=target.narrowed(parts.factor(np.full(len(rows), used / study.round))),
        gain=1.0 - factor,
    )


def _images_of(study: _Study, target: _Target, parts: VarianceParts) -> Advice:
    """Advise more test images, where they leave more of the interval than seeds do.

    Other data have other keys, so that every trial runs again.
    """
    now = parts.after(0 * parts.counts)
    factor = math.sqrt((now - parts.fixed * (1 - 1 / IMAGES)) / now)
    again = float(study.counts @ study.seconds)
    return Advice(
        kind=target.kind,
        methods=target.methods,
        values=target.values,
        trials=(),
        images=IMAGES * study.results.num_test,
        hours=study.hours(again),
        before=target.before,
        after=target.narrowed(factor),
        even=target.narrowed(parts.factor(np.full(len(parts.counts), again / study.round))),
        gain=1.0 - factor,
    )


def _trials(study: _Study, rows: Sequence[int], more: Counts) -> tuple[NewTrials, ...]:
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


def _unused(study: _Study, c: ConfigurationResult, count: int) -> tuple[int, ...]:
    """Return the next seeds of a configuration, above all that are declared or were run."""
    known = [*study.results.seeds_of(c.method), *(trial.seed for trial in c.trials)]
    return tuple(range(max(known) + 1, max(known) + 1 + count))
