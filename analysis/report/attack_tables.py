"""Tables of attacks and of training: stronger attacks, other norms, checks, detections, epochs.

The verdicts of the checklist are counted over seeds. Its warnings and failures, and what was
detected in training, are listed one by one.
"""

from collections.abc import Sequence
from dataclasses import replace

from analysis.attacks.exclusion import Diagnosis
from analysis.attacks.other_norm import OtherEvaluation
from analysis.document import Analysis, Tier
from analysis.figures.front import chosen_text
from analysis.findings.phrases import ESTIMAND_TEXTS, points_text
from analysis.fronts.choice import Choice
from analysis.report.tables import (
    Cell,
    Table,
    configuration_cell,
    difference_cell,
    interval_cell,
    method_cell,
    more_text,
    spread_cell,
)
from analysis.responses.epochs import chosen_training
from analysis.results.configurations import Spread
from analysis.results.results import Results
from analysis.results.trials import (
    VOIDING,
    Check,
    Importance,
    Key,
    Verdict,
    configuration_key,
    strong_text,
    trial_key,
)
from analysis.results.words import (
    SYMBOLS,
    attack_text,
    count_text,
    percent,
    value_text,
    values_text,
)

SEVERITY: dict[Verdict, int] = {"fail": 3, "warn": 2, "not run": 1, "pass": 0}
SIGNS: dict[Verdict, str] = {"fail": "✗ ", "warn": "! ", "not run": "", "pass": ""}
MOST_ROWS = 60
"""The page has at most so many rows of each table; configs.csv has all of them."""


def attack_table(results: Results, tier: Tier, key: str, *, at_objective: bool = True) -> Table:
    """Build the table of both attacks side by side, for every configuration attacked.

    It covers the objective radius or, folded, all other radii.
    """
    threat = tier.analysis.results.threat
    chosen = [
        one for one in tier.attacked if (one.radius == threat.objective_radius) == at_objective
    ]
    rows = sorted(chosen, key=lambda one: (one.row, one.radius))[:MOST_ROWS]
    note = more_text(len(chosen) - len(rows), "row", "configs.csv")
    on_first = strong_text(results.threat.attack, tier.samples, results.num_test)
    is_partial = tier.samples < results.num_test
    columns = ["Configuration", "Radius", "Seeds", f"{results.threat.attack}, all images"]
    columns += [on_first[0].upper() + on_first[1:]] if is_partial else []
    return Table(
        key=key,
        caption=f"Robust accuracy in % under {results.threat.attack} and under {threat.attack}, "
        f"both {threat.norm}: means over the seeds attacked, with 95% intervals for "
        f"{ESTIMAND_TEXTS[tier.analysis.estimand]} below. Each is the worst case over everything "
        "that its attack tried at this radius and at smaller ones; the two attacks are never "
        f"combined. Lost: the paired difference on the same images and seeds, in pp.{note}",
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
    """Build the table of images that each part of an attack broke, at the objective radius."""
    threat = tier.analysis.results.threat
    attacked = [one for one in tier.attacked if one.radius == threat.objective_radius]
    return Table(
        key=key,
        caption=f"Images that each part of {threat.attack} broke, in %, at {threat.norm} "
        f"{value_text(threat.objective_radius)} alone: means over seeds. Each part attacked only "
        "the images that were still classified correctly. The images wrong without an attack, "
        "those broken by the parts, and those left add up to 100.",
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
        f"95% intervals for {ESTIMAND_TEXTS[contrasts.estimand]}. {_standing(results)}Do not "
        "compare it with that of another attack, which may use more configurations.",
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
    """Describe what was attacked and what was not."""
    threat = tier.analysis.results.threat
    count = count_text(len(analysis.found), "configuration")
    trials = count_text(len(tier.analysis.results.trials), "trial")
    parts = ", ".join(tier.parts)
    said = [
        f"{threat.attack[0].upper()}{threat.attack[1:]} ({parts}), {threat.norm}: "
        f"{len(tier.analysis.found)} of {count}, {trials}.",
        f"Attacked at only some of the radii, and therefore left out: {_listed(tier.partial)}. "
        "Evaluate again to include them."
        if tier.partial
        else "",
        _unshared(analysis, tier),
        *(f"{alarm.severity.capitalize()}: {alarm.text}" for alarm in tier.analysis.alarms),
    ]
    return " ".join(part for part in said if part)


def other_table(analysis: Analysis, other: OtherEvaluation, key: str) -> Table:
    """Build the table of accuracies in another norm, for every configuration evaluated in it."""
    results, found = analysis.results, analysis.found
    shown = other.configurations[:MOST_ROWS]
    note = more_text(len(other.configurations) - len(shown), "configuration", "configs.csv")
    return Table(
        key=key,
        caption=f"Robust accuracy in % under {results.threat.attack}, {other.norm}, on "
        f"{count_text(results.num_test, 'test image')}, at the radius in the heading and all "
        f"smaller ones, with 95% intervals for {ESTIMAND_TEXTS[other.estimand]}. These accuracies "
        f"played no part in training, stopping or choosing.{note}",
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
    """Build the table of verdicts of each check over a configuration's seeds, the worst first."""
    groups: dict[Key, list[Diagnosis]] = {}
    for one in analysis.diagnoses:
        if one.checks:
            groups.setdefault(configuration_key(one.method, one.values), []).append(one)
    columns = sorted({(c.number, c.name) for d in analysis.diagnoses for c in d.checks})
    trials = sorted(groups.values(), key=lambda group: -_worst(group))
    return Table(
        key="checks",
        caption="The checklist: verdicts over the trials of each configuration. If one of the "
        f"checks 1 to {VOIDING} fails, the robust accuracies of its trial are void, and it is left "
        "out. All other verdicts leave the numbers as they are. Look at each warning."
        + more_text(len(trials) - MOST_ROWS, "configuration", "front.json"),
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
    """Build the table of what every check found that warned or failed, failures first."""
    found = [
        (one, check)
        for one in analysis.diagnoses
        for check in one.checks
        if check.verdict in ("fail", "warn")
    ]
    found.sort(key=lambda pair: (-SEVERITY[pair[1].verdict], pair[1].number))
    return Table(
        key="verdicts",
        caption="Checks that failed or warned."
        + more_text(len(found) - MOST_ROWS, "verdict", "front.json"),
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
    """Build the table of what the detectors found during training."""
    found = [(one, seen) for one in analysis.diagnoses for seen in one.detections]
    return Table(
        key="detections",
        caption="Detected during training, with the epoch. The numbers of these trials are kept, "
        "as a failure of training is a result."
        + more_text(len(found) - MOST_ROWS, "detection", "front.json"),
        columns=("Trial", "Detected", "What was found"),
        rows=tuple(
            (_trial_cell(analysis, one), Cell(text=seen.name), Cell(text=seen.text))
            for one, seen in found[:MOST_ROWS]
        ),
    )


def _standing(results: Results) -> str:
    """Describe which configurations of a search are used; empty if nothing was searched."""
    if not any(note.searched for note in results.methods):
        return ""
    chosen = f"the members chosen on {chosen_text(results)}"
    which = chosen if results.num_validation else "all configurations"
    return f"For a searched method, it is that of {which}. "


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
    return f"Not evaluated in every trial, and therefore only in seeds.csv: {threat.norm} {listed}."


def _listed(cells: Sequence[str], most: int = 4) -> str:
    more = f" and {len(cells) - most} more" if len(cells) > most else ""
    return f"{', '.join(cells[:most])}{more}"


def _worst(group: Sequence[Diagnosis]) -> int:
    return max(SEVERITY[check.verdict] for one in group for check in one.checks)


def _verdict_cell(group: Sequence[Diagnosis], column: tuple[int, str]) -> Cell:
    """Format the counts of verdicts, the worst first; only `pass` if every trial passes."""
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


def training_table(results: Results, choice: Choice) -> Table:
    """Build the table of checkpoints `best` and `last` of each method's chosen configuration."""
    threat = results.threat
    return Table(
        key="training",
        caption="Each method's chosen configuration at its best checkpoint, chosen on validation "
        f"data, and at its last: accuracies in % on {count_text(results.num_test, 'test image')}, "
        f"robust under {attack_text(threat, threat.objective_radius)}. Means over seeds, with the "
        "lowest and the highest seed below. Difference: robust accuracy of the best checkpoint "
        "minus that of the last, seed by seed.",
        columns=(
            "Configuration",
            "Seeds",
            "Best epoch",
            "Clean, best",
            "Clean, last",
            "Robust, best",
            "Robust, last",
            "Difference (pp)",
        ),
        rows=tuple(
            (
                method_cell(
                    results, one.configuration.method, values_text(one.configuration.values)
                ),
                Cell(text=str(len(one.histories)), order=len(one.histories)),
                _epoch_cell(one.best_epoch),
                *(
                    spread_cell(accuracy)
                    for accuracy in (
                        one.clean_best,
                        one.clean_last,
                        one.robust_best,
                        one.robust_last,
                    )
                ),
                _difference_cell(one.difference),
            )
            for one in chosen_training(results, choice)
        ),
    )


def importance_table(results: Results) -> Table:
    """Build the table of importances, for clean and for robust validation accuracy."""
    by_method: dict[str, dict[str, Importance]] = {}
    for importance in results.importances:
        by_method.setdefault(importance.method, {})[importance.objective] = importance
    evaluators = ", ".join(dict.fromkeys(i.evaluator for i in results.importances))
    rows = []
    for method, found in by_method.items():
        names = dict.fromkeys(name for importance in found.values() for name in importance.shares)
        for name in names:
            count = max(importance.configurations for importance in found.values())
            rows.append(
                (
                    method_cell(results, method),
                    Cell(text=SYMBOLS.get(name, name), order=name),
                    *(_share_cell(found.get(objective), name) for objective in ("clean", "robust")),
                    Cell(text=str(count), order=count),
                )
            )
    return Table(
        key="importances",
        caption="Importance of each hyperparameter of a search, for accuracy on validation images "
        f"({evaluators}): its share, in %, of what sets the best configurations apart from all.",
        columns=("Method", "Hyperparameter", "Clean", "Robust", "Configurations"),
        rows=tuple(rows),
    )


def _epoch_cell(over_seeds: Spread | None) -> Cell:
    # Epochs are whole numbers, but their mean over seeds is not.
    cell = spread_cell(over_seeds, lambda epoch: f"{epoch:.0f}")
    return cell if over_seeds is None else replace(cell, text=f"{over_seeds.mean:.3g}")


def _difference_cell(over_seeds: Spread | None) -> Cell:
    cell = spread_cell(over_seeds, points_text)
    # A dash between two signed numbers would look like a third sign.
    return replace(cell, below=cell.below.replace("–", " to "))


def _share_cell(importance: Importance | None, name: str) -> Cell:
    if importance is None or name not in importance.shares:
        return Cell(text="–")
    return Cell(text=percent(importance.shares[name]), order=importance.shares[name])
