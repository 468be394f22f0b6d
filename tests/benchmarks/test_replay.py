"""The replay of searches, on a table small enough to be known by heart."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import replay
import search_table
from replay_loop import Loop, Replay, searched
from search_table import Design, Table, draw_configurations

NUM_SEEDS, NUM_EPOCHS, NUM_IMAGES = 3, 20, 200
FEW = Design(
    stem="few", points={"sam": 6, "at": 4, "sam_at": 4}, seeds=tuple(range(NUM_SEEDS)), scramble=0
)


@pytest.fixture(scope="module")
def table() -> Table:
    """Accuracies rise with the epochs; the k-th configuration of a method is its k-th best.

    Of each method the first configurations, 3 for SAM and 2 for the others, trade clean accuracy
    for robust; the others are far behind them.
    """
    configurations = draw_configurations(search_table.declared(), FEW)
    accuracies = np.zeros((len(configurations), NUM_SEEDS, NUM_EPOCHS, 2))
    for row, configuration in enumerate(configurations):
        number, half = configuration.number, FEW.points[configuration.method] // 2
        last = (0.98 - 0.01 * number, 0.5 + 0.05 * number) if number < half else (0.92, 0.2)
        for seed in range(NUM_SEEDS):
            seen = np.linspace(0.9, 1.0, NUM_EPOCHS)[:, np.newaxis] * np.array(last)
            accuracies[row, seed] = seen - 0.001 * seed
    places = (np.arange(NUM_IMAGES) + 0.5) / NUM_IMAGES
    return Table(
        configurations=configurations,
        seeds=FEW.seeds,
        bits=places < accuracies[..., np.newaxis],
        epochs=np.full(accuracies.shape[:2], NUM_EPOCHS),
    )


def test_the_recorded_table_is_whole() -> None:
    one = search_table.load()
    assert one.bits.shape == (80, 6, 20, 2, 297)
    assert (one.epochs == 20).all()
    clean, robust = one.bits[..., 0, :], one.bits[..., 1, :]
    assert not (robust & ~clean).any(), "robust bits are nested"
    last = one.accuracies[:, :, -1].mean(axis=1)
    assert 0.2 < last[one.rows("sam"), 1].max() < 0.4 < 0.8 < last[one.rows("at"), 1].max()


def test_the_table_that_was_held_back_has_other_configurations_and_seeds() -> None:
    main, check = search_table.load(), search_table.load(search_table.CHECK)
    assert check.bits.shape == (40, 3, 20, 2, 297)
    assert (check.epochs == 20).all()
    assert not {one.values for one in main.configurations} & {
        one.values for one in check.configurations
    }
    assert not set(main.seeds) & set(check.seeds)


def test_rungs_and_raced_seeds_spend_less_and_keep_the_front(table: Table) -> None:
    every = replay.replay(table, replay.ours(sampler="random"), 0)
    policy = replay.ours(sampler="random", stop=replay.HALF, seeds="adaptive")
    found = replay.replay(table, policy, 0)
    for method, one in found.items():
        assert one.total < every[method].total
        assert one.share[-1] == 1.0
        assert (one.lost, one.stopped) == (0, 0)


def test_a_search_without_stops_trains_everything_and_finds_the_front(table: Table) -> None:
    found = replay.replay(table, replay.ours(sampler="random"), 0)
    for method, one in found.items():
        count = FEW.points[method]
        assert one.total == count * NUM_SEEDS * NUM_EPOCHS
        assert one.trials == count * NUM_SEEDS
        assert one.nondominated == count // 2
        assert (one.lost, one.stopped) == (0, 0)
        assert one.share[-1] == 1.0


def test_one_objective_stops_what_only_two_would_keep(table: Table) -> None:
    found = replay.replay(table, replay.ours(sampler="random", scheduler=replay.asha(4, 2)), 0)
    everything = sum(FEW.points.values()) * NUM_SEEDS * NUM_EPOCHS
    assert sum(one.total for one in found.values()) < everything
    # SAM's cleanest configurations have the lowest mean of both accuracies on the front.
    assert found["sam"].stopped > 0


def test_replays_differ_in_order_and_are_repeatable(table: Table) -> None:
    policy = replay.ours(sampler="random", seeds=1)
    curves = [tuple(replay.replay(table, policy, number)["sam"].share) for number in (0, 1, 2, 0)]
    assert len(set(curves)) > 1
    assert curves[0] == curves[3]


def test_a_failed_seed_takes_its_configuration_out_of_truth_and_front(table: Table) -> None:
    ended = table.epochs.copy()
    ended[table.rows("sam")[0], 1] = 3
    one = replace(table, epochs=ended)
    block = search_table.blocks(search_table.declared())["sam"]
    found = searched(one, block, np.random.default_rng(0))
    assert found.total == (6 * NUM_SEEDS - 1) * NUM_EPOCHS + 3
    assert found.front.tolist() == [False, True, True, False, False, False]
    result = Loop(found, block, *replay.ours(sampler="random")(found, block, 0)).run()
    assert (result.nondominated, result.lost, result.share[-1]) == (2, 0, 1.0)


def test_goal_is_reached_when_median_and_low_end_stay_above_it() -> None:
    def curve(spent: list[float], share: list[float]) -> Replay:
        return Replay(
            spent=np.array(spent),
            share=np.array(share),
            total=40,
            lost=0,
            stopped=0,
            nondominated=1,
            trials=1,
            seconds=0.0,
        )

    early, late = curve([10, 20], [0.9, 1.0]), curve([10, 30], [1.0, 0.995])
    fallen = curve([10, 40], [1.0, 0.5])
    assert replay.reached([early]) == 20
    assert replay.reached([early, early, late]) == 20
    assert replay.reached([early, late]) == 20  # the later one held 1.0 before it fell to 0.995
    assert replay.reached([fallen]) == np.inf
    assert replay.reached([early, fallen], (0.5, 0.0)) == 10


ROOT = Path(__file__).parents[2]
ROWS = {
    "all seeds": "random, all seeds",
    "all seeds, suggested by TPE": "TPE, all seeds",
    "all seeds, suggested by Optuna's GP": "GP, all seeds",
    "all seeds, suggested by NSGA-II": "NSGA-II, all seeds",
    "one seed": "random, one seed",
    "one seed, ASHA": "ASHA 4-8-16, one seed",
    "one seed, MOASHA": "MOASHA 4-8-16, one seed",
    "a rung at 0.5, `keep: 0.5`": "ours: rungs",
    "**adaptive seeds**": "ours: seeds",
    "adaptive seeds, suggested by TPE": "ours with TPE: seeds",
    "a rung at 0.5, `keep: 0.7`, adaptive seeds": "ours: rungs (0.7) and seeds",
    "a rung at 0.5, `keep: 0.5`, adaptive seeds": "ours: rungs and seeds",
    "rungs at 0.2 and 0.5, `keep: 0.5`, adaptive seeds": "ours: early rungs and seeds",
}
"""The rows of the tables in docs/spending_less.md; the second has some of them."""
CHECKED = ("all seeds", "all seeds, suggested by TPE", "**adaptive seeds**", *list(ROWS)[-3:])


@pytest.mark.parametrize(("stem", "rows"), [("replay", tuple(ROWS)), ("replay_check", CHECKED)])
def test_the_tables_of_the_documentation_are_what_was_measured(
    stem: str, rows: tuple[str, ...]
) -> None:
    found = json.loads((ROOT / "benchmarks" / f"{stem}.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "spending_less.md").read_text(encoding="utf-8")
    for row in rows:
        one = found[ROWS[row]]
        shares = (one["share_to"]["goal"], one["share_of_epochs"], one["lost"])
        cells = " | ".join((row, *map(replay.percent, shares), str(one["replays"])))
        assert f"| {cells} |\n" in page, cells
