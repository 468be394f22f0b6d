"""Verdicts on declared claims: closed forms, edges, sentences, and their rates of error.

The studies of the last part are drawn by an item-response model: an image is right with a
probability that rises with a configuration's skill minus the image's difficulty. Their noise is
skewed, heavy-tailed, or of seeds that now and then collapse.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
from scipy.special import expit, ndtr

from analysis.analysing import analyse
from analysis.document import Analysis, read_json, to_plain, write_json
from analysis.findings.phrases import reason_text, unrepeated_text
from analysis.findings.verdicts import claim_findings
from analysis.fronts.choice import choose
from analysis.fronts.pareto import mean_attainable_robustness
from analysis.fronts.verdicts import JudgedClaim, measure_claims, verdict_of
from analysis.inference.bootstrap import draw_replicates
from analysis.inference.claims import Interval
from analysis.report.front_tables import claim_table
from analysis.report.markdown import EXPLORATORY, findings_md
from analysis.report.page import page
from analysis.results.combine import combine
from analysis.results.configurations import configurations
from analysis.results.methods import MethodNote
from analysis.results.results import DeclaredClaim, Results, ThreatModel
from analysis.results.trials import Array, ResultsError, TrialResult, accuracies

Draw = Callable[..., Results]
SIDES = {"at": "none + pgd", "sam": "sam + none"}
AT = [("at", {"epsilon": 0.01 * i}, 0.97 - 0.02 * i, 0.40 + 0.05 * i) for i in range(1, 6)]
SAM = [("sam", {"rho": 0.1 * i}, 0.93 - 0.01 * i, 0.20 + 0.02 * i) for i in range(1, 6)]
MORE = DeclaredClaim(first="at", second="sam", direction="more", radius=0.1, margin=0.01)
EQUAL = replace(MORE, direction="equal")
FULL = os.environ.get("RHOEPS_FULL_COVERAGE") == "1"
SETS = 400


def judge(results: Results, *claims: DeclaredClaim, count: int = 400) -> tuple[JudgedClaim, ...]:
    results = replace(results, claims=claims)
    found = configurations(results)
    drawn = draw_replicates(results, found, count=count)
    doubt = partial(unrepeated_text, found)
    return measure_claims(results, found, choose(results), drawn, doubt)


VERDICTS = {
    "ahead": (MORE, [(0.02, 0.04, 0.021, 0.039)], "supported"),
    "behind": (MORE, [(-0.04, -0.02, -0.039, -0.021)], "refuted"),
    "ahead by less than matters": (MORE, [(0.001, 0.011, 0.002, 0.009)], "equivalent"),
    "wide": (MORE, [(-0.01, 0.03, -0.008, 0.028)], "undecided"),
    "ahead by the finer grid": (
        MORE,
        [(0.02, 0.04, 0.021, 0.039), (-0.01, 0.02, -0.008, 0.018)],
        "undecided",
    ),
    "ahead without a margin": (replace(MORE, margin=None), [(0.001, 0.003) * 2], "supported"),
    "equal": (EQUAL, [(-0.012, 0.009, -0.009, 0.008)], "equivalent"),
    "equal by the coarser grid": (
        EQUAL,
        [(-0.012, 0.009, -0.009, 0.008), (-0.03, -0.01, -0.029, -0.012)],
        "undecided",
    ),
    "equal up to the margin's edge": (EQUAL, [(-0.012, 0.012, -0.009, 0.01)], "undecided"),
    "unequal, but perhaps by little": (EQUAL, [(0.005, 0.03, 0.006, 0.029)], "undecided"),
    "unequal": (EQUAL, [(0.012, 0.03, 0.013, 0.029)], "refuted"),
}


@pytest.mark.parametrize(("claim", "ends", "verdict"), VERDICTS.values(), ids=VERDICTS)
def test_a_verdict_follows_from_both_intervals(
    claim: DeclaredClaim, ends: list[tuple[float, float, float, float]], verdict: str
) -> None:
    tested = [(Interval(estimate=0.0, low=a, high=b), (c, d)) for a, b, c, d in ends]
    assert verdict_of(claim, tested) == verdict


def test_the_only_claim_has_the_interval_of_the_primary_contrast(draw: Draw) -> None:
    results = draw(AT + SAM, sides=SIDES)
    analysis = analyse(replace(results, claims=(MORE,)), replicates=60)
    (one,), primary = analysis.claims, analysis.primary.contrasts.primary
    assert primary is not None
    assert (one.difference, one.verdict, one.adjusted) == (primary.difference, "supported", 1)
    assert one.difference.low < one.equivalence[0] < one.equivalence[1] < one.difference.high
    assert read_json(write_json(analysis)).claims == analysis.claims
    assert "claims" not in to_plain(replace(analysis, claims=()))


def test_claims_are_adjusted_together_but_not_for_those_that_came_late(draw: Draw) -> None:
    results = draw(AT + SAM, sides=SIDES)
    (alone,) = judge(results, MORE)
    late = [replace(MORE, radius=radius, trials_before=7) for radius in (0.05, 0.15)]
    first, *others = judge(results, MORE, *late)
    assert (first.difference, first.adjusted) == (alone.difference, 1)
    assert [one.adjusted for one in others] == [3, 3]
    both = judge(results, MORE, replace(MORE, radius=0.2))
    assert both[0].difference.low < alone.difference.low


def test_a_claim_at_one_clean_accuracy_compares_what_is_attained_there(draw: Draw) -> None:
    results = draw(AT + SAM, sides=SIDES)
    found = {c.key: c for c in configurations(results)}
    (one,) = judge(results, replace(MORE, at_clean=0.905))
    best = [
        max(c.robust[1].mean for c in found.values() if c.method == m and c.clean.mean >= 0.905)
        for m in ("at", "sam")
    ]
    assert one.attained == pytest.approx(best)
    assert one.verdict == "supported"
    (none,) = judge(results, replace(EQUAL, at_clean=0.99))
    assert (none.verdict, none.attained) == ("undecided", (0.0, 0.0))
    assert none.doubt.startswith("neither method has a configuration that is clean enough")


def test_a_lead_at_one_clean_accuracy_must_hold_against_a_finer_grid(draw: Draw) -> None:
    """One configuration lies just above the clean accuracy, its equal just below it."""
    cells = [
        (name, {strength: 0.1 * i}, 0.95 - 0.04 * i - gap, 0.3 + 0.1 * i)
        for name, strength, gap in (("at", "epsilon", 0.0), ("sam", "rho", 0.02))
        for i in range(5)
    ]
    results = draw(cells, sides=SIDES, num_test=8000, noise=0.01)
    (one,) = judge(results, replace(MORE, at_clean=0.865))
    assert one.difference.low > 0.02
    assert one.verdict == "undecided"
    (finding,) = claim_findings(results, [one])
    assert "a configuration of “sam” between those it has might be as robust" in finding.reason


def test_what_no_interval_supports_is_undecided(draw: Draw) -> None:
    (one,) = judge(draw(AT + SAM, sides=SIDES, seeds=(0,)), MORE)
    assert (one.verdict, one.doubt) == ("undecided", "no configuration of “at” has two seeds")
    results = draw(AT + SAM, sides=SIDES)
    alone = replace(results, trials=tuple(t for t in results.trials if t.method == "at"))
    (one,) = judge(alone, MORE)
    assert one.doubt.startswith("one of the methods has no results")
    for some in ((), alone.trials):
        analyse(replace(results, trials=some, claims=(MORE,)), replicates=20)


SAYS = {
    "supported": (MORE, "Supported: “at” attains "),
    "refuted": (replace(MORE, first="sam", second="at"), "Refuted: “sam” attains "),
    "equivalent": (replace(EQUAL, margin=0.9), "Equivalent within ±90.0 pp: “at” and “sam” differ"),
    "not equal": (EQUAL, "more robust accuracy than “sam”, not the same within ±1.0 pp, on"),
    "undecided": (
        replace(EQUAL, margin=0.28),
        "Undecided: whether “at” and “sam” attain the same robust accuracy within ±28.0 pp, on",
    ),
    "no answer": (replace(MORE, at_clean=0.99), "Undecided: whether “at” attains more robust"),
    "late": (replace(MORE, trials_before=7), "Claim declared after 7 trials had run, so explor"),
}


@pytest.fixture(scope="module")
def told(draw: Draw) -> Analysis:
    claims = tuple(claim for claim, _ in SAYS.values())
    return analyse(replace(draw(AT + SAM, sides=SIDES), claims=claims), replicates=100)


@pytest.mark.parametrize("name", SAYS)
def test_a_verdict_is_said_with_its_numbers(name: str, told: Analysis) -> None:
    number = list(SAYS).index(name)
    said = [f for f in told.findings if f.kind.startswith("claim")][number]
    assert SAYS[name][1] in said.text
    assert said.declared == (name != "late")
    assert (said.status == "claimed") == (name not in ("undecided", "no answer"))
    assert not reason_text(said), "the text has its reason"
    assert "95% interval" in said.text or name == "no answer"


def test_what_was_not_declared_is_headed_exploratory(told: Analysis) -> None:
    text, html = findings_md(told, []), page(told)
    for written in (text, html):
        declared, exploratory = written.split(EXPLORATORY, 1)
        assert declared.count("Primary contrast.") == 1
        assert declared.count("Declared.") == 6
        assert "Claim declared after 7 trials" in exploratory
    assert '<table id="claims"' in html
    assert [row[-2].text for row in claim_table(told).rows] == [one.verdict for one in told.claims]
    assert [row[-1].text for row in claim_table(told).rows][-2:] == ["unknown", "after 7 trials"]


def test_a_comparison_of_studies_has_no_claims(draw: Draw) -> None:
    one = replace(draw(AT + SAM, sides=SIDES), claims=(MORE,))
    assert combine([one, replace(one, study="other")]).claims == ()


WRONG = {
    "two of the methods": replace(MORE, second="at"),
    "not among": replace(MORE, radius=0.3),
    "needs one": replace(EQUAL, margin=None),
    "margin must lie": replace(MORE, margin=1.0),
    "at_clean must lie": replace(MORE, at_clean=1.0),
}


@pytest.mark.parametrize("says", WRONG)
def test_a_claim_that_cannot_be_judged_is_refused(says: str, draw: Draw) -> None:
    with pytest.raises(ResultsError, match=says):
        replace(draw(AT + SAM, sides=SIDES, num_test=20), claims=(WRONG[says],))


@dataclass(frozen=True, kw_only=True)
class Design:
    """How a study is measured."""

    images: int = 500
    seeds: int = 3
    noise: str = "skewed"


DEVIATION, STEEPNESS = 0.12, 2.0
"""Of training noise, in units of skill; and how fast the probability rises with skill."""
DESIGNS = {
    "200 images": Design(images=200, noise="t3"),
    "2 seeds": Design(seeds=2),
    "5 seeds that collapse": Design(seeds=5, noise="collapsed"),
    "2000 images": Design(images=2000, seeds=5),
}


def shifts(rng: np.random.Generator, noise: str, count: int) -> Array:
    """Draw training noise of mean 0 and variance about 1."""
    if noise == "t3":
        return rng.standard_t(3, count) / np.sqrt(3)
    if noise == "collapsed":
        return np.where(rng.random(count) < 0.1, -3.0, 1 / 3)
    return 1 - rng.standard_exponential(count)


def difficulties(rng: np.random.Generator, count: int) -> Array:
    """Draw most images easy, some hard."""
    hard = rng.normal(1.8, 0.6, count)
    drawn: Array = np.where(rng.random(count) < 0.7, rng.logistic(0, 0.4, count), hard)
    return drawn


def skills(count: int, top: float = 0.6) -> Array:
    """Lay the skills (clean, robust) of configurations along a front, robust ones below clean."""
    x = np.linspace(0.0, 1.0, count)
    return np.column_stack([1.3 + 1.5 * x, -1.6 + (top + 1.6) * (1 - x**1.6)])


def true_area(of: Array, noise: str) -> float:
    """Return the mean attainable robust accuracy of skills, expected over images and noise."""
    rng = np.random.default_rng(1)
    easy = difficulties(rng, 4000)[:, np.newaxis]
    moved = DEVIATION * np.sort(shifts(rng, noise, 40_000)).reshape(200, -1).mean(axis=1)
    expected = [[expit(STEEPNESS * (s + moved - easy)).mean() for s in pair] for pair in of]
    return float(mean_attainable_robustness(np.array(expected), 0.1))


def draw_study(of: Mapping[str, Array], design: Design, rng: np.random.Generator) -> Results:
    easy, trials = difficulties(rng, design.images), []
    for method, rows in of.items():
        for row, pair in enumerate(rows):
            own = rng.standard_normal(design.images)
            for seed in range(design.seeds):
                mixed = np.sqrt(0.4) * own + np.sqrt(0.6) * rng.standard_normal(design.images)
                moved = pair + DEVIATION * shifts(rng, design.noise, 2)
                chances = expit(STEEPNESS * (moved[:, np.newaxis] - easy))
                bits = ndtr(mixed) < np.minimum.accumulate(chances)
                clean, robust = accuracies(bits).tolist()
                trials.append(
                    TrialResult(
                        method=method,
                        values={"strength": 0.1 * (row + 1)},
                        seed=seed,
                        clean=clean,
                        robust=(robust,),
                        validation_clean=None,
                        validation_robust=None,
                        bits=bits,
                        sample_hash="images",
                    )
                )
    threat = ThreatModel(
        attack="PGD", validation_attack="PGD", norm="linf", radii=(0.1,), objective_radius=0.1
    )
    return Results(
        study="answers",
        about="",
        threat=threat,
        checkpoint="last",
        num_test=design.images,
        num_validation=0,
        clean_floor=0.1,
        seeds=tuple(range(design.seeds)),
        methods=tuple(
            MethodNote(name=name, sides=SIDES.get(name, "none + pgd"), searched=False)
            for name in of
        ),
        trials=tuple(trials),
        absent=(),
        provenance={},
    )


def verdicts(
    of: Mapping[str, Array], design: Design, claims: Sequence[DeclaredClaim], sets: int
) -> list[set[str]]:
    """Return the verdicts that occur in each of some studies."""
    rng = np.random.default_rng(3)
    return [
        {one.verdict for one in judge(draw_study(of, design, rng), *claims, count=300)}
        for _ in range(sets)
    ]


def share(found: Sequence[set[str]], verdict: str) -> float:
    return float(np.mean([verdict in one for one in found]))


def at_margin(of: Mapping[str, Array], noise: str) -> DeclaredClaim:
    """Claim that two methods are equal, whose difference is exactly the margin."""
    return replace(EQUAL, margin=abs(true_area(of["at"], noise) - true_area(of["sam"], noise)))


def test_in_a_few_studies_claims_are_seldom_wrong_and_often_decided() -> None:
    design = Design(images=300)
    equal, apart = ({"at": skills(5, top), "sam": skills(5)} for top in (0.6, 1.1))
    assert share(verdicts(equal, design, [replace(MORE, margin=None)], 25), "supported") <= 0.12
    assert share(verdicts(apart, design, [at_margin(apart, design.noise)], 25), "equivalent") <= 0.2
    assert share(verdicts(apart, design, [MORE], 10), "supported") >= 0.5
    assert share(verdicts(equal, design, [replace(EQUAL, margin=0.1)], 10), "equivalent") >= 0.5


@pytest.mark.slow
@pytest.mark.skipif(not FULL, reason="minutes; RHOEPS_FULL_COVERAGE=1 runs it")
@pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS)
@pytest.mark.parametrize("sizes", [(6, 6), (12, 4)], ids=["equal grids", "unequal grids"])
def test_claims_are_wrong_in_at_most_one_study_of_twenty(
    design: Design, sizes: tuple[int, int]
) -> None:
    null = {"at": skills(sizes[0]), "sam": skills(sizes[1])}
    claim = replace(MORE, margin=None)
    one_sided = share(verdicts(null, design, [claim], SETS), "supported")
    print(f"supported at the null in {one_sided:.3f} of {SETS}")
    assert one_sided <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / SETS)
    apart = {"at": skills(sizes[0], 0.85), "sam": skills(sizes[1])}
    wrong = share(verdicts(apart, design, [at_margin(apart, design.noise)], SETS), "equivalent")
    print(f"equivalent at the margin in {wrong:.3f} of {SETS}")
    assert wrong <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / SETS)


@pytest.mark.slow
@pytest.mark.skipif(not FULL, reason="minutes; RHOEPS_FULL_COVERAGE=1 runs it")
def test_any_of_four_claims_is_wrong_in_at_most_one_study_of_twenty() -> None:
    design = Design(images=500)
    of = {"at": skills(5), "bt": skills(5), "sam": skills(5), "gsam": skills(5)}
    claims = [
        replace(MORE, first=first, second=second, margin=None)
        for first in ("at", "bt")
        for second in ("sam", "gsam")
    ]
    found = share(verdicts(of, design, claims, SETS), "supported")
    print(f"any of four supported at the null in {found:.3f} of {SETS}")
    assert found <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / SETS)
