"""Sentences about responses, equivalent ε and margins: what they claim and what they refuse."""

import math
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from analysis.document import from_plain, to_plain
from analysis.findings.equivalence import bracket_text, equivalence_findings
from analysis.findings.responses import margin_findings, response_findings
from analysis.fronts.choice import choose
from analysis.inference.bootstrap import Replicates, draw_replicates
from analysis.inference.claims import Finding, Interval
from analysis.responses.equivalence import Equivalence, Equivalent, Slope, measure_equivalences
from analysis.responses.margins import Margin, measure_margins
from analysis.responses.strength import Response, measure_responses
from analysis.results.configurations import configurations
from analysis.results.results import Results

Draw = Callable[..., Results]
Measured = tuple[
    Results, tuple[Response, ...], tuple[Equivalence, ...], tuple[Margin, ...], Replicates
]
SIDES = {"standard": "none", "sam": "sam", "at": "pgd"}
FORBIDDEN = re.compile(r"significant|\bnan\b|\binf\b|None|  ")


def measure(results: Results, count: int = 300) -> Measured:
    found = configurations(results)
    drawn = draw_replicates(results, found, count=count)
    where = results, found, drawn, results.threat.objective_radius, drawn.default
    return (
        replace(results, trials=tuple(replace(t, bits=None) for t in results.trials)),
        measure_responses(*where),
        measure_equivalences(*where),
        measure_margins(results, found, choose(results), drawn, drawn.default),
        drawn,
    )


def every(measured: Measured) -> list[Finding]:
    results, responses, equivalences, margins, _ = measured
    return [
        *response_findings(results, responses),
        *equivalence_findings(results, equivalences),
        *margin_findings(results, margins),
    ]


@pytest.fixture(scope="module")
def known(draw: Draw) -> Measured:
    """Draw a study in which SAM with ρ is worth ε = 6ρ², exactly but for noise."""
    levels = (0.0075, 0.015, 0.03, 0.06, 0.12, 0.24)

    def robust(epsilon: float) -> float:
        return 0.2 + 0.6 * (1 - math.exp(-epsilon / 0.05))

    cells = [("standard", {}, 0.98, robust(0.0))]
    cells += [
        ("sam", {"rho": round(math.sqrt(e / 6), 4)}, 0.975, robust(e)) for e in (0.015, 0.03, 0.06)
    ]
    cells += [("sam", {"rho": 0.02}, 0.98, robust(6 * 0.02**2))]
    cells += [("at", {"epsilon": e}, 0.97, robust(e)) for e in levels]
    return measure(draw(cells, sides=SIDES, num_test=5000, noise=0.006))


def test_sentences_name_estimate_interval_attack_design_and_estimand(known: Measured) -> None:
    for finding in every(known):
        if finding.status == "claimed":
            for part in ("95% interval", "PGD-20, 1 restart, linf", "3 seeds", "population"):
                assert part in finding.text, finding.text
            assert "test images" in finding.text
            assert None not in (finding.estimate, finding.low, finding.high)
        else:
            assert finding.reason, finding.text
        assert not FORBIDDEN.search(finding.text), finding.text
        assert from_plain(Finding, to_plain(finding)) == finding


def test_the_decisive_sentence_says_which_epsilon_a_rho_is_worth(known: Measured) -> None:
    results, _, equivalences, _, _ = known
    findings = equivalence_findings(results, equivalences)
    (claimed,) = [f for f in findings if "“sam” (ρ=0.0707)" in f.text]
    assert claimed.text.startswith("“sam” (ρ=0.0707) is as robust as “at” trained with ε = 0.0")
    assert claimed.low is not None
    assert claimed.high is not None
    assert claimed.estimate == pytest.approx(0.03, rel=0.1)
    assert claimed.low < claimed.estimate < claimed.high
    (below,) = [f for f in findings if "“sam” (ρ=0.02)" in f.text]
    assert (below.status, below.estimate) == ("bracketed", None)
    assert "trained with an ε below 0.0075, the smallest trained" in below.text
    assert below.text.endswith("Train ε = 0.00375 next.")


def test_the_slope_is_said_to_be_consistent_with_two(known: Measured) -> None:
    results, _, equivalences, _, _ = known
    slope = equivalence_findings(results, equivalences)[-1]
    assert slope.kind == "slope of equivalent epsilon"
    assert slope.estimate == pytest.approx(2.0, abs=0.5)
    assert "consistent with 2" in slope.text or "cannot be told from 2" in slope.text


@pytest.mark.parametrize(
    ("verdict", "value", "status", "text"),
    [
        ("consistent with 2", (1.9, 1.7, 2.2), "claimed", "): consistent with 2, the power"),
        ("differs from 2", (1.1, 0.9, 1.3), "claimed", "): it differs from 2, the power"),
        ("cannot tell", (1.8, 1.1, 2.6), "refused", "): it cannot be distinguished from 2"),
    ],
)
def test_each_verdict_on_the_slope_has_its_sentence(
    known: Measured, verdict: str, value: tuple[float, float, float], status: str, text: str
) -> None:
    results, _, (one,), _, _ = known
    estimate, low, high = value
    slope = Slope(
        value=Interval(estimate=estimate, low=low, high=high),
        rows=(1, 2, 3),
        range=(0.05, 0.2),
        verdict=verdict,  # type: ignore[arg-type]
    )
    said = equivalence_findings(results, [replace(one, slope=slope, refusal="")])[-1]
    assert said.status == status
    assert text in said.text
    assert f"to the power {estimate:.2f} (95% interval {low:.2f} to {high:.2f}" in said.text


def test_brackets_say_above_between_and_what_to_train(known: Measured) -> None:
    results, _, (one,), _, _ = known
    value = replace(one.values[0], status="bracketed", epsilon=None, inside=0.4)
    cases = [
        (
            replace(value, place="above", floor=0.24, ceiling=None, next_level=0.48),
            "at every trained ε, including 0.24, the largest",
            "Train ε = 0.48 next.",
        ),
        (
            replace(value, place="between", floor=0.03, ceiling=0.12, next_level=0.06),
            "trained with an ε between 0.03 and 0.12 (",
            "40.0% are. Train ε = 0.06 next.",
        ),
        (
            replace(value, place="between", floor=0.03, ceiling=None, next_level=0.48),
            "trained with an ε above 0.03 (",
            "Train ε = 0.48 next.",
        ),
        (
            replace(value, place="between", floor=None, ceiling=None, next_level=None),
            "is unknown",
            "More seeds or images would narrow the interval.",
        ),
    ]
    for odd, start, end in cases:
        said = equivalence_findings(results, [replace(one, values=(odd,))])[0]
        assert start in said.text
        assert said.text.endswith(end)
        assert said.status == "bracketed"
    peaked = replace(cases[0][0], next_level=None)
    said = equivalence_findings(results, [replace(one, values=(peaked,), left_out=(0.3,))])[0]
    assert "the most robust one" in said.text
    assert said.text.endswith("Training with larger ε was less robust.")


def test_a_still_rising_response_is_bracketed(known: Measured) -> None:
    results, responses, _, _, _ = known
    at = next(f for f in response_findings(results, responses) if "“at”" in f.text)
    assert at.status == "bracketed"
    assert "is still rising at the largest ε tried" in at.text


def test_half_robustness_is_claimed_with_its_curve(known: Measured) -> None:
    results, _, _, margins, _ = known
    standard = margin_findings(results, margins)[0]
    assert standard.status == "claimed"
    # The cells lie on c · exp(-k e²).
    truth = 0.1 * math.sqrt(math.log(2) / math.log(0.98 / 0.2))
    assert standard.low is not None
    assert standard.high is not None
    assert standard.low < truth < standard.high
    assert "Weibull survival curve" in standard.text


def test_one_seed_claims_nothing_about_other_networks(draw: Draw) -> None:
    cells = [("standard", {}, 0.98, 0.2), ("sam", {"rho": 0.1}, 0.98, 0.3)]
    cells += [("sam", {"rho": 0.2}, 0.98, 0.4)]
    cells += [("at", {"epsilon": 0.01 * 2**n}, 0.97, 0.25 + 0.1 * n) for n in range(5)]
    findings = every(measure(draw(cells, sides=SIDES, seeds=(0,))))
    assert findings
    assert all(f.status != "claimed" for f in findings)
    assert all("no configuration has two seeds" in f.text or f.reason for f in findings)


def test_zero_robust_accuracy_and_no_trials_are_said(draw: Draw, digits: Results) -> None:
    cells = [("standard", {}, 0.95, 0.0)]
    cells += [("sam", {"rho": rho}, 0.95, 0.0) for rho in (0.1, 0.2)]
    cells += [("at", {"epsilon": e}, 0.95, 0.0) for e in (0.1, 0.2)]
    for finding in every(measure(draw(cells, sides=SIDES))):
        assert finding.status != "claimed"
        assert not FORBIDDEN.search(finding.text), finding.text
    assert every(measure(replace(digits, trials=()))) == []


def test_a_survival_curve_that_misses_the_data_claims_no_radius(known: Measured) -> None:
    results, _, _, margins, _ = known
    fitted = next(margin for margin in margins if margin.drawn and margin.fit is not None)
    assert fitted.fit is not None
    (kept,) = margin_findings(results, [fitted])
    assert kept.status == "claimed"
    missing = replace(fitted, fit=replace(fitted.fit, misfit=0.2))
    (found,) = margin_findings(results, [missing])
    assert found.status == "bracketed"
    assert "omits the misfit of the curve: in the data, half is lost between" in found.reason
    assert found.reason in found.text


def test_an_epsilon_exactly_at_the_first_level_is_not_called_below_it() -> None:
    at = Equivalent(
        row=0,
        rho=0.1,
        robust=Interval(estimate=0.0, low=0.0, high=0.0),
        status="bracketed",
        place="between",
        epsilon=None,
        floor=0.1,
        ceiling=0.1,
        next_level=None,
        inside=0.0,
    )
    assert bracket_text(at) == "of 0.1"
