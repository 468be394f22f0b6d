"""A stronger attack stands beside the evaluation attack, and no number holds both."""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from analysis.analysing import analyse
from analysis.attacks.tiers import tier_designs, tier_results
from analysis.document import Analysis, read_json, write_json
from analysis.figures.front import chosen_text
from analysis.figures.scene import gather
from analysis.fronts.choice import choose
from analysis.report.attack_tables import tier_text
from analysis.report.configurations import configurations_csv, table_tex
from analysis.report.data_files import seeds_csv
from analysis.report.page import page
from analysis.report.plans import panel_plans
from analysis.results.combine import combine
from analysis.results.results import Results
from analysis.results.trials import (
    OtherNorm,
    ResultsError,
    StrongResult,
    TrialResult,
    accuracies,
    nested_bits,
)

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
    assert "at only some of the radii, and therefore left out: “at” ε=0.1 seed 0" in page(found)


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
    for word in ("AutoAttack", "Tiers of evaluation", "<h2>Diagnostics</h2>", "Other norms"):
        assert word not in text


LONG = "a-wide-residual-network-of-34-layers-sgd-"
ALIKE = [
    [("sam", {"rho": 0.1234012345}, 0.95, 0.6), ("sam", {"rho": 0.1233987654}, 0.95, 0.2)],
    [(f"{LONG}sam1", {}, 0.95, 0.6), (f"{LONG}sam2", {}, 0.95, 0.2)],
]


@pytest.mark.parametrize("cells", ALIKE)
def test_trials_that_are_printed_alike_keep_their_own_bits(draw: Callable[..., Results], cells):
    drawn = mixed_up(draw(cells, num_test=120, radii=RADII, seeds=(0, 1)))
    drawn = replace(drawn, trials=tuple(attacked(trial) for trial in drawn.trials))
    (tier,) = analyse(drawn, replicates=20).tiers
    assert len(tier.attacked) == 2 * len(RADII)
    for one in tier.attacked:
        c, position = tier.analysis.found[one.row], RADII.index(one.radius)
        own = [t for t in drawn.trials if (t.method, t.values) == (c.method, c.values)]
        left = np.mean([t.strong[0].robust[position] for t in own])
        first = np.mean([nested_bits(t.bits)[1 + position, :SAMPLES].mean() for t in own])
        assert one.stronger.estimate == pytest.approx(left, abs=1e-12)
        assert one.weaker.estimate == pytest.approx(first, abs=1e-12)
        assert one.survivors[-1] == pytest.approx(left, abs=1e-12)


def searched_study(draw: Callable[..., Results], num_validation: int = 200) -> Results:
    """Validation says that the strongest of each method dominates; the tests say otherwise."""
    drawn = draw(
        CELLS,
        num_test=120,
        num_validation=num_validation,
        radii=RADII,
        seeds=(0, 1),
        searched=("sam",),
    )
    if num_validation:
        best = ({"epsilon": CELLS[2][1]["epsilon"]}, {"rho": CELLS[5][1]["rho"]})
        values = ((0.9, 0.8) if t.values in best else (0.5, 0.1) for t in drawn.trials)
        trials = (
            replace(t, validation_clean=clean, validation_robust=robust)
            for t, (clean, robust) in zip(drawn.trials, values, strict=True)
        )
        drawn = replace(drawn, trials=tuple(trials))
    return replace(drawn, trials=tuple(attacked(trial) for trial in drawn.trials))


def strong_caption(found: Analysis) -> str:
    pictures = [p.draw() for p in panel_plans(found) if "front under AutoAttack" in p.name]
    (picture,) = pictures
    return picture.caption


def test_a_tiers_fronts_are_chosen_on_validation_data_as_the_studys_are(
    draw: Callable[..., Results],
):
    results = searched_study(draw)
    found = analyse(results, replicates=20)
    (tier,) = found.tiers
    ours, theirs = choose(found.results), choose(tier.analysis.results)
    assert theirs.on_validation
    chosen = [[c.key for c in front.members] for front in theirs.fronts]
    assert chosen == [[c.key for c in front.members] for front in ours.fronts]
    assert [len(members) for members in chosen] == [1, 1]
    # Test numbers of the tier would choose more.
    without = replace(results, num_validation=0, trials=tuple(map(blind, results.trials)))
    (design,) = tier_designs(without)
    assert {len(f.members) for f in choose(tier_results(without, design)).fronts} != {1}
    # A search stands by what was chosen, a grid by all of it.
    values = tier.analysis.primary.contrasts.hypervolumes
    assert {one.method: len(one.rows) for one in values} == {"at": 3, "sam": 1}
    caption = strong_caption(found)
    assert "as chosen on validation data (PGD-10, 1 restart) at radius 0.1" in caption
    # Arrows from where it was chosen would lead from PGD-10 to AutoAttack.
    assert "arrows" not in caption
    shifts = [
        len(one.shifts[0])
        for a in (found, tier.analysis)
        for one in gather(a, 0.1, [a.estimand]).methods
    ]
    assert shifts == [0, 1, 0, 0]
    text = page(found)
    assert "are chosen on the same validation data, under PGD-10, 1 restart, linf 0.1" in text
    members = "the members chosen on validation data (PGD-10, 1 restart) at radius 0.1"
    assert f"For a searched method, it is that of {members}." in text


def blind(trial: TrialResult) -> TrialResult:
    return replace(trial, validation_clean=None, validation_robust=None)


def test_a_tier_of_a_search_without_validation_data_says_so(draw: Callable[..., Results]):
    found = analyse(searched_study(draw, num_validation=0), replicates=20)
    assert "as chosen on test data at radius 0.1" in strong_caption(found)
    (told,) = [f.text for f in found.findings if f.kind.startswith("hypervolume difference, Auto")]
    assert "“sam” was searched without validation data and not selected independently" in told


def in_l2(results: Results, radii: tuple[float, ...]) -> Results:
    """Evaluate and attack every trial in the other norm, at these radii."""
    trials = []
    for trial in results.trials:
        raw = trial.bits[[0, *range(1, 1 + len(radii))]]  # type: ignore[index]
        other = OtherNorm(
            norm="l2", radii=radii, robust=tuple(accuracies(raw)[1:].tolist()), bits=raw[1:]
        )
        strong = attacked(replace(trial, strong=()), radii=radii).strong[0]
        assert strong.bits is not None
        strong.bits[2:] |= ~strong.bits[1]  # what a smaller radius broke a larger one may miss
        trials.append(replace(trial, other=other, strong=(replace(strong, norm="l2"),)))
    return replace(results, trials=tuple(trials))


def two_studies(draw: Callable[..., Results]) -> tuple[Results, Results]:
    one, other = (
        draw([cell], num_test=120, radii=RADII, seeds=(0, 1), study=name, searched=("sam",))
        for name, cell in (("one", CELLS[0]), ("other", CELLS[3]))
    )
    return one, other


@pytest.mark.parametrize("others", [(0.5, 1.0), (0.25, 0.5)])
def test_studies_with_other_radii_are_compared_at_those_they_share(
    draw: Callable[..., Results], others: tuple[float, ...]
):
    one, other = two_studies(draw)
    both = combine([in_l2(one, (0.5,)), in_l2(other, others)])
    found = analyse(both, replicates=20)
    (tier,) = found.tiers
    assert tier.partial == ()
    assert tier.analysis.results.threat.radii == (0.5,)
    assert [len(c.trials) for c in tier.analysis.found] == [2, 2]
    position = others.index(0.5)
    for attack in tier.attacked:
        c = tier.analysis.found[attack.row]
        own = [t for t in both.trials if t.method == c.method]
        at = position if c.method == "sam" else 0
        assert attack.stronger.estimate == pytest.approx(
            np.mean([t.strong[0].robust[at] for t in own]), abs=1e-12
        )
        assert attack.survivors[-1] == pytest.approx(
            np.mean([t.strong[0].survivors[at][-1] for t in own]), abs=1e-12
        )
    text, apart = tier_text(found, tier), sum(others) - 0.5
    assert "Evaluate again" not in text
    assert f"Not evaluated in every trial, and therefore only in seeds.csv: l2 {apart:g}." in text
    # Chosen in the study's own norm, which is said where it is another one.
    assert chosen_text(tier.analysis.results) == ("validation data (PGD-10, 1 restart) at linf 0.1")
    assert write_json(read_json(write_json(found))) == write_json(found)


def test_studies_that_share_no_radius_are_tiers_apart(draw: Callable[..., Results]):
    one, other = two_studies(draw)
    found = analyse(combine([in_l2(one, (0.5,)), in_l2(other, (1.0,))]), replicates=20)
    told = [(t.analysis.results.threat.radii, t.partial, len(t.attacked)) for t in found.tiers]
    assert told == [((0.5,), (), 1), ((1.0,), (), 1)]
    assert page(found)


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
