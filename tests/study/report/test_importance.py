"""Importances: of searches whose truth is known, and when there are none."""

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from study.plan import space
from study.plan.plan import Plan, TrialRecord, make_plan
from study.report.importance import LEAST, measure_importances
from study.spec import StudySpec

Read = Callable[..., StudySpec]
DATA = "some-data"
SEARCHED = """\
tiny:
  data: {name: digits}
  model: {name: small_cnn, width: 2}
  training: {epochs: 3, batch_size: 250, learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0,
             schedule: cosine}
  seeds: [0, 1]
  methods:
    sam_at: {weights: {sam: {rho: {low: 0.05, high: 0.8, log: true}}},
             inputs: {pgd: {norm: linf, epsilon: {low: 0.0, high: 0.2}, steps: 1}}}
  search: {trials: 30}
  evaluation: {norm: linf, radii: [0.1], objective_radius: 0.1,
               attack: {pgd: {steps: 1, restarts: 1}}}
"""


def searched(
    spec: StudySpec, truth: Callable[[Mapping[str, Any]], tuple[float, float]], count: int
) -> Plan:
    """Plan a study of which each block has so many suggestions, done with every seed."""
    rng, records = random.Random(0), []
    for block in space.search_blocks(spec, DATA):
        for number in range(count):
            chosen = {path: rng.uniform(r.low, r.high) for path, r in block.ranges}
            configuration = space.suggested(block, chosen, number)
            clean, robust = truth(space.short_values(spec, configuration))
            for cell in space.cells(spec, configuration, DATA):
                noise = 0.01 * rng.random()
                records.append(
                    record(spec, cell, block.key, number, (clean + noise, robust + noise))
                )
    return make_plan(spec, DATA, records)


def record(
    spec: StudySpec, cell: Any, block: str, number: int, objectives: tuple[float, float] | None
) -> TrialRecord:
    return TrialRecord(
        run=f"{number}-{cell.seed}",
        study=spec.name,
        cell_key=cell.key,
        block=block,
        number=number,
        canonical=space.canonical(cell.config, DATA),
        status="FINISHED" if objectives else "FAILED",
        reason="",
        would_repeat=False,
        objectives=objectives,
        is_complete=objectives is not None,
        started=float(number),
        seconds=1.0,
        metrics={},
        labels={"method": "sam_at"},
        artifacts="",
    )


def rho_for_clean_epsilon_for_robust(values: Mapping[str, Any]) -> tuple[float, float]:
    return 0.9 - 0.5 * values["rho"], 0.2 + 2.0 * values["epsilon"]


def test_what_decides_an_objective_has_the_share(read: Read) -> None:
    spec = read(text=SEARCHED)
    clean, robust = measure_importances(spec, searched(spec, rho_for_clean_epsilon_for_robust, 60))
    assert (clean.method, clean.objective, clean.configurations) == ("sam_at", "clean", 60)
    assert (robust.objective, robust.evaluator) == ("robust", "PED-ANOVA, best 25% against all")
    assert clean.shares["rho"] > 0.85, clean
    assert robust.shares["epsilon"] > 0.85, robust
    for shares in (clean.shares, robust.shares):
        assert sum(shares.values()) == pytest.approx(1)


def test_importances_are_the_same_each_time(read: Read) -> None:
    spec = read(text=SEARCHED)
    plan = searched(spec, rho_for_clean_epsilon_for_robust, 30)
    assert measure_importances(spec, plan) == measure_importances(spec, plan)


def test_blocks_are_pooled_without_what_their_lists_decide(read: Read) -> None:
    spec = read(text=SEARCHED.replace("steps: 1}}}\n  search", "steps: [1, 9]}}}\n  search"))

    def truth(values: Mapping[str, Any]) -> tuple[float, float]:
        return 0.5, 0.05 * values["steps"] + 0.2 * values["epsilon"]

    plan = searched(spec, truth, 20)
    assert len(plan.blocks) == 2
    [robust] = [i for i in measure_importances(spec, plan) if i.objective == "robust"]
    assert robust.configurations == 40
    assert robust.shares.keys() == {"rho", "epsilon"}
    assert robust.shares["epsilon"] > 0.85, robust


@pytest.mark.parametrize(("count", "found"), [(LEAST - 1, 0), (LEAST, 2)])
def test_few_configurations_have_no_importances(read: Read, count: int, found: int) -> None:
    spec = read(text=SEARCHED)
    plan = searched(spec, rho_for_clean_epsilon_for_robust, count)
    assert len(measure_importances(spec, plan)) == found


def test_a_configuration_counts_when_every_seed_is_done(read: Read) -> None:
    spec = read(text=SEARCHED)
    plan = searched(spec, rho_for_clean_epsilon_for_robust, LEAST)
    first = plan.cells[0]
    assert first.record is not None
    lacking = replace(first, record=replace(first.record, objectives=None, is_complete=False))
    assert measure_importances(spec, replace(plan, cells=(lacking, *plan.cells[1:]))) == ()


def test_the_only_range_has_no_importance(read: Read) -> None:
    spec = read(text=SEARCHED.replace("epsilon: {low: 0.0, high: 0.2}", "epsilon: 0.1"))
    plan = searched(spec, lambda values: (values["rho"], values["rho"]), LEAST)
    assert len(plan.cells) == 2 * LEAST
    assert measure_importances(spec, plan) == ()


def test_equal_accuracies_have_no_importances(read: Read) -> None:
    spec = read(text=SEARCHED)
    plan = searched(spec, lambda values: (0.5, 0.5), 20)
    records = [
        replace(p, record=replace(p.record, objectives=(0.5, 0.5)))
        for p in plan.cells
        if p.record is not None
    ]
    assert measure_importances(spec, replace(plan, cells=tuple(records))) == ()


def test_a_study_without_a_search_has_no_importances(read: Read) -> None:
    text = SEARCHED.replace("{low: 0.05, high: 0.8, log: true}", "0.1")
    text = text.replace("{low: 0.0, high: 0.2}", "0.1").replace("  search: {trials: 30}\n", "")
    spec = read(text=text)
    assert measure_importances(spec, make_plan(spec, DATA, ())) == ()
