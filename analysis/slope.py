"""Slope: of the logarithm of an equivalent training ε on that of ρ."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.claims import TAILS, Interval
from analysis.inversion import Join
from analysis.results import Array

TRUE_SLOPE = 2.0
"""For small ρ, in the linear model: a hypothesis for networks."""
NARROW = 1.0
"""An interval of the slope as wide as this, or wider, confirms nothing."""
FEWEST, SPREAD = 3, 2.0
"""A slope needs so many values, over so large a factor in ρ."""
ROOM = 1e-9
"""Relative: 0.1 and 0.05 still have a ratio of 2."""

Verdict = Literal["consistent with 2", "differs from 2", "cannot tell"]


@dataclass(frozen=True, kw_only=True)
class Slope:
    """The slope of ln ε on ln ρ."""

    value: Interval
    """Ends: the union over both ways to join the levels; estimate: of the monotone cubic."""
    rows: tuple[int, ...]
    """The SAM configurations behind it, up to the most robust one."""
    range: tuple[float, float]
    """Of ρ."""
    verdict: Verdict


def fit_slope(
    rhos: Array, epsilons: Mapping[Join, Array], limits: Array, rows: tuple[int, ...]
) -> tuple[Slope | None, str]:
    """Fit ln ε on ln ρ in every replicate, each value weighted by 1/variance; or say why not.

    rhos: (T,); epsilons: (1 + B, T), point estimates first, for each way to join the levels;
    limits: (T, 2), the run of levels that each value lies in: the few replicates outside are put at
    its end, as 0 and ∞ have no logarithm.
    """
    if len(rhos) < FEWEST:
        noun = "value" if len(rhos) == 1 else "values"
        return None, f"{len(rhos)} {noun} of ε up to the most robust ρ, and a slope needs {FEWEST}"
    low, high = float(rhos.min()), float(rhos.max())
    if high < SPREAD * low * (1 - ROOM):
        return None, f"ρ spans a factor {high / low:.1f}, and a slope needs {SPREAD:g}"
    x = np.log(rhos)
    slopes = {}
    for join, drawn in epsilons.items():
        y = np.log(np.clip(drawn, limits[:, 0], limits[:, 1]))
        weights = 1.0 / np.maximum(np.var(y[1:], axis=0), 1e-12)
        centred = weights * (x - np.sum(weights * x) / np.sum(weights))
        slopes[join] = y @ centred / np.sum(centred * x)
    estimate = float(slopes["pchip"][0])
    ends = [(estimate, estimate), *(order_interval(slope[1:]) for slope in slopes.values())]
    value = Interval(
        estimate=estimate, low=min(end[0] for end in ends), high=max(end[1] for end in ends)
    )
    return Slope(value=value, rows=rows, range=(low, high), verdict=_verdict(value)), ""


def order_interval(draws: Array) -> tuple[float, float]:
    """Give the 95% interval of draws (B,) as two of them, so that 0 and ∞ may end it."""
    ordered = np.sort(draws)
    places = [percentile / 100 * (len(draws) - 1) for percentile in TAILS]
    return float(ordered[math.floor(places[0])]), float(ordered[math.ceil(places[1])])


def _verdict(value: Interval) -> Verdict:
    if not value.low <= TRUE_SLOPE <= value.high:
        return "differs from 2"
    return "consistent with 2" if value.high - value.low < NARROW else "cannot tell"
