"""Tables of fronts: contrasts, dominance, gaps, rates, attack strength, equivalent ε, the gate."""

from analysis.curves.fits import FamilyFit
from analysis.curves.gaps import Gap
from analysis.document import Analysis
from analysis.figures.gaps import LARGEST_RATE
from analysis.figures.layers import thinned
from analysis.findings.phrases import ESTIMAND_TEXTS, points_text, requirements_text
from analysis.findings.verdicts import claimed_text
from analysis.fronts.contrasts import Contrast, Contrasts, CostPoint
from analysis.fronts.floors import FloorContrast
from analysis.fronts.verdicts import JudgedClaim
from analysis.inference.claims import Interval
from analysis.report.tables import (
    Cell,
    Table,
    difference_cell,
    ends_text,
    interval_cell,
    method_cell,
    more_text,
    printed_share,
    standard_steps,
)
from analysis.responses.equivalence import Equivalence, Equivalent
from analysis.results.configurations import configurations
from analysis.results.results import Results
from analysis.results.words import (
    attack_text,
    count_text,
    method_text,
    percent,
    value_text,
    values_text,
)

LEAST_PRINTED_RATE = 0.05
"""Exchange rates below this would be printed as 0.0."""
MOST_EFFORTS = 3
"""Pairs of methods that are listed by the number of tries."""
MOST_PLACES = 7
"""Clean accuracies at which a table lists the values of a curve."""


def claim_table(analysis: Analysis) -> Table:
    """Build the table of the claims that the study declared, with their verdicts."""
    results = analysis.results
    return Table(
        key="claims",
        caption="Claims that the study declared. Difference of robust accuracy, first minus second "
        "method, in pp, with the 95% interval that holds for all claims together below; and the "
        "90% interval of two one-sided tests at 5%, which lies within ±margin where two methods "
        f"are equivalent. Intervals for {ESTIMAND_TEXTS[analysis.estimand]}.",
        columns=("Claim", "Radius", "Margin", "Difference", "90% interval", "Verdict", "Declared"),
        rows=tuple(
            (
                Cell(text=f"{text[0].upper()}{text[1:]}"),
                Cell(text=value_text(one.claim.radius), order=one.claim.radius),
                Cell(text="–" if one.claim.margin is None else points_text(one.claim.margin)),
                difference_cell(one.difference),
                Cell(text=ends_text(*one.equivalence)),
                Cell(text=one.verdict),
                Cell(text=_declared_text(one)),
            )
            for one in analysis.claims
            for text in [claimed_text(results, one)]
        ),
        folded=f"The numbers of {count_text(len(analysis.claims), 'claim')}",
    )


def _declared_text(judged: JudgedClaim) -> str:
    """Format when a claim was declared, by the trials that had run by then."""
    before = judged.claim.trials_before
    if before is None:
        return "unknown"
    return f"after {count_text(before, 'trial')}" if before else "before the first trial"


def contrast_table(results: Results, contrasts: Contrasts) -> Table:
    """Build the table of differences in mean attainable robust accuracy between methods."""
    return Table(
        key="contrasts",
        caption="Difference in mean attainable robust accuracy over "
        f"{requirements_text(results)}, first minus second method, in pp, with its own 95% "
        "interval below. The adjusted 95% intervals hold all together (max-T). "
        f"{_measured_text(results, contrasts)}",
        columns=("First", "Second", "Difference", "Adjusted interval", "Contrast"),
        rows=tuple(
            (
                Cell(text=method_text(one.first)),
                Cell(text=method_text(one.second)),
                difference_cell(one.difference),
                _adjusted_cell(one),
                Cell(text="primary" if one.primary else "adjusted"),
            )
            for one in contrasts.contrasts
        ),
    )


def cost_table(results: Results, contrasts: Contrasts) -> Table:
    """Build the table of the same differences within each budget of training cost."""
    return Table(
        key="costs",
        caption="The same difference, in pp, with only the configurations whose training cost is "
        "within a budget (in forward passes per training image and epoch; standard training costs "
        "3), and what each method then attains, in %. Adjusted intervals: 95%, over the budgets "
        f"of a pair; exploratory. {_measured_text(results, contrasts)}",
        columns=(
            "First",
            "Second",
            "Budget",
            "Configurations",
            "First attains",
            "Second attains",
            "Difference",
            "Adjusted interval",
        ),
        rows=tuple(
            (
                Cell(text=method_text(one.first)),
                Cell(text=method_text(one.second)),
                Cell(
                    text=value_text(point.budget),
                    below=standard_steps(point.budget),
                    order=point.budget,
                ),
                Cell(text=f"{len(point.first_rows)} + {len(point.second_rows)}"),
                interval_cell(point.first),
                interval_cell(point.second),
                difference_cell(point.difference),
                _adjusted_cell(point),
            )
            for one in contrasts.costs
            for point in one.points
        ),
    )


def effort_table(analysis: Analysis) -> Table:
    """Build the table of what methods attain by the number of configurations tried."""
    results, efforts = analysis.results, analysis.efforts[:MOST_EFFORTS]
    more = more_text(len(analysis.efforts) - len(efforts), "pair", "front.json")
    return Table(
        key="tries",
        caption="What a number of tries attains, in %, on average over "
        f"{requirements_text(results)}, expected over all choices of so many of a method's "
        "configurations; and the difference in pp, first minus second method, with the 95% "
        "interval that holds for all numbers of tries of a pair below. A method is ahead where "
        "also tries with repetition say so, if the numbers of configurations differ. Intervals "
        f"for {ESTIMAND_TEXTS[analysis.estimand]}; exploratory.{more}",
        columns=(
            "First",
            "Second",
            "Tries",
            "First attains",
            "Second attains",
            "Difference",
            "Ahead",
        ),
        rows=tuple(
            (
                Cell(text=method_text(one.first), below=f"of {one.configurations[0]}"),
                Cell(text=method_text(one.second), below=f"of {one.configurations[1]}"),
                Cell(text=str(point.tries), order=point.tries),
                interval_cell(point.first),
                interval_cell(point.second),
                Cell(
                    text=points_text(point.difference.estimate),
                    below=ends_text(point.adjusted_low, point.adjusted_high),
                    order=point.difference.estimate,
                ),
                Cell(text=("–", method_text(one.first), method_text(one.second))[point.ahead]),
            )
            for one in efforts
            for point in one.points
        ),
        folded="What each number of tries attains",
    )


def dominance_table(results: Results, contrasts: Contrasts) -> Table:
    """Build the table of configurations that come closest to dominating those of another method."""
    found = configurations(results)
    return Table(
        key="dominance",
        caption="Each configuration of a second method, and the configuration of a first method "
        "that comes closest to dominating it: differences in accuracy in pp, first minus second, "
        "with 95% intervals adjusted over all pairs of configurations of both methods (max-T). "
        f"{_measured_text(results, contrasts)}",
        columns=("Second", "First", "Clean", "Robust", "P(first ≻ second)", "Dominates"),
        rows=tuple(
            (
                Cell(text=method_text(pair.second), below=values_text(found[one.second].values)),
                Cell(text=method_text(pair.first), below=values_text(found[one.first].values)),
                difference_cell(one.clean),
                difference_cell(one.robust),
                Cell(text=printed_share(one.share), order=one.share),
                Cell(text="yes" if one.claimed else "not established"),
            )
            for pair in contrasts.dominances
            for one in pair.each
        ),
        sortable=True,
    )


def gap_table(analysis: Analysis, gap: Gap, key: str) -> Table:
    """Build the table of a gap at a few clean accuracies of its shared range."""
    return Table(
        key=key,
        caption=f"Robust accuracy of {method_text(gap.first)} minus {method_text(gap.second)} at "
        "equal clean accuracy, in pp, with its simultaneous 95% band and the envelope over the "
        f"families that fit about as well. {_measured_text(analysis.results, gap)}",
        columns=("Clean accuracy (%)", "Gap", "Band", "Envelope"),
        rows=tuple(
            (
                Cell(text=percent(gap.clean[at]), order=gap.clean[at]),
                Cell(text=points_text(gap.estimate[at]), order=gap.estimate[at]),
                Cell(text=ends_text(gap.low[at], gap.high[at])),
                Cell(text=ends_text(gap.envelope_low[at], gap.envelope_high[at])),
            )
            for at in thinned(len(gap.clean), MOST_PLACES).tolist()
        ),
    )


def floor_table(analysis: Analysis, floors: FloorContrast, key: str) -> Table:
    """Build the table of what two methods without a gap attain at required clean accuracies."""
    first, second = method_text(floors.first), method_text(floors.second)
    return Table(
        key=key,
        caption=f"Robust accuracy that the configurations of {first} and of {second} attain at "
        f"{'the declared' if floors.declared else 'some'} required clean accuracies, in %, and "
        "first minus second, in pp, with 95% intervals that hold together for all differences. "
        "Finer grid: the lead that is left over the next less clean configuration of the method "
        "behind, too; if it has none, only configurations as clean as its least clean one count. "
        f"{_measured_text(analysis.results, floors)}",
        columns=("Clean accuracy (%) ≥", first, second, "Difference", "Finer grid", "Claimed"),
        rows=tuple(
            (
                Cell(text=percent(point.clean), order=point.clean),
                *(
                    Cell(text="none") if value is None else interval_cell(value)
                    for value in (point.first, point.second)
                ),
                *(
                    Cell(text="–") if value is None else difference_cell(value)
                    for value in (point.difference, point.finer)
                ),
                Cell(text="yes" if point.status == "claimed" else f"no: {point.reason}"),
            )
            for point in floors.points
        ),
    )


def rate_table(analysis: Analysis) -> Table:
    """Build the table of exchange rates at a few clean accuracies."""
    rates = [rate for rate in analysis.primary.rates if rate.clean]
    return Table(
        key="rates",
        caption="Robust points gained per clean point given up along each fitted front, with "
        f"pointwise 95% intervals for {ESTIMAND_TEXTS[analysis.estimand]}.",
        columns=("Method", "Clean accuracy (%)", "Rate", "Interval"),
        rows=tuple(
            (
                method_cell(analysis.results, rate.method),
                Cell(text=percent(rate.clean[at]), order=rate.clean[at]),
                Cell(text=rate_text(rate.estimate[at]), order=rate.estimate[at]),
                Cell(text=f"{rate_text(rate.low[at])} to {rate_text(rate.high[at])}"),
            )
            for rate in rates
            for at in thinned(len(rate.clean), MOST_PLACES).tolist()
        ),
    )


def margin_table(analysis: Analysis) -> Table:
    """Build the table of accuracies at every radius, and of the radius at which half is lost."""
    results, found = analysis.results, analysis.found
    drawn = [margin for margin in analysis.margins if margin.curve is not None or margin.refusal]
    chosen = {one.best for one in analysis.selection.methods}
    shown = [margin for margin in drawn if margin.row in chosen or margin.curve is not None]
    return Table(
        key="attack-table",
        caption="Accuracy in % at every attack radius, of each method's most robust configuration "
        "as chosen, and the radius at which it loses half of its clean accuracy, under "
        f"{results.threat.attack}, {results.threat.norm}, with 95% intervals for "
        f"{ESTIMAND_TEXTS[analysis.estimand]}.",
        columns=(
            "Configuration",
            "Clean",
            *(value_text(radius) for radius in results.threat.radii),
            "Half lost at",
        ),
        rows=tuple(
            (
                method_cell(
                    results, found[margin.row].method, values_text(found[margin.row].values)
                ),
                *(interval_cell(value) for value in margin.accuracies),
                Cell(text="no fit" if margin.fit is None else "bracketed")
                if margin.fit is None or margin.fit.doubt
                else _strength_cell(margin.fit.half_radius),
            )
            for margin in shown
        ),
    )


def equivalence_table(analysis: Analysis, equivalence: Equivalence, key: str) -> Table:
    """Build the table of the training ε that each ρ is worth, or of the levels around this ε."""
    return Table(
        key=key,
        caption=f"The training ε at which {method_text(equivalence.adversarial)} is as robust as "
        f"{method_text(equivalence.sam)} with each ρ, with 95% intervals for "
        f"{ESTIMAND_TEXTS[equivalence.estimand]}. Where the data do not determine a value, the "
        "table lists the levels around it.",
        columns=("ρ", "Robust accuracy (%)", "Equivalent ε", "ε to train next"),
        rows=tuple(
            (
                Cell(
                    text="–" if value.rho is None else value_text(value.rho),
                    order="" if value.rho is None else value.rho,
                ),
                interval_cell(value.robust),
                _epsilon_cell(value),
                Cell(text="–" if value.next_level is None else value_text(value.next_level)),
            )
            for value in equivalence.values
        ),
    )


def gate_table(analysis: Analysis) -> Table:
    """Build the table of families fitted to each front, with the conditions of their gates."""
    rows = [
        (fit, family) for fit in analysis.primary.fits for family in fit.families if family.gate
    ]
    # Not every condition applies to every family.
    asked = {row.number: row.condition for _, family in rows for row in family.gate}
    conditions = dict(sorted(asked.items()))
    return Table(
        key="gates",
        caption="Curves fitted to fronts. χ²⊥: squared distance of the configurations from the "
        "curve, in units of seed noise. AICc chooses among the families that pass all conditions. "
        "✓: the condition holds. ✗: it fails, with the measured value and the required one.",
        columns=(
            "Method",
            "Family",
            "χ²⊥",
            "AICc",
            *conditions.values(),
        ),
        rows=tuple(
            (
                method_cell(analysis.results, fit.method),
                Cell(
                    text=family.family,
                    below="drawn" if family.family == fit.chosen else "",
                    order=family.family,
                ),
                Cell(text=f"{family.chi2:.1f}", order=family.chi2),
                Cell(text="–" if family.aicc is None else f"{family.aicc:.1f}"),
                *(_gate_cell(family, number) for number in conditions),
            )
            for fit, family in rows
        ),
    )


def rate_text(rate: float) -> str:
    """Format an exchange rate; near the end of a front, where it is unbounded, only as `> 50`.

    >>> rate_text(1.0), rate_text(0.31), rate_text(0.004), rate_text(630.0)
    ('1.0', '0.3', '< 0.1', '> 50')
    """
    if rate > LARGEST_RATE:
        return f"> {LARGEST_RATE:g}"
    return f"{rate:.1f}" if not 0 < rate < LEAST_PRINTED_RATE else f"< {2 * LEAST_PRINTED_RATE:g}"


def _measured_text(results: Results, measured: Contrasts | Gap | FloorContrast) -> str:
    """Describe under which attack and for which estimand something was measured."""
    attack = attack_text(results.threat, measured.radius)
    return f"Under {attack}; intervals for {ESTIMAND_TEXTS[measured.estimand]}."


def _adjusted_cell(one: Contrast | CostPoint) -> Cell:
    return Cell(text=ends_text(one.adjusted_low, one.adjusted_high), order=one.adjusted_low)


def _strength_cell(value: Interval) -> Cell:
    """Format a ρ, an ε or an attack radius, with its interval below."""
    below = f"{value.low:.3g}–{value.high:.3g}"
    return Cell(text=value_text(value.estimate), below=below, order=value.estimate)


def _epsilon_cell(value: Equivalent) -> Cell:
    if value.epsilon is not None:
        return _strength_cell(value.epsilon)
    parts = [
        f"above {value_text(value.floor)}" if value.floor is not None else "",
        f"below {value_text(value.ceiling)}" if value.ceiling is not None else "",
    ]
    return Cell(text=", ".join(part for part in parts if part) or "unknown")


def _gate_cell(family: FamilyFit, number: int) -> Cell:
    row = next((row for row in family.gate if row.number == number), None)
    if row is None:
        return Cell(text="–")
    if row.passed:
        return Cell(text="✓", order=1)
    return Cell(text=f"✗ {row.measured}", below=row.threshold, order=0)
