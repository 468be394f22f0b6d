"""The table of configurations. Each column is declared once for the page, `configs.csv`, and a
booktabs table in LaTeX for a paper.

A new column is one more entry in the lists below `columns`. It declares its headings on the page
and in LaTeX, its names in `configs.csv`, and what each of the three shows of a configuration.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from analysis.document import Analysis
from analysis.findings.phrases import ESTIMAND_TEXTS, declared_seeds_text
from analysis.inference.claims import Interval
from analysis.report.cards import card_key, carded_rows
from analysis.report.data_files import alarms_of, csv_text, evidence_columns, mean_of, median_of
from analysis.report.tables import (
    Cell,
    Table,
    interval_cell,
    method_cell,
    printed_share,
    spread_cell,
    standard_steps,
)
from analysis.results.configurations import ConfigurationResult, Spread
from analysis.results.results import Results
from analysis.results.words import (
    SYMBOLS,
    attack_text,
    count_text,
    value_text,
    values_text,
)

MOST_VALUE_COLUMNS = 4
"""With more hyperparameters than this, all of them share one column of the page."""
SURE = 0.95
"""LaTeX prints the best of a column in bold if its probability to be so is above this."""

MOST_ROWS = 40
"""With more configurations than this, only the members of the methods' fronts are listed."""

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "ρ": r"$\rho$",
    "ε": r"$\varepsilon$",
    "β": r"$\beta$",
    "σ": r"$\sigma$",
    "η": r"$\eta$",
    "γ": r"$\gamma$",
    "×": r"$\times$",
    "±": r"$\pm$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "·": r"$\cdot$",
    "–": "--",
    "−": "$-$",
    "\N{THIN SPACE}": r"\,",
}

Row = int
"""The position of a configuration in `Analysis.found`."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column. It appears in those files for which it has a function."""

    head: str = ""
    """On the page."""
    cell: Callable[[Row], Cell] | None = None
    """What the page shows."""
    data: Callable[[Row], Mapping[str, object]] | None = None
    """Names and values in `configs.csv`: fractions, never percent."""
    file_order: int = 0
    """Position of the data in the file: by this number, then as listed. The order of the file never
    changes, as its readers may count columns."""
    tex_head: str = ""
    tex: Callable[[Row], str] | None = None
    """What LaTeX shows: mathematics, or a text that is still to be escaped."""
    is_math: bool = False


def columns(analysis: Analysis) -> list[Column]:
    """Return the columns of an analysis, in the order of the page."""
    found, more = analysis.found, evidence_columns(analysis)
    return [
        *_naming_columns(analysis),
        *_validation_columns(analysis),
        *_test_columns(analysis),
        Column(data=lambda row: more.get(row, {}), file_order=2),
        *_evidence_columns(analysis),
        Column(data=lambda row: {"complete": found[row].complete}, file_order=2),
        *_front_columns(analysis),
        *_trial_columns(analysis),
    ]


def configuration_table(analysis: Analysis) -> Table:
    """Build the page's table of every configuration."""
    shown = [one for one in columns(analysis) if one.head and one.cell is not None]
    return Table(
        key="configurations",
        caption=_caption(analysis),
        columns=tuple(one.head for one in shown),
        rows=tuple(
            tuple(one.cell(row) for one in shown if one.cell is not None)
            for row in range(len(analysis.found))
        ),
        sortable=True,
    )


def configurations_csv(analysis: Analysis) -> str:
    """Write a row for each configuration: fractions, with their spread over seeds and intervals.

    `low` and `high` are the ends of the 95% interval under the default estimand. `p_study_front`
    and `p_method_front` are shares of replicates at the objective radius.
    """
    values = dict.fromkeys(name for c in analysis.found for name in c.values)
    return csv_text(configuration_rows(analysis), ["method", *values])


def configuration_rows(analysis: Analysis) -> list[dict[str, object]]:
    """Return what `configs.csv` has of each configuration, by the name of the column."""
    written = sorted(columns(analysis), key=lambda one: one.file_order)
    rows: list[dict[str, object]] = []
    for row in range(len(analysis.found)):
        rows.append({})
        for one in written:
            rows[-1] |= one.data(row) if one.data is not None else {}
    return rows


def escaped(text: str) -> str:
    r"""Escape a text so that LaTeX prints it unchanged.

    >>> print(escaped("50% of a_b & ρ"))
    50\% of a\_b \& $\rho$
    """
    return "".join(_SPECIAL.get(letter, letter) for letter in text if letter >= " ")


def table_tex(analysis: Analysis) -> str:
    """Write the configurations with test accuracies and the half-widths of their intervals.

    Only a number that is the best of its column with a probability above 0.95 is bold.
    """
    results, found = analysis.results, analysis.found
    rows = list(range(len(found)))
    if len(rows) > MOST_ROWS:
        chosen = {c.key for front in analysis.choice.fronts for c in front.members}
        rows = [row for row in rows if found[row].key in chosen]
    shown = [(one, one.tex) for one in columns(analysis) if one.tex is not None]
    lines = [
        " & ".join(tex(row) if one.is_math else escaped(tex(row)) for one, tex in shown) + r" \\"
        for row in rows
    ]
    threat = attack_text(results.threat, results.threat.objective_radius)
    note = (
        f"{results.study}: accuracies in %, {count_text(results.num_test, 'test image')}, "
        f"{declared_seeds_text(results)}. Robust accuracy under {results.threat.attack}, "
        f"{results.threat.norm}; fronts chosen at {threat}. ±: half of the 95% interval for "
        f"{ESTIMAND_TEXTS[analysis.estimand]}. Bold: the best of its column with P > {SURE}."
    )
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            "\\begin{tabular}{ll" + "r" * (len(shown) - 2) + "}",
            "\\toprule",
            " & ".join(escaped(one.tex_head) for one, _ in shown) + r" \\",
            "\\midrule",
            *lines,
            "\\bottomrule",
            "\\end{tabular}",
            f"% {escaped(note)}",
            "",
        ]
    )


def _caption(analysis: Analysis) -> str:
    results, threat = analysis.results, analysis.results.threat
    on_validation = results.num_validation > 0
    return (
        "Accuracies in %: means over seeds. Below each test accuracy is its 95% interval for "
        f"{ESTIMAND_TEXTS[analysis.estimand]}. "
        + (_validation_text(results) if on_validation else "")
        + f"Test: {count_text(results.num_test, 'test image')}, robust under {threat.attack}, "
        f"{threat.norm}, at the radius in the heading. P(on front): share of the replicates in "
        "which no configuration of the study dominates this one, at radius "
        f"{value_text(threat.objective_radius)}; below it, the same for its method alone. Chosen "
        "for front of: the study, or its method alone, by accuracies on "
        f"{'validation' if on_validation else 'test'} data. Cost: forward passes per training "
        "image and epoch, where a backward pass counts 1 to the inputs alone and 2 to weights and "
        "inputs; below it, the multiple of standard training, which costs 3. Seconds: wall time of "
        "the training, the median over seeds."
    )


def _validation_text(results: Results) -> str:
    threat = results.threat
    return (
        f"Validation: {count_text(results.num_validation, 'validation image')}, robust under "
        f"{threat.validation_attack}, {threat.norm} {value_text(threat.objective_radius)}. "
    )


def _naming_columns(analysis: Analysis) -> list[Column]:
    """Return the columns of method, values and seeds."""
    found, carded = analysis.found, set(carded_rows(analysis))
    return [
        Column(
            head="Method",
            cell=lambda row: method_cell(
                analysis.results,
                found[row].method,
                target=f"#{card_key(row)}" if row in carded else "",
            ),
            data=lambda row: {"method": found[row].method},
            tex_head="Method",
            tex=lambda row: found[row].method,
        ),
        Column(
            data=lambda row: found[row].values,
            tex_head="Values",
            tex=lambda row: values_text(found[row].values),
        ),
        *_value_columns(found),
        Column(
            head="Seeds",
            cell=lambda row: _seeds_cell(found[row], analysis.noisy.get(row)),
            data=lambda row: {
                "seeds": len(found[row].trials),
                "seeds_absent": " ".join(str(seed) for seed in found[row].absent_seeds),
            },
        ),
    ]


def _front_columns(analysis: Analysis) -> list[Column]:
    """Return the columns of front membership: by test replicates, and by the choice."""
    found, study_front = analysis.found, analysis.choice.study_front
    members = analysis.primary.fronts.configurations
    on_method = {c.key for front in analysis.choice.fronts for c in front.members}
    return [
        Column(
            head="P(on front)",
            cell=lambda row: Cell(
                text=printed_share(members[row].on_study_front),
                below=printed_share(members[row].on_method_front),
                order=members[row].on_study_front,
            ),
            data=lambda row: {
                "p_method_front": members[row].on_method_front,
                "p_study_front": members[row].on_study_front,
            },
            file_order=4,
        ),
        Column(
            head="Chosen for front of",
            cell=lambda row: _chosen_cell(
                found[row].key in on_method, found[row].key in study_front
            ),
            data=lambda row: {
                "on_method_front": found[row].key in on_method,
                "on_study_front": found[row].key in study_front,
            },
            file_order=3,
        ),
    ]


def _trial_columns(analysis: Analysis) -> list[Column]:
    """Return the columns of the cost of trials and of their alarms."""
    cost = [mean_of([trial.cost for trial in c.trials]) for c in analysis.found]
    seconds = [median_of([trial.seconds for trial in c.trials]) for c in analysis.found]
    alarmed = alarms_of(analysis)
    return [
        Column(
            head="Cost",
            cell=lambda row: _cost_cell(cost[row]),
            data=lambda row: {"cost": cost[row]},
            file_order=5,
        ),
        Column(
            head="Seconds",
            cell=lambda row: _number_cell(seconds[row]),
            data=lambda row: {"seconds": seconds[row]},
            file_order=5,
        ),
        Column(
            data=lambda row: {"noisy": analysis.noisy[row]} if row in analysis.noisy else {},
            file_order=6,
        ),
        Column(
            head="Alarms" if alarmed else "",
            cell=lambda row: _alarm_cell(alarmed.get(row, ())),
            data=lambda row: {"alarms": "; ".join(alarmed.get(row, ()))},
            file_order=5,
        ),
    ]


def _value_columns(found: Sequence[ConfigurationResult]) -> Iterator[Column]:
    """Yield a column of the page for each hyperparameter, or one for all if there are many."""
    names = tuple(dict.fromkeys(name for c in found for name in c.values))
    for name in names if len(names) <= MOST_VALUE_COLUMNS else ("values",):
        yield Column(
            head=SYMBOLS.get(name, name),
            cell=lambda row, name=name: _value_cell(found[row], name),  # type: ignore[misc]
        )


def _validation_columns(analysis: Analysis) -> list[Column]:
    results, found = analysis.results, analysis.found
    radius = results.threat.objective_radius
    on_page = results.num_validation > 0

    def column(head: str, name: str, spreads: Sequence[Spread | None]) -> Column:
        return Column(
            head=f"Validation {head}" if on_page else "",
            cell=lambda row: spread_cell(spreads[row]),
            data=lambda row: _spread_data(f"validation_{name}", spreads[row]),
            file_order=1,
        )

    robust = [c.validation_robust for c in found]
    return [
        column("clean", "clean", [c.validation_clean for c in found]),
        column(f"robust {value_text(radius)}", f"robust_{radius:g}", robust),
    ]


def _test_columns(analysis: Analysis) -> list[Column]:
    """Return the columns of clean accuracy, and of robust accuracy at each radius."""
    found, radii = analysis.found, analysis.results.threat.radii

    def column(
        head: str,
        name: str,
        spreads: Sequence[Spread],
        values: Sequence[Interval],
        best: Row | None,
    ) -> Column:
        return Column(
            head=f"Test {head.lower()}",
            cell=lambda row: interval_cell(values[row]),
            data=lambda row: _spread_data(name, spreads[row], values[row]),
            tex_head=head,
            tex=lambda row: _tex_interval(values[row], is_bold=row == best),
            is_math=True,
        )

    views = [analysis.view(radius).fronts.configurations for radius in radii]
    clean = column(
        "Clean",
        "clean",
        [c.clean for c in found],
        [one.clean for one in analysis.primary.fronts.configurations],
        _surely_best([one.cleanest for one in views[0]]),
    )
    robust = [
        column(
            f"Robust {value_text(radius)}",
            f"robust_{radius:g}",
            [c.robust[at] for c in found],
            [one.robust for one in views[at]],
            _surely_best([one.most_robust for one in views[at]]),
        )
        for at, radius in enumerate(radii)
    ]
    return [clean, *robust]


def _evidence_columns(analysis: Analysis) -> Iterator[Column]:
    """Yield LaTeX's columns of other norms, then of stronger attacks at the objective radius.

    A heading names attack, samples, norm and radius, but not the evaluation attack: the note does.
    """

    def column(head: str, values: Mapping[Row, Interval]) -> Column:
        return Column(
            tex_head=head,
            tex=lambda row: _tex_interval(values[row]) if row in values else "--",
            is_math=True,
        )

    for other in analysis.others:
        for at, radius in enumerate(other.radii):
            values = {each.row: each.robust[at] for each in other.configurations}
            yield column(f"Robust {other.norm} {value_text(radius)}", values)
    rows = {c.key: row for row, c in enumerate(analysis.found)}
    for tier in analysis.tiers:
        threat = tier.analysis.results.threat
        stronger = {
            rows[tier.analysis.found[one.row].key]: one.stronger
            for one in tier.attacked
            if one.radius == threat.objective_radius
        }
        yield column(attack_text(threat, threat.objective_radius), stronger)


def _surely_best(shares: Sequence[float]) -> Row | None:
    """Return the row that is the best in more than 95% of replicates, or None without such a row.

    A single row has no competitor, so it returns None for it, too.
    """
    sure = [row for row, share in enumerate(shares) if share > SURE]
    return sure[0] if len(sure) == 1 and len(shares) > 1 else None


def _tex_interval(value: Interval, *, is_bold: bool = False) -> str:
    half = max(value.high - value.estimate, value.estimate - value.low, 0.0)
    text = f"{100 * value.estimate:.1f}"
    shown = rf"\mathbf{{{text}}}" if is_bold else text
    return rf"${shown} \pm {100 * half:.1f}$"


def _spread_data(
    name: str, over_seeds: Spread | None, interval: Interval | None = None
) -> Mapping[str, object]:
    if over_seeds is None:
        return {}
    data = {
        "mean": over_seeds.mean,
        "least": over_seeds.low,
        "greatest": over_seeds.high,
        "deviation": over_seeds.deviation,
    }
    if interval is not None:
        data |= {"low": interval.low, "high": interval.high}
    return {f"{name}_{part}": number for part, number in data.items()}


def _chosen_cell(is_on_method: bool, is_on_study: bool) -> Cell:
    text = "study" if is_on_study else "method" if is_on_method else "–"
    return Cell(text=text, order=2 * is_on_study + is_on_method)


def _alarm_cell(texts: Sequence[str]) -> Cell:
    return Cell(text=", ".join(texts) or "–", order=len(texts))


def _value_cell(c: ConfigurationResult, name: str) -> Cell:
    if name in c.values:
        return Cell(text=value_text(c.values[name], 4), order=c.values[name])
    if name == "values" and c.values:
        return Cell(text=values_text(c.values, 4), order=values_text(c.values, 4))
    return Cell(text="–")


def _seeds_cell(c: ConfigurationResult, noisy: float | None) -> Cell:
    present = len(c.trials)
    notes = ["" if c.complete else "incomplete", "" if noisy is None else f"spread × {noisy:.1f}"]
    return Cell(
        text=f"{present}/{present + len(c.absent_seeds)}",
        below=", ".join(note for note in notes if note),
        order=present,
    )


def _cost_cell(cost: float | None) -> Cell:
    cell = _number_cell(cost)
    multiple = "" if cost is None else standard_steps(cost).removesuffix(" standard")
    return replace(cell, below=multiple)


def _number_cell(number: float | None) -> Cell:
    if number is None:
        return Cell(text="–")
    return Cell(text=f"{number:.1f}" if number < 100 else f"{number:.0f}", order=number)
