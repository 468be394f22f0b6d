"""A laboratory: synthetic studies to which any trial can be added later, with a known truth.

Every trial has its own generator, so that a further seed or a new value of ε changes no other. An
image is right where its difficulty is below the trial's threshold; training noise moves the
threshold. Unlike in `worlds`, accuracies follow curves in ρ and ε, and trials take time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Literal

import numpy as np

from analysis.advice.entries import NewTrials
from analysis.results.methods import MethodNote
from analysis.results.results import Results, ThreatModel
from analysis.results.trials import Array, OwnSeeds, TrialResult, Value, accuracies

Noise = Literal["normal", "t3", "unequal", "laplace"]
SIDES = {"standard": "none", "sam": "sam", "at": "pgd", "sam_at": "sam + pgd"}
SECONDS = {"standard": 30.0, "sam": 60.0, "at": 110.0, "sam_at": 150.0}
RADIUS, FLOOR = 0.1, 0.1
EPSILONS = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15)
RHOS = (0.05, 0.1, 0.2, 0.3)
Cell = tuple[str, tuple[tuple[str, Value], ...], int]


@dataclass(frozen=True, kw_only=True)
class Lab:
    """What is true, and how it is measured."""

    number: int
    images: int = 500
    noise: Noise = "normal"
    deviation: float = 0.08
    """Of training noise on the latent scale; 0.08 is about 3 points at 50%."""
    shared: float = 0.6
    """Share of the variance of difficulty that all trials share."""
    scale: float = 0.04
    """Of the curve of robust accuracy against ε."""
    slope: float = 2.0
    """ε is as good as 0.4 ρ to this power."""
    with_both: bool = False
    """Whether the study has a third method, which the contrast does not compare."""
    epsilons: tuple[float, ...] = EPSILONS
    rhos: tuple[float, ...] = RHOS
    price: float = 1.0
    """How much clean accuracy a strength costs."""
    top: float = 9.0
    """The most robust ρ: beyond it robustness falls again."""

    def truth(self, method: str, values: Mapping[str, Value]) -> tuple[float, float]:
        """Return clean and robust accuracy without training noise."""
        epsilon, rho = (float(values.get(name, 0.0)) for name in ("epsilon", "rho"))
        helpful = max(min(rho, 2 * self.top - rho), 0.0)
        worth = epsilon + (0.4 * helpful**self.slope if rho else 0.0)
        robust = 0.15 + 0.5 * (1 - np.exp(-worth / self.scale))
        clean = 0.95 - self.price * (0.6 * epsilon + 0.15 * rho**2)
        return max(clean, float(robust)), float(robust)

    @cached_property
    def common(self) -> Array:
        return np.random.default_rng([self.number, 1]).gumbel(size=self.images)

    def trial(self, cell: Cell) -> TrialResult:
        """Run one trial: the same numbers whenever it is run."""
        method, values, seed = cell
        named = repr((method, values)).encode()
        own = np.random.default_rng([self.number, 2, *named])
        rng = np.random.default_rng([self.number, 3, seed, *named])
        spread = np.exp(0.5 * own.standard_normal() - 0.125) if self.noise == "unequal" else 1.0
        rest = np.sqrt((1 - self.shared) / 2)
        latent = np.sqrt(self.shared) * self.common + rest * own.standard_normal(self.images)
        latent += rest * rng.standard_normal(self.images)
        truth = np.array(self.truth(method, dict(values)))
        thresholds = np.quantile(_latent(self.shared), truth)
        thresholds += spread * self.deviation * _noise(self.noise, rng)
        bits = latent < np.minimum.accumulate(thresholds)[:, np.newaxis]
        clean, robust = accuracies(bits).tolist()
        return TrialResult(
            method=method,
            values=dict(values),
            seed=seed,
            clean=clean,
            robust=(robust,),
            validation_clean=None,
            validation_robust=None,
            bits=bits,
            sample_hash="images",
            seconds=SECONDS[method],
        )

    def first(self, seeds: int = 3) -> list[Cell]:
        """Return the cells of the study as it is declared."""
        made: list[tuple[str, dict[str, Value]]] = [("standard", {})]
        made += [("sam", {"rho": rho}) for rho in self.rhos]
        made += [("at", {"epsilon": epsilon}) for epsilon in self.epsilons]
        if self.with_both:
            made += [("sam_at", {"epsilon": e, "rho": 0.1}) for e in EPSILONS[3:]]
        return [(m, tuple(v.items()), seed) for m, v in made for seed in range(seeds)]

    def study(self, cells: Iterable[Cell], seeds: int = 3) -> Results:
        """Run these cells as one study."""
        cells = list(dict.fromkeys(cells))
        by_values: dict[tuple[str, tuple[tuple[str, Value], ...]], list[int]] = {}
        for method, values, seed in cells:
            by_values.setdefault((method, values), []).append(seed)
        names = [name for name in SIDES if any(cell[0] == name for cell in cells)]
        return Results(
            study="a laboratory",
            about="",
            threat=ThreatModel(
                attack="PGD-20",
                validation_attack="PGD-20",
                norm="linf",
                radii=(RADIUS,),
                objective_radius=RADIUS,
            ),
            checkpoint="last",
            num_test=self.images,
            num_validation=0,
            clean_floor=FLOOR,
            seeds=tuple(range(seeds)),
            methods=tuple(MethodNote(name=n, sides=SIDES[n], searched=False) for n in names),
            trials=tuple(self.trial(cell) for cell in cells),
            absent=(),
            provenance={},
            own_seeds=tuple(
                OwnSeeds(method=method, values=dict(values), seeds=tuple(sorted(own)))
                for (method, values), own in by_values.items()
            ),
        )


def advised(trials: Iterable[NewTrials]) -> list[Cell]:
    """Return the cells of advised trials."""
    return [(new.method, tuple(new.values.items()), s) for new in trials for s in new.seeds]


def evenly(cells: list[Cell], seconds: float, rng: np.random.Generator) -> list[Cell]:
    """Return further seeds of every configuration, in turn, as long as the time lasts."""
    made = list(dict.fromkeys((method, values) for method, values, _ in cells))
    seed, added = 1 + max(seed for *_, seed in cells), []
    while True:
        for at in rng.permutation(len(made)):
            if SECONDS[made[at][0]] > seconds:
                return added
            seconds -= SECONDS[made[at][0]]
            added.append((*made[at], seed))
        seed += 1


def without_noise(lab: Lab) -> Lab:
    """Return a laboratory of many images without training noise."""
    return replace(lab, deviation=0.0, images=20_000)


@cache
def _latent(shared: float) -> Array:
    rng = np.random.default_rng(7)
    drawn = np.sqrt(shared) * rng.gumbel(size=200_000)
    return np.sort(drawn + np.sqrt(1 - shared) * rng.standard_normal(200_000))


def _noise(noise: Noise, rng: np.random.Generator) -> Array:
    """Draw shifts of the clean and the robust threshold, of variance 1."""
    if noise == "t3":
        return np.asarray(rng.standard_t(3, 2) / np.sqrt(3))
    if noise == "laplace":
        return np.asarray(rng.laplace(size=2) / np.sqrt(2))
    return rng.standard_normal(2)
