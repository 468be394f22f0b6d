"""Cost findings: which method's front is better at equal training cost, in words."""

from collections.abc import Sequence

from analysis.claims import Finding
from analysis.configurations import ConfigurationResult
from analysis.contrasts import Contrasts
from analysis.costs import CostContrast, CostPoint
from analysis.phrases import (
    NO_SEEDS,
    design_text,
    interval_text,
    invisible_text,
    points_text,
    requirements_text,
)
from analysis.repeats import held_back
from analysis.results import Results
from analysis.words import attack_text, count_text, method_text, value_text

KIND = "hypervolume difference at equal training cost"
UNIT = "forward passes per training image and epoch"


def cost_finding(
    results: Results,
    found: Sequence[ConfigurationResult],
    contrasts: Contrasts,
    contrast: CostContrast,
) -> Finding:
    """Say how two methods compare at the least budget at which both have configurations."""
    if contrast.points:
        said = _compared(results, found, contrasts, contrast, contrast.points[0])
        return held_back(said, found, (contrast.first, contrast.second))
    one, other = method_text(contrast.first), method_text(contrast.second)
    reason = (
        f"the training cost of {one if contrast.first_costs is None else other} is not recorded; "
        "add it to the results"
    )
    return Finding(
        kind=KIND,
        text=f"{one} and {other} are not compared at equal training cost: {reason}.",
        status="refused",
        reason=reason,
        estimand=contrast.estimand,
    )


def _compared(
    results: Results,
    found: Sequence[ConfigurationResult],
    contrasts: Contrasts,
    contrast: CostContrast,
    point: CostPoint,
) -> Finding:
    low, high, known = point.adjusted_low, point.adjusted_high, contrasts.seed_noise
    separated = known and (low > 0 or high < 0)
    paying = [found[row] for row in (*point.first_rows, *point.second_rows)]
    reason = invisible_text(results, paying, 0.5 * (high - low)) if known else NO_SEEDS
    design = design_text(results, found, (point.first_rows, point.second_rows))
    budgets = count_text(len(contrast.points), "budget")
    interval = f"95% interval {interval_text(low, high)}, exploratory, adjusted over {budgets}; "
    text = (
        f"At a training cost of at most {value_text(point.budget)} {UNIT}, "
        f"{_said(contrast, point, separated)}, on average over {requirements_text(results)} "
        f"({interval if known else ''}{attack_text(results.threat, contrast.radius)}; {design}; "
        f"{contrast.estimand}; {_costs(contrast)})."
        f"{'' if separated else f' Cannot tell: {reason}.'} {_note(contrast)}"
    )
    return Finding(
        kind=KIND,
        text=text.strip(),
        status="claimed" if separated else "bracketed" if known else "refused",
        estimate=point.difference.estimate,
        low=low if known else None,
        high=high if known else None,
        estimand=contrast.estimand,
        range=(results.clean_floor, 1.0),
        n=design,
        interval_method="max-T over replicates, extended against the lift of a maximum by noise",
        reason="" if separated else reason,
    )


def _said(contrast: CostContrast, point: CostPoint, separated: bool) -> str:
    """Name the difference: as one method being ahead only where the two are separated."""
    first, second = method_text(contrast.first), method_text(contrast.second)
    gap = point.difference.estimate
    if not separated:
        return (
            f"{first} and {second} are not separated in robust accuracy, "
            f"{first} minus {second} being {points_text(gap)} pp"
        )
    more = f"{points_text(abs(gap))} pp {'more' if gap > 0 else 'less'}"
    return f"{first} attains {more} robust accuracy than {second}"


def _costs(contrast: CostContrast) -> str:
    named = []
    pairs = (contrast.first, contrast.first_costs), (contrast.second, contrast.second_costs)
    for method, costs in pairs:
        assert costs is not None, "budgets come from costs"
        least, greatest = value_text(costs[0]), value_text(costs[1])
        between = least if least == greatest else f"{least} to {greatest}"
        named.append(f"{method_text(method)} costs {between}")
    return ", ".join(named)


def _note(contrast: CostContrast) -> str:
    """Say whether costs were equal at all, or how the comparison goes on at higher budgets."""
    first, second = contrast.first_costs, contrast.second_costs
    assert first is not None, "budgets come from costs"
    assert second is not None, "budgets come from costs"
    names = method_text(contrast.first), method_text(contrast.second)
    if first[0] > second[1] or second[0] > first[1]:
        dear, cheap = names if first[0] > second[1] else names[::-1]
        return (
            f"No cost is equal: each configuration of {dear} costs more than every one of {cheap}, "
            "so a dearer method stands against a cheaper one."
        )
    if len(contrast.points) == 1:
        return "All configurations of both cost this much." if first[0] == second[0] else ""
    ahead = sum(point.adjusted_low > 0 for point in contrast.points)
    behind = sum(point.adjusted_high < 0 for point in contrast.points)
    return (
        f"Of {len(contrast.points)} budgets up to {value_text(contrast.points[-1].budget)}, "
        f"{names[0]} is ahead at {ahead} and behind at {behind}; elsewhere the two are not "
        "separated."
    )
