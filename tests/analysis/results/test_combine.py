"""Studies side by side: what must agree, how methods are named, what is kept."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from analysis.fronts.choice import choose
from analysis.results.combine import combine
from analysis.results.configurations import configurations
from analysis.results.results import Results
from analysis.results.trials import ResultsError

Draw = Callable[..., Results]
SAM = ("sam", {"rho": 0.1}, 0.95, 0.3)
AT = ("at", {"epsilon": 0.1}, 0.9, 0.5)
AT_STRONG = ("at", {"epsilon": 0.2}, 0.85, 0.6)


@pytest.fixture(scope="module")
def one(draw: Draw) -> Results:
    return draw([SAM, AT], study="one", seeds=(0, 1, 2))


@pytest.fixture(scope="module")
def two(draw: Draw) -> Results:
    return draw([AT_STRONG], study="two", seeds=(2, 3))


def test_a_study_combined_with_nothing_is_itself(one: Results):
    assert combine([one]) == replace(one, about="one: A synthetic study.")


def test_equal_names_are_told_apart_by_their_study(one: Results, two: Results):
    both = combine([one, two])
    assert both.study == "one+two"
    assert [note.name for note in both.methods] == ["one: sam", "one: at", "two: at"]
    assert {trial.method for trial in both.trials} == {"one: sam", "one: at", "two: at"}


def test_distinct_names_stay(one: Results, draw: Draw):
    other = draw([("trades", {"beta": 6.0}, 0.9, 0.5)], study="other")
    both = combine([one, other])
    assert [note.name for note in both.methods] == ["sam", "at", "trades"]


def test_each_method_keeps_its_seeds_and_its_numbers(one: Results, two: Results):
    both = combine([one, two])
    assert both.seeds == (0, 1, 2, 3)
    assert [note.seeds for note in both.methods] == [(0, 1, 2), (0, 1, 2), (2, 3)]
    alone = [*configurations(one), *configurations(two)]
    for c, was in zip(configurations(both), alone, strict=True):
        assert c.complete
        assert (c.clean, c.robust, c.values) == (was.clean, was.robust, was.values)


def test_combining_is_associative_but_for_names(one: Results, two: Results, draw: Draw):
    three = draw([("trades", {"beta": 6.0}, 0.9, 0.5)], study="three", seeds=(5,))
    both = combine([one, two, three])
    assert len(both.trials) == len(one.trials) + len(two.trials) + len(three.trials)
    assert both.methods[-1].name == "three: trades"
    assert both.methods[-1].seeds == (5,)


def test_the_very_same_runs_are_one_method(one: Results, draw: Draw):
    sam = tuple(trial for trial in one.trials if trial.method == "sam")
    other = draw([("trades", {"beta": 6.0}, 0.9, 0.5)], study="other")
    other = replace(other, methods=(one.methods[0], *other.methods), trials=(*sam, *other.trials))
    both = combine([one, other])
    assert [note.name for note in both.methods] == ["sam", "at", "trades"]
    assert len([trial for trial in both.trials if trial.method == "sam"]) == len(sam)


def test_a_margin_holds_if_all_declare_it(one: Results, two: Results):
    assert combine([replace(one, margin=0.01), two]).margin is None
    assert combine([replace(one, margin=0.01), replace(two, margin=0.01)]).margin == 0.01


def test_a_doubt_about_the_data_is_kept_once(one: Results, two: Results):
    first, second = (replace(r, data_doubts=d) for r, d in ((one, ("a", "b")), (two, ("b", "c"))))
    assert combine([first, second]).data_doubts == ("a", "b", "c")


def test_no_primary_contrast_is_taken_over(one: Results, two: Results):
    assert combine([replace(one, primary=("at", "sam")), two]).primary is None


def test_provenance_is_told_by_study_where_it_differs(one: Results, two: Results):
    other = replace(two, provenance={**two.provenance, "commit": "fff"})
    told = combine([one, other]).provenance
    assert told["commit"] == "one: 0123abc; two: fff"
    assert told["torch"] == "2.11.0"


def threat(results: Results, **changes: object) -> Results:
    return replace(results, threat=replace(results.threat, **changes))


DIFFERENT = {
    "attack": (
        lambda r: threat(r, attack="PGD-50"),
        "attack differs: PGD-20, 1 restart and PGD-50",
    ),
    "norm": (lambda r: threat(r, norm="l2"), "norm differs: linf and l2"),
    "radii": (
        lambda r: threat(r, radii=(0.05, 0.1, 0.15, 0.3)),
        "set of radii differs: 0.05, 0.1, 0.15, 0.2 and 0.05, 0.1, 0.15, 0.3",
    ),
    "objective": (
        lambda r: threat(r, objective_radius=0.2),
        "objective radius differs: 0.1 and 0.2",
    ),
    "checkpoint": (lambda r: replace(r, checkpoint="last"), "checkpoint differs: best and last"),
    "floor": (lambda r: replace(r, clean_floor=0.5), "clean floor differs: 0.1 and 0.5"),
    "validation": (
        lambda r: replace(r, num_validation=100),
        "number of validation images differs: 200 and 100",
    ),
    "samples": (
        lambda r: replace(r, trials=tuple(replace(t, sample_hash="9") for t in r.trials)),
        "test images differ: 5f1c and 9",
    ),
    "no samples": (
        lambda r: replace(
            r, trials=tuple(replace(t, sample_hash=None, bits=None) for t in r.trials)
        ),
        "test images differ: 5f1c and unnamed",
    ),
    "name": (lambda r: replace(r, study="one"), "one: is named 2 times; name each study once"),
}


@pytest.mark.parametrize(("change", "says"), DIFFERENT.values(), ids=DIFFERENT)
def test_studies_that_differ_are_not_compared(
    one: Results, two: Results, change: Callable[[Results], Results], says: str
):
    with pytest.raises(ResultsError) as refusal:
        combine([one, change(two)])
    assert says in str(refusal.value)
    assert "; " in str(refusal.value), "no way out"
    assert "\n" not in str(refusal.value)


def test_other_numbers_of_images_or_classes_are_not_compared(one: Results, draw: Draw):
    fewer = draw([AT_STRONG], study="two", num_test=100)
    with pytest.raises(ResultsError, match="number of test images differs: 500 and 100"):
        combine([one, fewer])
    more = draw([AT_STRONG], study="two")
    with pytest.raises(ResultsError, match="number of classes differs: 10 and 100"):
        combine([replace(one, num_classes=10), replace(more, num_classes=100)])
    assert combine([replace(one, num_classes=10), more]).num_classes == 10


def test_nothing_is_not_compared():
    with pytest.raises(ResultsError, match="nothing to compare"):
        combine([])


def test_a_study_without_trials_can_stand_beside_another(one: Results, two: Results):
    none = replace(two, trials=())
    both = combine([one, none])
    assert [len(front.configurations) for front in choose(both).fronts] == [1, 1, 0]


def test_the_order_of_rows_is_that_of_the_studies(one: Results, two: Results):
    order = [c.method for c in configurations(combine([two, one]))]
    assert order == ["two: at", "one: sam", "one: at"]
    cleans = [c.clean.mean for c in configurations(combine([one, two]))]
    assert np.isfinite(cleans).all()
