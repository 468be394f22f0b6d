"""Response findings: where robust accuracy peaks, and where the attack halves accuracy."""

from collections.abc import Sequence
from dataclasses import replace

from analysis.findings.phrases import (
    NO_SEEDS,
    accuracy_interval,
    capital,
    design_text,
    estimand_text,
    held_back,
)
from analysis.inference.claims import Finding, Interval
from analysis.responses.margins import Margin
from analysis.responses.strength import Response
from analysis.results.configurations import ConfigurationResult, configurations
from analysis.results.results import Results
from analysis.results.words import (
    SYMBOLS,
    attack_text,
    configuration_text,
    method_text,
    percent,
    value_text,
)

PEAK_KIND, MARGIN_KIND = "peak of robust accuracy", "half-robustness radius"
SAME_NETWORKS = "no configuration has two seeds, so the interval holds only for these networks"


def response_findings(results: Results, responses: Sequence[Response]) -> list[Finding]:
    """Return where the robust accuracy of each method that varies one strength peaks."""
    found = configurations(results)
    return [
        held_back(_peak_finding(results, found, response), found, (response.method,))
        for response in responses
        if response.peak is not None
    ]


def margin_findings(results: Results, margins: Sequence[Margin]) -> list[Finding]:
    """Return the radius at which each configuration that is drawn loses half of its accuracy."""
    found = configurations(results)
    return [
        held_back(_margin_finding(results, found, margin), found, (found[margin.row].method,))
        for margin in margins
        if margin.drawn
    ]


def _peak_finding(
    results: Results, found: Sequence[ConfigurationResult], response: Response
) -> Finding:
    peak = response.peak
    assert peak is not None
    name = SYMBOLS.get(response.name, response.name)
    positive = [strength for strength in response.strengths if strength > 0]
    rows = [row for row, x in zip(response.rows, response.strengths, strict=True) if x > 0]
    best = response.robust[response.strengths.index(peak.best)]
    ends = f"{name} from {value_text(positive[0])} to {value_text(positive[-1])}"
    design = design_text(results, found, (rows,))
    conditions = (
        f"{attack_text(results.threat, response.radius)}; {ends}; {design}; "
        f"{estimand_text(results, response.estimand, best.estimate)}"
    )
    subject = f"the robust accuracy of {method_text(response.method)}"
    best_at = f"{name} = {value_text(peak.best)}"
    height = f"{percent(best.estimate)}% ({accuracy_interval(best)}) at {best_at}"
    finding = Finding(
        kind=PEAK_KIND,
        text="",
        status="refused",
        estimand=response.estimand,
        range=(positive[0], positive[-1]),
        n=design,
        interval_method="percentiles of replicates",
        reason=peak.reason,
    )
    if not response.seed_noise:
        text = f"Where {subject} peaks is unknown: {NO_SEEDS}."
        return replace(finding, text=text, reason=NO_SEEDS)
    if peak.at is not None:
        text = f"{capital(subject)} peaks at {name} = {value_text(peak.at.estimate)}"
        return _peaked(
            finding, text, peak.at, name, f"{conditions}). The highest mean is {height}."
        )
    if peak.shape == "still rising":
        said = f"{capital(subject)} is still rising at the largest {name} tried: "
        finding = replace(finding, status="bracketed")
    else:
        said = f"Where {subject} peaks is unknown: {peak.reason}. The highest mean is "
    plain = f"{said}{percent(best.estimate)}% at {best_at}."
    return replace(finding, text=f"{said}{height} ({conditions}).", plain=plain)


def _peaked(finding: Finding, text: str, at: Interval, name: str, rest: str) -> Finding:
    """Return a peak that is claimed; text: where it is, rest: the end of its conditions."""
    low, high = value_text(at.low), value_text(at.high)
    return replace(
        finding,
        text=f"{text} (95% interval {low} to {high}, by a parabola in ln {name}; {rest}",
        plain=f"{text} [{low} to {high}].",
        status="claimed",
        estimate=at.estimate,
        low=at.low,
        high=at.high,
        family="parabola",
    )


def _margin_finding(
    results: Results, found: Sequence[ConfigurationResult], margin: Margin
) -> Finding:
    c, threat, clean = found[margin.row], results.threat, margin.accuracies[0]
    subject = f"{configuration_text(c, 40)} loses half of its clean accuracy"
    design = design_text(results, found, ((margin.row,),))
    radii = " to ".join(dict.fromkeys(value_text(threat.radii[at]) for at in (0, -1)))
    conditions = (
        f"{threat.attack}, {threat.norm}, radii {radii}; {design}; "
        f"{estimand_text(results, margin.estimand, 0.5 * clean.estimate)}"
    )
    finding = Finding(
        kind=MARGIN_KIND,
        text="",
        status="bracketed",
        estimand=margin.estimand,
        range=(threat.radii[0], threat.radii[-1]),
        n=design,
        interval_method="percentiles of replicates",
        plain=f"{subject} {_between(margin)}.",
    )
    if margin.fit is None:
        reason = f"no survival curve is fitted: {margin.refusal}; {margin.way_out}"
        text = f"{subject} ({percent(clean.estimate)}%) {_between(margin)}; "
        return replace(finding, text=f"{text}{reason} ({conditions}).", reason=reason)
    lone = "" if margin.seed_noise else SAME_NETWORKS
    if margin.fit.doubt:
        reason = "; ".join(part for part in (lone, margin.fit.doubt) if part)
        text = f"{subject} ({percent(clean.estimate)}%) {_between(margin)}; no radius is claimed: "
        return replace(finding, text=f"{text}{reason} ({conditions}).", reason=reason)
    half = margin.fit.half_radius
    ends = f"{value_text(half.low)} to {value_text(half.high)}"
    # Weibull is a name, with a capital letter; log-logistic is not.
    family = margin.fit.family.replace("weibull", "Weibull")
    return replace(
        finding,
        text=f"{subject} ({percent(clean.estimate)}%) at attack radius "
        f"{value_text(half.estimate)} (95% interval {ends}"
        f"{f'; {lone}' if lone else ''}; {family} survival curve, at most "
        f"{percent(margin.fit.misfit)} pp from the measured accuracies, which the interval allows "
        f"for; {conditions}).",
        plain=f"{subject} at attack radius {value_text(half.estimate)} [{ends}].",
        status="bracketed" if lone else "claimed",
        estimate=half.estimate,
        low=half.low,
        high=half.high,
        interval_method="percentiles of replicates, extended by the misfit of the curve",
        family=margin.fit.family,
        reason=lone,
    )


def _between(margin: Margin) -> str:
    low, high = margin.half_between
    if high is None:
        return f"beyond attack radius {value_text(low)}"
    return f"between attack radii {value_text(low)} and {value_text(high)}"
