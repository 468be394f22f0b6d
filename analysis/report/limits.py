"""Limits: what a study cannot say, and what a reader must know to judge its numbers.

The coverages in the notes come from simulations whose truth is known. The notes state their
settings.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from analysis.document import Analysis
from analysis.findings.phrases import capital, listed_text
from analysis.fronts.choice import Choice, choice_values
from analysis.results.configurations import ConfigurationResult
from analysis.results.results import Results
from analysis.results.trials import strong_text
from analysis.results.words import (
    configuration_text,
    count_text,
    method_text,
    percent,
    resolution,
    value_text,
)

COVERAGE = (
    "Share of 95% intervals that contain the truth, in simulations with Gaussian seed noise, "
    "3 seeds and 150 to 400 synthetic studies: a hypervolume 93 to 97%, a difference of two "
    "hypervolumes 98% (wider than necessary), a robust accuracy 96%, a difference of two robust "
    "accuracies 97%, the height and the slope of a fitted front 94%, the simultaneous band of a "
    "gap 97% where AICc chooses the family, an equivalent ε 96%, a half-robustness radius 94%. "
    "The noise of real networks may be worse: it may be skewed, or include collapsed seeds."
)


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A topic with its text: something that a study cannot say, or a note on its methods."""

    topic: str
    text: str


def limits(results: Results, choice: Choice) -> tuple[Limit, ...]:
    """Return what the study cannot say and why, with the numbers that bound it."""
    found = [c for front in choice.fronts for c in front.configurations]
    if not found:
        return (Limit(topic="Anything about accuracy", text=f"{_absent_text(results)}."),)
    return (
        Limit(topic="Other seeds", text=_seeds_text(found)),
        Limit(topic="Other images", text=_resolution_text(results, choice)),
        Limit(topic="Other attacks", text=_attack_text(results)),
        Limit(topic="Other choices", text=_choice_text(results, choice, len(found))),
        *_standard_limits(results, found),
        *(Limit(topic="Data", text=_sentence(doubt)) for doubt in results.data_doubts),
        *_fewer_limits(results),
        *_stop_limits(results),
        *_epoch_limits(results),
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
    if num_last := sum(trial.is_last_read for trial in results.trials):
        checkpoint += f" ({num_last} of {count_text(len(results.trials), 'trial')}: the last epoch)"
    chosen = "validation data" if results.num_validation else "test data"
    return (
        Limit(
            topic="Accuracies",
            text="Clean accuracy is the share of test images that are classified correctly. Robust "
            "accuracy at a radius is the share that is still classified correctly under the attack "
            "at this radius and at every smaller one. Radii are in units of the pixel range "
            f"[0, 1]. Both accuracies are measured at {checkpoint}.",
        ),
        *_tier_notes(analysis),
        Limit(topic="Intervals", text=_interval_text(analysis)),
        Limit(
            topic="Fronts",
            text=f"A front is chosen on {chosen}, at radius {value_text(threat.objective_radius)}. "
            "A configuration is on it if no other one is at least as good in both accuracies and "
            "better in one of them. On test data, membership is a probability: the share of the "
            "replicates in which a configuration is on the front. The attainment surface at a "
            "clean accuracy is the robust accuracy that a share of the replicates reaches at this "
            "clean accuracy or a higher one. This share is half for the median, 97.5% for the "
            "pessimistic edge and 2.5% for the optimistic edge. The band between them is "
            "pointwise.",
        ),
        Limit(
            topic="Mean attainable robust accuracy",
            text="The height of a front, averaged over all required clean accuracies from "
            f"{percent(results.clean_floor)}% to 100%. It is the hypervolume above "
            f"({percent(results.clean_floor)}%, 0), divided by the width of this range.",
        ),
        Limit(
            topic="Fitted fronts",
            text="Up to four families of curves are fitted to each method's configurations, by "
            "their distance in units of seed noise. Of the families that pass every condition of "
            "the gate table below, the one with the least AICc is drawn. If none passes, there is "
            "no exchange rate, and instead of the gap the robust accuracies attained at required "
            "clean accuracies are compared. Points that carry a shape then have a monotone fit: "
            "isotonic regression, with a simultaneous band that holds for any falling front.",
        ),
        Limit(topic="Known coverage", text=COVERAGE),
    )


def _attack_text(results: Results) -> str:
    """Describe what robust accuracy bounds, and which stronger attacks ran on how many trials."""
    threat = results.threat
    tried = Counter(
        name
        for trial in results.trials
        for name in dict.fromkeys(
            strong_text(s.attack, s.samples, results.num_test) for s in trial.strong
        )
    )
    attacked = "".join(
        f" {capital(name)} was run on {count} of {count_text(len(results.trials), 'trial')}, and "
        "its numbers are reported separately."
        for name, count in tried.items()
    )
    in_two = any(trial.other for trial in results.trials)
    rest = "norms and radii not evaluated here" if in_two else "other norms and radii"
    return (
        f"Robust accuracy is an upper bound. It was measured under {threat.attack}, {threat.norm}, "
        f"at the radii of this report, and a stronger attack may lower it.{attacked} Nothing is "
        f"said about {rest}."
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
            "Every configuration has one seed. How another seed would turn out is unknown, and no "
            "interval accounts for it."
        )
    seeds = f"{max(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    return (
        f"Each configuration has {seeds} seeds. As so few seeds say little about one "
        "configuration, intervals take their noise from all configurations of a method together. "
        "A rare failure of training may not be among these seeds."
    )


def _resolution_text(results: Results, choice: Choice) -> str:
    best = _by_robustness(results, choice)[0]
    shown = {
        percent(a): a for a in (0.5, best.clean.mean, best.robust[results.threat.objective].mean)
    }
    bounds = ", ".join(
        f"{text}% to ±{percent(resolution(a, results.num_test))} points"
        for text, a in sorted(shown.items(), key=lambda item: item[1])
    )
    return (
        f"{count_text(results.num_test, 'test image')} determine an accuracy of {bounds} "
        "(half of the 95% interval, 1.96√(a(1−a)/n)). Intervals for the population include this "
        "uncertainty, and those for this test set do not. The population is other images like "
        "these, not another data set, corruption or network."
    )


def _choice_text(results: Results, choice: Choice, configurations: int) -> str:
    among = f"{count_text(configurations, 'configuration')}"
    if configurations == 1:
        return "There is only one configuration, so nothing was chosen."
    if choice.on_validation:
        return (
            f"Fronts were chosen among {among} on "
            f"{count_text(results.num_validation, 'validation image')}, with robust accuracy under "
            f"{results.threat.validation_attack}. The choice depends on the noise of these images: "
            "other images may lead to other fronts. The numbers printed are test numbers, which "
            "played no part in the choice."
        )
    return (
        f"There are no validation data. The best of {among} were chosen on the same test images "
        "that measure them. They are not selected independently and look better than they are."
    )


def _sentence(clause: str) -> str:
    return f"{clause[:1].upper()}{clause[1:]}."


def _absent_text(results: Results) -> str:
    if not results.absent:
        return "No trial has a result"
    cells = len(results.trials) + len(results.absent)
    counts = Counter((trial.method, trial.status) for trial in results.absent)
    listed = ", ".join(
        f"{method_text(method)}: {count} {status}" for (method, status), count in counts.items()
    )
    return (
        f"{len(results.absent)} of {count_text(cells, 'trial')} "
        f"{'has' if len(results.absent) == 1 else 'have'} no result ({listed}) and "
        f"{'is' if len(results.absent) == 1 else 'are'} left out of all means and fronts"
    )


def _stop_limits(results: Results) -> list[Limit]:
    """Return how many configurations were stopped early, and what that means for claims."""
    stopped = [trial.reason for trial in results.stopped]
    if not stopped:
        return []
    places = ", ".join(f"{count} {reason}" for reason, count in sorted(Counter(stopped).items()))
    verb = "was" if len(stopped) == 1 else "were"
    text = (
        f"{count_text(len(stopped), 'configuration')} {verb} stopped early, by validation accuracy "
        f"against others of the same method at the same epoch ({places}). Fronts and claims "
        "compare those that trained to the end; a stopped one might have caught up."
    )
    return [Limit(topic="Stopped trainings", text=text)]


def _fewer_limits(results: Results) -> list[Limit]:
    """Return which methods trained with fewer attack steps at first, as their networks show it."""
    fewer = [note for note in results.methods if note.fewer_steps]
    if not fewer:
        return []
    listed = listed_text([f"{method_text(note.name)} ({note.fewer_steps})" for note in fewer])
    text = (
        f"To save passes in the search, {listed} crafted their first training images with fewer "
        "steps. Their accuracies are those of such trainings; with all steps from the first epoch "
        "on they may be others."
    )
    return [Limit(topic="Fewer attack steps", text=text)]


def _epoch_limits(results: Results) -> list[Limit]:
    """Return which trials are read at their last epoch, as their best one is unknown."""
    read = Counter(trial.method for trial in results.trials if trial.is_last_read)
    if not read:
        return []
    totals = Counter(trial.method for trial in results.trials)
    listed = listed_text(
        [f"{method_text(name)} {number} of {totals[name]}" for name, number in read.items()]
    )
    threat = results.threat
    text = (
        f"{read.total()} of {count_text(len(results.trials), 'trial')} "
        f"{'is' if read.total() == 1 else 'are'} read at the last epoch ({listed}), as the "
        "training was for another norm or objective radius of the evaluation, and which epoch is "
        f"best at {threat.norm} {value_text(threat.objective_radius)} was not recorded. The best "
        "epoch may be more robust, so a comparison with trials that are read at their best epoch "
        "is not one of equals."
    )
    return [Limit(topic="Trials at the last epoch", text=text)]


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
        verbs = ("lacks", "is") if len(incomplete) == 1 else ("lack", "are")
        consequence = f" {noun} {verbs[0]} a declared seed and {verbs[1]} marked incomplete. Fronts"
        consequence += " leave incomplete configurations out"
        consequence += ", except where a method has no others." if lacking else "."
    if lacking:
        consequence += (
            " Where a member of a front lacks a seed, the front is compared without that seed: "
            f"{', '.join(lacking)}."
        )
    if not results.absent and not incomplete:
        return []
    text = f"{_absent_text(results)}.{consequence}" if results.absent else consequence.strip()
    return [Limit(topic="Absent trials", text=text)]


def _tier_notes(analysis: Analysis) -> tuple[Limit, ...]:
    """Explain how stronger attacks relate to the evaluation attack; empty if there are none."""
    if not analysis.tiers:
        return ()
    names = ", ".join(dict.fromkeys(tier.analysis.results.threat.attack for tier in analysis.tiers))
    text = (
        f"Every trial was attacked with {analysis.results.threat.attack}: an image counts as "
        f"broken if any start or step of it succeeded. Some trials were also attacked with {names}:"
        " an image counts as broken if any part of it succeeded. Within an attack, the worst case "
        "counts. Numbers of different attacks are never combined: no front holds both, and each "
        f"number names its attack. The fronts of each attack are chosen on {_chosen_on(analysis)}."
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


def _noisy_text(analysis: Analysis) -> str:
    """List the configurations whose seeds are not pooled with those of others; often none."""
    if not analysis.noisy:
        return ""
    named = [configuration_text(analysis.found[row], 40) for row in analysis.noisy]
    return f"Not pooled, as their own seeds spread much farther: {listed_text(named)}. "


def _interval_text(analysis: Analysis) -> str:
    parts = [
        f"Intervals are 95% percentile intervals over {analysis.replicates} bootstrap replicates. "
        "Those of hypervolumes and their differences are extended, as noise lifts a maximum. Those "
        "called adjusted or simultaneous are max-T (sup-t). Seed noise is resampled from the "
        "residuals of "
        + (
            "all methods together, as one of them has too few seeds of its own. "
            if analysis.pooled_over_methods
            else "each method. "
        )
        + _noisy_text(analysis)
        + "Configurations are a fixed design and are not resampled."
    ]
    if "population" in analysis.estimands:
        parts.append(
            "Population: intervals cover other seeds and other images like these. The test images "
            "are reweighted in the same way for all configurations, so that differences are paired."
        )
    else:
        parts.append(
            "As some trials have no correctness bits, intervals cover only other seeds on the same "
            "test images."
        )
    if analysis.variance_explained_by_seed is not None:
        parts.append(
            f"{percent(analysis.variance_explained_by_seed)}% of the residual variance is common "
            "to equal seed numbers; the intervals treat configurations as independent."
        )
    return " ".join(parts)
