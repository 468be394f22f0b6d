"""Findings: what a study says and what it cannot say, as sentences with their numbers."""

from dataclasses import dataclass

import numpy as np

from analysis.choice import Choice, choice_values
from analysis.configurations import ConfigurationResult, Spread
from analysis.front import comparable
from analysis.palette import method_styles
from analysis.results import AbsentTrial, Results
from analysis.words import (
    attack_text,
    configuration_text,
    count_text,
    method_text,
    percent,
    resolution,
    shortened,
    values_text,
)


@dataclass(frozen=True, kw_only=True)
class Reached:
    """What one method's chosen configuration reaches, in words."""

    method: str
    colour: str
    values: str
    robust: str
    robust_seeds: str
    clean: str
    clean_seeds: str


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One thing that a study cannot say."""

    topic: str
    text: str


def headline(results: Results, choice: Choice) -> str:
    """Say which chosen configuration is the most robust, and what it reaches on test data.

    Configurations are chosen and put in order on validation data where there are any. The one
    beside it is the other method's that reaches most on test; the sentence says on which side it
    lies and whether the seeds tell them apart.
    """
    threat = results.threat
    chosen = _by_robustness(results, choice)
    if not chosen:
        return "No trial of this study has a result: nothing can be said about its methods."
    first, others = chosen[0], chosen[1:]
    if sum(len(front.configurations) for front in choice.fronts) == 1:
        subject = f"The only configuration with a result, {_named(first)},"
    else:
        where = "validation data" if choice.on_validation else "these test images"
        subject = f"{_named(first)}, the most robust configuration on {where},"
    robust = first.robust[threat.objective]
    return (
        f"{subject} has a robust accuracy of {percent(robust.mean)}% ({over_seeds_text(robust)}) "
        f"under {attack_text(threat, threat.objective_radius)}, on "
        f"{count_text(results.num_test, 'test image')}, at {percent(first.clean.mean)}% clean "
        f"accuracy ({over_seeds_text(first.clean)})"
        f"{_beside(first, others, threat.objective) if others else ''}."
    )


def reached(results: Results, choice: Choice) -> tuple[Reached, ...]:
    """Give what each method's chosen configuration reaches, in the order of the choice."""
    styles = method_styles(results.methods)
    return tuple(
        Reached(
            method=shortened(c.method, 40),
            colour=styles[c.method].colour,
            values=values_text(c.values),
            robust=percent(c.robust[results.threat.objective].mean),
            robust_seeds=over_seeds_text(c.robust[results.threat.objective]),
            clean=percent(c.clean.mean),
            clean_seeds=over_seeds_text(c.clean),
        )
        for c in _by_robustness(results, choice)
    )


def limits(results: Results, choice: Choice) -> tuple[Limit, ...]:
    """Say what the study cannot say, and why, with the numbers that bound it."""
    found = [c for front in choice.fronts for c in front.configurations]
    if not found:
        return (Limit(topic="Anything about accuracy", text=f"{_absent_text(results)}."),)
    return (
        Limit(topic="Other seeds", text=_seeds_text(found)),
        Limit(topic="Other images", text=_resolution_text(results, choice)),
        Limit(
            topic="Other attacks",
            text=f"Robust accuracy is an upper bound: it holds under {results.threat.attack}, "
            f"{results.threat.norm}, at the radii named here. A stronger attack may lower it; "
            "nothing is said about other norms and radii.",
        ),
        Limit(topic="Other choices", text=_choice_text(results, choice, len(found))),
        *_absence_limits(results, choice),
    )


def absent_counts(absent: tuple[AbsentTrial, ...]) -> str:
    """Count absent trials by method and status."""
    counts: dict[tuple[str, str], int] = {}
    for trial in absent:
        key = (trial.method, trial.status)
        counts[key] = counts.get(key, 0) + 1
    return ", ".join(
        f"{method_text(method)} {count} {status}" for (method, status), count in counts.items()
    )


def over_seeds_text(over_seeds: Spread) -> str:
    """Say over which seeds a mean was taken: their range, or that there is one."""
    if over_seeds.seeds == 1:
        return "one seed"
    low, high = percent(over_seeds.low), percent(over_seeds.high)
    return f"{low}–{high} over {over_seeds.seeds} seeds"


def _by_robustness(results: Results, choice: Choice) -> list[ConfigurationResult]:
    chosen = [front.best for front in choice.fronts if front.best is not None]
    order = np.argsort(-choice_values(tuple(chosen), results)[:, 1], kind="stable")
    return [chosen[row] for row in order]


def _beside(first: ConfigurationResult, others: list[ConfigurationResult], radius: int) -> str:
    """Compare with the best of the others on test: which side, and whether the ranges overlap."""
    second = max(others, key=lambda c: c.robust[radius].mean)
    one, other = first.robust[radius], second.robust[radius]
    ahead, tie = np.diff(comparable(np.array([other.mean, one.mean])))[0], ""
    side = "level with" if ahead == 0 else "ahead of" if ahead > 0 else "behind"
    if one.seeds > 1 and other.seeds > 1:
        apart = one.low > other.high or other.low > one.high
        tie = ": the ranges do not overlap" if apart else ": the ranges overlap"
    within = f" ({percent(other.low)}–{percent(other.high)})" if other.seeds > 1 else " (one seed)"
    return f"; {side} {method_text(second.method)}, {percent(other.mean)}{within}{tie}"


def _named(c: ConfigurationResult) -> str:
    return configuration_text(c, 40)


def _seeds_text(found: list[ConfigurationResult]) -> str:
    counts = [len(c.trials) for c in found]
    if max(counts) == 1:
        return (
            "Every configuration has one seed: how another seed would come out is unknown, and no "
            "spread is given."
        )
    seeds = f"{max(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    return (
        f"Each configuration has {seeds} seeds. The ranges printed are the least and the greatest "
        "of them, not confidence intervals; another seed may fall outside."
    )


def _resolution_text(results: Results, choice: Choice) -> str:
    best = _by_robustness(results, choice)[0]
    shown = {
        percent(a): a for a in (0.5, best.clean.mean, best.robust[results.threat.objective].mean)
    }
    bounds = ", ".join(
        f"{text}% to ±{percent(resolution(a, results.num_test))}"
        for text, a in sorted(shown.items(), key=lambda item: item[1])
    )
    return (
        f"{count_text(results.num_test, 'test image')} determine an accuracy of {bounds} points "
        "(95 %: 1.96√(a(1−a)/n)). The ranges over seeds share the same images and do not contain "
        "this."
    )


def _choice_text(results: Results, choice: Choice, configurations: int) -> str:
    among = f"{count_text(configurations, 'configuration')}"
    if configurations == 1:
        return "There is one configuration: nothing was chosen."
    if choice.on_validation:
        return (
            f"Fronts were chosen among {among} on "
            f"{count_text(results.num_validation, 'validation image')}, robust accuracy under "
            f"{results.threat.validation_attack} there, and follow their noise: other images may "
            "put other configurations there. The numbers printed are test numbers, which took no "
            "part in the choice."
        )
    return (
        f"There are no validation data: the best of {among} were chosen on the test images that "
        "they are measured on. They are not selected independently and look better than they are."
    )


def _absent_text(results: Results) -> str:
    if not results.absent:
        return "No trial has a result"
    cells = len(results.trials) + len(results.absent)
    return (
        f"{len(results.absent)} of {count_text(cells, 'trial')} have no result "
        f"({absent_counts(results.absent)}) and are in no mean and in no front"
    )


def _absence_limits(results: Results, choice: Choice) -> list[Limit]:
    lacking = [
        f"{method_text(front.note.name)} (seed "
        + ", ".join(str(seed) for seed in results.seeds if seed not in front.complete_seeds)
        + ")"
        for front in choice.fronts
        if front.members and len(front.complete_seeds) < len(results.seeds)
    ]
    incomplete = [c for front in choice.fronts for c in front.configurations if not c.complete]
    consequence = ""
    if incomplete:
        noun = count_text(len(incomplete), "configuration")
        consequence = f" {noun} without every declared seed: marked incomplete and in no front"
        consequence += ", except of methods that have no other." if lacking else "."
    if lacking:
        consequence += (
            " Fronts that lack a member with a seed are compared without that seed: "
            f"{', '.join(lacking)}."
        )
    if not results.absent and not incomplete:
        return []
    text = f"{_absent_text(results)}.{consequence}" if results.absent else consequence.strip()
    return [Limit(topic="Absent trials", text=text)]
