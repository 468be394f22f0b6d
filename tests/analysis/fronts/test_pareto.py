"""Fronts against closed forms, slow twins and moocore."""

import math
from itertools import pairwise

import moocore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from analysis.fronts.pareto import (
    attained,
    attainment_surface,
    attainment_surfaces,
    concave_hull,
    dominance_shares,
    dominates,
    hypervolume,
    mean_attainable_robustness,
    nondominated,
    on_front,
)

QUICK = settings(max_examples=40, deadline=None)

# Few levels, so that ties in one objective and equal points are common.
FRACTION = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0]) | st.floats(0, 1, width=32)
POINTS = st.integers(0, 12).flatmap(lambda n: arrays.arrays(np.float64, (n, 2), elements=FRACTION))


@QUICK
@given(
    arrays.arrays(np.float64, st.tuples(st.integers(0, 15), st.integers(1, 4)), elements=FRACTION)
)
def test_nondominated_equals_comparing_every_pair(values: np.ndarray):
    before = values.copy()
    slow = [not any(dominates(other, value) for other in values) for value in values]
    assert nondominated(values).tolist() == slow
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0.9, 0.5), (0.8, 0.4), True),
        ((0.9, 0.5), (0.9, 0.4), True),
        ((0.9, 0.5), (0.9, 0.5), False),
        ((0.9, 0.5), (0.8, 0.6), False),
        ((0.8, 0.4), (0.9, 0.5), False),
    ],
    ids=["better in both", "better in one", "equal", "incomparable", "worse"],
)
def test_dominance_is_no_worse_in_all_and_better_in_one(
    first: tuple[float, ...], second: tuple[float, ...], expected: bool
):
    assert dominates(np.array(first), np.array(second)) is expected


@QUICK
@given(POINTS.filter(len))
def test_nondominated_keeps_ties_and_never_keeps_nothing(points: np.ndarray):
    kept = nondominated(np.vstack([points, points]))
    assert kept.any()
    assert kept[: len(points)].tolist() == kept[len(points) :].tolist()


@QUICK
@given(POINTS, arrays.arrays(np.float64, 5, elements=FRACTION))
def test_attained_equals_its_definition(points: np.ndarray, clean: np.ndarray):
    slow = [max((r for c, r in points if c >= asked), default=0.0) for asked in clean]
    assert attained(points, clean).tolist() == slow


def test_the_median_surface_of_three_single_points_is_known():
    replicates = [np.array([[0.9, 0.1]]), np.array([[0.8, 0.3]]), np.array([[0.7, 0.5]])]
    surface = attainment_surface(replicates, 0.5)
    read = attained(surface, np.array([0.7, 0.8, 0.9]))
    assert read.tolist() == [0.3, 0.1, 0.0]


@pytest.mark.parametrize("seed", range(40))
def test_the_surface_equals_the_empirical_attainment_function_of_moocore(seed: int):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 9))
    # Rounded to one or two decimals: most sets have ties.
    replicates = [
        rng.random((int(rng.integers(1, 8)), 2)).round(int(rng.integers(1, 3)))
        for _ in range(count)
    ]
    stacked = np.vstack([-points for points in replicates])
    names = np.repeat(np.arange(count), [len(points) for points in replicates])
    for rank in range(1, count + 1):
        # moocore minimises, and its percentile is the share of sets that attain.
        oracle = -moocore.eaf(stacked, sets=names, percentiles=[100 * rank / count])[:, :2]
        surface = attainment_surface(replicates, rank / count)
        falling = oracle[np.lexsort((oracle[:, 1], -oracle[:, 0]))]
        np.testing.assert_array_equal(surface, falling, err_msg=f"seed {seed}, rank {rank}")


@QUICK
@given(st.lists(POINTS, min_size=1, max_size=6), st.sampled_from([0.025, 0.3, 0.5, 0.6, 0.975, 1]))
def test_the_surface_is_the_largest_staircases_in_order(replicates: list[np.ndarray], share: float):
    before = [points.copy() for points in replicates]
    asked = np.array([0.0, 0.1, 0.25, 0.3, 0.5, 0.75, 0.9, 1.0])
    heights = np.sort([attained(points, asked) for points in replicates], axis=0)
    rank = math.ceil(round(share * len(replicates), 9))
    surface = attainment_surface(replicates, share)
    assert attained(surface, asked).tolist() == heights[-rank].tolist()
    assert all((a == b).all() for a, b in zip(before, replicates, strict=True))


def test_a_share_that_is_whole_up_to_rounding_takes_no_further_replicate():
    # 0.07 · 100 is 7.000000000000001 in floating point.
    replicates = [np.array([[0.9, height / 100]]) for height in range(100)]
    assert attainment_surface(replicates, 0.07).tolist() == [[0.9, 0.93]]


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_a_share_outside_its_range_is_refused(share: float):
    with pytest.raises(ValueError, match="share must lie in"):
        attainment_surface([np.array([[0.9, 0.1]])], share)


def test_zero_robust_accuracy_still_has_a_clean_end():
    assert attainment_surface([np.array([[0.9, 0.0]])], 1.0).tolist() == [[0.9, 0.0]]


def test_one_array_of_replicates_equals_a_list_of_them():
    replicates = np.random.default_rng(5).random((6, 4, 2))
    one = attainment_surface(replicates, 0.5)
    np.testing.assert_array_equal(one, attainment_surface(list(replicates), 0.5))


def test_the_hypervolume_of_one_point_is_its_rectangle():
    point = np.array([[0.9, 0.5]])
    assert hypervolume(point, np.array([0.1, 0.0])) == pytest.approx(0.4, abs=1e-15)
    assert mean_attainable_robustness(point, 0.1) == pytest.approx(4 / 9, abs=1e-15)


@pytest.mark.parametrize(("count", "area"), [(1, 0.25), (9, 0.45), (99, 0.495)])
def test_the_hypervolume_of_points_on_a_line_is_known(count: int, area: float):
    clean = np.arange(1, count + 1) / (count + 1)
    points = np.column_stack([clean, 1 - clean])
    assert hypervolume(points, np.zeros(2)) == pytest.approx(area, abs=1e-14)
    assert area == count / (2 * (count + 1))


def test_points_below_the_reference_count_nothing():
    points = np.array([[0.05, 0.9], [0.9, 0.0], [0.1, 0.8]])
    assert hypervolume(points, np.array([0.1, 0.0])) == 0.0
    assert hypervolume(np.empty((0, 2)), np.zeros(2)) == 0.0


@QUICK
@given(POINTS.filter(len), FRACTION)
def test_the_hypervolume_equals_moocore(points: np.ndarray, floor: float):
    above = np.maximum(points, [floor, 0.0])
    oracle = moocore.hypervolume(-above, ref=[-floor, 0.0])
    assert hypervolume(points, np.array([floor, 0.0])) == pytest.approx(oracle, abs=1e-15)


@QUICK
@given(POINTS.filter(len), POINTS)
def test_the_hypervolume_knows_no_order_no_duplicates_and_never_shrinks(
    points: np.ndarray, more: np.ndarray
):
    before, reference = points.copy(), np.array([0.1, 0.0])
    area = hypervolume(points, reference)
    np.testing.assert_array_equal(points, before)
    shuffled = np.random.default_rng(0).permutation(points)
    assert hypervolume(shuffled, reference) == pytest.approx(area, abs=1e-15)
    assert hypervolume(np.vstack([points, points]), reference) == pytest.approx(area, abs=1e-15)
    kept = points[nondominated(points)]
    assert hypervolume(kept, reference) == pytest.approx(area, abs=1e-15)
    assert hypervolume(np.vstack([points, more]), reference) >= area - 1e-15


@QUICK
@given(POINTS.filter(len))
def test_the_hypervolume_is_the_area_under_the_staircase(points: np.ndarray):
    floor = 0.1
    steps = np.unique([floor, *np.maximum(points[:, 0], floor)])
    area = sum(
        (right - left) * attained(points, np.array([right]))[0] for left, right in pairwise(steps)
    )
    assert hypervolume(points, np.array([floor, 0.0])) == pytest.approx(area, abs=1e-14)


def test_replicates_have_each_their_hypervolume():
    replicates = np.random.default_rng(2).random((3, 5, 7, 2))
    areas = hypervolume(replicates, np.array([0.2, 0.0]))
    slow = [[hypervolume(p, np.array([0.2, 0.0])) for p in some] for some in replicates]
    np.testing.assert_array_equal(areas, slow)


@QUICK
@given(
    st.tuples(st.integers(1, 5), st.integers(1, 9)).flatmap(
        lambda shape: arrays.arrays(np.float64, (*shape, 2), elements=FRACTION)
    )
)
def test_membership_of_every_replicate_equals_comparing_every_pair(replicates: np.ndarray):
    before = replicates.copy()
    slow = [nondominated(np.round(points, 9)).tolist() for points in replicates]
    assert on_front(replicates).tolist() == slow
    np.testing.assert_array_equal(replicates, before)


def test_no_points_have_no_membership():
    assert on_front(np.empty((3, 0, 2))).shape == (3, 0)


@QUICK
@given(
    arrays.arrays(np.float64, (4, 3, 2), elements=FRACTION),
    arrays.arrays(np.float64, (4, 2, 2), elements=FRACTION),
)
def test_dominance_shares_count_the_replicates(first: np.ndarray, second: np.ndarray):
    one, other = np.round(first, 9), np.round(second, 9)
    slow = [
        [np.mean([dominates(one[b, i], other[b, j]) for b in range(4)]) for j in range(2)]
        for i in range(3)
    ]
    assert dominance_shares(first, second).tolist() == slow


@QUICK
@given(
    st.tuples(st.integers(1, 7), st.integers(1, 6)).flatmap(
        lambda shape: arrays.arrays(np.float64, (*shape, 2), elements=FRACTION)
    )
)
def test_surfaces_on_all_clean_accuracies_equal_the_sweep(replicates: np.ndarray):
    shares = [0.025, 0.5, 0.6, 0.975, 1.0]
    clean = np.unique(replicates[..., 0])
    fast = attainment_surfaces(replicates, shares, clean)
    for share, corners in zip(shares, fast, strict=True):
        np.testing.assert_array_equal(corners, attainment_surface(replicates, share))


def test_surfaces_of_many_replicates_equal_moocore():
    replicates = np.random.default_rng(3).random((60, 5, 2)).round(2)
    shares = [0.5, 1.0]
    fast = attainment_surfaces(replicates, shares, np.unique(replicates[..., 0]))
    oracle = -moocore.eaf(
        -replicates.reshape(-1, 2), sets=np.repeat(np.arange(60), 5), percentiles=[50, 100]
    )
    for share, corners in zip(shares, fast, strict=True):
        expected = oracle[oracle[:, 2] == -100 * share][:, :2]
        falling = expected[np.lexsort((expected[:, 1], -expected[:, 0]))]
        np.testing.assert_array_equal(corners, falling)


def test_a_coarse_grid_is_exact_at_its_points_and_never_above_between():
    replicates = np.random.default_rng(4).random((50, 6, 2))
    grid = np.linspace(0.1, 0.9, 9)
    (coarse,) = attainment_surfaces(replicates, [0.5], grid)
    exact = attainment_surface(replicates, 0.5)
    np.testing.assert_array_equal(attained(coarse, grid), attained(exact, grid))
    between = np.linspace(0, 1, 201)
    assert (attained(coarse, between) <= attained(exact, between)).all()


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([[0.9, 0.1], [0.5, 0.5]], [[0.9, 0.1], [0.5, 0.5]]),
        ([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]], [[0.9, 0.1], [0.7, 0.3]]),
        ([[0.9, 0.1], [0.8, 0.4], [0.7, 0.5], [0.6, 0.4]], [[0.9, 0.1], [0.8, 0.4], [0.7, 0.5]]),
        ([[0.9, 0.1], [0.9, 0.1]], [[0.9, 0.1]]),
        ([], []),
    ],
    ids=["a chord", "collinear", "concave", "equal", "nothing"],
)
def test_the_hull_of_known_points_is_known(points: list[list[float]], expected: list[list[float]]):
    hull = concave_hull(np.array(points, dtype=np.float64).reshape(-1, 2))
    assert hull.tolist() == expected


@QUICK
@given(POINTS.filter(len))
def test_the_hull_lies_on_or_above_every_point_between_its_ends(points: np.ndarray):
    hull = concave_hull(points)
    inside = points[points[:, 0] >= hull[-1, 0]]
    heights = np.interp(inside[:, 0], hull[::-1, 0], hull[::-1, 1])
    assert (inside[:, 1] <= heights + 1e-9).all()
    assert hull[-1, 1] == points[:, 1].max()
    assert hull[0, 0] == points[:, 0].max()
