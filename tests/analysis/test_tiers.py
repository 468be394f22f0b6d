"""A stronger attack stands beside the evaluation attack, and no number holds both."""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from analysis.bundle import configurations_csv, seeds_csv
from analysis.document import Analysis, analyse, read_json, write_json
from analysis.latex import table_tex
from analysis.page import page
from analysis.results import (
    Results,
    ResultsError,
    StrongResult,
    TrialResult,
    accuracies,
    nested_bits,
)
from analysis.tiers import tier_designs

CELLS = [("at", {"epsilon": 0.05 * level}, 0.95 - 0.02 * level, 0.6) for level in range(1, 4)]
CELLS += [("sam", {"rho": 0.1 * level}, 0.96 - 0.01 * level, 0.3) for level in range(1, 4)]
RADII, SAMPLES, BROKEN = (0.05, 0.1), 40, 8
PARTS = ("apgd-ce", "square")
FIRST = "AutoAttack on the first 40 of 120 images"


def attacked(trial: TrialResult, samples: int = SAMPLES, radii: tuple[float, ...] = RADII):
    """Let a stronger attack break, beside all that PGD breaks, the first few samples."""
    assert trial.bits is not None
    raw = nested_bits(trial.bits)[: 1 + len(radii), :samples].copy()
    before = raw[1:].mean(axis=1)
    raw[1:, :BROKEN] = False
    measured = accuracies(raw).tolist()
    strong = StrongResult(
        attack="AutoAttack",
        norm="linf",
        radii=radii,
        samples=samples,
        parts=PARTS,
        clean=measured[0],
        robust=tuple(measured[1:]),
        survivors=tuple(zip(before.tolist(), measured[1:], strict=True)),
        bits=raw,
        sample_hash=f"first {samples}",
    )
    return replace(trial, strong=(*trial.strong, strong))


def mixed_up(results: Results) -> Results:
    """Put the images, which are drawn from hard to easy, in another order."""
    order = np.random.default_rng(0).permutation(results.num_test)
    trials = (replace(t, bits=t.bits[:, order]) for t in results.trials if t.bits is not None)
    return replace(results, trials=tuple(trials))


@pytest.fixture(scope="module")
def plain(draw: Callable[..., Results]) -> Results:
    return mixed_up(draw(CELLS, num_test=120, radii=RADII, seeds=(0, 1, 2, 3)))


@pytest.fixture(scope="module")
def results(plain: Results) -> Results:
    """Attack two configurations of each method."""
    weakest = ({"epsilon": 0.05 * 1}, {"rho": 0.1 * 1})
    trials = (t if t.values in weakest else attacked(t) for t in plain.trials)
    return replace(plain, trials=tuple(trials))


@pytest.fixture(scope="module")
def analysis(results: Results) -> Analysis:
    return analyse(results, replicates=50)


def test_the_evaluation_attacks_numbers_do_not_move(plain: Results, analysis: Analysis):
    alone = analyse(plain, replicates=50)
    assert analysis.views == alone.views
    assert [f for f in analysis.findings if "AutoAttack" not in f.text] == list(alone.findings)


def test_both_attacks_are_compared_on_the_same_images_and_seeds(
    results: Results, analysis: Analysis
):
    (tier,) = analysis.tiers
    assert len(tier.attacked) == 4 * len(RADII)
    for one in tier.attacked:
        c = tier.analysis.found[one.row]
        trials = [t for t in results.trials if (t.method, t.values) == (c.method, c.values)]
        position = RADII.index(one.radius)
        bits = [nested_bits(t.bits)[1 + position] for t in trials if t.bits is not None]
        first = np.mean([right[:SAMPLES].mean() for right in bits])
        left = np.mean([t.strong[0].robust[position] for t in trials])
        assert one.weaker.estimate == pytest.approx(first, abs=1e-12)
        assert one.weaker_on_all.estimate == pytest.approx(np.mean(bits), abs=1e-12)
        assert one.stronger.estimate == pytest.approx(left, abs=1e-12)
        assert one.lost.estimate == pytest.approx(first - left, abs=1e-12)
        assert one.survivors[-1] == pytest.approx(left, abs=1e-12)
        assert one.lost.low <= one.lost.estimate <= one.lost.high


def test_an_attack_that_breaks_nothing_more_loses_exactly_nothing(plain: Results):
    """Equal bits under both attacks: paired replicates differ by 0, not by noise."""
    trials = []
    for trial in plain.trials:
        strong = attacked(trial).strong[0]
        raw = nested_bits(trial.bits)[:, :SAMPLES]  # type: ignore[arg-type]
        clean, *robust = accuracies(raw).tolist()
        kept = replace(strong, bits=raw, clean=clean, robust=tuple(robust))
        kept = replace(kept, survivors=tuple((value, value) for value in robust))
        trials.append(replace(trial, strong=(kept,)))
    (tier,) = analyse(replace(plain, trials=tuple(trials)), replicates=50).tiers
    assert {(one.lost.low, one.lost.high) for one in tier.attacked} == {(0.0, 0.0)}
    assert {loss.kept for loss in tier.losses} == {(1.0, 1.0)}


def test_the_first_images_are_said_in_every_number(analysis: Analysis):
    (tier,) = analysis.tiers
    assert tier.analysis.results.threat.attack == FIRST
    told = [f for f in analysis.findings if "AutoAttack" in f.text]
    assert told
    assert all(FIRST in f.text and not f.primary for f in told)
    kept = next(f for f in told if f.kind == "stronger attack")
    assert kept.text.startswith(f"Under {FIRST}, “at” keeps ")
    assert "2 configurations × 4 seeds, 40 test images" in kept.text
    assert kept.low is not None
    assert kept.low > 0


def test_files_name_attack_norm_radius_and_samples(results: Results, analysis: Analysis):
    header, *rows = configurations_csv(analysis).splitlines()
    assert "autoattack_linf_0.1_first_40_mean" in header.split(",")
    assert "autoattack_linf_0.1_first_40" in seeds_csv(results).splitlines()[0].split(",")
    assert len(rows) == 6
    tex = table_tex(analysis)
    assert f"{FIRST}, linf 0.1" in tex
    assert tex.count(" & -- ") == 2


def test_all_images_need_no_words(plain: Results):
    whole = replace(plain, trials=tuple(attacked(t, samples=120) for t in plain.trials))
    found = analyse(whole, replicates=50)
    assert found.tiers[0].analysis.results.threat.attack == "AutoAttack"
    assert "autoattack_linf_0.1_mean" in configurations_csv(found)
    assert "first" not in "".join(f.text for f in found.findings if "AutoAttack" in f.text)


def test_other_numbers_of_images_are_another_tier(plain: Results):
    trials = tuple(attacked(attacked(t), samples=60) for t in plain.trials)
    designs = tier_designs(replace(plain, trials=trials))
    assert [(one.attack, one.samples) for one in designs] == [
        ("AutoAttack", 40),
        ("AutoAttack", 60),
    ]


def test_a_trial_attacked_at_some_radii_only_is_named_and_left_out(results: Results):
    first, *others = (t for t in results.trials if t.strong)
    partial = attacked(replace(first, strong=()), radii=RADII[:1])
    trials = (partial, *others, *(t for t in results.trials if not t.strong))
    found = analyse(replace(results, trials=trials), replicates=50)
    assert len(found.tiers[0].analysis.results.trials) == len(others)
    assert found.tiers[0].partial == ("“at” ε=0.1 seed 0",)
    assert "Attacked at some of the radii only, and left out here: “at” ε=0.1 seed 0" in page(found)


def test_the_page_shows_the_tier_and_is_made_again_from_its_document(analysis: Analysis):
    text = page(analysis)
    written = write_json(analysis)
    assert page(read_json(written)) == text
    assert write_json(read_json(written)) == written
    assert "<h2>AutoAttack</h2>" in text
    assert 'id="strong-attack0"' in text
    assert "Broken by apgd-ce" in text
    assert re.search(r"The front under AutoAttack on the first 40 of 120 images, of the", text)


def test_without_a_stronger_attack_nothing_is_said_of_one(plain: Results):
    found = analyse(plain, replicates=50)
    text = page(found)
    assert found.tiers == ()
    for word in ("AutoAttack", "Tiers of evaluation", "<h2>Diagnostics</h2>", "The other norm"):
        assert word not in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"radii": (0.05, 0.3)}, "needs a norm and radii of the evaluation attack"),
        ({"norm": "l2"}, "needs a norm and radii of the evaluation attack"),
        ({"samples": 121}, "samples must lie in 1 to 120"),
        ({"robust": (0.1, 0.2)}, "do not rise"),
        ({"survivors": ((0.1,), (0.1,))}, "survivors must be of shape"),
        ({"bits": np.ones((3, 40), dtype=bool)}, "are not those of the bits"),
    ],
)
def test_results_that_do_not_fit_the_study_are_refused(
    results: Results, change: dict[str, object], message: str
):
    trial = next(t for t in results.trials if t.strong)
    odd = replace(trial, strong=(replace(trial.strong[0], **change),))  # type: ignore[arg-type]
    with pytest.raises(ResultsError, match=message):
        replace(results, trials=(odd,))
