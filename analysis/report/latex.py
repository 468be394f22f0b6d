"""LaTeX: the configurations of a study as a booktabs table for a paper."""

from analysis.document import Analysis
from analysis.findings.phrases import ESTIMAND_TEXTS, declared_seeds_text
from analysis.report.configurations import SURE, columns
from analysis.results.words import attack_text, count_text

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
