"""The first screen of the page: what was run, the answer, the best of each method, what to doubt.

Conditions that all sentences share are stated once. Everything else opens on demand.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.advice.words import next_line
from analysis.document import Analysis
from analysis.findings.phrases import (
    ESTIMAND_TEXTS,
    Best,
    best_of_each,
    capital,
    declared_seeds_text,
)
from analysis.inference.claims import Finding
from analysis.report.cards import card_key
from analysis.report.tables import Cell, Table, interval_cell, method_cell, standard_steps
from analysis.results.results import primary_pair
from analysis.results.trials import ON_PURPOSE
from analysis.results.words import attack_text, count_text, value_text, values_text

MOST_SENTENCES = 3
"""The answer has at most so many sentences."""
MOST_METHODS = 6
"""The table of the first screen has at most so many methods."""
ENOUGH_SEEDS = 2
"""With fewer seeds there is no interval."""


@dataclass(frozen=True, kw_only=True)
class Number:
    """One number of the strip: what is printed large, and what it is."""

    value: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Screen:
    """What the first screen shows beside the main figure."""

    run: str
    """One line on what was run."""
    answer: tuple[Finding, ...]
    """The findings that answer the question of the study, in at most three sentences."""
    best: Table
    strip: tuple[Number, ...]
    doubts: tuple[str, ...]
    """What speaks against the numbers, each in a few words."""
    following: str
    """What to run next, as one line; empty if nothing is advised."""
    conditions: str
    """What holds for all numbers unless it is said otherwise."""
    adjusted: str
    """For how many comparisons intervals are adjusted, as a text for a link; empty for none."""


def first_screen(analysis: Analysis, findings: Sequence[Finding]) -> Screen:
    """Build the first screen; findings: in the order of the page."""
    results, contrasts = analysis.results, analysis.primary.contrasts if analysis.found else None
    cells = len(results.trials) + len(results.absent)
    compared = len(contrasts.contrasts) if contrasts is not None else 0
    return Screen(
        run=f"{count_text(len(analysis.found), 'configuration')} × {declared_seeds_text(results)} "
        f"· {len(results.trials)} of {count_text(cells, 'trial')} done",
        answer=_answer(findings),
        best=best_table(analysis),
        strip=_strip(analysis, cells),
        doubts=_doubts(analysis),
        following=next_line(analysis),
        conditions=_conditions(analysis),
        adjusted=f"adjusted for {compared} comparisons" if compared > 1 else "",
    )


def sentences(text: str) -> list[str]:
    """Split a text into its sentences.

    >>> sentences("It is 2.5 pp [1 to 4]. So it is: 3%.")
    ['It is 2.5 pp [1 to 4].', 'So it is: 3%.']
    """
    return re.split(r"(?<=[.!?]) (?=[A-Z“])", text.strip())


def _answer(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Choose the first findings in plain words, as many as three sentences hold."""
    chosen: list[Finding] = []
    room = MOST_SENTENCES
    for finding in findings:
        needed = len(sentences(finding.plain))
        is_told = finding.status == "claimed" or finding.primary
        if finding.plain and is_told and needed <= room and finding.kind not in _kinds(chosen):
            chosen.append(finding)
            room -= needed
    return tuple(chosen)


def _kinds(findings: Sequence[Finding]) -> set[str]:
    return {finding.kind for finding in findings}


def best_table(analysis: Analysis) -> Table:
    """Build the small table: the best configuration of each method, the compared pair first."""
    results, threat = analysis.results, analysis.results.threat
    found = best_of_each(analysis) if analysis.found else {}
    first = primary_pair(results, tuple(found)) or ()
    plain = [note.name for note in results.methods if note.kind == "standard"]
    ahead = sorted(found, key=lambda name: -found[name].robust.estimate)
    names = [name for name in dict.fromkeys([*first, *plain, *ahead]) if name in found]
    kept = names[:MOST_METHODS]
    more = len(names) - len(kept)
    rest = f" {count_text(more, 'more method')} in the table of all configurations." if more else ""
    return Table(
        key="best",
        caption="Each method's most robust setting, in %. Cost: against standard training." + rest,
        columns=("Method", "Clean", f"Robust, {threat.norm} {value_text(threat.objective_radius)}")
        + (("Cost",) if any(one.cost for one in found.values()) else ()),
        rows=tuple(
            (
                _named(analysis, found[name]),
                interval_cell(found[name].clean),
                interval_cell(found[name].robust),
                *([_cost(found[name])] if any(one.cost for one in found.values()) else []),
            )
            for name in sorted(kept, key=lambda name: -found[name].robust.estimate)
        ),
    )


def _named(analysis: Analysis, best: Best) -> Cell:
    values = values_text(best.configuration.values)
    target = f"#{card_key(best.row)}"
    return method_cell(analysis.results, best.configuration.method, values, target)


def _cost(best: Best) -> Cell:
    if best.cost is None:
        return Cell(text="–")
    return Cell(text=standard_steps(best.cost).removesuffix(" × standard") + "×", order=best.cost)


def _strip(analysis: Analysis, cells: int) -> tuple[Number, ...]:
    results = analysis.results
    seeds = declared_seeds_text(results).partition(" seed")
    counts = Counter(trial.status for trial in results.absent if trial.status in ON_PURPOSE)
    early = ", ".join(f"{counts[status]} {status}" for status in ON_PURPOSE if status in counts)
    return (
        Number(
            value=f"{len(results.trials)} of {cells}",
            label=f"trials done; {early}" if early else "trials done",
        ),
        Number(value=seeds[0], label=f"seed{seeds[2]} per configuration"),
        Number(value=f"{results.num_test:,}".replace(",", "\N{THIN SPACE}"), label="test images"),
        Number(value=_strongest(analysis), label=f"strongest attack; {_checked(analysis)}"),
    )


def _strongest(analysis: Analysis) -> str:
    """Return the strongest attack that was run, without its settings."""
    attacks = [tier.attack for tier in analysis.tiers]
    return attacks[-1] if attacks else analysis.results.threat.attack.partition(",")[0]


def _checked(analysis: Analysis) -> str:
    """Describe how the checks of the attack came out."""
    verdicts = [check.verdict for one in analysis.diagnoses for check in one.checks]
    if not verdicts:
        return "not checked"
    failed = verdicts.count("fail")
    if failed:
        return f"{count_text(failed, 'check')} failed"
    warned = verdicts.count("warn")
    return f"{count_text(warned, 'warning')} of checks" if warned else "all checks passed"


def _doubts(analysis: Analysis) -> tuple[str, ...]:
    results = analysis.results
    if not results.trials:
        return ()
    raced = [len(c.trials) for c in analysis.found if c.key not in results.spared]
    least = min(raced, default=0)
    lost = sum(trial.status not in ON_PURPOSE for trial in results.absent)
    stopped = len(results.stopped)
    doubts = {
        f"{count_text(lost, 'trial')} without a result": bool(lost),
        f"{count_text(stopped, 'configuration')} stopped early": bool(stopped),
        "only one seed, so no interval": least < ENOUGH_SEEDS,
        "chosen on the test images": not analysis.choice.on_validation,
        "no stronger attack was run": not analysis.tiers,
        f"{count_text(len(results.data_doubts), 'doubt')} about the data": bool(
            results.data_doubts
        ),
    }
    return tuple(text for text, is_so in doubts.items() if is_so)


def _conditions(analysis: Analysis) -> str:
    results = analysis.results
    if not results.trials:
        return ""
    chosen = "validation" if analysis.choice.on_validation else "test"
    return (
        f"{capital(attack_text(results.threat, results.threat.objective_radius))}; "
        f"{count_text(results.num_test, 'test image')}; 95% intervals for "
        f"{ESTIMAND_TEXTS[analysis.estimand].removesuffix(' (population)')}; settings "
        f"chosen on {chosen} images"
    )
