"""How often intervals cover a known truth: simulations, slow.

Short by default; RHOEPS_FULL_COVERAGE=1 runs 400 data sets of each, whose standard error is 1.1
points at a coverage of 95%.
"""

import os
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import norm

from analysis.fronts.attainment import measure_fronts
from analysis.fronts.choice import choose
from analysis.fronts.contrasts import measure_contrasts
from analysis.fronts.optimism import measure_selection
from analysis.fronts.pareto import mean_attainable_robustness
from analysis.inference.bootstrap import draw_replicates
from analysis.results.configurations import configurations
from analysis.results.methods import MethodNote
from analysis.results.results import Results, ThreatModel
from analysis.results.trials import TrialResult, accuracies

FULL = os.environ.get("RHOEPS_FULL_COVERAGE") == "1"
SETS = 400 if FULL else 20
COUNT = 1000 if FULL else 200
LEAST = 0.92 if FULL else 0.80
"""95% less three points; of 20 data sets less three standard errors."""
RADIUS, FLOOR, SEEDS = 0.1, 0.1, (0, 1, 2)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def study(trials: list[TrialResult], num_test: int) -> Results:
    names = dict.fromkeys(trial.method for trial in trials)
    return Results(
        study="simulated",
        about="",
        threat=ThreatModel(
            attack="PGD-20",
            validation_attack="PGD-20",
            norm="linf",
            radii=(RADIUS,),
            objective_radius=RADIUS,
        ),
        checkpoint="last",
        num_test=num_test,
        num_validation=0,
        clean_floor=FLOOR,
        seeds=SEEDS,
        methods=tuple(MethodNote(name=name, sides=name, searched=False) for name in names),
        trials=tuple(trials),
        absent=(),
        provenance={},
    )


def fixed_images(rng: np.random.Generator, truth: np.ndarray, deviation: float) -> Results:
    """Draw accuracies on one test set: seeds alone vary them, clean and robust against each other.

    truth: (N, 2).
    """
    trials = []
    for row, (clean, robust) in enumerate(truth):
        for seed in SEEDS:
            one, other = rng.standard_normal(2)
            shift = deviation * 2 * np.sqrt(robust * (1 - robust)) * (0.8 * other - 0.6 * one)
            c = float(np.clip(clean + 0.5 * deviation * one, 0, 1))
            trials.append(
                TrialResult(
                    method="at",
                    values={"epsilon": row},
                    seed=seed,
                    clean=c,
                    robust=(float(np.clip(robust + shift, 0, c)),),
                    validation_clean=None,
                    validation_robust=None,
                )
            )
    return study(trials, 10_000)


def power_front(count: int) -> np.ndarray:
    clean = np.linspace(0.80, 0.938, count)
    return np.column_stack([clean, 0.95 * (0.949 - clean) ** 0.36])


def with_dominated(rng: np.random.Generator) -> np.ndarray:
    """Give 10 configurations on a front and 20 that lie 1 to 8 points below it."""
    below = power_front(20) - rng.uniform(0.01, 0.08, (20, 1))
    return np.vstack([power_front(10), below])


def crowded(rng: np.random.Generator) -> np.ndarray:
    """Give 60 configurations at most 4 points below a front: noise decides which is the best."""
    return power_front(60) - np.column_stack([np.zeros(60), rng.uniform(0, 0.04, 60)])


def crossed(
    rng: np.random.Generator, probits: dict[str, np.ndarray], num_test: int, deviation: float
) -> Results:
    """Draw bits of other seeds and other images from one crossed model.

    A sample is right where its rank (a part shared by all, one of the configuration, one of the
    seed) is below the configuration's threshold, which every seed shifts.
    probits: (N, 2) thresholds of clean and robust accuracy, by method; deviation: of the shifts.
    """
    shared = rng.standard_normal(num_test)
    trials = []
    for method, thresholds in probits.items():
        for row, (clean, robust) in enumerate(thresholds):
            own = rng.standard_normal(num_test)
            for seed in SEEDS:
                rank = 0.8 * shared + 0.4 * own
                rank += np.sqrt(0.2) * rng.standard_normal(num_test)
                one, other = rng.standard_normal(2)
                bits = np.array(
                    [
                        rank < clean + deviation * one,
                        rank < robust + deviation * (0.8 * other - 0.6 * one),
                    ]
                )
                right = accuracies(bits)
                trials.append(
                    TrialResult(
                        method=method,
                        values={"strength": row},
                        seed=seed,
                        clean=float(right[0]),
                        robust=(float(right[1]),),
                        validation_clean=None,
                        validation_robust=None,
                        bits=bits,
                        sample_hash="images",
                    )
                )
    return study(trials, num_test)


def population_accuracies(probits: np.ndarray, deviation: float) -> np.ndarray:
    """Give the expected accuracies over seeds and images."""
    expected: np.ndarray = norm.cdf(probits / np.sqrt(1 + deviation**2))
    return expected


def area(points: np.ndarray) -> float:
    return float(mean_attainable_robustness(points, FLOOR))


@pytest.mark.parametrize("drawn_truth", [with_dominated, crowded])
def test_the_hypervolume_interval_covers_on_this_test_set(
    drawn_truth: Callable[[np.random.Generator], np.ndarray],
):
    rng = np.random.default_rng(11)
    covered = []
    for number in range(SETS):
        truth = drawn_truth(rng)
        results = fixed_images(rng, truth, 0.008)
        found = configurations(results)
        drawn = draw_replicates(results, found, count=COUNT, seed=number)
        fronts = measure_fronts(results, found, choose(results), drawn, RADIUS, "this test set")
        value = fronts.methods[0].attainable
        covered.append(value.low <= area(truth) <= value.high)
    print(f"this test set, {drawn_truth.__name__}, hypervolume: {np.mean(covered):.3f} of {SETS}")
    assert np.mean(covered) >= LEAST


@pytest.mark.parametrize(
    ("num_test", "deviation"), [(2000, 0.030), (10_000, 0.015)], ids=["2000", "10000"]
)
def test_population_intervals_cover_in_the_crossed_model(num_test: int, deviation: float):
    rng = np.random.default_rng(12)
    one = norm.ppf(power_front(16))
    probits = {"at": one, "sam": one - np.linspace(0.02, 0.15, 16)[:, np.newaxis]}
    truth = {name: population_accuracies(p, deviation) for name, p in probits.items()}
    differ = area(truth["at"]) - area(truth["sam"])
    gap = truth["at"][8, 1] - truth["sam"][8, 1]
    covered: dict[str, list[bool]] = {
        name: [] for name in ("HV", "HV difference", "robust", "difference of robust")
    }
    for number in range(SETS):
        results = crossed(rng, probits, num_test, deviation)
        found = configurations(results)
        drawn = draw_replicates(results, found, count=COUNT, seed=number)
        contrasts = measure_contrasts(results, found, choose(results), drawn, RADIUS, "population")
        value = contrasts.hypervolumes[0].value
        covered["HV"].append(value.low <= area(truth["at"]) <= value.high)
        (contrast,) = contrasts.contrasts
        assert contrast.first == "at"
        ends = contrast.difference
        covered["HV difference"].append(ends.low <= differ <= ends.high)
        robust = drawn.of("population")[:, :, 1]
        low, high = np.percentile(robust[:, 8], [2.5, 97.5])
        covered["robust"].append(bool(low <= truth["at"][8, 1] <= high))
        low, high = np.percentile(robust[:, 8] - robust[:, 24], [2.5, 97.5])
        covered["difference of robust"].append(bool(low <= gap <= high))
    shares = {name: float(np.mean(hits)) for name, hits in covered.items()}
    print(f"population, n = {num_test}: {shares} of {SETS}")
    assert min(shares.values()) >= LEAST, shares


@pytest.mark.parametrize("others", [8, 16])
def test_equal_methods_are_rarely_told_apart(others: int):
    """Also where one of them has two configurations at each of the other's eight places."""
    rng = np.random.default_rng(13)
    one = norm.ppf(power_front(8))
    probits = {"at": one, "sam": np.repeat(one, others // 8, axis=0)}
    claimed = []
    for number in range(SETS):
        results = crossed(rng, probits, 1000, 0.03)
        found = configurations(results)
        drawn = draw_replicates(results, found, count=COUNT, seed=number)
        (contrast,) = measure_contrasts(
            results, found, choose(results), drawn, RADIUS, "population"
        ).contrasts
        low, high = contrast.ends
        claimed.append(low > 0 or high < 0)
    print(
        f"equal methods, 8 and {others} configurations, told apart: {np.mean(claimed):.3f} "
        f"of {SETS}"
    )
    assert np.mean(claimed) <= 1 - LEAST


@pytest.mark.parametrize("configurations_drawn", [20, 60])
def test_the_best_of_many_overstates_and_the_estimate_says_so(configurations_drawn: int):
    rng = np.random.default_rng(14)
    truth = np.column_stack(
        [
            rng.uniform(0.85, 0.93, configurations_drawn),
            rng.uniform(0.40, 0.41, configurations_drawn),
        ]
    )
    actual, said, lifted, held = [], [], [], []
    for number in range(SETS):
        results = fixed_images(rng, truth, 0.008)
        found = configurations(results)
        drawn = draw_replicates(results, found, count=COUNT, seed=number)
        selection = measure_selection(results, found, choose(results), drawn)
        (one,) = selection.methods
        winner = int(np.argmax(drawn.means[:, 1]))
        actual.append(drawn.means[winner, 1] - truth[winner, 1])
        said.append(one.overstatement)
        lifted.append(one.attainable - area(truth))
        held.append((one.held_out or 0.0) - area(truth))
    print(
        f"{configurations_drawn} configurations: overstates {100 * np.mean(actual):.2f} pp, said "
        f"{100 * np.mean(said):.2f} pp; HV {100 * np.mean(lifted):+.2f}, held out "
        f"{100 * np.mean(held):+.2f} pp"
    )
    assert 0 < np.mean(said) < 1.5 * np.mean(actual)
    assert np.mean(said) > 0.5 * np.mean(actual)
    assert np.mean(held) < 0 < np.mean(lifted)
