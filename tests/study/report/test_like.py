"""The noise of like trials that the records hold, from which a plan reads the power of a study."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from analysis.advice.power import ASSUMED
from study import summary
from study.plan.plan import TrialRecord, make_plan
from study.report.like import expected_noise
from study.report.power import expected_power
from study.spec import StudySpec
from tests.records import DATA, finished_trial

Read = Callable[..., StudySpec]


def declared(read: Read, epsilons: str) -> StudySpec:
    """The study without its search: standard, SAM with two values of ρ, adversarial training."""
    text: str = read.text  # type: ignore[attr-defined]
    searched = text[text.index("    sam_at") : text.index("  evaluation")]
    at = f"    at: {{inputs: {{pgd: {{norm: linf, epsilon: {epsilons}, steps: 1}}}}}}\n"
    return read(text=text.replace(searched, at))


@pytest.fixture
def spec(read: Read) -> StudySpec:
    return declared(read, "[0.05, 0.1]")


def recorded(spec: StudySpec, folder: Path, images: int = 400) -> list[TrialRecord]:
    """Record every cell, with bits of as many images."""
    records = []
    rng = np.random.default_rng(3)
    for number, planned in enumerate(make_plan(spec, DATA, []).cells):
        place = folder / str(number)
        place.mkdir()
        bits = rng.random((3, images)) < np.array([[0.9], [0.7], [0.5]])
        np.savez(place / "bits.npz", best=bits, last=bits, sample_hash=np.array("images"))
        records.append(finished_trial(planned.cell, artifacts=str(place)))
    return records


def test_noise_is_read_off_recorded_trials_and_else_assumed(
    spec: StudySpec, tmp_path: Path
) -> None:
    records = recorded(spec, tmp_path)
    found = expected_noise(spec, make_plan(spec, DATA, records))
    assert found is not None
    assert (found.pair, found.trials, found.images) == (("at", "sam"), 8, 400)
    # Bits without anything in common have no noise of images that seeds leave.
    assert found.noise.images < 0.3 * found.noise.interaction
    fresh = expected_noise(spec, make_plan(spec, DATA, []))
    assert fresh is not None
    assert (fresh.noise, fresh.trials, fresh.images) == (ASSUMED, 0, 500)


def test_trials_of_other_data_or_with_damaged_bits_are_not_alike(
    spec: StudySpec, tmp_path: Path
) -> None:
    records = recorded(spec, tmp_path)
    for number in range(len(records)):
        (tmp_path / str(number) / "bits.npz").write_bytes(b"damaged")
    found = expected_noise(spec, make_plan(spec, DATA, records))
    assert found is not None
    assert found.trials == 0
    elsewhere = expected_noise(spec, make_plan(spec, "other-data", records))
    assert elsewhere is not None
    assert elsewhere.trials == 0


def test_a_plan_prints_what_the_design_can_see(
    spec: StudySpec, capsys: pytest.CaptureFixture[str]
) -> None:
    summary.print_plan(spec, make_plan(spec, DATA, []), 2)
    lines = capsys.readouterr().out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("power: "))
    assert lines[at].startswith("power: 2 seeds × 500 test images measure the lead of at over sam")
    assert "pp is claimed in" in lines[at]
    assert lines[at + 1].startswith("  assumed, as no like trials of both are recorded: ")
    assert lines[at + 2].startswith("  but 5 repeated trainings are too few")


def test_a_measured_share_has_a_range_and_unequal_numbers_are_said(
    spec: StudySpec, read: Read, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary.print_plan(spec, make_plan(spec, DATA, recorded(spec, tmp_path)), 2)
    assert re.search(r"is claimed in \d+% \[\d+ to \d+\] of such studies", capsys.readouterr().out)
    more = declared(read, "[0.05, 0.1, 0.15]")
    found = [expected_power(one, make_plan(one, DATA, [])) for one in (spec, more)]
    equal, unequal = (one for one in found if one is not None)
    assert (equal.is_matched, unequal.is_matched) == (False, True)
    assert unequal.designs[0].claimed < equal.designs[0].claimed
    assert unequal.detected > equal.detected
