"""Tables of attacks: stronger ones and another norm beside the evaluation attack, and the checks.

The checklist is counted over seeds; its warnings and failures, and what was detected in training,
are listed one by one.
"""

from collections.abc import Sequence

from analysis.attacks.exclusion import Diagnosis
from analysis.attacks.other_norm import OtherEvaluation
from analysis.document import Analysis, Tier
from analysis.figures.front import chosen_text
from analysis.findings.phrases import ESTIMAND_TEXTS
from analysis.report.tables import (
    Cell,
    Table,
    configuration_cell,
    difference_cell,
    interval_cell,
    method_cell,
    more_text,
)
from analysis.results.results import Results
from analysis.results.trials import (
    VOIDING,
    Check,
    Key,
    Verdict,
    configuration_key,
    strong_text,
    trial_key,
)
from analysis.results.words import attack_text, count_text, percent, value_text, values_text

SEVERITY: dict[Verdict, int] = {"fail": 3, "warn": 2, "not run": 1, "pass": 0}
SIGNS: dict[Verdict, str] = {"fail": "✗ ", "warn": "! ", "not run": "", "pass": ""}
MOST_ROWS = 60
"""So many rows of each are in the page; configs.csv has all."""


def attack_table(results: Results, tier: Tier, key: str, *, at_objective: bool = True) -> Table:
    """Build the table of both attacks side by side, with every configuration attacked.

    It is at the objective radius, or, folded, at all other radii.
    """
    threat = tier.analysis.results.threat
    chosen = [
        one for one in tier.attacked if (one.radius == threat.objective_radius) == at_objective
    ]
    rows = sorted(chosen, key=lambda one: (one.row, one.radius))[:MOST_ROWS]
    more = len(chosen) - len(rows)
    note = f" {count_text(more, 'row')} more stand in configs.csv." if more else ""
    on_first = strong_text(results.threat.attack, tier.samples, results.num_test)
    is_partial = tier.samples < results.num_test
    columns = ["Configuration", "Radius", "Seeds", f"{results.threat.attack}, all images"]
    columns += [on_first[0].upper() + on_first[1:]] if is_partial else []
    return Table(
        key=key,
        caption=f"Robust accuracy in % under {threat.attack} beside {results.threat.attack}, both "
        f"{threat.norm}: means over the seeds attacked, below them 95% intervals over "
        f"{ESTIMAND_TEXTS[tier.analysis.estimand]}. Each is the worst case over everything that "
        "was tried within its attack, at this radius and at smaller ones; the two attacks are "
        "never put together. Lost: the difference on the same images and seeds, in pp, "
        f"paired.{note}",
        columns=(*columns, threat.attack, "Lost (pp)"),
        rows=tuple(
            (
                configuration_cell(tier.analysis.results, tier.analysis.found[one.row]),
                Cell(text=value_text(one.radius), order=one.radius),
                Cell(text=str(len(tier.analysis.found[one.row].trials))),
                interval_cell(one.weaker_on_all),
                *((interval_cell(one.weaker),) if is_partial else ()),
                interval_cell(one.stronger),
                difference_cell(one.lost),
            )
            for one in rows
        ),
        folded="" if at_objective else f"{threat.attack}, {threat.norm}, at the other radii",
    )


def part_table(tier: Tier, key: str) -> Table:
    """Build the table of what each part of the stronger attack broke, at the objective radius."""
    threat = tier.analysis.results.threat
    attacked = [one for one in tier.attacked if one.radius == threat.objective_radius]
    return Table(
        key=key,
        caption=f"What each part of {threat.attack} broke, in % of the images, at "
        f"{threat.norm} {value_text(threat.objective_radius)} alone: each part ran on the images "
        "that were still right; means over seeds. Wrong without an attack, the parts, and what is "
        "left add up to 100.",
        columns=(
            "Configuration",
            "Wrong without an attack",
            *(f"Broken by {part}" for part in tier.parts),
            "Left",
        ),
        rows=tuple(
            (
                configuration_cell(tier.analysis.results, tier.analysis.found[one.row]),
                *(
                    Cell(text=percent(before - after), order=before - after)
                    for before, after in zip((1.0, *one.survivors), one.survivors, strict=False)
                ),
                Cell(text=percent(one.survivors[-1]), order=one.survivors[-1]),
            )
            for one in attacked[:MOST_ROWS]
        ),
    )


def tier_front_table(tier: Tier, key: str) -> Table:
    """Build the table of the fronts under the stronger attack alone."""
    results, contrasts = tier.analysis.results, tier.analysis.primary.contrasts
    return Table(
        key=key,
        caption="Mean attainable robust accuracy in % under "
        f"{attack_text(results.threat, contrasts.radius)}, of the configurations attacked, with "
        f"95% intervals over {ESTIMAND_TEXTS[contrasts.estimand]}. "
        f"{_standing(results)}Not to be compared with the same number of another attack, which "
        "more configurations may stand for.",
        columns=("Method", "Configurations", "Mean attainable robust accuracy"),
        rows=tuple(
            (
                method_cell(results, one.method),
                Cell(text=str(len(one.rows)), order=len(one.rows)),
                interval_cell(one.value),
            )
            for one in contrasts.hypervolumes
        ),
    )


def tier_text(analysis: Analysis, tier: Tier) -> str:
    """Describe what was attacked, and what was not."""
    threat = tier.analysis.results.threat
    count = count_text(len(tier.analysis.found), "configuration")
    trials = count_text(len(tier.analysis.results.trials), "trial")
    parts = ", ".join(tier.parts)
    said = [
        f"{threat.attack[0].upper()}{threat.attack[1:]} ({parts}), {threat.norm}: "
        f"{count} of {len(analysis.found)}, {trials}.",
        f"Attacked at some of the radii only, and left out here: {_listed(tier.partial)}; "
        "evaluate again to have them all."
        if tier.partial
        else "",
        _unshared(analysis, tier),
        *(f"{alarm.severity.capitalize()}: {alarm.text}" for alarm in tier.analysis.alarms),
    ]
    return " ".join(part for part in said if part)


def other_table(analysis: Analysis, other: OtherEvaluation, key: str) -> Table:
    """List the accuracies in another norm, every configuration that was evaluated in it."""
    results, found = analysis.results, analysis.found
    shown = other.configurations[:MOST_ROWS]
    more = len(other.configurations) - len(shown)
    note = more_text(more, " configurations", "configs.csv")
    return Table(
        key=key,
        caption=f"Robust accuracy in % under {results.threat.attack}, {other.norm}, on "
        f"{count_text(results.num_test, 'test image')}, at the radius named and all smaller ones, "
        f"with 95% intervals over {ESTIMAND_TEXTS[other.estimand]}. Nothing was trained, chosen or "
        f"stopped by it.{note}",
        columns=(
            "Configuration",
            "Seeds",
            *(f"{other.norm} {value_text(radius)}" for radius in other.radii),
        ),
        rows=tuple(
            (
                configuration_cell(results, found[one.row]),
                Cell(text=str(one.seeds), order=one.seeds),
                *(interval_cell(value) for value in one.robust),
            )
            for one in shown
        ),
        sortable=True,
    )


def check_table(analysis: Analysis) -> Table:
    """Count the verdicts of each check over the seeds of each configuration, the worst first."""
    groups: dict[Key, list[Diagnosis]] = {}
    for one in analysis.diagnoses:
        if one.checks:
            groups.setdefault(configuration_key(one.method, one.values), []).append(one)
    columns = sorted({(c.number, c.name) for d in analysis.diagnoses for c in d.checks})
    trials = sorted(groups.values(), key=lambda group: -_worst(group))
    return Table(
        key="checks",
        caption="The checklist: verdicts over the trials of each configuration. A fail of checks "
        f"1 to {VOIDING} voids the robust accuracies of its trial, which is then left out; all "
        "other verdicts leave the numbers as they are. A warning asks for a look."
        + more_text(len(trials) - MOST_ROWS, " configurations", "front.json"),
        columns=("Configuration", "Trials", *(f"{number} {name}" for number, name in columns)),
        rows=tuple(
            (
                configuration_cell(analysis.results, group[0]),
                Cell(text=str(len(group)), order=len(group)),
                *(_verdict_cell(group, column) for column in columns),
            )
            for group in trials[:MOST_ROWS]
        ),
    )


def verdict_table(analysis: Analysis) -> Table:
    """Print the sentence of every check that warned or failed, failures first."""
    found = [
        (one, check)
        for one in analysis.diagnoses
        for check in one.checks
        if check.verdict in ("fail", "warn")
    ]
    found.sort(key=lambda pair: (-SEVERITY[pair[1].verdict], pair[1].number))
    return Table(
        key="verdicts",
        caption="What failed and what warned."
        + more_text(len(found) - MOST_ROWS, " warnings", "front.json"),
        columns=("Trial", "Check", "Verdict", "What was found"),
        rows=tuple(
            (
                _trial_cell(analysis, one),
                Cell(text=f"{check.number} {check.name}", order=check.number),
                Cell(
                    text=check.verdict,
                    below="trial left out" if _voids(one, check) else "",
                    order=-SEVERITY[check.verdict],
                ),
                Cell(text=check.text),
            )
            for one, check in found[:MOST_ROWS]
        ),
    )


def detection_table(analysis: Analysis) -> Table:
    """List what the detectors saw while trials trained."""
    found = [(one, seen) for one in analysis.diagnoses for seen in one.detections]
    return Table(
        key="detections",
        caption="Detected while training, with the epoch. The numbers of these trials stand: a "
        "failure of training is a result." + more_text(len(found) - MOST_ROWS, "", "front.json"),
        columns=("Trial", "Detected", "What was seen"),
        rows=tuple(
            (_trial_cell(analysis, one), Cell(text=seen.name), Cell(text=seen.text))
            for one, seen in found[:MOST_ROWS]
        ),
    )


def _standing(results: Results) -> str:
    """Describe which configurations represent a search; empty if nothing was searched."""
    if not any(note.searched for note in results.methods):
        return ""
    which = f"the members chosen on {chosen_text(results)}" if results.num_validation else "all"
    return f"Of a search {which} stand for it. "


def _unshared(analysis: Analysis, tier: Tier) -> str:
    """List the radii at which only some of the trials were evaluated and attacked."""
    threat = tier.analysis.results.threat
    kept = {trial_key(trial) for trial in tier.analysis.results.trials}
    attacked = {
        radius
        for trial in analysis.results.trials
        if trial_key(trial) in kept
        for one in trial.strong
        if (one.attack, one.norm, one.samples, one.parts)
        == (tier.attack, threat.norm, tier.samples, tier.parts)
        for radius in one.radii
    }
    listed = ", ".join(value_text(radius) for radius in sorted(attacked - set(threat.radii)))
    if not listed:
        return ""
    return f"Not evaluated in every trial, and in seeds.csv alone: {threat.norm} {listed}."


def _listed(cells: Sequence[str], most: int = 4) -> str:
    more = f" and {len(cells) - most} more" if len(cells) > most else ""
    return f"{', '.join(cells[:most])}{more}"


def _worst(group: Sequence[Diagnosis]) -> int:
    return max(SEVERITY[check.verdict] for one in group for check in one.checks)


def _verdict_cell(group: Sequence[Diagnosis], column: tuple[int, str]) -> Cell:
    """Count verdicts, the worst first: `pass` alone where every trial passes."""
    verdicts = [c.verdict for one in group for c in one.checks if (c.number, c.name) == column]
    counts = [(verdict, verdicts.count(verdict)) for verdict in SEVERITY if verdict in verdicts]
    if counts == [("pass", len(group))]:
        return Cell(text="pass")
    texts = [f"{SIGNS[verdict]}{count} {verdict}" for verdict, count in counts]
    return Cell(text=texts[0] if texts else "–", below=", ".join(texts[1:]))


def _voids(one: Diagnosis, check: Check) -> bool:
    return one.is_left_out and check.verdict == "fail" and check.number <= VOIDING


def _trial_cell(analysis: Analysis, one: Diagnosis) -> Cell:
    below = " ".join(part for part in (values_text(one.values, 4), f"seed {one.seed}") if part)
    return method_cell(analysis.results, one.method, below)
