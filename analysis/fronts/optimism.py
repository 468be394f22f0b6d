"""Optimism: what was chosen, on which data, and by how much the choice overstates it.

A front is a maximum, and so is the best of many configurations: on the data that it was chosen on
it looks better than it is. Test numbers of what was chosen on validation data do not.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.fronts.attainment import points_at
from analysis.fronts.choice import Choice, MethodFront
from analysis.fronts.pareto import comparable, mean_attainable_robustness, nondominated, on_front
from analysis.inference.bootstrap import Replicates
from analysis.inference.claims import Estimand
from analysis.results.configurations import ConfigurationResult
from analysis.results.results import Results
from analysis.results.trials import Array

Point = tuple[float, float]
"""Clean accuracy and robust accuracy at the objective radius."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A member of a method's front: an arrow from where it was chosen to where it is read."""

    row: int
    """Its position in `configurations(results)`."""
    validation: Point | None
    """None without validation data: it was chosen where it is read."""
    test: Point
    on_test_front: bool
    """True if no configuration of its method dominates it by test means."""
    share: float
    """P(on its method's front), by test replicates."""


@dataclass(frozen=True, kw_only=True)
class MethodSelection:
    """One method's choice; every number at the objective radius."""

    method: str
    searched: bool
    configurations: int
    """N, how many it was chosen from."""
    members: tuple[Chosen, ...]
    """From the clean to the robust end."""
    best: int | None
    """Row of the most robust configuration, as chosen."""
    overstatement: float | None
    """By how much the most robust of N on test looks too robust; None without any noise known.
    Mean over replicates of max_i r_bi minus r of the means at the i that had the maximum: the
    means stand for the truth. Noise spreads them, which makes this a little too small."""
    attainable: float
    """Mean attainable robust accuracy of all configurations' test means: the raw front."""
    attainable_bias: float | None
    """Mean over replicates of the attainable robust accuracy, minus `attainable`: by about so much
    noise lifts it. None without any noise known."""
    held_out: float | None
    """Attainable robust accuracy of leave-one-seed-out; None with fewer than two seeds."""

    @property
    def truly(self) -> float:
        """Return the share of members expected to be on their method's front: the mean of P."""
        return sum(member.share for member in self.members) / max(len(self.members), 1)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What was chosen in a study, at the objective radius under the default estimand."""

    radius: float
    estimand: Estimand
    chosen_on: Literal["validation", "test"]
    configurations: int
    """N of the whole study."""
    overstatement: float | None
    """As for a method: by how much the most robust of all N on test looks too robust."""
    methods: tuple[MethodSelection, ...]
    """Methods with results, in the order of the study."""


def measure_selection(
    results: Results,
    found: tuple[ConfigurationResult, ...],
    choice: Choice,
    replicates: Replicates,
) -> Selection:
    """Measure how the fronts and the best configurations depend on where they were chosen."""
    radius, estimand = results.threat.objective_radius, replicates.default
    means, drawn = points_at(results, replicates, radius, estimand)
    if replicates.freedom == 0:
        # Else the noise of the images alone would pass for all the noise there is.
        drawn = np.broadcast_to(means, drawn.shape)
    return Selection(
        radius=radius,
        estimand=estimand,
        chosen_on="validation" if choice.on_validation else "test",
        configurations=len(found),
        overstatement=overstatement(means[:, 1], drawn[:, :, 1]),
        methods=tuple(
            _method_selection(results, found, front, means, drawn)
            for front in choice.fronts
            if front.configurations
        ),
    )


def overstatement(means: Array, drawn: Array) -> float | None:
    """Estimate by how much the greatest of N noisy values looks too great, the winner's curse.

    The mean over replicates of the greatest value, minus the point estimate of the row that had
    it. means: (N,); drawn: (B, N). None without rows, or where replicates do not vary; 0 where
    there was no choice.

    >>> noise = np.random.default_rng(0).standard_normal((20_000, 2))
    >>> bias = overstatement(np.zeros(2), noise)  # expected maximum of two: 1 / √π = 0.564
    >>> bias is not None and abs(bias - 0.564) < 0.02
    True
    """
    if len(means) == 0 or not np.ptp(drawn, axis=0).any():
        return None
    if len(means) == 1:
        return 0.0
    winners = drawn.argmax(axis=1)
    return float(np.mean(drawn.max(axis=1) - means[winners]))


def held_out_area(
    own: tuple[ConfigurationResult, ...], position: int, clean_floor: float
) -> float | None:
    """Measure what a front is worth on seeds that had no part in choosing it.

    For each seed the front is chosen on the mean of the other seeds: at a required clean accuracy
    c it names the most robust member that is at least this clean. On the seed left out that member
    counts with its robust accuracy if it is at least this clean, else 0. Returns the mean over the
    seeds and over c from `clean_floor` to 1. It errs downwards, as a member that misses c by little
    counts as 0, and is chosen on fewer seeds. position: of the radius.
    """
    areas = []
    for seed in sorted({trial.seed for c in own for trial in c.trials}):
        pairs = [_split(c, seed, position) for c in own]
        known = np.array([pair for pair in pairs if pair is not None])
        if len(known):
            areas.append(_policy_area(known[:, 0], known[:, 1], clean_floor))
    return sum(areas) / len(areas) if areas else None


def _split(c: ConfigurationResult, seed: int, position: int) -> tuple[Point, Point] | None:
    """Return the mean point of the other seeds and the point of this one."""
    points = {t.seed: (t.clean, t.robust[position]) for t in c.trials}
    if seed not in points or len(points) < 2:
        return None
    held = points.pop(seed)
    clean, robust = np.mean(list(points.values()), axis=0).tolist()
    return (clean, robust), held


def _policy_area(chosen: Array, held: Array, clean_floor: float) -> float:
    kept = nondominated(comparable(chosen))
    order = np.flatnonzero(kept)[np.argsort(-chosen[kept, 0], kind="stable")]
    upper = np.maximum(chosen[order, 0], clean_floor)
    lower = np.append(upper[1:], clean_floor)
    widths = np.maximum(np.minimum(upper, held[order, 0]) - lower, 0.0)
    return float(np.sum(widths * held[order, 1]) / (1.0 - clean_floor))


def _method_selection(
    results: Results,
    found: tuple[ConfigurationResult, ...],
    front: MethodFront,
    means: Array,
    drawn: Array,
) -> MethodSelection:
    keys = [c.key for c in found]
    rows = [keys.index(c.key) for c in front.configurations]
    own, own_drawn = means[rows], drawn[:, rows]
    shares = on_front(own_drawn).mean(axis=0)
    on_test = nondominated(comparable(own))
    curse = overstatement(own[:, 1], own_drawn[:, :, 1])
    attainable = float(mean_attainable_robustness(own, results.clean_floor))
    areas = mean_attainable_robustness(own_drawn, results.clean_floor)
    members = []
    for c in front.members:
        at = rows.index(keys.index(c.key))
        before = None
        if c.validation_clean is not None and c.validation_robust is not None:
            before = c.validation_clean.mean, c.validation_robust.mean
        members.append(
            Chosen(
                row=rows[at],
                validation=before,
                test=(float(own[at, 0]), float(own[at, 1])),
                on_test_front=bool(on_test[at]),
                share=float(shares[at]),
            )
        )
    return MethodSelection(
        method=front.note.name,
        searched=front.note.searched,
        configurations=len(rows),
        members=tuple(members),
        best=None if front.best is None else keys.index(front.best.key),
        overstatement=curse,
        attainable=attainable,
        attainable_bias=None if curse is None else float(areas.mean()) - attainable,
        held_out=held_out_area(front.configurations, results.threat.objective, results.clean_floor),
    )
