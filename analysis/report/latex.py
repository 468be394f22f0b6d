"""LaTeX: the configurations of a study as a table that a paper includes, with booktabs."""

from analysis.document import Analysis
from analysis.findings.phrases import ESTIMAND_TEXTS, declared_seeds_text
from analysis.report.configurations import SURE, columns
from analysis.results.words import attack_text, count_text

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
    shown = [(one, one.tex) for one in columns(analysis) if one.tex is not None]
    lines = [
        " & ".join(tex(row) if one.is_math else escaped(tex(row)) for one, tex in shown) + r" \\"
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
