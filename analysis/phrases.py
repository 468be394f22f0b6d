"""Phrases: differences, intervals and conditions as findings print them."""

from collections.abc import Iterable, Sequence

from analysis.claims import Estimand
from analysis.configurations import ConfigurationResult
from analysis.results import Results
from analysis.words import count_text, percent, resolution

NO_SEEDS = (
    "no configuration has two seeds, so how another training run would come out is unknown; run "
    "each with at least 2 seeds, better 5"
)


def points_text(fraction: float) -> str:
    """Print a difference in percentage points, without its unit and without a negative zero.

    >>> points_text(-0.00001), points_text(-0.012)
    ('0.0', '−1.2')
    """
    text = f"{100 * fraction:.1f}"
    return "0.0" if text == "-0.0" else text.replace("-", "−")


def interval_text(low: float, high: float) -> str:
    """Print an interval of differences.

    >>> interval_text(-0.012, 0.03)
    '−1.2 to 3.0 pp'
    """
    return f"{points_text(low)} to {points_text(high)} pp"


def design_text(
    results: Results, found: Sequence[ConfigurationResult], groups: Iterable[Sequence[int]]
) -> str:
    """Print of how many configurations, seeds and images something was measured.

    groups: rows of `found`, one group for each method.
    """
    groups = [list(rows) for rows in groups]
    counts = " + ".join(str(len(rows)) for rows in groups)
    noun = "configuration" if sum(len(rows) for rows in groups) == 1 else "configurations"
    times = seeds_text([found[row] for rows in groups for row in rows])
    return f"{counts} {noun} × {times}, {count_text(results.num_test, 'test image')}"


def seeds_text(found: Sequence[ConfigurationResult]) -> str:
    """Count the seeds of configurations: one number, or the least and the greatest."""
    seeds = [len(c.trials) for c in found]
    least, most = min(seeds, default=0), max(seeds, default=0)
    return count_text(most, "seed") if least == most else f"{least} to {most} seeds"


def estimand_text(results: Results, estimand: Estimand, around: float) -> str:
    """Name the estimand; of this test set alone, with what its images resolve an accuracy to."""
    if estimand == "population":
        return "population: other seeds and other images"
    return (
        f"this test set: other seeds, same images, which resolve an accuracy of {percent(around)}% "
        f"to ±{percent(resolution(around, results.num_test))} pp"
    )


def requirements_text(results: Results) -> str:
    """Name the clean accuracies that attainable robust accuracy is averaged over."""
    return f"clean requirements from {percent(results.clean_floor)} to 100.0%"


def invisible_text(results: Results, found: Sequence[ConfigurationResult], half: float) -> str:
    """Say which differences a study of this size cannot show; half: half-width of an interval."""
    return (
        f"a difference smaller than about {percent(half)} pp is invisible with "
        f"{seeds_text(found)} and {count_text(results.num_test, 'test image')}; more of both would "
        "show a smaller one"
    )
