"""Markdown: the findings of a study as text that a tracker or a paper's notes can show."""

import re
from collections.abc import Sequence

from analysis.document import Analysis
from analysis.findings.phrases import reason_text
from analysis.inference.claims import Finding
from analysis.report.tables import reference_table
from analysis.results.results import Results
from analysis.results.words import attack_text, count_text

LEADING = (
    "dominance within the clean margin",
    "gap",
    "gap at clean floors",
    "stronger attack",
    "dominance",
    "equivalent epsilon",
)
"""Kinds of findings that answer the questions of a study."""


EXPLORATORY = "Exploratory: not declared before the results were seen"
"""Heads all findings but the primary contrast and those that answer a declaration."""


def escaped_markdown(text: str) -> str:
    r"""Escape a text so that Markdown prints it unchanged, on one line.

    >>> print(escaped_markdown("a_b <i> | *x*"))
    a\_b &lt;i> \| \*x\*
    """
    one_line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", one_line)


def mark_of(finding: Finding) -> str:
    """Return what a finding is marked with; empty without a mark."""
    if finding.primary:
        return "Primary contrast."
    return "Declared." if finding.declared else ""


def findings_md(analysis: Analysis, limits: list[tuple[str, str]]) -> str:
    """Write the findings of a study, a table of their numbers, and what the study cannot say.

    limits: topic and text of each limit of the whole study.
    """
    results = analysis.results
    said = [f for f in ordered(analysis.findings) if f.status == "claimed"]
    unsaid = [f for f in ordered(analysis.findings) if f.status != "claimed"]
    lines = [f"# {escaped_markdown(results.study)}", ""]
    if results.about:
        lines += [escaped_markdown(results.about), ""]
    conditions = (
        f"{count_text(len(results.trials), 'trial')}, "
        f"{count_text(results.num_test, 'test image')}, "
        f"{attack_text(results.threat, results.threat.objective_radius)}"
    )
    lines += [escaped_markdown(conditions), "", "## Findings", ""]
    lines += _said(said) or ["Nothing is claimed."]
    lines += ["", *_table(analysis.findings), *_references(results)]
    lines += ["## What this study cannot say", ""]
    lines += [_item(f) for f in unsaid]
    lines += [
        f"- **{escaped_markdown(topic)}.** {escaped_markdown(text)}" for topic, text in limits
    ]
    return "\n".join(lines) + "\n"


def ordered(findings: tuple[Finding, ...]) -> list[Finding]:
    """Sort findings: the primary contrast first, then what was declared, then the rest by status.

    The first finding of each leading kind precedes the rest, so that ten differences hide no gap.
    """
    places = {"claimed": 0, "bracketed": 1, "refused": 2}
    seen: set[tuple[str, str]] = set()
    keys: list[tuple[bool, bool, int, bool, int]] = []
    for finding in findings:
        kind = finding.kind, finding.status
        leads = finding.kind in LEADING and kind not in seen
        status = places[finding.status]
        keys.append((not finding.primary, finding.is_exploratory, status, not leads, len(keys)))
        seen.add(kind)
    return [findings[number] for *_, number in sorted(keys)]


def _said(findings: Sequence[Finding]) -> list[str]:
    """List findings, with a heading before those that the study did not declare."""
    exploratory = [_item(f) for f in findings if f.is_exploratory]
    if exploratory:
        exploratory = ["", f"### {EXPLORATORY}", "", *exploratory]
    return [_item(f) for f in findings if not f.is_exploratory] + exploratory


def _item(finding: Finding) -> str:
    mark = f"**{mark_of(finding)}** " if mark_of(finding) else ""
    return f"- {mark}{escaped_markdown(f'{finding.text} {reason_text(finding)}')}"


def _table(findings: tuple[Finding, ...]) -> list[str]:
    """Write a table of the findings that have an estimate."""
    rows = [f for f in ordered(findings) if f.estimate is not None]
    if not rows:
        return []
    return [
        "| finding | status | estimate | low | high | level | estimand | interval |",
        "|---|---|---|---|---|---|---|---|",
        *(
            "| "
            + " | ".join(
                escaped_markdown(text)
                for text in (
                    f.kind,
                    f.status,
                    *(_number(value) for value in (f.estimate, f.low, f.high)),
                    f"{f.level:g}",
                    f.estimand or "",
                    f.interval_method,
                )
            )
            + " |"
            for f in rows
        ),
        "",
    ]


def _references(results: Results) -> list[str]:
    """List the references; nothing where there are none."""
    table = reference_table(results)
    items = [
        f"- {escaped_markdown(name.text)}: "
        + ", ".join(
            f"{head.lower()} {cell.text}"
            for head, cell in zip(table.columns[1:], numbers, strict=True)
        )
        for name, *numbers in table.rows
    ]
    return ["## References", "", table.caption, "", *items, ""] if items else []


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
