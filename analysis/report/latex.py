"""LaTeX: the configurations of a study as a table that a paper includes, with booktabs."""

from collections.abc import Sequence

from analysis.document import Analysis
from analysis.findings.phrases import ESTIMAND_TEXTS, declared_seeds_text
from analysis.inference.claims import Interval
from analysis.results.words import attack_text, count_text, value_text, values_text

SURE = 0.95
"""Bold is what is the best with a greater probability than this."""
MOST_ROWS = 40
"""With more configurations, only the members of the methods' fronts are listed."""

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


def escaped(text: str) -> str:
    r"""Write a text so that LaTeX prints it as it is.

    >>> print(escaped("50% of a_b & ρ"))
    50\% of a\_b \& $\rho$
    """
    return "".join(_SPECIAL.get(letter, letter) for letter in text if letter >= " ")


def table_tex(analysis: Analysis) -> str:
    """Write the configurations with test accuracies and the half-widths of their intervals.

    Bold is only what is the best of its column with a probability above 0.95.
    """
    results, found = analysis.results, analysis.found
    rows = list(range(len(found)))
    if len(rows) > MOST_ROWS:
        chosen = {c.key for front in analysis.choice.fronts for c in front.members}
        rows = [row for row in rows if found[row].key in chosen]
    radii = results.threat.radii
    more = _evidence_columns(analysis)
    heads = ["Method", "Values", "Clean", *(f"Robust {value_text(radius)}" for radius in radii)]
    heads += [head for head, _ in more]
    columns = _columns(analysis)
    lines = [
        " & ".join(
            [
                escaped(found[row].method),
                escaped(values_text(found[row].values)),
                *(_number(column, row, best) for column, best in columns),
                *(_number([by_row[row]], 0, None) if row in by_row else "--" for _, by_row in more),
            ]
        )
        + r" \\"
        for row in rows
    ]
    threat = attack_text(results.threat, results.threat.objective_radius)
    note = (
        f"{results.study}: accuracies in %, {count_text(results.num_test, 'test image')}, "
        f"{declared_seeds_text(results)}; robust under {results.threat.attack}, "
        f"{results.threat.norm}, chosen at {threat}; ± half of the 95% interval over "
        f"{ESTIMAND_TEXTS[analysis.estimand]}; bold: the best of its column, P > "
        f"{SURE}."
    )
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            "\\begin{tabular}{ll" + "r" * (len(heads) - 2) + "}",
            "\\toprule",
            " & ".join(escaped(head) for head in heads) + r" \\",
            "\\midrule",
            *lines,
            "\\bottomrule",
            "\\end{tabular}",
            f"% {escaped(note)}",
            "",
        ]
    )


def _evidence_columns(analysis: Analysis) -> list[tuple[str, dict[int, Interval]]]:
    """Give heads and intervals by row: other norms, then stronger attacks at the objective radius.

    A head names attack, samples, norm and radius; the evaluation attack of the note goes unnamed.
    """
    columns = [
        (
            f"Robust {other.norm} {value_text(radius)}",
            {each.row: each.robust[at] for each in other.configurations},
        )
        for other in analysis.others
        for at, radius in enumerate(other.radii)
    ]
    rows = {c.key: row for row, c in enumerate(analysis.found)}
    for tier in analysis.tiers:
        threat, found = tier.analysis.results.threat, tier.analysis.found
        head = attack_text(threat, threat.objective_radius)
        columns.append(
            (
                head,
                {
                    rows[found[one.row].key]: one.stronger
                    for one in tier.attacked
                    if one.radius == threat.objective_radius
                },
            )
        )
    return columns


def _columns(analysis: Analysis) -> list[tuple[Sequence[Interval], int | None]]:
    """Give, for clean accuracy and each radius, the intervals by row and the surely best row."""
    views = [analysis.view(radius) for radius in analysis.results.threat.radii]
    listed = [view.fronts.configurations for view in views]
    clean = [one.clean for one in listed[0]], _surely_best([one.cleanest for one in listed[0]])
    robust = [
        ([one.robust for one in each], _surely_best([one.most_robust for one in each]))
        for each in listed
    ]
    return [clean, *robust]


def _surely_best(shares: Sequence[float]) -> int | None:
    """Give the row that is the best in more than 95% of replicates; None if none is, or one row."""
    sure = [row for row, share in enumerate(shares) if share > SURE]
    return sure[0] if len(sure) == 1 and len(shares) > 1 else None


def _number(column: Sequence[Interval], row: int, best: int | None) -> str:
    value = column[row]
    half = max(value.high - value.estimate, value.estimate - value.low, 0.0)
    text = f"{100 * value.estimate:.1f}"
    shown = rf"\mathbf{{{text}}}" if row == best else text
    return rf"${shown} \pm {100 * half:.1f}$"
