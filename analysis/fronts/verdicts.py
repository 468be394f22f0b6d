"""Verdicts: what the data say of the claims that a study declared.

A claim is supported or refuted where the 95% interval of the difference lies on one side, and two
methods are equivalent where two one-sided tests at 5% both reject a difference of the margin: where
the 90% interval lies within ±margin (Schuirmann 1987, J. Pharmacokinet. Biopharm. 15(6)). Several
claims are adjusted together by max-T, not by Holm's method: they are made on the same images, and
often of the same methods, so their errors are correlated, which max-T uses and Holm does not.

Where numbers of configurations differ, a verdict must hold at equal numbers, too, as for contrasts;
and at one clean accuracy a lead must hold against a finer grid, as for floors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.fronts.areas import Areas, Noisy, area_lifts, centred, matched_rows
from analysis.fronts.attainment import entering
from analysis.fronts.choice import Choice
from analysis.fronts.contrasts import UNEQUAL, noisy_at
from analysis.fronts.floors import finer_lead
from analysis.fronts.pareto import comparable
from analysis.inference.bootstrap import Replicates
from analysis.inference.claims import LEVEL, Estimand, Interval
from analysis.inference.intervals import intervals, sup_t
from analysis.results.configurations import ConfigurationResult
from analysis.results.results import DeclaredClaim, Results
from analysis.results.trials import Array, Bits

ALPHA = 0.05
"""Of each of the two one-sided tests, so their interval has the level 1 - 2 · ALPHA."""

ClaimVerdict = Literal["supported", "refuted", "equivalent", "undecided"]
"""`equivalent`: within the margin, whatever the claim's direction."""
Ends = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class JudgedClaim:
    """A declared claim, what was measured for it, and the verdict."""

    claim: DeclaredClaim
    estimand: Estimand
    rows: tuple[tuple[int, ...], tuple[int, ...]]
    """The configurations that stand for the first and for the second method; empty without any."""
    attained: tuple[float, float]
    """What each method attains, a fraction."""
    difference: Interval
    """first - second, with the 95% interval that holds for all claims together."""
    equivalence: Ends
    """The 90% interval of the two one-sided tests, that holds for all claims together."""
    adjusted: int
    """The number of claims that the intervals hold for together; 1 is not adjusted."""
    matched: Interval | None
    """The difference at equal numbers of configurations, where a verdict needs it, too."""
    matched_equivalence: Ends | None
    finer_low: float | None
    """The least by which the method ahead at one clean accuracy leads a finer grid of the other;
    None on average over clean accuracies, and where it is unknown."""
    verdict: ClaimVerdict
    doubt: str
    """Why the data cannot decide, where that is not the width of the interval; else empty."""


def measure_claims(
    results: Results,
    found: tuple[ConfigurationResult, ...],
    choice: Choice,
    replicates: Replicates,
    doubt: Callable[[tuple[str, str]], str],
) -> tuple[JudgedClaim, ...]:
    """Judge the claims of a study, in its order, under the default estimand.

    doubt: why the seed noise of two methods supports no claim; empty if it does. A claim that was
    declared after trials had run is adjusted together with all others, which it does not widen.
    """
    rows = {name: own for name, (own, _) in entering(results, found, choice).items()}
    early = [number for number, claim in enumerate(results.claims) if not claim.is_late]
    every = list(range(len(results.claims)))
    judged: dict[int, JudgedClaim] = {}
    for group in (every, early) if early != every else (every,):
        some = [results.claims[number] for number in group]
        measured = _judged(results, some, rows, replicates, doubt)
        judged |= dict(zip(group, measured, strict=True))
    return tuple(judged[number] for number in every)


def _judged(
    results: Results,
    claims: Sequence[DeclaredClaim],
    rows: dict[str, tuple[int, ...]],
    replicates: Replicates,
    doubt: Callable[[tuple[str, str]], str],
) -> list[JudgedClaim]:
    """Judge claims together; rows: the configurations that stand for each method."""
    if not claims:
        return []
    sets = [(rows.get(claim.first, ()), rows.get(claim.second, ())) for claim in claims]
    noisy = [noisy_at(results, replicates, one.radius, replicates.default) for one in claims]
    equal = [matched_rows(*both, one.means) for both, one in zip(sets, noisy, strict=True)]
    whole, matched = (_gaps(results, claims, chosen, noisy) for chosen in (sets, equal))
    judged = []
    for at, (claim, both) in enumerate(zip(claims, sets, strict=True)):
        needed = max(map(len, both)) >= UNEQUAL * min(map(len, both))
        tested = [whole.of(at), *([matched.of(at)] if needed else [])]
        first, second = (float(one.estimates[at]) for one in whole.sides)
        reason = _unmeasured(claim, both, (first, second)) or doubt((claim.first, claim.second))
        finer = None
        if claim.at_clean is not None and not reason:
            finer = finer_lead(noisy[at], both, claim.at_clean)
        judged.append(
            JudgedClaim(
                claim=claim,
                estimand=replicates.default,
                rows=both,
                attained=(first, second),
                difference=tested[0][0],
                equivalence=tested[0][1],
                adjusted=len(claims),
                matched=tested[1][0] if needed else None,
                matched_equivalence=tested[1][1] if needed else None,
                finer_low=None if finer is None else finer.low,
                verdict="undecided"
                if reason
                else verdict_of(claim, tested, None if finer is None else finer.low),
                doubt=reason,
            )
        )
    return judged


def verdict_of(
    claim: DeclaredClaim, tested: Sequence[tuple[Interval, Ends]], finer_low: float | None = None
) -> ClaimVerdict:
    """Return the verdict on a claim from its intervals, all of which must agree.

    tested: the difference first - second with its 95% interval, and the ends of the 90% interval.
    finer_low: as `JudgedClaim` has it.

    >>> claim = DeclaredClaim(first="at", second="sam", direction="more", radius=0.1, margin=0.01)
    >>> lead = Interval(estimate=0.03, low=0.02, high=0.04)
    >>> verdict_of(claim, [(lead, (0.022, 0.038))])
    'supported'
    >>> verdict_of(claim, [(Interval(estimate=0.003, low=-0.01, high=0.02), (-0.004, 0.009))])
    'equivalent'
    """
    margin = claim.margin
    if margin is not None and all(-margin < low and high < margin for _, (low, high) in tested):
        return "equivalent"
    least = 0.0 if claim.direction == "more" else margin or 0.0
    above = all(one.low > least for one, _ in tested)
    below = all(one.high < -least for one, _ in tested)
    if claim.at_clean is not None and (finer_low is None or finer_low <= least):
        return "undecided"
    if claim.direction == "more" and above:
        return "supported"
    return "refuted" if above or below else "undecided"


@dataclass(frozen=True, kw_only=True)
class _Gaps:
    """The differences of K claims."""

    sides: tuple[Areas, Areas]
    differences: Sequence[Interval]
    equivalences: Sequence[Ends]

    def of(self, at: int) -> tuple[Interval, Ends]:
        return self.differences[at], self.equivalences[at]


def _gaps(
    results: Results,
    claims: Sequence[DeclaredClaim],
    sets: Sequence[tuple[Sequence[int], Sequence[int]]],
    noisy: Sequence[Noisy],
) -> _Gaps:
    """Measure the differences of all claims, with intervals that hold for them together."""
    first, second = (
        _beside(
            [
                _attained(one, both[side], claim.at_clean, results.clean_floor)
                for claim, both, one in zip(claims, sets, noisy, strict=True)
            ]
        )
        for side in (0, 1)
    )
    at_floor = np.array([claim.at_clean is not None for claim in claims])
    gaps = first - second
    ends = [_intervals(gaps, at_floor, level) for level in (LEVEL, 1 - 2 * ALPHA)]
    return _Gaps(
        sides=(first, second),
        differences=ends[0],
        equivalences=[(one.low, one.high) for one in ends[1]],
    )


def _intervals(gaps: Areas, at_floor: Bits, level: float) -> list[Interval]:
    """Return the intervals of one difference, or of several together, extended as for areas.

    at_floor: (K,) those at one clean accuracy. Where noise decides whether a configuration reaches
    it, replicates have two modes, so they are not centred on the estimate: both must stay inside.
    """
    drawn = np.where(at_floor, gaps.drawn, centred(gaps.estimates, gaps.drawn))
    if len(gaps.estimates) == 1:
        (alone,) = intervals(gaps.estimates, drawn, level)
        low, high = np.array([alone.low]), np.array([alone.high])
    else:
        together = sup_t(gaps.estimates, drawn, level)
        low, high = together.low, together.high
    downwards, upwards = area_lifts(gaps.estimates, gaps.lifted)
    columns = (gaps.estimates.tolist(), (low - downwards).tolist(), (high + upwards).tolist())
    return [
        Interval(estimate=one, low=low, high=high) for one, low, high in zip(*columns, strict=True)
    ]


def _attained(noisy: Noisy, rows: Sequence[int], at_clean: float | None, floor: float) -> Areas:
    """Measure what rows attain: on average above the floor, or at one clean accuracy."""
    if at_clean is None:
        return noisy.areas([rows], floor)

    def heights(points: Array) -> Array:
        clean, robust = comparable(points[:, list(rows), 0]), points[:, list(rows), 1]
        best = np.where(clean >= at_clean, robust, 0.0).max(axis=1, initial=0.0)
        return np.asarray(best[:, np.newaxis])

    return Areas(
        estimates=heights(noisy.means[np.newaxis])[0],
        drawn=heights(noisy.drawn),
        lifted=heights(noisy.lifted),
    )


def _beside(areas: Sequence[Areas]) -> Areas:
    """Join the columns of several areas."""
    return Areas(
        estimates=np.concatenate([one.estimates for one in areas]),
        drawn=np.column_stack([one.drawn for one in areas]),
        lifted=np.column_stack([one.lifted for one in areas]),
    )


def _unmeasured(claim: DeclaredClaim, rows: tuple[Sequence[int], ...], attained: Ends) -> str:
    """Return why there is nothing to compare; empty if there is."""
    if not all(rows):
        return "one of the methods has no results; run its missing trials"
    if not any(attained):
        return "neither method has a configuration that is clean enough; ask for less"
    return ""
