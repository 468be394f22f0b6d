"""Coverage of fitted fronts on known truths: bands of the gap, its height and slope, false claims.

Short runs draw few data sets and allow for it; RHOEPS_FULL_COVERAGE=1 draws 400 of each kind. Of 8,
one may be missed: where one in four is, 37% of short runs pass (39% of 12, where two may be).
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.special import logit

from analysis.curves.families import FAMILIES, FamilyName
from analysis.curves.fits import FrontFit, fit_fronts
from analysis.curves.fitting import fit_point
from analysis.curves.gaps import Gap, measure_gap
from analysis.inference.bootstrap import draw_replicates
from analysis.results.configurations import configurations
from analysis.results.methods import MethodNote
from analysis.results.results import Results, ThreatModel
from analysis.results.trials import TrialResult

pytestmark = pytest.mark.slow

FULL = os.environ.get("RHOEPS_FULL_COVERAGE") == "1"
SETS = 400 if FULL else 8
REPLICATES = 1000 if FULL else 200
SEEDS = 3
NOISE = 0.006, 0.02
"""Seed SD of clean accuracy; of robust accuracy in units of √(r(1 - r))."""
THETA: dict[str, tuple[FamilyName, np.ndarray, tuple[float, float]]] = {
    "at": ("power", np.array([logit(0.949), math.log(0.95), math.log(0.36)]), (0.80, 0.938)),
    "sam": ("superellipse", np.array([logit(0.957), logit(0.45), math.log(9.0)]), (0.85, 0.95)),
}


def tolerated(rate: float, count: int) -> float:
    """Give the least coverage that passes: 3 points, and two standard errors in a short run."""
    return rate - 0.03 - (0.0 if FULL else 2 * math.sqrt(rate * (1 - rate) / count))


def truth(method: str, clean: np.ndarray) -> np.ndarray:
    family, theta, _ = THETA[method]
    return FAMILIES[family].robust(theta[np.newaxis], clean)[0]


def draw_method(rng: np.random.Generator, method: str, curve: str) -> list[TrialResult]:
    clean = np.linspace(*THETA[curve][2], 10)
    found = []
    for level, (c, r) in enumerate(zip(clean, truth(curve, clean), strict=True), 1):
        for number in range(SEEDS):
            first, second = rng.standard_normal(2)
            a = float(np.clip(c + NOISE[0] * first, 0, 1))
            spread = NOISE[1] * math.sqrt(r * (1 - r))
            b = float(np.clip(r + spread * (-0.3 * first + 0.954 * second), 0, a))
            found.append(
                TrialResult(
                    method=method,
                    values={"strength": 0.01 * level},
                    seed=number,
                    clean=a,
                    robust=(b,),
                    validation_clean=None,
                    validation_robust=None,
                )
            )
    return found


@dataclass(frozen=True)
class Drawn:
    results: Results
    fits: list[FrontFit]
    gap: Callable[[FrontFit, FrontFit], Gap]


def draw_set(seed: int, curves: tuple[str, str]) -> Drawn:
    rng = np.random.default_rng([21, seed])
    results = Results(
        study="coverage",
        about="",
        threat=ThreatModel(
            attack="PGD-50",
            validation_attack="PGD-50",
            norm="linf",
            radii=(0.1,),
            objective_radius=0.1,
        ),
        checkpoint="last",
        num_test=10_000,
        num_validation=0,
        clean_floor=0.1,
        seeds=tuple(range(SEEDS)),
        methods=tuple(
            MethodNote(name=name, sides=sides, searched=False)
            for name, sides in (("at", "none + pgd"), ("sam", "sam + none"))
        ),
        trials=tuple(
            trial
            for name, curve in zip(("at", "sam"), curves, strict=True)
            for trial in draw_method(rng, name, curve)
        ),
        absent=(),
        provenance={},
    )
    drawn = draw_replicates(results, configurations(results), count=REPLICATES, seed=seed)
    fits = fit_fronts(results, drawn)
    return Drawn(results, fits, lambda one, other: measure_gap(results, drawn, one, other))


def covers(low: tuple[float, ...], high: tuple[float, ...], true: np.ndarray) -> bool:
    return bool(((np.array(low) <= true) & (true <= np.array(high))).all())


@pytest.fixture(scope="module")
def separate() -> list[Drawn]:
    return [draw_set(seed, ("at", "sam")) for seed in range(SETS)]


def test_bands_of_the_gap_cover_with_known_chosen_and_close_families(separate: list[Drawn]):
    chosen, envelope, known, widths = [], [], [], []
    for drawn in separate:
        first, second = drawn.fits
        if first.chosen is None or second.chosen is None:
            continue
        gap = drawn.gap(first, second)
        clean = np.array(gap.clean)
        true = truth("at", clean) - truth("sam", clean)
        chosen.append(covers(gap.low, gap.high, true))
        envelope.append(covers(gap.envelope_low, gap.envelope_high, true))
        widths.append(np.median(np.array(gap.high) - np.array(gap.low)) / 2)
        families = "power", "superellipse"
        both = list(zip(drawn.fits, families, strict=True))
        if all(fit.family(name).draws is not None for fit, name in both):
            fixed = [replace(fit, chosen=name, close=(name,)) for fit, name in both]
            gap = drawn.gap(*fixed)
            clean = np.array(gap.clean)
            known.append(covers(gap.low, gap.high, truth("at", clean) - truth("sam", clean)))
    rates = [float(np.mean(found)) for found in (known, chosen, envelope)]
    counts = len(known), len(chosen), len(envelope)
    print(f"known {rates[0]:.3f}, chosen {rates[1]:.3f}, envelope {rates[2]:.3f}, sets {counts}")
    print(f"half-width of the band, chosen families: {100 * float(np.median(widths)):.1f} pp")
    assert counts[1] > 0.8 * SETS
    for rate, count, expected in zip(rates, counts, (0.95, 0.95, 0.97), strict=True):
        assert rate >= tolerated(expected, count), (rates, counts)


def test_pointwise_intervals_of_height_and_slope_cover(separate: list[Drawn]):
    at = np.array([0.88])
    family, theta, _ = THETA["at"]
    height = FAMILIES[family].robust(theta[np.newaxis], at)[0, 0]
    slope = FAMILIES[family].rate(theta[np.newaxis], at)[0, 0]
    hits = []
    for drawn in separate:
        fit = drawn.fits[0]
        if fit.chosen is None or fit.family("power").draws is None:
            continue
        draws = fit.family("power").draws
        found = [FAMILIES["power"].robust(draws, at), FAMILIES["power"].rate(draws, at)]
        ends = [np.percentile(values, (2.5, 97.5)) for values in found]
        hits.append([ends[0][0] <= height <= ends[0][1], ends[1][0] <= slope <= ends[1][1]])
    rates = np.mean(hits, axis=0)
    print(f"height {rates[0]:.3f}, slope {rates[1]:.3f}, sets {len(hits)}")
    # 93% of 300 sets where this was first measured.
    assert (rates >= tolerated(0.93, len(hits))).all(), rates


def test_without_a_true_gap_more_robust_is_claimed_in_few_sets():
    claimed = []
    for seed in range(SETS):
        drawn = draw_set(1000 + seed, ("at", "at"))
        gap = drawn.gap(*drawn.fits)
        if gap.status != "refused":
            claimed.append(bool(gap.separated))
    rate = float(np.mean(claimed))
    print(f"false claims {rate:.3f} of {len(claimed)}")
    allowed = 0.05 + (0.0 if FULL else 2 * math.sqrt(0.05 * 0.95 / len(claimed)))
    assert rate <= allowed


def test_no_fit_of_steep_fronts_runs_into_the_trap_of_a_vanishing_exponent():
    family = FAMILIES["power"]
    theta = np.array([logit(0.957), math.log(0.7), math.log(0.25)])
    covariances = np.repeat(np.diag([0.0015**2, 0.004**2])[np.newaxis], 10, axis=0)
    clean = np.linspace(0.92, 0.955, 10)
    exact = np.stack([clean, family.robust(theta[np.newaxis], clean)[0]], axis=1)
    rng = np.random.default_rng(3)
    scores, errors = [], []
    for _ in range(120 if FULL else 40):
        points = exact + rng.multivariate_normal([0, 0], covariances[0], size=10)
        found = fit_point(family, points, covariances)
        scores.append(found.perpendicular)
        errors.append(np.abs(family.robust(found.theta[np.newaxis], clean) - exact[:, 1])[0, :8])
    print(f"χ²⊥ mean {np.mean(scores):.1f}, greatest {np.max(scores):.1f}")
    # χ² with 7 degrees of freedom: one in 1e5 is above 36.
    assert max(scores) < 36
    assert float(np.max(errors)) < 0.03
