"""Phrases that findings share: differences, intervals, conditions, and claims held back.

At the end: the best configuration of each method, and plain sentences that name it. A plain
sentence leaves out the conditions that all findings of a study share; the page states them once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from analysis.document import Analysis, View
from analysis.fronts.contrasts import Contrast
from analysis.inference.bootstrap import LEAST_FREEDOM
from analysis.inference.claims import Estimand, Finding, Interval
from analysis.results.configurations import ConfigurationResult
from analysis.results.results import Results
from analysis.results.words import count_text, method_text, percent, resolution, values_text

ESTIMAND_TEXTS: dict[Estimand, str] = {
    "population": "other seeds and other images (population)",
    "this test set": "other seeds on the same test images",
}
"""What intervals cover, as printed after "intervals for"."""
NO_SEEDS = (
    "no configuration has two seeds, so it is unknown how another training run would turn out; run "
    "each with at least 2 seeds, preferably 5"
)

ABOUT_SAME = 0.01
"""Clean accuracies that differ by no more than this are called about the same."""
FAR = 0.2
"""From this difference of robust accuracies on, one configuration is far more robust."""


def points_text(fraction: float) -> str:
    """Format a difference in percentage points, without its unit and without a negative zero.

    >>> points_text(-0.00001), points_text(-0.012)
    ('0.0', '−1.2')
    """
    text = f"{100 * fraction:.1f}"
    return "0.0" if text == "-0.0" else text.replace("-", "−")


def interval_text(low: float, high: float) -> str:
    """Format an interval of differences.

    >>> interval_text(-0.012, 0.03)
    '−1.2 to 3.0 pp'
    """
    return f"{points_text(low)} to {points_text(high)} pp"


def plain_ends(low: float | None, high: float | None) -> str:
    """Format the ends of an interval of differences as plain sentences have it.

    >>> plain_ends(-0.012, 0.03)
    '[−1.2 to 3.0]'
    """
    if low is None or high is None:
        return ""
    return f"[{points_text(low)} to {points_text(high)}]"


def accuracy_interval(value: Interval) -> str:
    """Format the interval of an accuracy.

    >>> accuracy_interval(Interval(estimate=0.5, low=0.25, high=0.75))
    '95% interval 25.0 to 75.0%'
    """
    return f"95% interval {percent(value.low)} to {percent(value.high)}%"


def share_text(share: float) -> str:
    """Format a share of replicates, never as 0 or 1: a few thousand replicates do not show that.

    >>> share_text(0.0), share_text(0.456), share_text(1.0)
    ('< 0.01', '= 0.46', '> 0.99')
    """
    if share < 0.005:
        return "< 0.01"
    return "> 0.99" if share >= 0.995 else f"= {share:.2f}"


def spread_text(ratio: float) -> str:
    """Format by how much a noisy configuration's seeds spread farther than those of the others.

    >>> spread_text(4.26)
    'spread 4.3 times as far as those of the other configurations'
    """
    return f"spread {ratio:.1f} times as far as those of the other configurations"


def listed_text(parts: Sequence[str]) -> str:
    """Join the parts of a list, of which the last two are joined by “and”.

    >>> listed_text(["a"]), listed_text(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join(part for part in (", ".join(parts[:-1]), *parts[-1:]) if part)


def capital(text: str) -> str:
    """Return a text that begins with a capital letter."""
    return f"{text[0].upper()}{text[1:]}"


def reason_text(finding: Finding) -> str:
    """Return the reason of a finding as a sentence; empty if its text already holds the reason."""
    if not finding.reason or finding.reason in finding.text:
        return ""
    return f"{capital(finding.reason.rstrip('.'))}."


def design_text(
    results: Results, found: Sequence[ConfigurationResult], groups: Iterable[Sequence[int]]
) -> str:
    """Format how many configurations, seeds and images a measurement is based on.

    groups: rows of `found`, one group for each method.
    """
    groups = [list(rows) for rows in groups]
    seeds = [len(found[row].trials) for rows in groups for row in rows]
    return counts_text(results, [len(rows) for rows in groups], seeds)


def counts_text(results: Results, counts: Sequence[int], seeds: Sequence[int]) -> str:
    """Format the number of configurations of each method, and the numbers of seeds and images."""
    noun = "configuration" if sum(counts) == 1 else "configurations"
    return (
        f"{' + '.join(str(count) for count in counts)} {noun} × {seeds_text(seeds)}, "
        f"{count_text(results.num_test, 'test image')}"
    )


def seeds_text(seeds: Sequence[int]) -> str:
    """Format numbers of seeds: one number, or the smallest and the largest.

    >>> seeds_text([1, 1]), seeds_text([3, 1, 2])
    ('1 seed', '1 to 3 seeds')
    """
    least, most = min(seeds, default=0), max(seeds, default=0)
    return ("" if least == most else f"{least} to ") + count_text(most, "seed")


def declared_seeds_text(results: Results) -> str:
    """Format how many seeds are declared for each method."""
    return seeds_text([len(results.seeds_of(note.name)) for note in results.methods])


def estimand_text(results: Results, estimand: Estimand, around: float) -> str:
    """Format the estimand; that of this test set with the resolution of its images."""
    if estimand == "population":
        return "population: other seeds and other images"
    return (
        f"this test set: other seeds, same images, which resolve an accuracy of {percent(around)}% "
        f"to ±{percent(resolution(around, results.num_test))} pp"
    )


def requirements_text(results: Results) -> str:
    """Format the range of clean accuracies that attainable robust accuracy is averaged over."""
    return f"required clean accuracies from {percent(results.clean_floor)} to 100.0%"


def invisible_text(results: Results, found: Sequence[ConfigurationResult], half: float) -> str:
    """Describe which differences this study cannot show; half: the half-width of an interval."""
    return (
        f"a difference smaller than about {percent(half)} pp would not show with "
        f"{seeds_text([len(c.trials) for c in found])} and "
        f"{count_text(results.num_test, 'test image')}; more of both would reveal smaller ones"
    )


def judged(finding: Finding, *, seed_noise: bool, doubt: str) -> Finding:
    """Return the finding as claimed if its interval excludes 0, else with a sentence of doubt.

    Without seed noise no interval is known: the finding is refused and loses its interval.
    """
    assert finding.low is not None
    assert finding.high is not None
    if seed_noise and (finding.low > 0 or finding.high < 0):
        return replace(finding, status="claimed")
    text = f"{finding.text} This is undecided: {doubt}."
    if seed_noise:
        return replace(finding, text=text, status="bracketed", reason=doubt)
    return replace(finding, text=text, status="refused", reason=doubt, low=None, high=None)


def held_back(
    finding: Finding, found: Sequence[ConfigurationResult], methods: Sequence[str]
) -> Finding:
    """Turn a claim into a bracket, with the reason, if its methods' seed noise is hardly known.

    found: all configurations of the study, whose residuals may be pooled.
    """
    reason = unrepeated_text(found, methods)
    if finding.status != "claimed" or not reason:
        return finding
    return replace(
        finding,
        text=f"Not claimed ({reason}): {finding.text}",
        plain=f"Not claimed, as {reason}. {finding.plain}" if finding.plain else "",
        status="bracketed",
        reason=f"{reason}; run more seeds" if not finding.reason else f"{reason}; {finding.reason}",
    )


def unrepeated_text(found: Sequence[ConfigurationResult], methods: Sequence[str]) -> str:
    """Return why the seed noise of these methods supports no claim; empty if it does.

    Intervals from few residuals are too narrow, however they are drawn. In 300 synthetic studies
    each with Gaussian seed noise, percentile intervals separated two equal methods in 22% of the
    studies with Σ(k - 1) = 2, in 12 to 13% with 4, in 10% with 6, in 7 to 8% with 8 to 10 and in 5
    to 6% with 16 and more.
    """
    for method in dict.fromkeys(methods):
        own = [c for c in found if c.method == method]
        if own and all(len(c.trials) == 1 for c in own):
            return f"no configuration of {method_text(method)} has two seeds"
        if own and all(_is_constant(c) for c in own):
            return f"the seeds of {method_text(method)} do not differ, so its seed noise is unknown"
    # Methods with few residuals share those of the whole study, so all of them count.
    repeats = sum(len(c.trials) - 1 for c in found)
    if repeats < LEAST_FREEDOM:
        known = count_text(repeats, "repeated training")
        return f"seed noise is estimated from only {known}, and {LEAST_FREEDOM} are needed"
    return ""


def _is_constant(c: ConfigurationResult) -> bool:
    # Equal to the last image at every radius: one training recorded twice, or constant predictions.
    return all(one.low == one.high for one in (c.clean, *c.robust))


@dataclass(frozen=True, kw_only=True)
class Best:
    """The most robust configuration of a method, as chosen, with its test accuracies."""

    row: int
    """Its position in `configurations(results)`."""
    configuration: ConfigurationResult
    clean: Interval
    robust: Interval
    cost: float | None
    """Forward passes per training sample and epoch, the mean over its seeds."""

    @property
    def values(self) -> str:
        """Return its values in brackets; empty if nothing varies in its method."""
        text = values_text(self.configuration.values)
        return f" ({text})" if text else ""


Bests = Mapping[str, Best]
"""By method; methods without results have none."""


def best_of_each(analysis: Analysis, view: View | None = None) -> Bests:
    """Return the best configuration of each method with results, measured at the view's radius.

    Every one is chosen at the objective radius, on validation data where there are any.
    """
    members = (view or analysis.primary).fronts.configurations
    rows = {c.key: row for row, c in enumerate(analysis.found)}
    found = {}
    for front in analysis.choice.fronts:
        if front.best is None:
            continue
        row = rows[front.best.key]
        costs = [trial.cost for trial in front.best.trials if trial.cost is not None]
        found[front.note.name] = Best(
            row=row,
            configuration=front.best,
            clean=members[row].clean,
            robust=members[row].robust,
            cost=sum(costs) / len(costs) if costs else None,
        )
    return found


def lead_text(
    results: Results, finding: Finding, names: tuple[str, str], bests: Bests, *, primary: bool
) -> str:
    """Format a claimed difference of two fronts in plain words, the method ahead first.

    It names the best configuration of each where their intervals are apart.
    """
    assert finding.estimate is not None
    one, other = map(method_text, names)
    which = " (the primary contrast)" if primary else ""
    averaged = f"{over_text(results)}, the difference is {_difference(finding)}{which}."
    if not primary:
        averaged = f"On average, the difference is {_difference(finding)}."
    first, second = (bests.get(name) for name in names)
    if first is None or second is None or first.robust.low <= second.robust.high:
        over = f"{over_text(results)[0].lower()}{over_text(results)[1:]}"
        lead = f"{one} is more robust than {other} by {_difference(finding)}, {over}{which}."
        return lead if first is None or second is None else f"{lead} {_reached(first, second)}"
    far = "far " if first.robust.estimate - second.robust.estimate >= FAR else ""
    clean = first.clean.estimate - second.clean.estimate
    if abs(clean) <= ABOUT_SAME:
        at = "at about the same clean accuracy"
    else:
        at = f"at {points_text(abs(clean))} pp {'higher' if clean > 0 else 'lower'} clean accuracy"
    return (
        f"{one} is {far}more robust than {other} {at}: {percent(first.robust.estimate)}%"
        f"{first.values} against {percent(second.robust.estimate)}%{second.values}, clean "
        f"{percent(first.clean.estimate)} and {percent(second.clean.estimate)}%. {averaged}"
    )


def level_text(results: Results, finding: Finding, names: tuple[str, str]) -> str:
    """Format two fronts that are not told apart in plain words."""
    one, other = map(method_text, names)
    return (
        f"{one} and {other} are not told apart: {_difference(finding)}, averaged over required "
        f"clean accuracies of {percent(results.clean_floor)}–100%."
    )


def equal_text(results: Results, finding: Finding, names: tuple[str, str]) -> str:
    """Format two fronts that differ by less than the declared margin in plain words."""
    assert results.margin is not None
    one, other = map(method_text, names)
    return (
        f"{one} and {other} are equally robust within the declared margin of "
        f"{percent(results.margin)} pp: {_difference(finding)}, averaged over required clean "
        f"accuracies of {percent(results.clean_floor)}–100%."
    )


def finer_text(contrast: Contrast, names: tuple[str, str], finer: float) -> str:
    """Format a lead that may come from the number of configurations alone, in plain words.

    finer: the part of the lead that does.
    """
    one, other = map(method_text, names)
    lead = points_text(abs(contrast.difference.estimate))
    return (
        f"{one} is ahead of {other} by {lead} pp, but {points_text(finer)} pp of it come from "
        "unequal numbers of configurations, so no lead is claimed."
    )


def _reached(first: Best, second: Best) -> str:
    return (
        f"Their best settings reach {percent(first.robust.estimate)}%{first.values} and "
        f"{percent(second.robust.estimate)}%{second.values}, clean "
        f"{percent(first.clean.estimate)} and {percent(second.clean.estimate)}%."
    )


def over_text(results: Results) -> str:
    """Format what a difference of two fronts is averaged over."""
    return f"Averaged over required clean accuracies of {percent(results.clean_floor)}–100%"


def _difference(finding: Finding) -> str:
    assert finding.estimate is not None
    ends = "" if finding.low is None else f" {plain_ends(finding.low, finding.high)}"
    return f"{points_text(finding.estimate)} pp{ends}"
