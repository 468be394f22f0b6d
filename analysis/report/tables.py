"""Tables: the numbers of a study as they are printed, row by row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.document import Analysis
from analysis.figures.palette import method_styles
from analysis.findings.phrases import ESTIMAND_TEXTS, share_text
from analysis.fronts.attainment import FrontSurface
from analysis.fronts.choice import Choice
from analysis.fronts.pareto import attained
from analysis.inference.claims import Interval
from analysis.report.data_files import alarms_of, mean_of
from analysis.results.configurations import ConfigurationResult, Spread
from analysis.results.results import Results
from analysis.results.trials import Array, Value
from analysis.results.words import (
    SYMBOLS,
    attack_text,
    count_text,
    percent,
    value_text,
    values_text,
)

REQUIREMENTS = (0.999, 0.995, 0.99, 0.98, 0.97, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
"""Clean accuracies that a reader may ask for."""
ASKED = 4
"""So many of them make columns."""
STANDARD_COST = 3.0
"""Forward passes per training image and epoch: one forward, and a backward pass worth two."""
MOST_VALUE_COLUMNS = 4
"""With more kinds of values than this, all of them share one column."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One entry: what is printed, smaller print below it, and what it is sorted by."""

    text: str
    below: str = ""
    order: float | str = ""
    colour: str = ""
    """Of the swatch before the text, if any."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table: its caption says what the numbers are, its columns which."""

    key: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    sortable: bool = False
    folded: str = ""
    """What unfolds it, where it is not open from the start."""


def front_table(analysis: Analysis) -> Table:
    """Tell what each method's front is worth, one row for each method with results."""
    results, view = analysis.results, analysis.primary
    fronts = [one for one in view.fronts.methods if one.rows]
    asked = asked_for(analysis)
    return Table(
        key="fronts",
        caption=f"Fronts at {attack_text(results.threat, results.threat.objective_radius)}, in %, "
        f"on {count_text(results.num_test, 'test image')}, with 95% intervals over "
        f"{ESTIMAND_TEXTS[view.estimand]}. Attained: the median attainment surface, below it its "
        "pessimistic and optimistic edge; none where no configuration is this clean.",
        columns=(
            "Method",
            "Stand for it",
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


def configuration_table(analysis: Analysis) -> Table:
    """List every configuration: accuracies with intervals, P(on front), cost and alarms."""
    results, found, threat = analysis.results, analysis.found, analysis.results.threat
    names, choice = _names(found), analysis.choice
    on_validation = results.num_validation > 0
    validation = ("Validation clean", f"Validation robust {value_text(threat.objective_radius)}")
    alarmed = alarms_of(analysis)
    return Table(
        key="configurations",
        caption="Accuracies in %: the mean over seeds, below it for test its 95% interval over "
        f"{ESTIMAND_TEXTS[analysis.estimand]}. "
        + (_validation_text(results) if on_validation else "")
        + f"Test: {count_text(results.num_test, 'test image')}, robust under {threat.attack}, "
        f"{threat.norm}, at the radius named. P(on front): share of replicates in which no "
        "configuration of the study dominates it, at radius "
        f"{value_text(threat.objective_radius)}; below it, within its method. Chosen for the front "
        f"of: on {'validation' if on_validation else 'test'} data. Cost: forward passes per "
        "training image and epoch, a backward pass to the inputs counting 1, to weights and inputs "
        "2; below it as a multiple of standard training, which costs 3. Seconds: wall time of one "
        "trial.",
        columns=(
            "Method",
            *(SYMBOLS.get(name, name) for name in names),
            "Seeds",
            *(validation if on_validation else ()),
            "Test clean",
            *(f"Test robust {value_text(radius)}" for radius in threat.radii),
            "P(on front)",
            "Chosen for front of",
            "Cost",
            "Seconds",
            *(("Alarms",) if alarmed else ()),
        ),
        rows=tuple(
            (*_configuration_row(analysis, choice, row, c, names), *_alarm_cells(alarmed, row))
            for row, c in enumerate(found)
        ),
        sortable=True,
    )


def count_table(results: Results, choice: Choice) -> Table:
    """Count what ran and what did not, by method."""
    states: tuple[str, ...] = ("missing", "failed", "given up")
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
            "Trial seconds, summed",
        ),
        rows=tuple(rows),
    )


def absent_table(results: Results) -> Table:
    """List each absent trial with its status and reason."""
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
    """Say what each method is and where its configurations come from."""
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
    """Choose a few clean accuracies that tell the fronts apart: between their ends."""
    clean = [corner[0] for front in analysis.primary.fronts.methods for corner in front.median]
    if not clean:
        return np.empty(0)
    inside = [asked for asked in REQUIREMENTS if min(clean) < asked <= max(clean)]
    below = [asked for asked in REQUIREMENTS if asked <= min(clean)][:1]
    rows = np.unique(np.linspace(0, len(inside + below) - 1, ASKED).round().astype(int))
    return np.array([(inside + below)[row] for row in rows] if inside + below else [])


def interval_cell(value: Interval) -> Cell:
    """Print an accuracy in percent with its interval below."""
    return Cell(text=percent(value.estimate), below=interval_text(value), order=value.estimate)


def interval_text(value: Interval) -> str:
    """Print the ends of an interval of an accuracy, in percent.

    >>> interval_text(Interval(estimate=0.5, low=0.45, high=0.55))
    '45.0–55.0'
    """
    return f"{percent(value.low)}–{percent(value.high)}"


def printed_share(share: float) -> str:
    """Print a share of replicates, never as 0 or 1: they are some thousands, not all.

    >>> printed_share(0.0), printed_share(0.456), printed_share(1.0)
    ('< 0.01', '0.46', '> 0.99')
    """
    return share_text(share).removeprefix("= ")


def method_cell(results: Results, method: str, below: str = "") -> Cell:
    """Print a method with a swatch of its colour."""
    style = method_styles(results.methods)[method]
    return Cell(text=method, below=below, order=method, colour=style.colour)


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


def _configuration_row(
    analysis: Analysis, choice: Choice, row: int, c: ConfigurationResult, names: Sequence[str]
) -> tuple[Cell, ...]:
    on_method_front = any(m.key == c.key for front in choice.fronts for m in front.members)
    on_study_front = c.key in choice.study_front
    place = 2 * on_study_front + on_method_front
    validation = [c.validation_clean, c.validation_robust]
    member = analysis.primary.fronts.configurations[row]
    robust = [
        analysis.view(radius).fronts.configurations[row].robust
        for radius in analysis.results.threat.radii
    ]
    return (
        method_cell(analysis.results, c.method),
        *(_value_cell(c, name) for name in names),
        _seeds_cell(c),
        *(_spread_cell(over_seeds) for over_seeds in validation if over_seeds is not None),
        *(interval_cell(value) for value in (member.clean, *robust)),
        Cell(
            text=printed_share(member.on_study_front),
            below=printed_share(member.on_method_front),
            order=member.on_study_front,
        ),
        Cell(text="study" if on_study_front else "method" if on_method_front else "–", order=place),
        _cost_cell(mean_of([trial.cost for trial in c.trials])),
        _number_cell(mean_of([trial.seconds for trial in c.trials])),
    )


def _alarm_cells(alarmed: Mapping[int, tuple[str, ...]], row: int) -> tuple[Cell, ...]:
    if not alarmed:
        return ()
    texts = alarmed.get(row, ())
    return (Cell(text=", ".join(texts) or "–", order=len(texts)),)


def _validation_text(results: Results) -> str:
    threat = results.threat
    return (
        f"Validation: {count_text(results.num_validation, 'validation image')}, robust under "
        f"{threat.validation_attack}, {threat.norm} {value_text(threat.objective_radius)}. "
    )


def _names(found: Sequence[ConfigurationResult]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name for c in found for name in c.values))
    return names if len(names) <= MOST_VALUE_COLUMNS else ("values",)


def _value_cell(c: ConfigurationResult, name: str) -> Cell:
    if name in c.values:
        value: Value = c.values[name]
        return Cell(text=value_text(value, 4), order=value)
    if name == "values" and c.values:
        return Cell(text=values_text(c.values, 4), order=values_text(c.values, 4))
    return Cell(text="–")


def _seeds_cell(c: ConfigurationResult) -> Cell:
    present = len(c.trials)
    return Cell(
        text=f"{present}/{present + len(c.absent_seeds)}",
        below="" if c.complete else "incomplete",
        order=present,
    )


def _spread_cell(over_seeds: Spread) -> Cell:
    below = f"{percent(over_seeds.low)}–{percent(over_seeds.high)}" if over_seeds.seeds > 1 else ""
    return Cell(text=percent(over_seeds.mean), below=below, order=over_seeds.mean)


def standard_steps(cost: float) -> str:
    """Print a training cost in steps of standard training, which costs 3 passes per image.

    >>> standard_steps(6.0), standard_steps(23.0)
    ('2 × standard', '7.7 × standard')
    """
    return f"{cost / STANDARD_COST:.2g} × standard"


def _cost_cell(cost: float | None) -> Cell:
    cell = _number_cell(cost)
    multiple = "" if cost is None else standard_steps(cost).removesuffix(" standard")
    return replace(cell, below=multiple)


def _number_cell(number: float | None) -> Cell:
    if number is None:
        return Cell(text="–")
    return Cell(text=f"{number:.1f}" if number < 100 else f"{number:.0f}", order=number)
