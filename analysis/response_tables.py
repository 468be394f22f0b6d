"""Response tables: the numbers behind the responses, margins, equivalences, and the alarms."""

from collections.abc import Sequence

from analysis.alarms import Alarm
from analysis.claims import Interval
from analysis.configurations import configurations
from analysis.equivalence import Equivalence
from analysis.equivalence_findings import bracket_text
from analysis.margins import Margin
from analysis.palette import method_styles
from analysis.response import Response
from analysis.results import Results
from analysis.tables import Cell, Table
from analysis.words import (
    SYMBOLS,
    attack_text,
    count_text,
    method_text,
    percent,
    value_text,
    values_text,
)


def response_table(results: Results, response: Response) -> Table:
    """List the accuracies of one method at each strength."""
    name = SYMBOLS.get(response.name, response.name)
    fits = response.clean_fit or (None,) * len(response.rows)
    return Table(
        key=f"response-{response.method}",
        caption=f"Accuracy of {method_text(response.method)} in % against {name}, below it the 95% "
        f"interval ({response.estimand}); robust at {attack_text(results.threat, response.radius)}."
        + (" Fitted: clean accuracy made non-increasing." if response.clean_fit else ""),
        columns=(name, "Clean", *(["Clean, fitted"] if response.clean_fit else []), "Robust"),
        rows=tuple(
            (
                Cell(text=value_text(strength), order=strength),
                _accuracy(clean),
                *([] if fit is None else [_accuracy(fit)]),
                _accuracy(robust),
            )
            for strength, clean, fit, robust in zip(
                response.strengths, response.clean, fits, response.robust, strict=True
            )
        ),
    )


def equivalence_table(results: Results, equivalence: Equivalence) -> Table:
    """List the training ε that each ρ is worth, or the levels that it lies between."""
    found = configurations(results)
    rows = []
    for value in equivalence.values:
        epsilon = value.epsilon
        worth = (
            Cell(text=bracket_text(value), order=value.floor or 0.0)
            if epsilon is None
            else Cell(
                text=value_text(epsilon.estimate),
                below=f"{value_text(epsilon.low)}–{value_text(epsilon.high)}",
                order=epsilon.estimate,
            )
        )
        following = value.next_level
        rows.append(
            (
                Cell(text=values_text(found[value.row].values) or "–", order=value.rho or 0.0),
                _accuracy(value.robust),
                worth,
                Cell(text=percent(value.inside), order=value.inside),
                Cell(text="–" if following is None else value_text(following)),
            )
        )
    return Table(
        key=f"equivalence-{equivalence.sam}-{equivalence.adversarial}",
        caption=f"The training ε of {method_text(equivalence.adversarial)} with the robust "
        f"accuracy (in %) of {method_text(equivalence.sam)} at "
        f"{attack_text(results.threat, equivalence.radius)}, below it the 95% interval "
        f"({equivalence.estimand}). Inside: % of replicates among trained ε at most a factor 2 "
        "apart; below 95% only the levels around it are given.",
        columns=(
            method_text(equivalence.sam),
            "Robust",
            f"ε of {method_text(equivalence.adversarial)}",
            "Inside",
            "ε to train next",
        ),
        rows=tuple(rows),
    )


def margin_table(results: Results, margins: Sequence[Margin]) -> Table:
    """List each configuration's survival curve: half-robustness radius, mean margin, step sums."""
    found, styles = configurations(results), method_styles(results.methods)
    largest = value_text(results.threat.radii[-1])
    estimand = margins[0].estimand if margins else ""
    rows = []
    for margin in margins:
        c, fit = found[margin.row], margin.fit
        low, high = margin.half_between
        between = (
            f"> {value_text(low)}" if high is None else f"{value_text(low)}–{value_text(high)}"
        )
        family = Cell(text="–", below=margin.refusal) if fit is None else Cell(text=fit.family)
        rows.append(
            (
                Cell(text=c.method, colour=styles[c.method].colour, order=c.method),
                Cell(text=values_text(c.values)),
                family,
                Cell(text=f"({between})", order=low) if fit is None else _radius(fit.half_radius),
                _radius(None if fit is None else fit.mean_margin),
                _radius(None if fit is None else fit.shape),
                Cell(
                    text=f"{value_text(margin.area_low.estimate)}–"
                    f"{value_text(margin.area_high.estimate)}",
                    order=margin.area_low.estimate,
                ),
            )
        )
    return Table(
        key="margins",
        caption=f"Robust accuracy against attack radius ({results.threat.attack}, "
        f"{results.threat.norm}, {count_text(results.num_test, 'test image')}, {estimand}): "
        "half-robustness radius, where half of the clean accuracy is lost, by a survival curve, "
        "below it the 95% interval; in brackets, without a curve, the radii between which it is "
        "lost. Mean margin: over all images, resting on the tail beyond the largest radius. Step "
        f"sums: they enclose the mean of margins cut at {largest}, whatever the curve.",
        columns=(
            "Method",
            "Values",
            "Curve",
            "Half-robustness radius",
            "Mean margin",
            "κ",
            "Step sums",
        ),
        rows=tuple(rows),
        sortable=True,
    )


def alarm_table(alarms: Sequence[Alarm]) -> Table:
    """List the alarms with the trials that raise them."""
    return Table(
        key="alarms",
        caption="Signs of a failing attack. A failure voids the robust accuracies of its trials; a "
        "warning asks for a look.",
        columns=("Severity", "What", "Trials"),
        rows=tuple(
            (Cell(text=alarm.severity), Cell(text=alarm.text), Cell(text="; ".join(alarm.cells)))
            for alarm in alarms
        ),
    )


def _accuracy(value: Interval) -> Cell:
    return Cell(
        text=percent(value.estimate),
        below=f"{percent(value.low)}–{percent(value.high)}",
        order=value.estimate,
    )


def _radius(value: Interval | None) -> Cell:
    if value is None:
        return Cell(text="–", order=-1.0)
    return Cell(
        text=value_text(value.estimate),
        below=f"{value_text(value.low)}–{value_text(value.high)}",
        order=value.estimate,
    )
