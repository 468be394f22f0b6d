"""Training findings: what stopping at the best epoch changes, in words, as exploratory."""

from analysis.findings.phrases import points_text
from analysis.fronts.choice import Choice
from analysis.inference.claims import Finding
from analysis.responses.epochs import Trained, chosen_training
from analysis.results.configurations import Spread
from analysis.results.results import Results
from analysis.results.words import attack_text, configuration_text, count_text

KIND = "best against last epoch"
MOST_NAMED = 3
"""So many methods are named in the finding; the table has all."""


def training_findings(results: Results, choice: Choice) -> list[Finding]:
    """Say how robust accuracy differs between the best and the last epoch, as exploratory.

    Ranges over seeds, no interval: nothing is claimed. Without histories nothing can be said.
    """
    threat = results.threat
    measured = [one for one in chosen_training(results, choice) if one.difference is not None]
    if not measured:
        reason = (
            "no trial has both its epochs and the test accuracies of two checkpoints recorded; "
            "record them, as study launch does"
        )
        text = f"Whether training longer loses robust accuracy cannot be told: {reason}."
        return [Finding(kind=KIND, text=text, status="refused", reason=reason)]
    measured.sort(key=lambda one: -_difference(one).mean)
    named = "; ".join(_named(one) for one in measured[:MOST_NAMED])
    more = len(measured) - MOST_NAMED
    rest = f"; {more} more in the table" if more > 0 else ""
    counts = {_difference(one).seeds for one in measured}
    seeds = " to ".join(str(count) for count in sorted({min(counts), max(counts)}))
    design = (
        f"{count_text(len(measured), 'chosen configuration')} × {seeds} "
        f"{'seed' if counts == {1} else 'seeds'}, {count_text(results.num_test, 'test image')}"
    )
    text = (
        "Exploratory: by how much the checkpoint chosen on validation exceeds the last one in "
        f"robust accuracy on test: {named}{rest} ({attack_text(threat, threat.objective_radius)}; "
        f"{design}; this test set; ranges from the least to the greatest seed, no interval)."
    )
    return [
        Finding(
            kind=KIND,
            text=text,
            status="bracketed",
            estimate=_difference(measured[0]).mean,
            estimand="this test set",
            n=design,
            interval_method="none: the range over seeds",
            reason="not declared before the data, and the range over seeds is no interval",
        )
    ]


def _difference(trained: Trained) -> Spread:
    assert trained.difference is not None, "trainings without a difference were left out"
    return trained.difference


def _named(trained: Trained) -> str:
    """Name a configuration with its difference, and whether all seeds agree on its sign."""
    difference = _difference(trained)
    low, high = points_text(difference.low), points_text(difference.high)
    over = f"range {low} to {high}" if difference.seeds > 1 else "one seed"
    every = difference.seeds > 1 and (difference.low > 0 or difference.high < 0)
    sign = f", {'above' if difference.low > 0 else 'below'} 0 with every seed" if every else ""
    name = configuration_text(trained.configuration, 24)
    return f"{name} {points_text(difference.mean)} pp ({over}{sign})"
