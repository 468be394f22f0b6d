"""Phrases: differences, intervals and conditions as findings print them.

Repeats: whether the noise of training is known well enough for a claim, and what is said if not.

Of two equal methods, percentiles of replicates told 22% apart with Σ(k - 1) = 2, 12 to 13% with
4, 10% with 6, 7 to 8% with 8 to 10 and 5 to 6% from 16 on (300 synthetic studies each, Gaussian
seed noise): so few residuals are too narrow, whatever is drawn from them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from analysis.inference.bootstrap import LEAST_FREEDOM
from analysis.inference.claims import Estimand, Finding
from analysis.results.configurations import ConfigurationResult
from analysis.results.results import Results
from analysis.results.words import count_text, method_text, percent, resolution

ESTIMAND_TEXTS: dict[Estimand, str] = {
    "population": "other seeds and other images (population)",
    "this test set": "other seeds, these test images",
}
"""What an interval covers, as it is printed."""


def declared_seeds_text(results: Results) -> str:
    """Count the declared seeds of a method; from the fewest to the most where methods differ."""
    counts = [len(results.seeds_of(note.name)) for note in results.methods]
    least, most = min(counts, default=0), max(counts, default=0)
    return count_text(most, "seed") if least == most else f"{least} to {count_text(most, 'seed')}"


def share_text(share: float) -> str:
    """Print what a share of replicates is, never 0 or 1: they are some thousands, not all.

    >>> share_text(0.0), share_text(0.456), share_text(1.0)
    ('< 0.01', '= 0.46', '> 0.99')
    """
    if share < 0.005:
        return "< 0.01"
    return "> 0.99" if share >= 0.995 else f"= {share:.2f}"


def held_back(
    finding: Finding, found: Sequence[ConfigurationResult], methods: Sequence[str]
) -> Finding:
    """Turn a claim about methods whose seed noise is hardly known into a bracket, with the reason.

    found: all configurations of the study, whose residuals may be pooled.
    """
    reason = unrepeated_text(found, methods)
    if finding.status != "claimed" or not reason:
        return finding
    return replace(
        finding,
        text=f"Not claimed ({reason}): {finding.text}",
        status="bracketed",
        reason=f"{reason}; run more seeds" if not finding.reason else f"{reason}; {finding.reason}",
    )


def unrepeated_text(found: Sequence[ConfigurationResult], methods: Sequence[str]) -> str:
    """Say why the seed noise of these methods supports no claim; empty if it does."""
    for method in dict.fromkeys(methods):
        own = [c for c in found if c.method == method]
        if own and all(len(c.trials) == 1 for c in own):
            return f"no configuration of {method_text(method)} has two seeds"
        if own and all(_is_constant(c) for c in own):
            return f"the seeds of {method_text(method)} do not differ, so its noise is unknown"
    repeats = sum(len(c.trials) - 1 for c in found)
    if repeats < LEAST_FREEDOM:
        known = count_text(repeats, "repeated training")
        return f"seed noise is known from {known} only, and {LEAST_FREEDOM} are needed"
    return ""


def _is_constant(c: ConfigurationResult) -> bool:
    return all(one.low == one.high for one in (c.clean, *c.robust))


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
