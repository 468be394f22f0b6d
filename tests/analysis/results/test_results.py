"""Results: what is refused, and how trials become configurations."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from analysis.results.configurations import configurations, spread
from analysis.results.results import Results, ThreatModel
from analysis.results.trials import AbsentTrial, History, Importance, ResultsError, accuracies


def first_changed(results: Results, **changes: object) -> Results:
    return replace(results, trials=(replace(results.trials[0], **changes), *results.trials[1:]))


REFUSED = {
    "a robust accuracy for each radius": (
        lambda r: first_changed(r, robust=(0.2,)),
        "needs one robust accuracy for each of the 4 radii, got 1",
    ),
    "fractions": (lambda r: first_changed(r, clean=99.0), "must be fractions in [0, 1]"),
    "no NaN": (lambda r: first_changed(r, clean=float("nan")), "must be fractions in [0, 1]"),
    "nested": (
        lambda r: first_changed(r, robust=(0.1, 0.2, 0.1, 0.1), bits=None),
        "must not rise with the radius",
    ),
    "bits of one shape": (
        lambda r: first_changed(r, bits=r.trials[0].bits[:, :-1]),
        "bits must be bool of shape (5, 500), got bool of shape (5, 499)",
    ),
    "bits are bool": (
        lambda r: first_changed(r, bits=r.trials[0].bits.astype(float)),
        "bits must be bool of shape (5, 500), got float64",
    ),
    "bits give the accuracies": (
        lambda r: first_changed(r, bits=~r.trials[0].bits),
        "are not those of the bits",
    ),
    "bits name their samples": (
        lambda r: first_changed(r, sample_hash=None),
        "bits need the sample_hash",
    ),
    "one sample hash": (
        lambda r: first_changed(r, sample_hash="other"),
        "measured on other test samples (other) than 5f1c",
    ),
    "a cell once": (lambda r: replace(r, trials=r.trials[:1] * 2), "standard seed 0: given twice"),
    "absent or done": (
        lambda r: replace(
            r,
            absent=(
                AbsentTrial(method="standard", values={}, seed=0, status="failed", reason="x"),
            ),
        ),
        "standard seed 0: given twice",
    ),
    "a declared method": (
        lambda r: first_changed(r, method="trades"),
        "trades seed 0: the method is not among",
    ),
    "a declared seed": (lambda r: first_changed(r, seed=9), "seed 9: the seed is not declared"),
    "validation for all": (
        lambda r: first_changed(r, validation_clean=None),
        "200 validation samples, but validation accuracies None and",
    ),
    "no validation from nowhere": (
        lambda r: replace(r, num_validation=0),
        "0 validation samples, but validation accuracies",
    ),
    "finite values": (
        lambda r: first_changed(r, values={"rho": float("inf")}),
        "rho must be finite",
    ),
    "finite seconds": (
        lambda r: first_changed(r, seconds=float("nan")),
        "seconds must be finite",
    ),
    "methods once": (
        lambda r: replace(r, methods=r.methods * 2),
        "digits: the method standard is declared twice",
    ),
    "seeds once": (lambda r: replace(r, seeds=(0, 1, 2, 2)), "the seed 2 is declared twice"),
    "test samples": (lambda r: replace(r, num_test=0), "needs num_test >= 1"),
    "a clean floor": (lambda r: replace(r, clean_floor=1.0), "clean_floor must lie in [0, 1)"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_results_that_do_not_fit_are_refused_in_one_line(
    digits: Results, change: Callable[[Results], Results], message: str
):
    with pytest.raises(ResultsError) as refusal:
        change(digits)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("radii", "objective"),
    [((), 0.1), ((0.2, 0.1), 0.1), ((0.0, 0.1), 0.1), ((0.1, 0.1), 0.1), ((0.1,), 0.2)],
    ids=["none", "falling", "zero", "twice", "objective elsewhere"],
)
def test_radii_that_are_no_radii_are_refused(radii: tuple[float, ...], objective: float):
    with pytest.raises(ResultsError):
        ThreatModel(
            attack="PGD",
            validation_attack="PGD",
            norm="linf",
            radii=radii,
            objective_radius=objective,
        )


def test_nested_accuracies_count_samples_right_at_all_smaller_radii():
    rng = np.random.default_rng(3)
    bits = rng.random((4, 200)) < 0.8
    before = bits.copy()
    slow = [
        sum(all(bits[earlier, s] for earlier in range(row + 1)) for s in range(200)) / 200
        for row in range(4)
    ]
    np.testing.assert_allclose(accuracies(bits), slow, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(bits, before)


def test_configurations_keep_the_order_of_methods_and_of_values(digits: Results):
    shuffled = replace(digits, trials=digits.trials[::-1])
    found = configurations(shuffled)
    assert [(c.method, c.values) for c in found[:6]] == [
        ("standard", {}),
        ("sam", {"rho": 0.1}),
        ("sam", {"rho": 0.2}),
        ("sam", {"rho": 0.4}),
        ("sam", {"rho": 0.8}),
        ("at", {"epsilon": 0.005}),
    ]
    assert [[t.seed for t in c.trials] for c in found] == [
        [t.seed for t in c.trials] for c in configurations(digits)
    ]


def test_configurations_know_their_absent_seeds(digits: Results):
    absent = {c.key: c.absent_seeds for c in configurations(digits) if c.absent_seeds}
    assert absent == {
        ("sam", (("rho", 0.8),)): (2,),
        ("at", (("epsilon", 0.25),)): (1,),
    }


def test_a_spread_is_that_of_numpy_and_of_one_seed_has_no_deviation(digits: Results):
    for c in configurations(digits):
        clean = np.array([t.clean for t in c.trials])
        assert c.clean.mean == pytest.approx(clean.mean(), abs=1e-15)
        assert (c.clean.low, c.clean.high) == (clean.min(), clean.max())
        assert c.clean.deviation == pytest.approx(clean.std(ddof=1))
    assert spread([0.5]).deviation is None


def test_the_mean_of_equal_seeds_lies_within_them():
    over_seeds = spread([0.1] * 3)
    assert over_seeds.low == over_seeds.mean == over_seeds.high == 0.1


def test_configurations_of_no_trials_are_none(digits: Results):
    assert configurations(replace(digits, trials=())) == ()


def test_values_of_several_kinds_can_be_sorted(draw: Callable[..., Results]):
    cells = [("m", {"schedule": s, "rho": r}, 0.9, 0.5) for s in ("b", "a") for r in (0.2, 0.1)]
    cells.append(("m", {"rho": "auto"}, 0.9, 0.5))
    found = configurations(draw(cells))
    assert [dict(c.values) for c in found] == [
        {"rho": 0.1, "schedule": "a"},
        {"rho": 0.1, "schedule": "b"},
        {"rho": 0.2, "schedule": "a"},
        {"rho": 0.2, "schedule": "b"},
        {"rho": "auto"},
    ]


def history(**changes: object) -> History:
    trained = History(
        method="standard",
        values={},
        seed=0,
        epochs=(1, 2),
        train_accuracy=(0.5, 0.6),
        validation_clean=(0.5, 0.6),
        validation_robust=(0.1, 0.2),
        best_epoch=2,
        test_best=(0.6, 0.2),
        test_last=None,
    )
    return replace(trained, **changes)


def importance(**changes: object) -> Importance:
    shares = Importance(
        method="sam_at",
        objective="robust",
        shares={"rho": 0.25, "epsilon": 0.75},
        configurations=20,
        evaluator="PED-ANOVA",
    )
    return replace(shares, **changes)


def noted(results: Results, seeds: tuple[int, ...]) -> Results:
    """Give the first method seeds of its own."""
    return replace(
        results, methods=(replace(results.methods[0], seeds=seeds), *results.methods[1:])
    )


REFUSED_AROUND = {
    "seeds of the study": (
        lambda r: noted(r, (0, 9)),
        "standard: its seeds must be some of the study's (0, 1, 2), got (0, 9)",
    ),
    "a seed at least": (lambda r: noted(r, ()), "standard: its seeds must be some"),
    "own seeds once": (lambda r: noted(r, (0, 0)), "list each of its seeds once, got (0, 0)"),
    "trials of own seeds": (
        lambda r: noted(r, (0, 1)),
        "standard seed 2: the seed is not declared, (0, 1) are",
    ),
    "a primary contrast of known methods": (
        lambda r: replace(r, primary=("at", "trades")),
        "the primary contrast names trades, which is not among the methods standard, sam",
    ),
    "a primary contrast of two": (
        lambda r: replace(r, primary=("at", "at")),
        "the primary contrast needs two methods, got at twice",
    ),
    "a margin": (lambda r: replace(r, margin=1.0), "margin must lie in (0, 1), got 1.0"),
    "classes": (lambda r: replace(r, num_classes=1), "num_classes must be at least 2, got 1"),
    "one history for each cell": (
        lambda r: replace(r, histories=(history(), history())),
        "standard seed 0: a history of training must be",
    ),
    "histories of known methods": (
        lambda r: replace(r, histories=(history(method="trades"),)),
        "trades seed 0: a history of training must be of a declared method",
    ),
    "as many accuracies as epochs": (
        lambda r: history(validation_clean=(0.5,)),
        "history of standard seed 0: needs one accuracy for each of its 2 epochs, got [2, 1, 2]",
    ),
    "rising epochs": (lambda r: history(epochs=(2, 2)), "its epochs must rise from 1 on"),
    "epochs": (lambda r: history(best_epoch=0), "best_epoch must be at least 1, got 0"),
    "accuracies in histories": (
        lambda r: history(test_last=(60.0, 20.0)),
        "accuracies must be fractions in [0, 1], got 60.0",
    ),
    "importances of known methods": (
        lambda r: replace(r, importances=(importance(method="trades"),)),
        "trades: importances for robust accuracy must be of a declared method",
    ),
    "importances once": (
        lambda r: replace(r, importances=(importance(), importance())),
        "sam_at: importances for robust accuracy must be",
    ),
    "shares": (
        lambda r: importance(shares={"rho": 0.25, "epsilon": 0.25}),
        "must be shares that add up to 1",
    ),
    "shares of something": (lambda r: importance(shares={}), "must be shares that add up to 1"),
    "importances of configurations": (
        lambda r: importance(configurations=0),
        "importances need at least one configuration, got 0",
    ),
}


@pytest.mark.parametrize(("change", "message"), REFUSED_AROUND.values(), ids=REFUSED_AROUND)
def test_what_stands_around_the_trials_must_fit_too(
    digits: Results, change: Callable[[Results], object], message: str
):
    with pytest.raises(ResultsError) as refusal:
        change(digits)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_configuration_is_complete_with_the_seeds_of_its_method(digits: Results):
    trials = tuple(t for t in digits.trials if t.method != "standard" or t.seed != 2)
    lacking = replace(digits, trials=trials)
    [standard] = [c for c in configurations(lacking) if c.method == "standard"]
    assert standard.absent_seeds == (2,)
    [standard] = [c for c in configurations(noted(lacking, (0, 1))) if c.method == "standard"]
    assert standard.complete
