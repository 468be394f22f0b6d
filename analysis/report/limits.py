"""What bounds everything that a study says, and what a reader must know to judge its numbers.

The coverages in the notes come from simulations with known truth; the notes name their settings.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from analysis.document import Analysis
from analysis.fronts.choice import Choice, choice_values
from analysis.results.configurations import ConfigurationResult
from analysis.results.results import Results
from analysis.results.trials import strong_text
from analysis.results.words import count_text, method_text, percent, resolution, value_text

COVERAGE = (
    "Of 95% intervals, in simulations with Gaussian seed noise, 3 seeds and 150 to "
    "400 synthetic studies: hypervolume 93 to 97%, its difference 98% (wider than need "
    "be), one robust accuracy 96%, a difference of two 97%, height and slope of a fitted "
    "front 94%, the gap's simultaneous band 97% where the family is chosen by AICc, an "
    "equivalent ε 96%, a half-robustness radius 94%. Real networks may be noisier than "
    "that: skewed, or with collapsed seeds."
)


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One thing that a study cannot say."""

    topic: str
    text: str


def limits(results: Results, choice: Choice) -> tuple[Limit, ...]:
    """Return what the study cannot say, and why, with the numbers that bound it."""
    found = [c for front in choice.fronts for c in front.configurations]
    if not found:
        return (Limit(topic="Anything about accuracy", text=f"{_absent_text(results)}."),)
    return (
        Limit(topic="Other seeds", text=_seeds_text(found)),
        Limit(topic="Other images", text=_resolution_text(results, choice)),
        Limit(topic="Other attacks", text=_attack_text(results)),
        Limit(topic="Other choices", text=_choice_text(results, choice, len(found))),
        *_standard_limits(results, found),
        *_absence_limits(results, choice),
    )


def method_notes(analysis: Analysis) -> tuple[Limit, ...]:
    """Explain the terms and the methods of a report, topic by topic."""
    results = analysis.results
    threat = results.threat
    checkpoint = (
        "the epoch that did best on validation data"
        if results.checkpoint == "best"
        else "the last epoch"
    )
    chosen = "validation data" if results.num_validation else "test data"
    return (
        Limit(
            topic="Accuracies",
            text="Clean accuracy is the share of test images classified rightly; robust accuracy "
            "at a radius the share still classified rightly under the attack at this radius and at "
            "every smaller one. Radii are in units of the pixel range [0, 1]. Measured at "
            f"{checkpoint}.",
        ),
        *_tier_notes(analysis),
        Limit(topic="Intervals", text=_interval_text(analysis)),
        Limit(
            topic="Fronts",
            text=f"A configuration is chosen for a front on {chosen}, at radius "
            f"{value_text(threat.objective_radius)}, if no other has at least its clean and its "
            "robust accuracy and more of one. On test data, membership is a probability: the share "
            "of replicates. The attainment surface at a clean accuracy is the robust accuracy that "
            "a share of the replicates reaches at it or above: half for the median, 97.5% for the "
            "pessimistic, 2.5% for the optimistic edge. Its band is pointwise.",
        ),
        Limit(
            topic="Mean attainable robust accuracy",
            text="The height of a front averaged over all clean accuracies asked for from "
            f"{percent(results.clean_floor)}% to 100%: the hypervolume above "
            f"({percent(results.clean_floor)}%, 0), divided by its width.",
        ),
        Limit(
            topic="Fitted fronts",
            text="Up to four families of curves are fitted to each method's configurations, by "
            "their distance in units of seed noise, and the best by AICc is drawn if it passes "
            "every condition of the gate below. Else there is no curve, gap or exchange rate: "
            "points, steps and surfaces say what is known.",
        ),
        Limit(topic="Known coverage", text=COVERAGE),
    )


def _attack_text(results: Results) -> str:
    """Describe what robust accuracy bounds, and what else was tried on how many trials."""
    threat = results.threat
    tried = Counter(
        name
        for trial in results.trials
        for name in dict.fromkeys(
            strong_text(s.attack, s.samples, results.num_test) for s in trial.strong
        )
    )
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


def _standard_limits(results: Results, found: list[ConfigurationResult]) -> list[Limit]:
    """Return what a study without a network that was trained without perturbation cannot say."""
    plain = {note.name for note in results.methods if note.kind == "standard"}
    strengths = [[c.values[n] for n in ("rho", "epsilon") if n in c.values] for c in found]
    is_off = [bool(values) and not any(values) for values in strengths]
    if any(is_off) or any(c.method in plain for c in found):
        return []
    text = (
        "No configuration is standard training (no weight side and no input side, or ρ and ε "
        "equal to 0). What the methods gain over it in robust accuracy, or pay in clean accuracy, "
        "cannot be computed, and an equivalent ε below the smallest ε has no lower end. A row of "
        "standard training for each seed would add both."
    )
    return [Limit(topic="Standard training", text=text)]


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
    counts = Counter((trial.method, trial.status) for trial in results.absent)
    listed = ", ".join(
        f"{method_text(method)} {count} {status}" for (method, status), count in counts.items()
    )
    return (
        f"{len(results.absent)} of {count_text(cells, 'trial')} have no result "
        f"({listed}) and are in no mean and in no front"
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


def _tier_notes(analysis: Analysis) -> tuple[Limit, ...]:
    """Explain how stronger attacks stand beside the evaluation attack, where there are any."""
    if not analysis.tiers:
        return ()
    names = ", ".join(dict.fromkeys(tier.analysis.results.threat.attack for tier in analysis.tiers))
    text = (
        f"{analysis.results.threat.attack} measured every trial: an image counts as broken if any "
        f"start or step of it succeeded. {names} measured some: an image counts as broken if any "
        "of its parts succeeded. Within each the worst case counts; between them nothing is "
        "combined, no front holds numbers of both, and each number names its attack. The fronts of "
        f"each are chosen on {_chosen_on(analysis)}."
    )
    return (Limit(topic="Tiers of evaluation", text=text),)


def _chosen_on(analysis: Analysis) -> str:
    threat = analysis.results.threat
    if not analysis.results.num_validation:
        return "its own test numbers, as there are no validation data"
    return (
        f"the same validation data, under {threat.validation_attack}, {threat.norm} "
        f"{value_text(threat.objective_radius)}"
    )


def _interval_text(analysis: Analysis) -> str:
    parts = [
        f"Intervals are 95% percentiles of {analysis.replicates} replicates; those of hypervolumes "
        "and their differences are extended against the lift of a maximum by noise, those called "
        "adjusted or simultaneous are max-T (sup-t). Seed noise is "
        "resampled from the residuals "
        + (
            "of all methods together, as one has too few seeds for its own; "
            if analysis.pooled_over_methods
            else "of each method; "
        )
        + "configurations are a fixed design and are not resampled."
    ]
    if "population" in analysis.estimands:
        parts.append(
            "Population: other seeds and other images like these; test images are reweighted, the "
            "same way for all configurations, so that differences are paired."
        )
    else:
        parts.append(
            "Without correctness bits of every trial, only other seeds on these test images are "
            "covered."
        )
    if analysis.variance_explained_by_seed is not None:
        parts.append(
            f"{percent(analysis.variance_explained_by_seed)}% of the residual variance is shared "
            "by equal seed numbers; configurations count as independent."
        )
    return " ".join(parts)
