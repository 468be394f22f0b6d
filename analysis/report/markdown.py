"""Markdown: the findings of a study as text that a tracker or a paper's notes can show."""

import re
from collections.abc import Sequence

from analysis.advice.words import advice_texts
from analysis.document import Analysis
from analysis.findings.phrases import points_text, reason_text
from analysis.inference.claims import Finding
from analysis.report.tables import reference_table
from analysis.results.results import Results
from analysis.results.words import attack_text, count_text, value_text

LEADING = (
    "dominance within the clean margin",
    "gap",
    "gap at clean floors",
    "stronger attack",
    "equivalent epsilon",
    "dominance",
)
"""Kinds of findings that answer the questions of a study, the first question first."""
COMPARISONS = (
    *("hypervolume difference", "gap", "gap at clean floors"),
    *("dominance", "dominance of the best"),
)
"""Kinds of findings that say something even where no method is ahead."""
MINOR = ("half-robustness radius", "selection", "peak of robust accuracy", "exchange rate", "knee")
"""Kinds of findings on one method alone."""
STRENGTHS = (
    *("equivalent epsilon", "slope of equivalent epsilon", "half-robustness radius"),
    *("peak of robust accuracy", "exchange rate", "noisy configuration"),
)
"""Kinds of findings whose numbers are no accuracies."""


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
    said = [f for f in ordered(analysis.findings) if is_told(f)]
    unsaid = [f for f in ordered(analysis.findings) if not is_told(f)]
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
    if analysis.advice:
        lines += ["## What to run next", ""]
        lines += [f"- {escaped_markdown(text)}" for text in advice_texts(analysis.advice)]
        lines += [""]
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
    seen: set[tuple[str, str]] = set()
    keys: list[tuple[bool, bool, int, int, bool, int]] = []
    for finding in findings:
        kind = finding.kind, finding.status
        leads = finding.kind in LEADING and kind not in seen
        rank = LEADING.index(finding.kind) if leads else len(LEADING)
        place = 0 if is_told(finding) else 1 if finding.status == "bracketed" else 2
        minor = finding.kind in MINOR or finding.kind.endswith(", other radius")
        first = not finding.primary, finding.is_exploratory
        keys.append((*first, place, rank, minor, len(keys)))
        seen.add(kind)
    return [findings[number] for *_, number in sorted(keys)]


def is_told(finding: Finding) -> bool:
    """Return whether a finding stands among what the study found.

    These are claims, what answers a declaration, and methods that are not told apart, which is an
    answer, too.
    """
    compared = finding.status == "bracketed" and finding.kind in COMPARISONS
    return finding.status == "claimed" or finding.declared or compared


def _said(findings: Sequence[Finding]) -> list[str]:
    """List findings, with a heading before those that the study did not declare."""
    exploratory = [_item(f) for f in findings if f.is_exploratory]
    if exploratory:
        exploratory = ["", f"### {EXPLORATORY}", "", *exploratory]
    return [_item(f) for f in findings if not f.is_exploratory] + exploratory


def _item(finding: Finding) -> str:
    mark = f"**{mark_of(finding)}** " if mark_of(finding) else ""
    told = escaped_markdown(f"{finding.text} {reason_text(finding)}")
    if not finding.plain:
        return f"- {mark}{told}"
    return f"- {mark}{escaped_markdown(finding.plain)}\n  - {told}"


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
                    *(_number(f, value) for value in (f.estimate, f.low, f.high)),
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


def _number(finding: Finding, value: float | None) -> str:
    """Format a number of a finding: a difference of accuracies in points, a strength as it is."""
    if value is None:
        return ""
    if any(finding.kind.startswith(kind) for kind in STRENGTHS):
        return value_text(value, 2)
    return f"{points_text(value)} pp"
