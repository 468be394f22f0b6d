"""Best: the configuration that stands for each method, and plain sentences that name it.

A plain sentence leaves out the conditions that all findings of a study share: attack, radius,
images, seeds, estimand and adjustment. The page states them once.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from analysis.document import Analysis, View
from analysis.findings.phrases import plain_ends, points_text
from analysis.fronts.contrasts import Contrast
from analysis.inference.claims import Finding, Interval
from analysis.results.configurations import ConfigurationResult
from analysis.results.results import Results
from analysis.results.words import method_text, percent, values_text

ABOUT_SAME = 0.01
"""Clean accuracies that differ by no more than this are called about the same."""
FAR = 0.2
"""From this difference of robust accuracies on, one configuration is far more robust."""


@dataclass(frozen=True, kw_only=True)
class Best:
    """The most robust configuration of a method, as chosen, with its test accuracies."""

    row: int
    """Its position in `configurations(results)`."""
    configuration: ConfigurationResult
    clean: Interval
    robust: Interval
    cost: float | None
    """Forward passes per training sample and epoch, the mean over its seeds."""

    @property
    def values(self) -> str:
        """Return its values in brackets; empty if nothing varies in its method."""
        text = values_text(self.configuration.values)
        return f" ({text})" if text else ""


Bests = Mapping[str, Best]
"""By method; methods without results have none."""


def best_of_each(analysis: Analysis, view: View | None = None) -> Bests:
    """Return the best configuration of each method with results, measured at the view's radius.

    Every one is chosen at the objective radius, on validation data where there are any.
    """
    members = (view or analysis.primary).fronts.configurations
    rows = {c.key: row for row, c in enumerate(analysis.found)}
    found = {}
    for front in analysis.choice.fronts:
        if front.best is None:
            continue
        row = rows[front.best.key]
        costs = [trial.cost for trial in front.best.trials if trial.cost is not None]
        found[front.note.name] = Best(
            row=row,
            configuration=front.best,
            clean=members[row].clean,
            robust=members[row].robust,
            cost=sum(costs) / len(costs) if costs else None,
        )
    return found


def lead_text(
    results: Results, finding: Finding, names: tuple[str, str], bests: Bests, *, primary: bool
) -> str:
    """Format a claimed difference of two fronts in plain words, the method ahead first.

    It names the best configuration of each where their intervals are apart.
    """
    assert finding.estimate is not None
    one, other = map(method_text, names)
    which = " (the primary contrast)" if primary else ""
    averaged = f"{over_text(results)}, the difference is {_difference(finding)}{which}."
    if not primary:
        averaged = f"On average, the difference is {_difference(finding)}."
    first, second = (bests.get(name) for name in names)
    if first is None or second is None or first.robust.low <= second.robust.high:
        over = f"{over_text(results)[0].lower()}{over_text(results)[1:]}"
        lead = f"{one} is more robust than {other} by {_difference(finding)}, {over}{which}."
        return lead if first is None or second is None else f"{lead} {_reached(first, second)}"
    far = "far " if first.robust.estimate - second.robust.estimate >= FAR else ""
    clean = first.clean.estimate - second.clean.estimate
    if abs(clean) <= ABOUT_SAME:
        at = "at about the same clean accuracy"
    else:
        at = f"at {points_text(abs(clean))} pp {'higher' if clean > 0 else 'lower'} clean accuracy"
    return (
        f"{one} is {far}more robust than {other} {at}: {percent(first.robust.estimate)}%"
        f"{first.values} against {percent(second.robust.estimate)}%{second.values}, clean "
        f"{percent(first.clean.estimate)} and {percent(second.clean.estimate)}%. {averaged}"
    )


def level_text(results: Results, finding: Finding, names: tuple[str, str]) -> str:
    """Format two fronts that are not told apart in plain words."""
    one, other = map(method_text, names)
    return (
        f"{one} and {other} are not told apart: {_difference(finding)}, averaged over required "
        f"clean accuracies of {percent(results.clean_floor)}–100%."
    )


def equal_text(results: Results, finding: Finding, names: tuple[str, str]) -> str:
    """Format two fronts that differ by less than the declared margin in plain words."""
    assert results.margin is not None
    one, other = map(method_text, names)
    return (
        f"{one} and {other} are equally robust within the declared margin of "
        f"{percent(results.margin)} pp: {_difference(finding)}, averaged over required clean "
        f"accuracies of {percent(results.clean_floor)}–100%."
    )


def finer_text(contrast: Contrast, names: tuple[str, str], finer: float) -> str:
    """Format a lead that may come from the number of configurations alone, in plain words.

    finer: the part of the lead that does.
    """
    one, other = map(method_text, names)
    lead = points_text(abs(contrast.difference.estimate))
    return (
        f"{one} is ahead of {other} by {lead} pp, but {points_text(finer)} pp of it come from "
        "unequal numbers of configurations, so no lead is claimed."
    )


def _reached(first: Best, second: Best) -> str:
    return (
        f"Their best settings reach {percent(first.robust.estimate)}%{first.values} and "
        f"{percent(second.robust.estimate)}%{second.values}, clean "
        f"{percent(first.clean.estimate)} and {percent(second.clean.estimate)}%."
    )


def over_text(results: Results) -> str:
    """Format what a difference of two fronts is averaged over."""
    return f"Averaged over required clean accuracies of {percent(results.clean_floor)}–100%"


def _difference(finding: Finding) -> str:
    assert finding.estimate is not None
    ends = "" if finding.low is None else f" {plain_ends(finding.low, finding.high)}"
    return f"{points_text(finding.estimate)} pp{ends}"
