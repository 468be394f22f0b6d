"""Worlds: synthetic studies of known truth, drawn otherwise than the tests that tuned the rules.

An image is right where its latent difficulty is below the trial's threshold. Difficulty is skewed,
a part of it is the image's, a part the configuration's, and the rest the trial's. Training noise
shifts the threshold: Gaussian, heavy-tailed, of unequal spread, shared by equal seed numbers, or
with seeds that collapse.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np
from scipy.stats import norm, t

from analysis.fronts.pareto import mean_attainable_robustness
from analysis.results.methods import MethodNote
from analysis.results.results import Results, ThreatModel
from analysis.results.trials import Array, TrialResult, accuracies

Noise = Literal["normal", "t3", "unequal", "shared", "collapsed"]
RADIUS, FLOOR = 0.1, 0.1
SIDES = {"at": "none + pgd", "sam": "sam + none"}
COLLAPSE, COLLAPSES = -0.8, 0.05
"""A collapsed seed loses so much on the latent scale; so many seeds collapse."""


@dataclass(frozen=True, kw_only=True)
class World:
    """What is true, and how it is measured."""

    points: Mapping[str, Array]
    """By method: (N, 2) clean and robust accuracies without training noise."""
    images: int = 500
    seeds: int = 3
    deviation: float = 0.06
    """Of the training noise, on the latent scale; 0.06 is about 2 points at 50%."""
    noise: Noise = "normal"
    own: float = 0.25
    """Share of the variance of difficulty that is the configuration's."""
    trial: float = 0.25
    """Share that is the trial's: the interaction of seeds and images."""
    loud: float = 1.0
    """The first configuration of the first method has this many times the training noise."""


SHAPES: dict[str, Callable[[Array], Array]] = {
    # x rises from the robust end 0 to the clean end 1; what is returned falls from 1 to 0.
    "smooth": lambda x: np.sqrt(1 - 0.95 * x**2),
    "kinked": lambda x: np.where(x < 0.6, 1 - 0.25 * x, 0.85 - 1.9 * (x - 0.6)),
    "s-shaped": lambda x: 1 / (1 + np.exp(12 * (x - 0.55))),
    "cliff": lambda x: np.where(x < 0.7, 1 - 0.1 * x, 0.15 - 0.1 * x),
}


def front(count: int, shape: str = "smooth", top: float = 0.55, end: float = 0.93) -> Array:
    """Lay configurations evenly along a front: clean 0.80 to `end`, robust up to `top`."""
    x = np.linspace(0.0, 1.0, count)
    return np.column_stack([0.80 + (end - 0.80) * x, 0.1 + (top - 0.1) * SHAPES[shape](x)])


def draw_world(world: World, rng: np.random.Generator) -> Results:
    """Draw the bits of every trial."""
    shared = _difficulty(rng, world.images)
    by_number = rng.standard_normal((world.seeds, 2))
    trials = []
    for method, points in world.points.items():
        for row, thresholds in enumerate(_thresholds(world, points)):
            own = rng.standard_normal(world.images)
            spread = np.exp(0.6 * rng.standard_normal() - 0.36) if world.noise == "unequal" else 1
            spread *= world.loud if row == 0 and method == next(iter(world.points)) else 1
            for seed in range(world.seeds):
                latent = np.sqrt(1 - world.own - world.trial) * shared + np.sqrt(world.own) * own
                latent += np.sqrt(world.trial) * rng.standard_normal(world.images)
                shift = spread * _shift(world.noise, rng, by_number[seed])
                wanted = thresholds + world.deviation * shift
                if world.noise == "collapsed" and rng.random() < COLLAPSES:
                    wanted += COLLAPSE
                # Robust bits are nested in clean ones, as one difficulty decides both.
                bits = latent < np.minimum.accumulate(wanted)[:, np.newaxis]
                clean, robust = accuracies(bits).tolist()
                trials.append(
                    TrialResult(
                        method=method,
                        values={"epsilon" if method == "at" else "rho": 0.01 * (row + 1)},
                        seed=seed,
                        clean=clean,
                        robust=(robust,),
                        validation_clean=None,
                        validation_robust=None,
                        bits=bits,
                        sample_hash="images",
                    )
                )
    return _study(world, tuple(trials))


def true_points(world: World) -> dict[str, Array]:
    """Return the expected accuracies over seeds and images, by method (N, 2)."""
    truth = {name: _expected(world, points) for name, points in world.points.items()}
    if world.loud != 1:
        first = next(iter(truth))
        louder = replace(world, deviation=world.loud * world.deviation)
        truth[first][:1] = _expected(louder, world.points[first][:1])
    return truth


def true_area(points: Array) -> float:
    """Return the mean attainable robust accuracy of points."""
    return float(mean_attainable_robustness(points, FLOOR))


def true_lead(world: World, first: str = "at", second: str = "sam") -> float:
    """Return by how much the first method attains more."""
    truth = true_points(world)
    return true_area(truth[first]) - true_area(truth[second])


def _difficulty(rng: np.random.Generator, count: int) -> Array:
    """Draw skewed difficulties of mean 0 and variance 1."""
    drawn: Array = (rng.gamma(4.0, size=count) - 4.0) / 2.0
    return drawn


def _shift(noise: Noise, rng: np.random.Generator, of_number: Array) -> Array:
    """Draw the shifts of a trial's clean and robust thresholds, of variance 1, correlation -0.4."""
    one, other = rng.standard_t(3, 2) / np.sqrt(3) if noise == "t3" else rng.standard_normal(2)
    if noise == "shared":
        one, other = np.sqrt(0.5) * np.array([one, other]) + np.sqrt(0.5) * of_number
    return np.array([one, np.sqrt(0.84) * other - 0.4 * one])


@cache
def _latent(own: float, trial: float) -> Array:
    """Return sorted latent difficulties, many enough for the truth of 0.1 points."""
    rng = np.random.default_rng(99)
    count = 400_000
    drawn = np.sqrt(1 - own - trial) * _difficulty(rng, count)
    drawn += np.sqrt(own + trial) * rng.standard_normal(count)
    return np.sort(drawn)


def _thresholds(world: World, points: Array) -> Array:
    """Return the thresholds at which these shares of images are right without training noise."""
    return _quantiles(world.own, world.trial, tuple(map(tuple, points.tolist())))


@cache
def _quantiles(own: float, trial: float, shares: tuple[tuple[float, ...], ...]) -> Array:
    """Return them once for all studies of a world."""
    found: Array = np.quantile(_latent(own, trial), np.array(shares))
    found.flags.writeable = False
    return found


def _expected(world: World, points: Array) -> Array:
    """Average the accuracies over the training noise."""
    latent = _latent(world.own, world.trial)
    shares = (np.arange(2001) + 0.5) / 2001
    quantiles = t.ppf(shares, 3) / np.sqrt(3) if world.noise == "t3" else norm.ppf(shares)
    spreads = np.ones(1)
    if world.noise == "unequal":
        spreads = np.exp(0.6 * norm.ppf((np.arange(41) + 0.5) / 41) - 0.36)
    # Sorted, as what is searched for in order is found many times faster.
    shifts = np.sort(world.deviation * np.multiply.outer(spreads, quantiles).ravel())
    if world.noise == "t3":
        # The robust shift is a sum of two such variables, for which quantiles do not serve.
        rng = np.random.default_rng(98)
        pairs = rng.standard_t(3, (40_000, 2)) / np.sqrt(3)
        robust = np.sort(world.deviation * (np.sqrt(0.84) * pairs[:, 1] - 0.4 * pairs[:, 0]))
    else:
        robust = shifts
    expected = np.empty(points.shape)
    for place, thresholds in np.ndenumerate(_thresholds(world, points)):
        moved = thresholds + (robust if place[1] else shifts)
        right = float(np.mean(np.searchsorted(latent, moved))) / len(latent)
        if world.noise == "collapsed":
            fallen = float(np.mean(np.searchsorted(latent, moved + COLLAPSE))) / len(latent)
            right = (1 - COLLAPSES) * right + COLLAPSES * fallen
        expected[place] = right
    return expected


def _study(world: World, trials: tuple[TrialResult, ...]) -> Results:
    return Results(
        study="a world",
        about="",
        threat=ThreatModel(
            attack="PGD-20",
            validation_attack="PGD-20",
            norm="linf",
            radii=(RADIUS,),
            objective_radius=RADIUS,
        ),
        checkpoint="last",
        num_test=world.images,
        num_validation=0,
        clean_floor=FLOOR,
        seeds=tuple(range(world.seeds)),
        methods=tuple(
            MethodNote(name=name, sides=SIDES.get(name, name), searched=False)
            for name in world.points
        ),
        trials=trials,
        absent=(),
        provenance={},
    )
