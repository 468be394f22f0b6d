"""Repeats: few, lone or equal seeds support no claim, whatever their intervals say."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from analysis.analysing import analyse
from analysis.document import Analysis
from analysis.findings.phrases import held_back, judged, unrepeated_text
from analysis.inference.claims import Finding
from analysis.results.configurations import configurations
from analysis.results.results import Results

Draw = Callable[..., Results]
SIDES = {"at": "none + pgd", "sam": "sam + none"}
AT = [("at", {"epsilon": 0.01 * i}, 0.97 - 0.02 * i, 0.40 + 0.05 * i) for i in range(1, 7)]
SAM = [("sam", {"rho": 0.1 * i}, 0.93 - 0.01 * i, 0.20 + 0.02 * i) for i in range(1, 6)]
BETTER = (
    "hypervolume difference",
    "hypervolume difference at equal training cost",
    "hypervolume difference, other radius",
    "dominance",
    "dominance of the best",
    "equivalent epsilon",
)


def only(results: Results, seeds: dict[str, tuple[int, ...]]) -> Results:
    """Keep these seeds of each method; results without bits, as a table has them."""
    kept = [replace(t, bits=None) for t in results.trials if t.seed in seeds[t.method]]
    notes = tuple(replace(note, seeds=seeds[note.name]) for note in results.methods)
    return replace(results, trials=tuple(kept), methods=notes)


def claims(analysis: Analysis) -> list[Finding]:
    return [f for f in analysis.findings if f.kind in BETTER and f.status == "claimed"]


def test_a_method_with_lone_seeds_borrows_no_noise_for_a_claim(draw: Draw) -> None:
    results = draw(AT + SAM, sides=SIDES, seeds=(0, 1, 2))
    assert claims(analyse(results, replicates=100))
    analysis = analyse(only(results, {"at": (0,), "sam": (0, 1, 2)}), replicates=100)
    assert not claims(analysis)
    first = analysis.findings[0]
    assert (first.status, first.primary) == ("bracketed", True)
    assert first.text.startswith("Not claimed (no configuration of “at” has two seeds): ")
    assert "run more seeds" in first.reason


def test_one_repeated_training_supports_no_claim(draw: Draw) -> None:
    results = draw([AT[0], SAM[0]], sides=SIDES, seeds=(0, 1))
    analysis = analyse(only(results, {"at": (0, 1), "sam": (0, 1)}), replicates=100)
    assert not claims(analysis)
    text = (
        "Not claimed (seed noise is estimated from only 2 repeated trainings, and 10 are needed): "
    )
    assert analysis.findings[0].text.startswith(text)


def test_seeds_that_do_not_differ_support_no_claim(draw: Draw) -> None:
    results = only(draw(AT + SAM, sides=SIDES), {"at": (0, 1, 2), "sam": (0, 1, 2)})
    first = {(t.method, *t.values.values()): t for t in results.trials if t.seed == 0}
    equal = tuple(
        replace(t, clean=of.clean, robust=of.robust)
        for t in results.trials
        for of in [first[t.method, *t.values.values()]]
    )
    analysis = analyse(replace(results, trials=equal), replicates=100)
    assert not claims(analysis)
    assert "seeds of “at” do not differ, so its seed noise is unknown" in analysis.findings[0].text
    chosen = [f for f in analysis.findings if f.kind == "selection" and f.status == "bracketed"]
    assert all("no two seeds of a configuration differ" in f.reason for f in chosen)


def test_ten_repeats_and_noise_of_each_method_are_enough(draw: Draw) -> None:
    found = configurations(draw(AT[:5], seeds=(0, 1, 2)))
    assert unrepeated_text(found, ("at",)) == ""
    assert "estimated from only 8 repeated trainings" in unrepeated_text(found[:4], ("at",))
    finding = Finding(kind="a", text="It is so.", status="claimed")
    assert held_back(finding, found, ("at",)) is finding
    bracketed = replace(finding, status="bracketed")
    assert held_back(bracketed, found[:1], ("at",)) is bracketed


@pytest.mark.parametrize("methods", [2, 3])
def test_contrasts_say_what_they_are_adjusted_for_at_every_radius(draw: Draw, methods: int) -> None:
    other = [("trades", {"beta": 1.0 * i}, 0.95 - 0.02 * i, 0.30 + 0.05 * i) for i in range(1, 6)]
    cells = AT + SAM + (other if methods == 3 else [])
    analysis = analyse(draw(cells, sides=SIDES, radii=(0.1, 0.2)), replicates=100)
    contrasts = [f for f in analysis.findings if f.kind.startswith("hypervolume difference")]
    contrasts = [f for f in contrasts if "cost" not in f.kind]
    assert "primary contrast, not adjusted" in contrasts[0].text
    told = "exploratory, adjusted over the 3 contrasts at this radius"
    if methods == 2:
        told = "exploratory, not adjusted"
    assert len(contrasts) > 1
    assert all(told in f.text for f in contrasts[1:])
    assert not any(f.primary for f in contrasts[1:])


def test_a_comparison_of_studies_with_one_method_has_no_primary_contrast(draw: Draw) -> None:
    results = replace(draw(AT, sides=SIDES), is_comparison=True)
    first = analyse(results, replicates=100).findings[0]
    assert (first.kind, first.primary) == ("hypervolume difference", False)
    assert "95% interval" in first.text


@pytest.mark.parametrize(
    ("ends", "seed_noise", "status"),
    [
        ((0.01, 0.03), True, "claimed"),
        ((-0.03, -0.01), True, "claimed"),
        ((0.0, 0.03), True, "bracketed"),
        ((0.01, 0.03), False, "refused"),
    ],
)
def test_a_difference_is_claimed_where_a_known_interval_excludes_zero(
    ends: tuple[float, float], seed_noise: bool, status: str
) -> None:
    finding = Finding(kind="gap", text="A.", status="bracketed", low=ends[0], high=ends[1])
    said = judged(finding, seed_noise=seed_noise, doubt="few seeds")
    assert said.status == status
    assert (said.low, said.high) == (ends if seed_noise else (None, None))
    told = status == "claimed"
    assert (said.text, said.reason) == (
        ("A.", "") if told else ("A. This is undecided: few seeds.", "few seeds")
    )
