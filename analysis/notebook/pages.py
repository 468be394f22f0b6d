"""What a notebook shows of results and of an analysis: a few lines of HTML, without scripts.

Everything that a user may have written, such as names and texts, is escaped.
"""

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from analysis.fronts.choice import choose
from analysis.inference.claims import Finding
from analysis.results.results import Results
from analysis.results.words import count_text, percent, value_text, values_text

if TYPE_CHECKING:
    from analysis.document import Analysis

MOST_FINDINGS = 5
MOST_ROWS = 12
"""Rows of a table; the report has all of them."""
SMALL = 'style="color:#595959;font-size:90%"'


def results_page(results: Results) -> str:
    """Build what a notebook shows of results: how many there are, and each method's best."""
    threat = results.threat
    absent = f", {len(results.absent)} absent" if results.absent else ""
    counts = f"{count_text(len(results.trials), 'trial')}{absent}"
    rows = []
    for front in choose(results).fronts:
        best = front.best
        robust = best.robust[threat.objective].mean if best else None
        rows.append(
            (
                front.note.name,
                str(len(front.configurations)),
                values_text(best.values) or "–" if best else "–",
                percent(best.clean.mean) if best else "–",
                percent(robust) if robust is not None else "–",
            )
        )
    at = f"{threat.attack}, {threat.norm} {value_text(threat.objective_radius)}"
    heads = ("method", "configurations", "best", "clean %", f"robust % ({at})")
    return title(results.study, f"{counts}. {results.about}") + table(heads, rows)


def analysis_page(analysis: "Analysis") -> str:
    """Build what a notebook shows of an analysis: its first findings and the main figure."""
    results = analysis.results
    counts = (
        f"{count_text(len(analysis.found), 'configuration')}, "
        f"{count_text(len(results.trials), 'trial')}"
    )
    shown = _gravest(analysis.findings)[:MOST_FINDINGS]
    items = "".join(f"<li>{escape(finding.text)}</li>" for finding in shown)
    more = len(analysis.findings) - len(shown)
    rest = f"<p {SMALL}>The report has {more} more.</p>" if more > 0 else ""
    return title(results.study, counts) + f"<ul>{items}</ul>{rest}" + _figure(analysis)


def _gravest(findings: Iterable[Finding]) -> list[Finding]:
    """Sort findings: the primary contrast, what is claimed, what is bracketed, what is refused."""
    order = ("claimed", "bracketed", "refused")
    return sorted(findings, key=lambda one: (not one.primary, order.index(one.status)))


def _figure(analysis: "Analysis") -> str:
    """Draw the main figure at the objective radius; nothing without results."""
    if not analysis.found:
        return ""
    # matplotlib and scipy, which tables of a plan need not wait for.
    from analysis.figures.front import fig_front
    from analysis.report.plans import front_drawing

    radius = analysis.results.threat.objective_radius
    figure = fig_front(analysis, radius, header=False)
    # Identifiers are shared by all outputs of a notebook, so they hold the study's name.
    key = "front-" + "".join(
        c if c.isalnum() and c.isascii() else "-" for c in analysis.results.study
    )
    return f'<div style="max-width:52em">{front_drawing(analysis, figure, key, radius)}</div>'


def title(name: str, text: str) -> str:
    """Build a heading line: a name, and what is said of it."""
    return f"<p><b>{escape(name)}</b> <span {SMALL}>{escape(text.strip())}</span></p>"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Build a table of texts, the first column to the left; longer ones end with a count."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>"
        for row in rows[:MOST_ROWS]
    )
    more = len(rows) - MOST_ROWS
    rest = f"<p {SMALL}>and {more} more</p>" if more > 0 else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"
