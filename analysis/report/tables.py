"""Tables of a study, and the cells that all tables share."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analysis.advice.words import span_text, target_text, time_text, what_text
from analysis.attacks.exclusion import Diagnosis
from analysis.document import Analysis
from analysis.figures.layers import thinned
from analysis.figures.palette import method_styles
from analysis.findings.fronts import STANDARD_COST
from analysis.findings.phrases import ESTIMAND_TEXTS, capital, points_text, share_text
from analysis.fronts.attainment import FrontSurface
from analysis.fronts.choice import Choice
from analysis.fronts.pareto import attained
from analysis.inference.claims import Interval
from analysis.results.configurations import ConfigurationResult, Spread
from analysis.results.results import Results
from analysis.results.trials import ON_PURPOSE, Array
from analysis.results.words import (
    attack_text,
    count_text,
    percent,
    value_text,
    values_text,
)

REQUIREMENTS = (0.999, 0.995, 0.99, 0.98, 0.97, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
"""Required clean accuracies that may become columns of the table of fronts."""
ASKED = 4
"""At most so many of them become columns."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell: what is printed, smaller print below it, and what it is sorted by."""

    text: str
    below: str = ""
    order: float | str = ""
    colour: str = ""
    """Colour of the swatch before the text; empty for none."""
    target: str = ""
    """Address that its text leads to, such as #d3 in the page; empty for none."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with its caption."""

    key: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    sortable: bool = False
    folded: str = ""
    """Heading that unfolds the table; empty if it is open from the start."""


def front_table(analysis: Analysis) -> Table:
    """Build the table of the fronts, one row for each method with results."""
    results, view = analysis.results, analysis.primary
    fronts = [one for one in view.fronts.methods if one.rows]
    asked = asked_for(analysis)
    return Table(
        key="fronts",
        caption=f"Fronts under {attack_text(results.threat, results.threat.objective_radius)}, in "
        f"%, on {count_text(results.num_test, 'test image')}, with 95% intervals for "
        f"{ESTIMAND_TEXTS[view.estimand]}. Attained: the robust accuracy of the median attainment "
        "surface, with its pessimistic and optimistic edges below; none where no configuration "
        "has this clean accuracy.",
        columns=(
            "Method",
            "Configurations used",
            "Mean attainable robust accuracy",
            *(f"Attained at clean ≥ {100 * clean:g}%" for clean in asked),
        ),
        rows=tuple(
            (
                method_cell(results, front.method),
                Cell(text=str(len(front.rows)), below=front.which, order=len(front.rows)),
                interval_cell(front.attainable),
                *(_attained_cell(front, clean) for clean in asked.tolist()),
            )
            for front in fronts
        ),
    )


def advice_table(analysis: Analysis) -> Table:
    """Build the table of what to run next, the most useful first."""
    return Table(
        key="next",
        caption="The trials that narrow an interval most in the same time of training, one trial "
        "at a time. Expected: around the same estimate. The entries of next.yaml go into the "
        "study in studies.yaml.",
        columns=("Run", "Time", "Narrows", "Now", "Expected", "Seeds of everything instead"),
        rows=tuple(
            (
                Cell(text=capital(what_text(one))),
                Cell(text=time_text(one)),
                Cell(text=capital(target_text(one))),
                *(Cell(text=span_text(one, ends)) for ends in (one.before, one.after, one.even)),
            )
            for one in analysis.advice
        ),
    )


def reference_table(results: Results) -> Table:
    """Build the table of references: published single runs, as their table had them."""
    return Table(
        key="references",
        caption="References, in %. Each is a single published run: no interval, and not compared "
        "with the methods.",
        columns=(
            "Reference",
            "Clean",
            *(f"Robust at {value_text(r)}" for r in results.threat.radii),
        ),
        rows=tuple(
            (
                Cell(text=one.name, order=one.name),
                *(
                    Cell(text="–" if share is None else percent(share), order=share or 0.0)
                    for share in (one.clean, *one.robust)
                ),
            )
            for one in results.references
        ),
    )


def count_table(results: Results, choice: Choice) -> Table:
    """Build the table of counts: each method's configurations, and its trials by state."""
    held = {trial.status for trial in results.absent}
    early = tuple(state for state in ON_PURPOSE if state in held)
    states: tuple[str, ...] = ("missing", "failed", "given up", *early)
    rows = []
    for front in choice.fronts:
        trials = [t for t in results.trials if t.method == front.note.name]
        absent: list[str] = [a.status for a in results.absent if a.method == front.note.name]
        seconds = [t.seconds for t in trials if t.seconds is not None]
        numbers = [len(front.configurations), len(trials), *(absent.count(s) for s in states)]
        rows.append(
            (
                method_cell(results, front.note.name),
                *(Cell(text=str(number), order=number) for number in numbers),
                Cell(text=f"{sum(seconds):.0f}" if seconds else "–", order=sum(seconds)),
            )
        )
    return Table(
        key="counts",
        caption="Trials by method.",
        columns=(
            "Method",
            "Configurations",
            "Done",
            *(s.capitalize() for s in states),
            "Total seconds",
        ),
        rows=tuple(rows),
    )


def absent_table(results: Results) -> Table:
    """Build the table of absent trials, with their status and reason."""
    return Table(
        key="absent",
        caption="Trials without a result.",
        columns=("Method", "Values", "Seed", "Status", "Reason", "Run"),
        rows=tuple(
            (
                method_cell(results, trial.method),
                Cell(text=values_text(trial.values) or "–"),
                Cell(text=str(trial.seed), order=trial.seed),
                Cell(text=trial.status),
                Cell(text=trial.reason or "–"),
                Cell(text=trial.run or "–"),
            )
            for trial in results.absent
        ),
    )


def method_table(results: Results) -> Table:
    """Build the table of methods: their sides, and the origin of their configurations."""
    return Table(
        key="methods",
        caption="Methods of this study.",
        columns=("Method", "Weight side + input side", "Settings", "Configurations come from"),
        rows=tuple(
            (
                method_cell(results, note.name),
                Cell(text=note.sides),
                Cell(text=note.settings or "–"),
                Cell(text="a search" if note.searched else "a grid"),
            )
            for note in results.methods
        ),
    )


def asked_for(analysis: Analysis) -> Array:
    """Choose a few required clean accuracies between the ends of the fronts."""
    clean = [corner[0] for front in analysis.primary.fronts.methods for corner in front.median]
    if not clean:
        return np.empty(0)
    inside = [asked for asked in REQUIREMENTS if min(clean) < asked <= max(clean)]
    below = [asked for asked in REQUIREMENTS if asked <= min(clean)][:1]
    asked: Array = np.array(inside + below)[thinned(len(inside + below), ASKED)]
    return asked


def configuration_cell(results: Results, c: ConfigurationResult | Diagnosis) -> Cell:
    """Format a configuration: its method, with its values below."""
    return method_cell(results, c.method, values_text(c.values, 4))


def method_cell(results: Results, method: str, below: str = "", target: str = "") -> Cell:
    """Format a method with a swatch of its colour, and what its name leads to."""
    style = method_styles(results.methods)[method]
    return Cell(text=method, below=below, order=method, colour=style.colour, target=target)


def interval_cell(value: Interval) -> Cell:
    """Format an accuracy in percent, with its interval below."""
    return Cell(text=percent(value.estimate), below=interval_text(value), order=value.estimate)


def spread_cell(over_seeds: Spread | None, printed: Callable[[float], str] = percent) -> Cell:
    """Format a mean over seeds, with the lowest and the highest seed below."""
    if over_seeds is None:
        return Cell(text="–")
    ends = f"{printed(over_seeds.low)}–{printed(over_seeds.high)}"
    below = ends if over_seeds.seeds > 1 else ""
    return Cell(text=printed(over_seeds.mean), below=below, order=over_seeds.mean)


def difference_cell(difference: Interval) -> Cell:
    """Format a difference in percentage points, with its interval below."""
    below = ends_text(difference.low, difference.high)
    return Cell(text=points_text(difference.estimate), below=below, order=difference.estimate)


def interval_text(value: Interval) -> str:
    """Format the ends of an interval of an accuracy, in percent.

    >>> interval_text(Interval(estimate=0.5, low=0.45, high=0.55))
    '45.0–55.0'
    """
    return f"{percent(value.low)}–{percent(value.high)}"


def ends_text(low: float, high: float) -> str:
    """Format the ends of an interval of a difference, in percentage points."""
    return f"{points_text(low)} to {points_text(high)}"


def more_text(count: int, noun: str, file: str) -> str:
    """Format how many rows of a table are only in a file; empty if there are none."""
    verb = "is" if count == 1 else "are"
    return f" {count_text(count, f'more {noun}')} {verb} in {file}." if count > 0 else ""


def printed_share(share: float) -> str:
    """Format a share of replicates, never as 0 or 1: a few thousand replicates do not show that.

    >>> printed_share(0.0), printed_share(0.456), printed_share(1.0)
    ('< 0.01', '0.46', '> 0.99')
    """
    return share_text(share).removeprefix("= ")


def standard_steps(cost: float) -> str:
    """Format a training cost as a multiple of standard training, which costs 3 passes per image.

    >>> standard_steps(6.0), standard_steps(23.0)
    ('2 × standard', '7.7 × standard')
    """
    return f"{cost / STANDARD_COST:.2g} × standard"


def _attained_cell(front: FrontSurface, clean: float) -> Cell:
    middle, least, greatest = (
        float(attained(np.array(corners, dtype=np.float64).reshape(-1, 2), np.array([clean]))[0])
        for corners in (front.median, front.pessimistic, front.optimistic)
    )
    texts = [percent(height) if height > 0 else "none" for height in (least, greatest)]
    return Cell(
        text=percent(middle) if middle > 0 else "none",
        below=f"{texts[0]}–{texts[1]}" if greatest > 0 else "",
        order=middle,
    )
