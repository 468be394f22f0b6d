"""Training findings: the best epoch against the last, and configurations of noisy seeds."""

from collections.abc import Mapping, Sequence

from analysis.findings.phrases import points_text, seeds_text, spread_text
from analysis.fronts.choice import Choice
from analysis.inference.claims import Finding
from analysis.responses.epochs import chosen_training
from analysis.results.configurations import ConfigurationResult, Spread
from analysis.results.results import Results
from analysis.results.words import (
    attack_text,
    configuration_text,
    count_text,
    percent,
    value_text,
)

KIND = "best against last epoch"
MOST_NAMED = 3
"""The finding lists at most so many methods; the table has all of them."""


def training_findings(results: Results, choice: Choice) -> list[Finding]:
    """Return how robust accuracy differs between the best and the last epoch.

    The finding is exploratory: a range over seeds is not an interval, so nothing is claimed.
    Without histories it is a refusal.
    """
    threat = results.threat
    measured = [
        (one.configuration, one.difference)
        for one in chosen_training(results, choice)
        if one.difference is not None
    ]
    if not measured:
        reason = (
            "no trial has a record of its epochs and of the test accuracies of two checkpoints; "
            "record both, as study launch does"
        )
        text = f"Whether longer training loses robust accuracy is unknown: {reason}."
        return [Finding(kind=KIND, text=text, status="refused", reason=reason)]
    # The largest gains come first, as only a few are named.
    measured.sort(key=lambda one: -one[1].mean)
    named = "; ".join(_named(*one) for one in measured[:MOST_NAMED])
    more = len(measured) - MOST_NAMED
    rest = f"; {more} more in the table" if more > 0 else ""
    seeds = seeds_text([difference.seeds for _, difference in measured])
    design = (
        f"{count_text(len(measured), 'chosen configuration')} × {seeds}, "
        f"{count_text(results.num_test, 'test image')}"
    )
    text = (
        "Exploratory: the test robust accuracy of the best checkpoint, chosen on validation data, "
        f"minus that of the last one: {named}{rest} "
        f"({attack_text(threat, threat.objective_radius)}; {design}; this test set; "
        "ranges are those over seeds, not intervals)."
    )
    return [
        Finding(
            kind=KIND,
            text=text,
            status="bracketed",
            estimate=measured[0][1].mean,
            estimand="this test set",
            n=design,
            interval_method="none: a range over seeds",
            reason="it was not declared before the data, and a range over seeds is not an interval",
        )
    ]


def noise_findings(
    results: Results, found: Sequence[ConfigurationResult], noisy: Mapping[int, float]
) -> list[Finding]:
    """Return the configurations whose seeds spread far more than those of the others.

    noisy: their rows, with the ratio of the spreads.
    """
    return [
        Finding(
            kind="noisy configuration",
            text=f"The seeds of {configuration_text(found[row], 40)} {spread_text(ratio)}: its "
            f"noise is estimated from its own {count_text(len(found[row].trials), 'seed')} alone, "
            "and its seeds do not widen the intervals of other configurations "
            f"(robust accuracy of its seeds at radius "
            f"{value_text(results.threat.objective_radius)}: {_seeds(results, found[row])}). More "
            "seeds of it would show whether it trains reliably.",
            status="bracketed",
            estimate=ratio,
            n=seeds_text([len(found[row].trials)]),
            interval_method="none: a ratio of standard deviations over seeds",
            reason="a spread over a few seeds is hardly known",
        )
        for row, ratio in noisy.items()
    ]


def _seeds(results: Results, configuration: ConfigurationResult) -> str:
    at = results.threat.objective
    return ", ".join(f"{percent(trial.robust[at])}%" for trial in configuration.trials)


def _named(configuration: ConfigurationResult, difference: Spread) -> str:
    """Format a configuration with its difference, and whether all seeds agree on its sign."""
    low, high = points_text(difference.low), points_text(difference.high)
    over = f"range {low} to {high}" if difference.seeds > 1 else "one seed"
    every = difference.seeds > 1 and (difference.low > 0 or difference.high < 0)
    sign = f", {'above' if difference.low > 0 else 'below'} 0 for every seed" if every else ""
    name = configuration_text(configuration, 24)
    return f"{name} {points_text(difference.mean)} pp ({over}{sign})"
