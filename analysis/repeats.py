"""Repeats: whether the noise of training is known well enough for a claim, and what is said if not.

Of two equal methods, percentiles of replicates told 22% apart with Σ(k - 1) = 2, 12 to 13% with 4,
10% with 6, 7 to 8% with 8 to 10 and 5 to 6% from 16 on (300 synthetic studies each, Gaussian seed
noise): so few residuals are too narrow, whatever is drawn from them.
"""

from collections.abc import Sequence
from dataclasses import replace

from analysis.bootstrap import LEAST_FREEDOM
from analysis.claims import Finding
from analysis.configurations import ConfigurationResult
from analysis.words import count_text, method_text


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
