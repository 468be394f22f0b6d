"""Front tables: attainable robust accuracy, contrasts and dominance as they are printed."""

from analysis.claims import Interval
from analysis.configurations import configurations
from analysis.contrasts import Contrasts
from analysis.dominance_findings import share_text
from analysis.phrases import points_text, requirements_text
from analysis.results import Results
from analysis.tables import Cell, Table, interval_cell, standard_steps
from analysis.words import attack_text, method_text, value_text, values_text


def contrast_table(results: Results, contrasts: Contrasts) -> Table:
    """Give the differences of mean attainable robust accuracy between every two methods."""
    return Table(
        key="contrasts",
        caption="Difference of mean attainable robust accuracy over "
        f"{requirements_text(results)}, first minus second method, in pp; 95% intervals alone, "
        "and adjusted until all of them hold together (max-T); "
        f"{attack_text(results.threat, contrasts.radius)}; {contrasts.estimand}.",
        columns=("First", "Second", "Difference", "Adjusted interval", "Contrast"),
        rows=tuple(
            (
                Cell(text=method_text(one.first)),
                Cell(text=method_text(one.second)),
                _difference_cell(one.difference),
                Cell(
                    text=_ends(one.adjusted_low, one.adjusted_high),
                    order=one.adjusted_low,
                ),
                Cell(text="primary" if one.primary else "adjusted"),
            )
            for one in contrasts.contrasts
        ),
    )


def cost_table(results: Results, contrasts: Contrasts) -> Table:
    """Give the same differences at each training cost."""
    return Table(
        key="costs",
        caption="The same difference with only the configurations that cost at most a budget to "
        "train (forward passes per training image and epoch; standard training is 3), in pp, and "
        "what each method then attains, in %; 95% intervals adjusted over the budgets of a pair, "
        "exploratory; "
        f"{attack_text(results.threat, contrasts.radius)}; {contrasts.estimand}.",
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
                _difference_cell(point.difference),
                Cell(
                    text=_ends(point.adjusted_low, point.adjusted_high),
                    order=point.adjusted_low,
                ),
            )
            for one in contrasts.costs
            for point in one.points
        ),
    )


def dominance_table(results: Results, contrasts: Contrasts) -> Table:
    """Give, for each configuration of a second method, the one that comes closest to it."""
    found = configurations(results)
    return Table(
        key="dominance",
        caption="Each configuration of a second method, and the one of a first method that comes "
        "closest to dominating it: differences of accuracy in pp, first minus second, with 95% "
        "intervals adjusted over all pairs of configurations of both methods (max-T); "
        f"{attack_text(results.threat, contrasts.radius)}; {contrasts.estimand}.",
        columns=("Second", "First", "Clean", "Robust", "P(first ≻ second)", "Dominates"),
        rows=tuple(
            (
                Cell(text=method_text(pair.second), below=values_text(found[one.second].values)),
                Cell(text=method_text(pair.first), below=values_text(found[one.first].values)),
                _difference_cell(one.clean),
                _difference_cell(one.robust),
                Cell(text=share_text(one.share).removeprefix("= "), order=one.share),
                Cell(text="yes" if one.claimed else "not established"),
            )
            for pair in contrasts.dominances
            for one in pair.each
        ),
        sortable=True,
    )


def _difference_cell(difference: Interval) -> Cell:
    return Cell(
        text=points_text(difference.estimate),
        below=_ends(difference.low, difference.high),
        order=difference.estimate,
    )


def _ends(low: float, high: float) -> str:
    return f"{points_text(low)} to {points_text(high)}"
