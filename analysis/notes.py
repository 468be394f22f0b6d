"""Notes: what a reader must know to judge the numbers of a report, and what is known of its rules.

The coverages are those of simulations with known truth; each is told with its setting.
"""

from analysis.document import Analysis
from analysis.limits import Limit
from analysis.words import percent, value_text


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
        Limit(
            topic="Known coverage",
            text="Of 95% intervals, in simulations with Gaussian seed noise, 3 seeds and 150 to "
            "400 synthetic studies: hypervolume 93 to 97%, its difference 98% (wider than need "
            "be), one robust accuracy 96%, a difference of two 97%, height and slope of a fitted "
            "front 94%, the gap's simultaneous band 97% where the family is chosen by AICc, an "
            "equivalent ε 96%, a half-robustness radius 94%. Real networks may be noisier than "
            "that: skewed, or with collapsed seeds.",
        ),
    )


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
