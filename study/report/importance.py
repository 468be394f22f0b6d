"""How important each hyperparameter of a searched method was, by PED-ANOVA."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Literal

from analysis.results.trials import Importance
from study.plan import space
from study.plan.plan import Plan, PlannedBlock, mean_objectives
from study.spec import Range, StudySpec, Value, settings_of

TOP = 0.25
"""Share of the configurations that counts as the best; their values are compared with all."""
LEAST = 20
"""With fewer configurations none is computed. The best quarter of 20 has 5, as Optuna advises.

Simulated with two hyperparameters of which one matters: it came first in 99% of 150 searches of 20
configurations (in 87% of 10), and in 91% with Optuna's own share of a tenth.
"""
EVALUATOR = f"PED-ANOVA, best {TOP:.0%} against all"
OBJECTIVES: tuple[Literal["clean", "robust"], ...] = ("clean", "robust")


def measure_importances(spec: StudySpec, plan: Plan) -> tuple[Importance, ...]:
    """Measure the importances of every searched method, for clean and for robust accuracy.

    Uses the mean validation accuracies of the configurations that the study's searches suggested
    and that are done with every seed. The search blocks of a method are pooled after subtracting
    each block's mean, as lists are not searched. A method with fewer than `LEAST` such
    configurations, or with only one range, has no importances. Deterministic. Watanabe, Bansal and
    Hutter (2023), IJCAI, arXiv 2304.10255.

    Shares add up to 1 even if no hyperparameter matters: simulated shares of two that did not
    matter lay anywhere from 0.05 to 0.95.
    """
    objectives = {p.cell.key: p.record.objectives for p in plan.cells if p.record is not None}
    found: list[Importance] = []
    for method in dict.fromkeys(planned.block.method for planned in plan.blocks):
        blocks = [planned for planned in plan.blocks if planned.block.method == method]
        points = [p for block in blocks for p in _points(spec, plan.fingerprint, block, objectives)]
        if len(points) < LEAST or len(points[0][0]) < 2:
            continue
        for column, objective in enumerate(OBJECTIVES):
            shares = _shares([(values, means[column]) for values, means in points])
            if shares:
                importance = Importance(
                    method=method,
                    objective=objective,
                    shares=_named(spec, method, shares),
                    configurations=len(points),
                    evaluator=EVALUATOR,
                )
                found.append(importance)
    return tuple(found)


def _points(
    spec: StudySpec,
    fingerprint: str,
    planned: PlannedBlock,
    objectives: Mapping[str, tuple[float, float] | None],
) -> list[tuple[Mapping[str, float], tuple[float, float]]]:
    """Return the positions in the ranges and the centred objectives of complete suggestions."""
    found = []
    for configuration in planned.suggestions:
        cells = space.cells(spec, configuration, fingerprint)
        means = mean_objectives(objectives.get(cell.key) for cell in cells)
        if means is not None:
            values = dict(configuration.values)
            places = {path: _place(values[path], limits) for path, limits in planned.block.ranges}
            found.append((places, means))
    centre = [fmean(means[column] for _, means in found) if found else 0.0 for column in (0, 1)]
    return [(places, (clean - centre[0], robust - centre[1])) for places, (clean, robust) in found]


def _place(value: Value, limits: Range) -> float:
    """Return the position of a value within its range: 0 at the low end, 1 at the high end."""
    scale = math.log if limits.log else float
    low, high = scale(limits.low), scale(limits.high)
    return (scale(float(value)) - low) / (high - low)


def _shares(points: Sequence[tuple[Mapping[str, float], float]]) -> dict[str, float]:
    """Compute the shares, which add up to 1; empty if all configurations are equally good."""
    import optuna  # seconds: only for a large search
    from optuna.importance import PedAnovaImportanceEvaluator

    if len({value for _, value in points}) == 1:
        return {}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    paths = list(points[0][0])
    domains: dict[str, optuna.distributions.BaseDistribution] = {
        path: optuna.distributions.FloatDistribution(0.0, 1.0) for path in paths
    }
    for places, value in points:
        trial = optuna.trial.create_trial(params=dict(places), distributions=domains, value=value)
        study.add_trial(trial)
    evaluator = PedAnovaImportanceEvaluator(target_quantile=TOP)
    divergences = evaluator.evaluate(study, params=paths)
    total = math.fsum(divergences.values())
    return {path: divergences[path] / total for path in paths} if total > 0 else {}


def _named(spec: StudySpec, method: str, shares: Mapping[str, float]) -> dict[str, float]:
    paths = [path for path, _ in settings_of(spec, method)]
    return {space.short_name(path, paths): share for path, share in shares.items()}
