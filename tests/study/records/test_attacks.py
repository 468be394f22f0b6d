"""Names, and what is recorded on a run and read back, in a real MLflow store."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study.plan import space
from study.plan.plan import TrialRecord
from study.records.attacks import (
    ATTACK_ARRAYS,
    METRIC_WORDS,
    AttackRecord,
    CheckRecord,
    Samples,
    Threat,
    checks_file_name,
    file_name,
    first_samples,
    hash_of_first,
    is_attacked,
    is_checked,
    judged_samples,
    log_attack,
    log_checks,
    metric_name,
    read_attacks,
    read_checks,
)
from study.records.runs import (
    TrialRun,
    _required_metrics,
    artifact_names,
    local_path,
    open_study,
    read_trials,
)
from study.records.store import Store, TrackingError
from study.spec import StudySpec
from trainers.data.subset import Split, sample_hash

DATA = "some-data"
RADII = (0.05, 0.1)
NAMES = [
    pytest.param("AutoAttack", "all", "last/autoattack_linf_0.1", "last_linf_0.1", id="whole"),
    pytest.param(
        *("AutoAttack", 100, "last/autoattack_linf_0.1_first_100", "last_linf_0.1_first_100"),
        id="first",
    ),
    pytest.param(
        *("APGD-CE, FAB, Square", "all", "last/apgd_fab_square_linf_0.1", "last_linf_0.1"),
        id="few classes",
    ),
]
ASKED = [
    pytest.param("all", 500, "all", id="all"),
    pytest.param(100, 500, 100, id="a part"),
    pytest.param(500, 500, "all", id="as many as there are"),
    pytest.param(501, 500, "all", id="more than there are"),
]


@pytest.mark.parametrize(("attack", "samples", "metric", "file"), NAMES)
def test_every_number_names_attack_norm_radius_and_part(
    attack: str, samples: Samples, metric: str, file: str
) -> None:
    assert metric_name("last", attack, threat(0.1, samples)) == metric
    assert file_name("last", threat(0.1, samples)) == f"attacks/{file}.npz"


def test_every_sequence_of_attacks_has_a_word_of_its_own() -> None:
    from trainers.evaluation.autoattack import attack_name

    assert {attack_name(count) for count in range(2, 12)} == set(METRIC_WORDS)
    assert len(set(METRIC_WORDS.values())) == len(METRIC_WORDS)


@pytest.mark.parametrize(("samples", "num_test", "judged"), ASKED)
def test_as_many_samples_as_there_are_is_all_of_them(
    samples: Samples, num_test: int, judged: Samples
) -> None:
    assert judged_samples(samples, num_test) == judged


@pytest.fixture
def trial(
    client: Any,
    store: Store,
    read: Callable[..., StudySpec],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Callable[[], TrialRecord]:
    """A finished trial, as its records have it at each call."""
    spec = read().model_copy(update={"name": request.node.originalname.replace("_", "-")[:90]})
    runs = open_study(client, store, spec, {})
    cell = space.cells(spec, space.grid_configurations(spec)[0], DATA)[0]
    canonical = space.canonical(cell.config, DATA)
    tags = {"study": spec.name, "cell": cell.key, "method": "standard", "block": ""}
    labels = {**tags, "number": "-1", "config": json.dumps(canonical)}
    run = TrialRun(client, runs, "a run", labels, {})
    for name in artifact_names():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    run.finish(dict.fromkeys(_required_metrics(canonical["evaluation"]), 0.5), tmp_path)

    def read_trial() -> TrialRecord:
        trials = read_trials(client, "last")
        return next(record for record in trials if record.run == run.id)

    return read_trial


def named(samples: int) -> str:
    """Stand for the hash of the first so many samples."""
    return f"first {samples}"


def threat(radius: float, samples: Samples) -> Threat:
    return Threat(norm="linf", radius=radius, samples=samples)


def attacked(radius: float, count: int = 4, **changes: Any) -> AttackRecord:
    made = AttackRecord(
        checkpoint="last",
        threat=threat(radius, "all"),
        attack="AutoAttack",
        attacks=("apgd-ce", "square"),
        bits=np.arange(3)[:, None] <= np.arange(count) - (radius > 0.05),
        sample_hash=named(count),
        versions={"pyautoattack": "0.2.0", "torch": "2"},
    )
    return replace(made, **changes)


def log(client: Any, run: str, found: AttackRecord, samples: Samples) -> None:
    found = replace(found, threat=replace(found.threat, samples=samples))
    with tempfile.TemporaryDirectory() as folder:
        log_attack(client, run, found, 0, "a log", Path(folder))


def test_attacks_come_back_as_recorded_and_only_for_what_is_asked(
    client: Any, store: Store, trial: Callable[[], TrialRecord]
) -> None:
    run = trial().run
    assert read_attacks(store, trial(), "last", "all", named) == ()
    for radius in reversed(RADII):
        log(client, run, attacked(radius), 4)
    found = read_attacks(store, trial(), "last", 4, named)
    assert [one.threat.radius for one in found] == list(RADII)
    for one, radius in zip(found, RADII, strict=True):
        expected = attacked(radius)
        assert one.bits.tolist() == expected.bits.tolist()
        assert replace(one, bits=expected.bits) == replace(expected, threat=threat(radius, 4))
        name = metric_name("last", "AutoAttack", threat(radius, 4))
        assert trial().metrics[name] == expected.bits[-1].mean()
    for checkpoint, samples in (("best", 4), ("last", "all"), ("last", 3), ("last", 5)):
        assert read_attacks(store, trial(), checkpoint, samples, named) == (), (checkpoint, samples)
    text = (local_path(trial().artifacts) or Path()) / file_name("last", threat(0.1, 4))
    assert text.with_suffix(".txt").read_text() == "a log"


def test_all_samples_serve_a_study_that_asks_for_as_many_or_more(
    client: Any, store: Store, trial: Callable[[], TrialRecord]
) -> None:
    log(client, trial().run, attacked(0.1, attack="APGD-CE, FAB, Square"), "all")
    for samples, expected in (("all", 1), (4, 1), (9, 1), (3, 0)):
        found = read_attacks(store, trial(), "last", samples, named)
        assert len(found) == expected, samples
    assert is_attacked(trial(), "last", "APGD-CE, FAB, Square", threat(0.1, "all"))
    assert not is_attacked(trial(), "last", "AutoAttack", threat(0.1, "all"))


def test_attack_without_its_file_is_not_recorded(
    client: Any, store: Store, trial: Callable[[], TrialRecord]
) -> None:
    log(client, trial().run, attacked(0.1), 4)
    assert is_attacked(trial(), "last", "AutoAttack", threat(0.1, 4))
    folder = local_path(trial().artifacts)
    assert folder is not None
    (folder / file_name("last", threat(0.1, 4))).unlink()
    assert not is_attacked(trial(), "last", "AutoAttack", threat(0.1, 4))
    assert read_attacks(store, trial(), "last", 4, named) == ()


def test_damaged_file_of_bits_is_one_line_with_the_way_out(
    client: Any, store: Store, trial: Callable[[], TrialRecord]
) -> None:
    log(client, trial().run, attacked(0.1), 4)
    folder = local_path(trial().artifacts)
    assert folder is not None
    path = folder / file_name("last", threat(0.1, 4))
    whole = path.read_bytes()
    objects = np.array([None, {}], dtype=object)
    for damage in (b"", b"no archive", whole[: len(whole) // 2]):
        path.write_bytes(damage)
        with pytest.raises(TrackingError, match=r"is damaged \(.+\); delete it, then study eval"):
            read_attacks(store, trial(), "last", 4, named)
    for changed in ({"bits": objects}, {"bits": np.ones((2, 4), dtype=bool)}, {"bits": np.eye(3)}):
        content = {"attacks": np.array(["a", "b"]), "attack": "AutoAttack", "sample_hash": "h"}
        content |= {"versions": "{}"}
        np.savez(path, **content, **changed)
        with pytest.raises(TrackingError, match="is damaged"):
            read_attacks(store, trial(), "last", 4, named)


def test_file_of_bits_with_a_wrong_bit_is_read_as_it_was_or_refused(
    client: Any, store: Store, trial: Callable[[], TrialRecord]
) -> None:
    log(client, trial().run, attacked(0.1), 4)
    record = trial()
    folder = local_path(record.artifacts)
    assert folder is not None
    path = folder / file_name("last", threat(0.1, 4))
    whole = path.read_bytes()
    refusals = []
    for place in range(0, 8 * len(whole), 7):
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        try:
            [found] = read_attacks(store, record, "last", 4, named)
        except TrackingError as error:
            refusals.append(str(error))
        else:
            assert found.bits.tolist() == attacked(0.1).bits.tolist()
    assert len(refusals) > 100
    assert all("is damaged (" in refusal for refusal in refusals)


@pytest.mark.parametrize("missing", ATTACK_ARRAYS)
def test_file_of_bits_that_lacks_something_is_refused_and_says_what(
    client: Any, store: Store, trial: Callable[[], TrialRecord], missing: str
) -> None:
    log(client, trial().run, attacked(0.1), 4)
    folder = local_path(trial().artifacts)
    assert folder is not None
    path = folder / file_name("last", threat(0.1, 4))
    with np.load(path) as arrays:
        kept = {name: array for name, array in arrays.items() if name != missing}
    np.savez(path, **kept)
    with pytest.raises(TrackingError, match=rf"is damaged \(has no {missing}\); delete"):
        read_attacks(store, trial(), "last", 4, named)


def test_attack_on_other_samples_than_the_data_s_first_is_refused(
    client: Any, store: Store, trial: Callable[[], TrialRecord]
) -> None:
    log(client, trial().run, attacked(0.05), 4)
    log(client, trial().run, attacked(0.1, sample_hash="another"), 4)
    rule = (
        r"linf_0\.1_first_4\.npz: must be an attack on the first 4 test samples \(first 4\), got "
    )
    with pytest.raises(TrackingError, match=rule + "one on another; delete it, then study eva"):
        read_attacks(store, trial(), "last", 4, named)


def test_first_samples_are_named_as_a_part_of_the_test_set_is() -> None:
    images = np.arange(12, dtype=np.uint8).reshape(3, 1, 2, 2)
    test = Split(images=images, labels=np.array([1, 0, 2]))
    name = hash_of_first(test)
    assert name(2) == sample_hash(Split(images=images[:2], labels=np.array([1, 0])))
    assert name(3) == sample_hash(test) != name(2)
    assert first_samples(test, "all") is test


def test_checklist_comes_back_and_counts_for_its_basis_and_checkpoint_alone(
    client: Any, store: Store, trial: Callable[[], TrialRecord]
) -> None:
    assert read_checks(store, trial(), "last") == ()
    checks = (
        CheckRecord(number=1, name="returned images", verdict="pass", text="All are in the ball."),
        CheckRecord(number=9, name="logit scale", verdict="warn", text="With logits × 10: 3 %."),
    )
    log_checks(client, trial().run, "last", [(one, {"n": 1.0}) for one in checks], "warn", "abc")
    assert read_checks(store, trial(), "last") == checks
    assert read_checks(store, trial(), "best") == ()
    assert trial().labels["diagnosis"] == "warn"
    assert is_checked(trial(), "last", "abc")
    assert not is_checked(trial(), "last", "another basis")
    assert not is_checked(trial(), "best", "abc")
    folder = local_path(trial().artifacts)
    assert folder is not None
    path = folder / checks_file_name("last")
    for damage in ("", "[]", '{"checks": [{"number": 1}]}'):
        path.write_text(damage, encoding="utf-8")
        with pytest.raises(TrackingError, match=r"is damaged \(.+\); delete it, then study diag"):
            read_checks(store, trial(), "last")
    path.unlink()
    assert read_checks(store, trial(), "last") == ()
    assert not is_checked(trial(), "last", "abc")


def test_nothing_recorded_costs_no_look_at_files(trial: Callable[[], TrialRecord]) -> None:
    elsewhere = replace(trial(), artifacts="mlflow-artifacts:/gone")
    nowhere = Store(uri="http://127.0.0.1:9", artifacts="")
    assert read_attacks(nowhere, elsewhere, "last", 4, named) == ()
    assert read_checks(nowhere, elsewhere, "last") == ()
