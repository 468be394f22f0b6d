"""Tier tables: a stronger attack and another norm, beside the evaluation attack."""

from collections.abc import Sequence

from analysis.captions import ESTIMAND_TEXTS, chosen_text
from analysis.document import Analysis, Tier
from analysis.evidence import strong_text
from analysis.other_norm import OtherEvaluation
from analysis.phrases import points_text
from analysis.results import Results, trial_key
from analysis.tables import Cell, Table, interval_cell, method_cell
from analysis.tiers import AttackedTwice
from analysis.words import attack_text, count_text, percent, value_text, values_text

MOST_ROWS = 60
"""So many rows of each are in the page; configs.csv has all."""


def attack_table(results: Results, tier: Tier, key: str, *, at_objective: bool = True) -> Table:
    """Put both attacks side by side, every configuration attacked.

    At the objective radius, or at all the others, where the table is folded.
    """
    threat = tier.analysis.results.threat
    objective = threat.objective_radius
    chosen = [one for one in tier.attacked if (one.radius == objective) == at_objective]
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
                _configuration_cell(tier, one),
                _radius_cell(one),
                Cell(text=str(len(tier.analysis.found[one.row].trials))),
                interval_cell(one.weaker_on_all),
                *((interval_cell(one.weaker),) if is_partial else ()),
                interval_cell(one.stronger),
                Cell(
                    text=points_text(one.lost.estimate),
                    below=f"{points_text(one.lost.low)} to {points_text(one.lost.high)}",
                    order=one.lost.estimate,
                ),
            )
            for one in rows
        ),
        folded="" if at_objective else f"{threat.attack}, {threat.norm}, at the other radii",
    )


def part_table(tier: Tier, key: str) -> Table:
    """Say what each part of the stronger attack broke, at the objective radius."""
    threat = tier.analysis.results.threat
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
                _configuration_cell(tier, one),
                *(
                    Cell(text=percent(before - after), order=before - after)
                    for before, after in zip((1.0, *one.survivors), one.survivors, strict=False)
                ),
                Cell(text=percent(one.survivors[-1]), order=one.survivors[-1]),
            )
            for one in _at_objective(tier)[:MOST_ROWS]
        ),
    )


def tier_front_table(tier: Tier, key: str) -> Table:
    """Tell what each method's front is worth under the stronger attack alone."""
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


def _standing(results: Results) -> str:
    """Say which configurations of a search stand for it; empty where nothing was searched."""
    if not any(note.searched for note in results.methods):
        return ""
    which = f"the members chosen on {chosen_text(results)}" if results.num_validation else "all"
    return f"Of a search {which} stand for it. "


def tier_text(analysis: Analysis, tier: Tier) -> str:
    """Say what was attacked, and what was not."""
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


def _unshared(analysis: Analysis, tier: Tier) -> str:
    """Name the radii at which only some of the trials were evaluated and attacked."""
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


def other_table(analysis: Analysis, other: OtherEvaluation, key: str) -> Table:
    """List the accuracies in another norm, every configuration that was evaluated in it."""
    results, found = analysis.results, analysis.found
    shown = other.configurations[:MOST_ROWS]
    more = len(other.configurations) - len(shown)
    note = f" {more} more configurations stand in configs.csv." if more else ""
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
                method_cell(results, found[one.row].method, values_text(found[one.row].values, 4)),
                Cell(text=str(one.seeds), order=one.seeds),
                *(interval_cell(value) for value in one.robust),
            )
            for one in shown
        ),
        sortable=True,
    )


def _at_objective(tier: Tier) -> list[AttackedTwice]:
    radius = tier.analysis.results.threat.objective_radius
    return [one for one in tier.attacked if one.radius == radius]


def _configuration_cell(tier: Tier, one: AttackedTwice) -> Cell:
    c = tier.analysis.found[one.row]
    return method_cell(tier.analysis.results, c.method, values_text(c.values, 4))


def _radius_cell(one: AttackedTwice) -> Cell:
    return Cell(text=value_text(one.radius), order=one.radius)


def _listed(cells: Sequence[str], most: int = 4) -> str:
    more = f" and {len(cells) - most} more" if len(cells) > most else ""
    return f"{', '.join(cells[:most])}{more}"
