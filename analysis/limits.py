"""Limits: what bounds everything that a study says."""

from dataclasses import dataclass

import numpy as np

from analysis.choice import Choice, choice_values
from analysis.configurations import ConfigurationResult
from analysis.evidence import strong_text
from analysis.results import AbsentTrial, Results
from analysis.words import count_text, method_text, percent, resolution


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One thing that a study cannot say."""

    topic: str
    text: str


def limits(results: Results, choice: Choice) -> tuple[Limit, ...]:
    """Say what the study cannot say, and why, with the numbers that bound it."""
    found = [c for front in choice.fronts for c in front.configurations]
    if not found:
        return (Limit(topic="Anything about accuracy", text=f"{_absent_text(results)}."),)
    return (
        Limit(topic="Other seeds", text=_seeds_text(found)),
        Limit(topic="Other images", text=_resolution_text(results, choice)),
        Limit(topic="Other attacks", text=_attack_text(results)),
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


def _attack_text(results: Results) -> str:
    """Say what robust accuracy bounds, and what else was tried on how many trials."""
    threat = results.threat
    tried: dict[str, int] = {}
    for trial in results.trials:
        names = [strong_text(s.attack, s.samples, results.num_test) for s in trial.strong]
        for name in dict.fromkeys(names):
            tried[name] = tried.get(name, 0) + 1
    attacked = "; ".join(
        f"{name} was run on {count} of {count_text(len(results.trials), 'trial')}, and its numbers "
        "stand apart"
        for name, count in tried.items()
    )
    stronger = f"A stronger attack may lower it{': ' if attacked else '; '}{attacked}"
    in_two = any(trial.other for trial in results.trials)
    rest = "norms and radii not evaluated here" if in_two else "other norms and radii"
    return (
        f"Robust accuracy is an upper bound: it holds under {threat.attack}, {threat.norm}, at the "
        f"radii named here. {stronger}{'. Nothing' if attacked else 'nothing'} is said about "
        f"{rest}."
    )


def _by_robustness(results: Results, choice: Choice) -> list[ConfigurationResult]:
    chosen = [front.best for front in choice.fronts if front.best is not None]
    order = np.argsort(-choice_values(tuple(chosen), results)[:, 1], kind="stable")
    return [chosen[row] for row in order]


def _seeds_text(found: list[ConfigurationResult]) -> str:
    counts = [len(c.trials) for c in found]
    if max(counts) == 1:
        return (
            "Every configuration has one seed: how another seed would come out is unknown, and no "
            "interval contains it."
        )
    seeds = f"{max(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    return (
        f"Each configuration has {seeds} seeds. Intervals take their noise from all "
        "configurations of a method together, as so few seeds tell little of one configuration; "
        "a rare failure of training may not be among them."
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
        "(95%: 1.96√(a(1−a)/n)). Intervals for the population contain this, those for this test "
        "set do not. Population means images like these, not another data set, corruption or "
        "network."
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
        + ", ".join(str(seed) for seed in declared if seed not in front.complete_seeds)
        + ")"
        for front in choice.fronts
        for declared in [results.seeds_of(front.note.name)]
        if front.members and len(front.complete_seeds) < len(declared)
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
