"""Advise: the trials, or images, that narrow a wide or refused interval most in the same time.

One entry for each thing that could be known better: the seed noise, where it is unknown; the
primary contrast; the equivalent ε with the widest interval, and those that are bracketed; the
widest step and the open end of a front; the curves that are refused. Entries are sorted by how much
of an interval they remove in an hour.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from analysis.advice.cures import curve_cures, slope_cures
from analysis.advice.entries import Advice, Ends, Kind, Study, further_seeds, read_study
from analysis.advice.narrowing import VarianceParts, spend
from analysis.advice.values import fronts_of, of_brackets, of_front
from analysis.curves.fits import FrontFit
from analysis.curves.gaps import Gap
from analysis.fronts.contrasts import Contrast, Contrasts
from analysis.fronts.pareto import mean_attainable_robustness
from analysis.inference.bootstrap import LEAST_FREEDOM, Replicates
from analysis.inference.monotone import invert, isotonic
from analysis.responses.equivalence import Equivalence
from analysis.responses.strength import Response
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


class Viewed(Protocol):
    """What advice is computed from: the view of an analysis, which lies above this module."""

    @property
    def contrasts(self) -> Contrasts:
        """Return the comparisons of methods."""

    @property
    def equivalences(self) -> Sequence[Equivalence]:
        """Return the ε that values of ρ are worth."""

    @property
    def responses(self) -> Sequence[Response]:
        """Return the accuracies of methods that vary one strength."""

    @property
    def fits(self) -> Sequence[FrontFit]:
        """Return the curves, also those that are refused."""

    @property
    def gaps(self) -> Sequence[Gap]:
        """Return the gaps of the compared pairs."""


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
    view: Viewed,
) -> tuple[Advice, ...]:
    """Return what to run next, the most useful first; nothing for a comparison of studies.

    view: at the objective radius under the default estimand.
    """
    if results.is_comparison or not found:
        return ()
    study = read_study(results, found, replicates)
    pairs = zip(found, study.counts, strict=True)
    fewest = min((count for one, count in pairs if one.key not in results.spared), default=0)
    if fewest < 2 or replicates.freedom < LEAST_FREEDOM:
        return (_of_everything(study),)
    listed = []
    contrasts = view.contrasts
    if contrasts.primary is not None:
        listed += _of_contrast(study, replicates, contrasts, contrasts.primary)
    for equivalence in view.equivalences:
        listed += _of_widest(study, equivalence)
        listed += of_brackets(study, replicates, equivalence)
    for response, area in fronts_of(view.responses, contrasts.hypervolumes):
        listed += of_front(study, replicates, response, area)
    listed += curve_cures(study, view.responses, view.fits, view.gaps)
    listed += slope_cures(study, view.equivalences)
    useful = sorted((one for one in listed if one.gain >= LEAST_GAIN), key=_rate, reverse=True)
    kept: list[Advice] = []
    for one in useful:
        # The same trials may serve two ends, and are listed for the one that gains more.
        if not one.trials or all(one.trials != other.trials for other in kept):
            kept.append(one)
    return tuple(kept[:MOST_ENTRIES])


def _rate(one: Advice) -> float:
    trials = sum(len(new.seeds) for new in one.trials)
    return one.gain / (one.hours or float(trials or math.inf))


def _of_everything(study: Study) -> Advice:
    """Advise seeds of every configuration, as seed noise is unknown or hardly known."""
    wanted = max(FEWEST_SEEDS, 1 + math.ceil(LEAST_FREEDOM / len(study.found)))
    more = np.maximum(wanted - study.counts, 1)
    return Advice(
        kind="seed noise",
        methods=(),
        values=(),
        trials=further_seeds(study, range(len(more)), more),
        images=None,
        hours=study.hours(float(more @ study.seconds)),
        before=None,
        after=None,
        even=None,
        gain=1.0,
    )


def _of_contrast(
    study: Study, replicates: Replicates, contrasts: Contrasts, contrast: Contrast
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


def _of_widest(study: Study, equivalence: Equivalence) -> list[Advice]:
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


def _linear(estimate: float, ends: tuple[float, float], factor: float) -> Ends:
    return estimate + factor * (ends[0] - estimate), estimate + factor * (ends[1] - estimate)


def _seeds_of(study: Study, target: _Target, rows: Sequence[int], parts: VarianceParts) -> Advice:
    """Advise the further seeds of these configurations that narrow the target's interval most."""
    seconds = study.seconds[list(rows)]
    more = spend(parts, seconds, ROUNDS * study.round)
    used = float(more @ seconds)
    factor = parts.factor(more)
    return Advice(
        kind=target.kind,
        methods=target.methods,
        values=target.values,
        trials=further_seeds(study, rows, more),
        images=None,
        hours=study.hours(used),
        before=target.before,
        after=target.narrowed(factor),
        even=target.narrowed(parts.factor(np.full(len(rows), used / study.round))),
        gain=1.0 - factor,
    )


def _images_of(study: Study, target: _Target, parts: VarianceParts) -> Advice:
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
