"""Values: new values of a swept strength, ρ or ε or any other, where seeds narrow nothing.

An equivalent ε that lies between levels, or beyond them, needs another level. A front is known at
the values that were tried: between two of them it lies anywhere in the rectangle that they span, as
far as it falls. And where the largest value is the most robust one, the front's end is open. A new
value splits a step into two of equal ratio, or doubles the largest.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from analysis.advice.entries import Advice, Ends, NewTrials, Study, new_seconds, new_trials
from analysis.fronts.contrasts import Hypervolume
from analysis.fronts.pareto import mean_attainable_robustness
from analysis.inference.bootstrap import Replicates
from analysis.responses.equivalence import Equivalence, Equivalent, compare, levels_of
from analysis.responses.strength import BEYOND, Response, halfway
from analysis.results.trials import Array

SWEPT: Mapping[str, float] = {"rho": 10.0, "gamma": 1.0, "epsilon": 0.5, "sigma": 1.0}
"""The strengths that new values are advised of, and the greatest that trainings take, ε in linf: a
number of steps has no half, and what else a table varies need not be a strength."""
LEAST_SHARE = 0.05
"""A step that leaves less of a front's interval is within its noise."""
OPEN = 0.8
"""An end is open if the largest value is the most robust in this share of the replicates."""


def of_brackets(study: Study, replicates: Replicates, equivalence: Equivalence) -> list[Advice]:
    """Advise the levels of ε that bracketed values need, one entry for each level.

    A level that noise would leave as useless as seeds is left out.
    """
    by_level: dict[float, list[Equivalent]] = {}
    for value in equivalence.values:
        if value.next_level is not None:
            by_level.setdefault(value.next_level, []).append(value)
    listed = [_level_of(study, replicates, equivalence, *one) for one in by_level.items()]
    return [one for one in listed if one is not None]


def of_front(
    study: Study, replicates: Replicates, response: Response, area: Hypervolume
) -> list[Advice]:
    """Advise the value in the widest step of a method's front, and the one beyond an open end."""
    return [
        *_beyond(study, replicates, response),
        *_between(study, replicates, response, area),
    ]


def steps(points: Array, floor: float) -> Array:
    """Return what a falling front may attain between neighbours beyond what both attain, (L - 1,).

    It is the area of the rectangle that they span, in mean attainable robust accuracy; 0 where one
    dominates the other. points: (L, 2), by strength.

    >>> print(steps(np.array([[0.95, 0.1], [0.85, 0.3], [0.8, 0.25]]), 0.5).round(6))
    [0.04 0.  ]
    """
    clean, robust = np.maximum(points[:, 0], floor), points[:, 1]
    areas: Array = np.maximum(-np.diff(clean) * np.diff(robust), 0.0) / (1 - floor)
    return areas


def is_possible(study: Study, made: NewTrials) -> bool:
    """Return whether a training takes new values."""
    most = {**SWEPT, **({} if study.results.threat.norm == "linf" else {"epsilon": math.inf})}
    return all(float(made.values[name]) <= most[name] for name in most if name in made.values)


def own_rows(study: Study, response: Response) -> list[int]:
    """Return the rows of a response that are the method's own, by strength."""
    return [row for row in response.rows if study.found[row].method == response.method]


def _level_of(
    study: Study,
    replicates: Replicates,
    equivalence: Equivalence,
    level: float,
    values: list[Equivalent],
) -> Advice | None:
    own = [row for row in equivalence.rows if study.found[row].method == equivalence.adversarial]
    made = new_trials(study, own[-1], "epsilon", level)
    used = new_seconds(study, own, [made])
    new, more = (
        {value.row: value for value in one.values}
        for one in (
            _with_level(
                study,
                equivalence,
                _accuracies(study, replicates, equivalence, 0.0),
                float(made.values["epsilon"]),
            ),
            _with_level(
                study, equivalence, _accuracies(study, replicates, equivalence, used), None
            ),
        )
    )
    if not is_possible(study, made):
        return None
    narrowed = [v for v in values if _width(new[v.row]) < min(_width(v), _width(more[v.row]))]
    if not narrowed:
        return None
    rows = [value.row for value in narrowed]
    left = sum(_width(new[row]) for row in rows) / sum(map(_width, narrowed))
    return Advice(
        kind="equivalent epsilon",
        methods=(equivalence.sam, equivalence.adversarial),
        values=tuple(study.found[row].values for row in rows),
        trials=(made,),
        images=None,
        hours=study.hours(used),
        before=_bracket(narrowed),
        after=_bracket([new[row] for row in rows]),
        even=_bracket([more[row] for row in rows]),
        gain=1.0 - left,
    )


def _accuracies(
    study: Study, replicates: Replicates, equivalence: Equivalence, seconds: float
) -> Array:
    """Return robust accuracies (1 + B, N), estimates first, with noise as after further seeds.

    seconds: of further seeds of every configuration.
    """
    column = 1 + study.results.threat.objective
    means, drawn = replicates.means[:, column], replicates.of(equivalence.estimand)[:, :, column]
    if not seconds:
        return np.vstack([means, drawn])
    variances = np.maximum(drawn.var(axis=0), 1e-12)
    kept = study.counts / (study.counts + seconds / study.round)
    seeded = np.minimum(study.covariances[:, 1, 1] / variances, 1.0)
    return np.vstack([means, means + np.sqrt(1 - seeded * (1 - kept)) * (drawn - means)])


def _with_level(
    study: Study, equivalence: Equivalence, accuracies: Array, level: float | None
) -> Equivalence:
    """Compare again, with a further level at which accuracies lie between those of its neighbours.

    Beyond the last level they go on as in the last step, by the logarithm of ε.
    """
    ladder = levels_of(study.results, study.found, equivalence.adversarial)
    if level is not None:
        levels, known = np.array(list(ladder)), accuracies[:, list(ladder.values())]
        at = min(int(np.searchsorted(levels, level)), len(levels) - 1)
        low, high = levels[at - 1], levels[at]
        share = (level - low) / (high - low)
        if level > high:
            share = 1 + math.log(level / high) / math.log(high / low) if low > 0 else 1.0
        new = known[:, at - 1] + share * (known[:, at] - known[:, at - 1])
        ladder = dict(sorted({**ladder, level: accuracies.shape[1]}.items()))
        accuracies = np.column_stack([accuracies, np.clip(new, 0.0, 1.0)])
    return compare(
        study.found,
        accuracies,
        equivalence.sam,
        equivalence.adversarial,
        ladder,
        equivalence.radius,
        equivalence.estimand,
        seed_noise=equivalence.seed_noise,
    )


def _ends(value: Equivalent) -> tuple[float, float | None]:
    """Return the interval of an equivalent ε, or its bracket."""
    if value.epsilon is not None:
        return value.epsilon.low, value.epsilon.high
    return value.floor or 0.0, value.ceiling


def _bracket(values: Sequence[Equivalent]) -> Ends:
    ends = [_ends(value) for value in values]
    highs = [high for _, high in ends if high is not None]
    return min(low for low, _ in ends), max(highs) if len(highs) == len(ends) else None


def _width(value: Equivalent) -> float:
    low, high = _ends(value)
    return math.inf if high is None else high - low


def _beyond(study: Study, replicates: Replicates, response: Response) -> list[Advice]:
    """Advise twice the largest value, where it is surely the most robust one."""
    rows, column = own_rows(study, response), 1 + study.results.threat.objective
    if len(rows) < 2:
        return []
    drawn = replicates.of(response.estimand)[:, rows, column]
    share = float(np.mean(drawn.argmax(axis=1) == len(rows) - 1))
    before, last = response.strengths[-2:]
    is_last = replicates.means[rows, column].argmax() == len(rows) - 1
    if share < OPEN or not is_last:
        return []
    made = new_trials(study, rows[-1], response.name, BEYOND * last)
    if not is_possible(study, made):
        return []
    return [
        Advice(
            kind="front end",
            methods=(response.method,),
            values=(study.found[rows[-1]].values,),
            trials=(made,),
            images=None,
            hours=study.hours(new_seconds(study, rows, [made])),
            before=(before, None),
            after=(before, float(made.values[response.name])),
            even=(before, None),
            gain=share,
        )
    ]


def _between(
    study: Study, replicates: Replicates, response: Response, area: Hypervolume
) -> list[Advice]:
    """Advise the value that splits the step that leaves most of a front unknown.

    A value in the middle of a rectangle leaves half of it.
    """
    rows, floor = list(response.rows), study.results.clean_floor
    left = steps(study.means[rows], floor)
    widest, total = int(np.argmax(left)), float(left.sum())
    value = area.value
    width = value.high - value.low + total
    if total <= 0 or 0.5 * left[widest] < LEAST_SHARE * width:
        return []

    def measure(points: Array) -> Array:
        return np.asarray(mean_attainable_robustness(points, floor))

    columns = [0, 1 + study.results.threat.objective]
    drawn = replicates.of(area.estimand)[:, list(area.rows)][:, :, columns]
    parts = study.parts(area.rows, measure, float(np.var(measure(drawn))))
    made = new_trials(study, own_rows(study, response)[-1], response.name, _split(response, widest))
    used = new_seconds(study, own_rows(study, response), [made])
    factor = parts.factor(np.full(len(area.rows), used / study.round))
    noise = value.low - value.estimate, value.high - value.estimate
    quarter = 0.25 * float(left[widest])
    return [
        Advice(
            kind="front step",
            methods=(response.method,),
            values=tuple(study.found[row].values for row in rows[widest : widest + 2]),
            trials=(made,),
            images=None,
            hours=study.hours(used),
            before=(value.low, value.high + total),
            after=(value.low + quarter, value.high + total - quarter),
            even=(
                value.estimate + factor * noise[0],
                value.estimate + factor * noise[1] + total,
            ),
            gain=2 * quarter / width,
        )
    ]


def _split(response: Response, step: int) -> float:
    return halfway(*response.strengths[step : step + 2])


def front_width(study: Study, response: Response, area: Hypervolume) -> float:
    """Return how much of a front is unknown: by noise, and between the values tried."""
    left = steps(study.means[list(response.rows)], study.results.clean_floor)
    return area.value.high - area.value.low + float(left.sum())


def fronts_of(
    responses: Sequence[Response], areas: Sequence[Hypervolume]
) -> list[tuple[Response, Hypervolume]]:
    """Pair the methods that vary one radius with what they attain."""
    by_method = {area.method: area for area in areas}
    kept = (one for one in responses if one.method in by_method and one.name in SWEPT)
    return [(one, by_method[one.method]) for one in kept]
