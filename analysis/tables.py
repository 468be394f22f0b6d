"""Tables: the numbers of a study as they are printed, row by row."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.bundle import mean_of
from analysis.choice import Choice, MethodFront, attained_by_seeds
from analysis.configurations import ConfigurationResult, Spread
from analysis.palette import method_styles
from analysis.results import Array, Results, Value
from analysis.words import (
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


def front_table(results: Results, choice: Choice) -> Table:
    """Tell what each method's front is worth, one row for each method with results."""
    asked = asked_for(choice)
    fronts = [front for front in choice.fronts if front.members]
    return Table(
        key="fronts",
        caption=f"Fronts at {attack_text(results.threat, results.threat.objective_radius)}, in %, "
        f"on {count_text(results.num_test, 'test image')}. Members: of all configurations. Seeds: "
        "those with a result for every member; below each number the least and the greatest. Only "
        "members count: none where no member is this clean.",
        columns=(
            "Method",
            "Members",
            "Mean attainable robust accuracy",
            *(f"Attained at clean ≥ {100 * clean:g}%" for clean in asked),
            "Seeds",
        ),
        rows=tuple(_front_row(results, front, asked) for front in fronts),
    )


def configuration_table(results: Results, choice: Choice) -> Table:
    """List every configuration with its validation and test accuracies and its cost."""
    threat = results.threat
    found = [c for front in choice.fronts for c in front.configurations]
    names = _names(found)
    validation = ("Validation clean", f"Validation robust {value_text(threat.objective_radius)}")
    return Table(
        key="configurations",
        caption="Accuracies in %: the mean over seeds, below it the least and the greatest seed. "
        + (_validation_text(results) if choice.on_validation else "")
        + f"Test: {count_text(results.num_test, 'test image')}, robust under {threat.attack}, "
        f"{threat.norm}, at the radius named. Cost: in units of "
        "forward passes per training image and epoch; standard training is 3. Seconds: wall time "
        "of one trial.",
        columns=(
            "Method",
            *(SYMBOLS.get(name, name) for name in names),
            "Seeds",
            *(validation if choice.on_validation else ()),
            "Test clean",
            *(f"Test robust {value_text(radius)}" for radius in threat.radii),
            "On front of",
            "Cost",
            "Seconds",
        ),
        rows=tuple(
            _configuration_row(results, choice, front, c, names)
            for front in choice.fronts
            for c in front.configurations
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
                _method_cell(results, front.note.name),
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
                _method_cell(results, trial.method),
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
        columns=("Method", "Weight side + input side", "Configurations come from"),
        rows=tuple(
            (
                _method_cell(results, note.name),
                Cell(text=note.sides),
                Cell(text="a search" if note.searched else "a grid"),
            )
            for note in results.methods
        ),
    )


def radius_table(results: Results, choice: Choice) -> Table:
    """Give the chosen configurations' accuracy at every radius."""
    threat = results.threat
    chosen = [front.best for front in choice.fronts if front.best is not None]
    return Table(
        key="radii",
        caption=f"Each method's most robust configuration at radius "
        f"{value_text(threat.objective_radius)}, accuracy in % under {threat.attack}, "
        f"{threat.norm}, on {count_text(results.num_test, 'test image')}; below it the least and "
        "the greatest seed.",
        columns=("Configuration", "Clean", *(value_text(e) for e in threat.radii)),
        rows=tuple(
            (
                _method_cell(results, c.method, values_text(c.values)),
                *(_spread_cell(over_seeds) for over_seeds in (c.clean, *c.robust)),
            )
            for c in chosen
        ),
    )


def asked_for(choice: Choice) -> Array:
    """Choose a few clean accuracies that tell the fronts apart: between their ends."""
    clean = [c.clean.mean for front in choice.fronts for c in front.members]
    if not clean:
        return np.empty(0)
    inside = [asked for asked in REQUIREMENTS if min(clean) < asked <= max(clean)]
    below = [asked for asked in REQUIREMENTS if asked <= min(clean)][:1]
    rows = np.unique(np.linspace(0, len(inside + below) - 1, ASKED).round().astype(int))
    return np.array([(inside + below)[row] for row in rows] if inside + below else [])


def _front_row(results: Results, front: MethodFront, asked: Array) -> tuple[Cell, ...]:
    surfaces = attained_by_seeds(front, results.threat.objective, asked)
    assert front.attainable is not None, "a front with members has an area"
    by_seed = front.attainable_by_seed
    several = len(by_seed) > 1
    reaching = _seeds_reaching(front, asked)
    cells = []
    for column in range(len(asked)):
        if surfaces is None:
            cells.append(Cell(text="–"))
            continue
        # As many seeds must reach the clean accuracy as the surface asks for: all, half, one.
        least, middle, greatest = (
            percent(height) if reaching[column] >= needed else "none"
            for height, needed in zip(
                surfaces[:, column], (len(by_seed), (len(by_seed) + 1) // 2, 1), strict=True
            )
        )
        below = f"{least}–{greatest}" if several and reaching[column] else ""
        cells.append(Cell(text=middle, below=below, order=float(surfaces[1, column])))
    return (
        _method_cell(results, front.note.name),
        Cell(text=f"{len(front.members)}/{len(front.configurations)}"),
        Cell(
            text=percent(front.attainable),
            below=f"{percent(min(by_seed))}–{percent(max(by_seed))}" if several else "",
            order=front.attainable,
        ),
        *cells,
        Cell(text=f"{len(by_seed)}/{len(results.seeds)}"),
    )


def _seeds_reaching(front: MethodFront, asked: Array) -> list[int]:
    """Count, for each clean accuracy, the complete seeds with a member that is this clean."""
    cleanest = [
        max(t.clean for c in front.members for t in c.trials if t.seed == seed)
        for seed in front.complete_seeds
    ]
    return [sum(clean >= least for clean in cleanest) for least in asked]


def _configuration_row(
    results: Results,
    choice: Choice,
    front: MethodFront,
    c: ConfigurationResult,
    names: Sequence[str],
) -> tuple[Cell, ...]:
    on_method_front = any(member.key == c.key for member in front.members)
    on_study_front = c.key in choice.study_front
    place = 2 * on_study_front + on_method_front
    validation = [c.validation_clean, c.validation_robust]
    return (
        _method_cell(results, c.method),
        *(_value_cell(c, name) for name in names),
        _seeds_cell(c),
        *(_spread_cell(over_seeds) for over_seeds in validation if over_seeds is not None),
        *(_spread_cell(over_seeds) for over_seeds in (c.clean, *c.robust)),
        Cell(text="study" if on_study_front else "method" if on_method_front else "–", order=place),
        _number_cell(mean_of([trial.cost for trial in c.trials])),
        _number_cell(mean_of([trial.seconds for trial in c.trials])),
    )


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


def _number_cell(number: float | None) -> Cell:
    if number is None:
        return Cell(text="–")
    return Cell(text=f"{number:.1f}" if number < 100 else f"{number:.0f}", order=number)


def _method_cell(results: Results, method: str, below: str = "") -> Cell:
    style = method_styles(results.methods)[method]
    return Cell(text=method, below=below, order=method, colour=style.colour)
