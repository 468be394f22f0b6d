"""Synthetic studies: bits drawn from latent margins, so that accuracies, radii and bits agree."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from analysis.results.methods import MethodNote
from analysis.results.results import Results, ThreatModel
from analysis.results.trials import AbsentTrial, TrialResult, Value, accuracies

RADII = (0.05, 0.1, 0.15, 0.2)
Cell = tuple[str, dict[str, Value], float, float]


def survival(clean: float, robust: float, radii: tuple[float, ...], at: float) -> np.ndarray:
    """Give clean and robust accuracies on a Weibull survival curve through (at, robust)."""
    rate = math.log(max(clean, 1e-9) / max(robust, 1e-9)) / at**2
    return np.array([clean, *(clean * math.exp(-rate * radius**2) for radius in radii)])


def draw_trial(
    cell: Cell, seed: int, *, num_test: int, num_validation: int, threat: ThreatModel, noise: float
) -> TrialResult:
    """Draw one trial whose sample s is right at a radius where its rank is below the accuracy."""
    method, values, clean, robust = cell
    rng = np.random.default_rng([seed, *f"{method}{values}".encode()])
    difficulty = norm.ppf((np.arange(num_test) + 0.5) / num_test)
    ranks = norm.cdf(0.8 * difficulty + 0.6 * rng.standard_normal(num_test))
    target = survival(clean, robust, threat.radii, threat.objective_radius)
    target = np.clip(target + noise * rng.standard_normal() * np.sqrt(target * (1 - target)), 0, 1)
    target = np.minimum.accumulate(target)
    bits = ranks < target[:, np.newaxis]
    measured = accuracies(bits)
    on_validation = [rng.binomial(num_validation, p) / max(num_validation, 1) for p in target]
    return TrialResult(
        method=method,
        values=values,
        seed=seed,
        clean=float(measured[0]),
        robust=tuple(measured[1:].tolist()),
        validation_clean=on_validation[0] if num_validation else None,
        validation_robust=on_validation[1 + threat.objective] if num_validation else None,
        bits=bits,
        sample_hash="5f1c",
        seconds=12.0 + rng.random(),
        cost=3.0 + 2.0 * len(values),
        run=f"{method}-{seed}",
    )


def draw_results(
    cells: list[Cell],
    *,
    seeds: tuple[int, ...] = (0, 1, 2),
    num_test: int = 500,
    num_validation: int = 200,
    searched: tuple[str, ...] = (),
    sides: dict[str, str] | None = None,
    radii: tuple[float, ...] = RADII,
    objective_radius: float = 0.1,
    noise: float = 0.03,
    study: str = "toy",
) -> Results:
    """Draw a study with every cell run with every seed."""
    threat = ThreatModel(
        attack="PGD-20, 1 restart",
        validation_attack="PGD-10, 1 restart",
        norm="linf",
        radii=radii,
        objective_radius=objective_radius,
    )
    names = list(dict.fromkeys(cell[0] for cell in cells))
    return Results(
        study=study,
        about="A synthetic study.",
        threat=threat,
        checkpoint="best",
        num_test=num_test,
        num_validation=num_validation,
        clean_floor=0.1,
        seeds=seeds,
        methods=tuple(
            MethodNote(name=name, sides=(sides or {}).get(name, name), searched=name in searched)
            for name in names
        ),
        trials=tuple(
            draw_trial(
                cell,
                seed,
                num_test=num_test,
                num_validation=num_validation,
                threat=threat,
                noise=noise,
            )
            for cell in cells
            for seed in seeds
        ),
        absent=(),
        provenance={"command": "study launch toy", "commit": "0123abc", "torch": "2.11.0"},
    )


DIGITS_CELLS: list[Cell] = [
    ("standard", {}, 0.990, 0.178),
    ("sam", {"rho": 0.1}, 0.991, 0.215),
    ("sam", {"rho": 0.2}, 0.992, 0.245),
    ("sam", {"rho": 0.4}, 0.991, 0.275),
    ("sam", {"rho": 0.8}, 0.985, 0.235),
    ("at", {"epsilon": 0.005}, 0.991, 0.24),
    ("at", {"epsilon": 0.01}, 0.991, 0.31),
    ("at", {"epsilon": 0.025}, 0.992, 0.50),
    ("at", {"epsilon": 0.05}, 0.991, 0.69),
    ("at", {"epsilon": 0.1}, 0.988, 0.83),
    ("at", {"epsilon": 0.15}, 0.980, 0.88),
    ("at", {"epsilon": 0.2}, 0.960, 0.86),
    ("at", {"epsilon": 0.25}, 0.620, 0.51),
    ("sam_at", {"rho": 0.081237, "epsilon": 0.031742}, 0.991, 0.60),
    ("sam_at", {"rho": 0.251391, "epsilon": 0.110302}, 0.987, 0.85),
    ("sam_at", {"rho": 0.442108, "epsilon": 0.055413}, 0.989, 0.74),
    ("sam_at", {"rho": 0.120715, "epsilon": 0.169236}, 0.976, 0.885),
    ("sam_at", {"rho": 0.703341, "epsilon": 0.087352}, 0.982, 0.79),
    ("sam_at", {"rho": 0.056126, "epsilon": 0.221817}, 0.94, 0.84),
]
DIGITS_SIDES = {
    "standard": "none + none",
    "sam": "sam + none",
    "at": "none + pgd",
    "sam_at": "sam + pgd",
}


@pytest.fixture(scope="session")
def draw() -> Callable[..., Results]:
    """Draw a study from cells: (method, values, clean, robust at the objective radius)."""
    return draw_results


@pytest.fixture(scope="session")
def digits() -> Results:
    """Draw a study like the embedded digits study, with two absent trials."""
    results = draw_results(
        DIGITS_CELLS, searched=("sam_at",), sides=DIGITS_SIDES, noise=0.02, study="digits"
    )
    lost = ("sam", {"rho": 0.8}, 2), ("at", {"epsilon": 0.25}, 1)
    kept = [t for t in results.trials if (t.method, t.values, t.seed) not in lost]
    absent = (
        AbsentTrial(method=lost[0][0], values=lost[0][1], seed=2, status="missing", reason=""),
        AbsentTrial(
            method=lost[1][0],
            values=lost[1][1],
            seed=1,
            status="failed",
            reason="the training loss is not finite at epoch 7",
            run="3f",
        ),
    )
    about = "SAM and adversarial training on scikit-learn's bundled digits."
    return replace(results, trials=tuple(kept), absent=absent, about=about)
