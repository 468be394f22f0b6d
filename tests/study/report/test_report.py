"""From records to results: what a report is told, without launching anything."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.report.bundle import write_report
from analysis.results.trials import ResultsError
from study.launch import launch
from study.plan import space
from study.records.attacks import (
    AttackRecord,
    CheckRecord,
    Threat,
    hash_of_first,
    log_attack,
    log_checks,
)
from study.records.claims import record_claims
from study.records.evidence import count_seeds, strong_results
from study.records.runs import (
    BITS_FILE,
    CHECKPOINTS,
    MOST_NOTE_CHARACTERS,
    StudyRuns,
    TrialRun,
    artifact_names,
    find_study,
    local_path,
    open_study,
    read_epochs,
    robust_name,
)
from study.records.store import TrackingError, connect, find_store
from study.records.view import MOST_FRAME_CHARACTERS, framed_note, log_report
from study.report import report as reporting
from study.report import sources
from study.spec import StudySpec
from trainers.config import DataConfig
from trainers.data.dataset import load_data
from trainers.data.subset import sample_hash

Read = Callable[..., StudySpec]
EPOCHS = 3
NUM_TEST = 500
RADII = (0.05, 0.1)
TEST = load_data(DataConfig(name="digits"), Path()).test
TEST_HASH = sample_hash(TEST)
OTHER = 0.6
"""Accuracy at a radius of the other norm."""


def robust_metrics(checkpoint: str, accuracies: tuple[float, ...]) -> dict[str, float]:
    return {
        robust_name(checkpoint, "linf", radius): accuracy
        for radius, accuracy in zip(RADII, accuracies, strict=True)
    }


def bits(clean: float, robust: tuple[float, ...]) -> np.ndarray:
    return np.arange(NUM_TEST) < NUM_TEST * np.array([[clean], *([value] for value in robust)])


def record_trial(client: Any, runs: Any, spec: StudySpec, cell: Any, folder: Path) -> None:
    """Record a cell as its trial would: epochs, metrics of both checkpoints, bits, files."""
    configuration, seed = cell.configuration, cell.seed
    labels = {
        "study": spec.name,
        "cell": cell.key,
        "method": configuration.method,
        "block": configuration.block,
        "number": str(configuration.number),
        "config": json.dumps(
            space.canonical(cell.config, launch.data_fingerprint(cell.config.data, folder))
        ),
        "git_commit": "0123456789abcdef",
        "git_dirty": "false",
        "hardware": "a CPU",
        "version.torch": "2",
        "ray_trial": "trial",
    }
    run = TrialRun(client, runs, "a run", labels, {})
    for epoch in range(1, EPOCHS + 1):
        measured = {
            "train/accuracy": 0.2 * epoch,
            "validation/clean": 0.3 * epoch,
            "validation/robust": 0.1 * epoch + 0.01 * seed,
        }
        run.log(measured, epoch)
    files = folder / run.id
    for name in artifact_names():
        (files / name).parent.mkdir(parents=True, exist_ok=True)
        (files / name).write_bytes(b"x")
    best, last = (0.8, (0.5, 0.3)), (0.9, (0.4, 0.2))
    arrays = {"best": bits(*best), "last": bits(*last), "sample_hash": TEST_HASH}
    metrics: dict[str, float] = {}
    for radius in spec.evaluation.other_norm_radii:
        arrays |= {f"{name}_other": bits(0.8, (OTHER,))[1:] for name in CHECKPOINTS}
        names = [robust_name(name, "l2", radius) for name in CHECKPOINTS]
        metrics |= dict.fromkeys(names, OTHER)
    np.savez(files / BITS_FILE, **arrays)
    metrics |= {"seconds": 3.0, "cost/passes_per_sample": 4.0, "best/epoch": 2.0, "last/epoch": 3.0}
    for checkpoint, (clean, robust) in (("best", best), ("last", last)):
        metrics |= {
            f"{checkpoint}/validation_clean": clean,
            f"{checkpoint}/validation_robust": robust[-1],
            f"{checkpoint}/test_clean": clean,
            **robust_metrics(checkpoint, robust),
        }
    run.finish(metrics, files)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a project whose store can be filled."""
    return tmp_path_factory.mktemp("reporting")


def declared(read: Read, name: str, more: str = "", **replaced: str) -> StudySpec:
    text = read.text.replace("tiny:", f"{name}:", 1)  # type: ignore[attr-defined]
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    return read(more, text=text)


@pytest.fixture
def done(project: Path, read: Read) -> Callable[..., StudySpec]:
    """Declare a study and record every grid cell that it declares."""

    def make(name: str, more: str = "", **replaced: str) -> StudySpec:
        spec = declared(read, name, more, **replaced)
        store = find_store(project)
        client = connect(store)
        runs = open_study(client, store, spec, {})
        fingerprint = launch.data_fingerprint(spec.data, project)
        for configuration in space.grid_configurations(spec):
            for cell in space.cells(spec, configuration, fingerprint):
                record_trial(client, runs, spec, cell, project)
        return spec

    return make


def test_results_carry_what_was_declared_and_how_trials_trained(
    done: Callable[..., StudySpec], project: Path
) -> None:
    more = "  analysis: {margin: 0.02, primary: {hypervolume_difference: [sam_at, sam]}}\n"
    spec = done("whole", more)
    results = reporting.read_results(spec, project)
    assert (results.num_classes, results.margin) == (10, 0.02)
    assert results.primary == ("sam_at", "sam")
    assert results.clean_floor == 0.1
    assert results.importances == ()
    assert len(results.trials) == 6
    assert len(results.histories) == 6
    [history] = [h for h in results.histories if (h.method, h.seed) == ("standard", 1)]
    assert history.epochs == (1, 2, 3)
    assert history.train_accuracy == pytest.approx((0.2, 0.4, 0.6))
    assert history.validation_clean == pytest.approx((0.3, 0.6, 0.9))
    assert history.validation_robust == pytest.approx((0.11, 0.21, 0.31))
    assert history.best_epoch == 2
    assert history.test_best == (0.8, 0.3)
    assert history.test_last == (0.9, 0.2)


def test_results_lead_to_the_runs_the_declarations_and_one_picture_of_each_configuration(
    done: Callable[..., StudySpec], project: Path
) -> None:
    spec, store = done("sourced"), find_store(project)
    results, cells = reporting._read(spec, project)
    client = connect(store)
    for trial in results.trials:
        # A study takes over equal trials of others, whose runs are in experiments of theirs.
        experiment = client.get_run(trial.run).info.experiment_id
        assert trial.address == (
            f"{sources.UI}/#/experiments/{experiment}/runs/{trial.run}"
            "?workflowType=machine_learning"
        )
    assert [one.method for one in results.declarations] == ["standard", "sam", "sam"]
    assert sources.pictures(store, cells) == {}
    for cell in cells[1:]:
        assert cell.record is not None
        folder = local_path(cell.record.artifacts)
        assert folder is not None
        (folder / sources.PICTURE).write_bytes(cell.record.run.encode())
    found = sources.pictures(store, cells)
    assert len(found) == 3
    assert all(content == run.encode() for run, content in found.items())


def test_results_carry_the_claims_with_the_trials_that_had_run_before(
    done: Callable[..., StudySpec], project: Path
) -> None:
    more = "  claims:\n    - {methods: [sam_at, sam], direction: more, margin: 1pp}\n"
    spec = done("claiming", more + "    - {methods: [sam, standard], direction: more}\n")
    store = find_store(project)
    client = connect(store)
    runs = find_study(client, "claiming")
    assert runs is not None
    first = spec.model_copy(update={"claims": spec.claims[:1]})
    record_claims(client, runs, first, 0)
    one, other = reporting.read_results(spec, project).claims
    assert (one.first, one.second, one.direction) == ("sam_at", "sam", "more")
    assert (one.radius, one.margin, one.at_clean, one.is_late) == (0.1, 0.01, None, False)
    assert (other.margin, other.trials_before) == (None, 6), "no launch knows it"


def test_costs_are_those_of_whole_trainings_where_epochs_differ(
    done: Callable[..., StudySpec], project: Path
) -> None:
    both = {"standard: {}": "standard: {training: {epochs: [2, 3]}}"}
    results = reporting.read_results(done("lengths", **both), project)
    costs = {trial.values.get("epochs"): trial.cost for trial in results.trials}
    assert costs == {2: 4.0 * 2 / 3, 3: 4.0, None: 4.0}
    assert results.provenance["cost"] == (
        "of a whole training, divided by the 3 epochs of the longest"
    )
    [note] = [note for note in results.methods if note.name == "standard"]
    assert note.setup == ("epochs",)
    assert "cost" not in reporting.read_results(done("equal"), project).provenance


def test_of_a_large_study_only_chosen_configurations_are_read_by_epoch(
    done: Callable[..., StudySpec], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = done("large")
    monkeypatch.setattr(reporting, "MOST_HISTORIES", 5)
    results = reporting.read_results(spec, project)
    kept = {(history.method, *history.values.values()) for history in results.histories}
    assert len(results.histories) == 4
    assert len(kept) == 2
    assert {method for method, *_ in kept} == {"standard", "sam"}


def test_an_epoch_that_lacks_a_metric_is_left_out(store: Any, client: Any, read: Read) -> None:
    runs = open_study(client, store, declared(read, "epochs"), {})
    run = TrialRun(client, runs, "a run", {}, {})
    run.log({"one": 0.1, "two": 0.2}, 1)
    run.log({"one": 0.3}, 2)
    run.log({"one": 0.5, "two": 0.6}, 3)
    run.flush()
    assert read_epochs(client, run.id, ("one", "two")) == {1: (0.1, 0.2), 3: (0.5, 0.6)}
    assert read_epochs(client, run.id, ("one", "none")) == {}
    assert read_epochs(client, run.id, ()) == {}


def test_results_carry_the_doubts_about_the_data(tmp_path: Path, read: Read) -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (40, 8, 8), dtype=np.uint8)
    labels = np.arange(40) % 2
    arrays = {"train_x": images, "train_y": labels, "test_y": labels[:6]}
    np.savez(tmp_path / "own.npz", test_x=images[:6], **arrays)
    spec = declared(read, "fresh", digits=f"npz:{tmp_path / 'own.npz'}")
    (doubt,) = reporting.read_results(spec, tmp_path).data_doubts
    assert doubt.startswith("6 of the 6 test images")
    assert reporting.read_results(declared(read, "other"), tmp_path).data_doubts == ()


def test_a_study_that_was_never_launched_has_no_histories(tmp_path: Path, read: Read) -> None:
    results = reporting.read_results(declared(read, "fresh"), tmp_path)
    assert (results.trials, results.histories, results.importances) == ((), (), ())
    assert len(results.absent) == 6


def attack(radius: float, right: int) -> AttackRecord:
    """Make what AutoAttack left of the first 100 images, in two steps."""
    bits = np.arange(100) < np.array([[80], [right + 5], [right]])
    return AttackRecord(
        checkpoint="best",
        threat=Threat(norm="linf", radius=radius, samples=100),
        attack="AutoAttack",
        attacks=("apgd-ce", "square"),
        bits=bits,
        sample_hash=hash_of_first(TEST)(100),
        versions={"pyautoattack": "0.2.0"},
    )


def test_results_carry_attacks_checks_detections_and_the_other_norm(
    done: Callable[..., StudySpec], project: Path, tmp_path: Path
) -> None:
    radii = "radii: [0.05, 0.1]"
    more = "  autoattack: {samples: 100}\n"
    spec = done("evaluated", more, **{radii: f"{radii}, other_norm_radii: [0.5]"})
    store = find_store(project)
    client = connect(store)
    first = reporting.read_results(spec, project).trials[0]
    for number, (radius, right) in enumerate([(0.05, 40), (0.1, 20)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        log_attack(client, first.run, attack(radius, right), 0, "a log", folder)
    failed = CheckRecord(number=5, name="zero gradients", verdict="fail", text="Many are 0.")
    log_checks(client, first.run, "best", [(failed, {"share": 0.5})], "fail", "a basis")
    client.set_tag(first.run, "detected.robust_overfitting", "It fell at epoch 2.")

    results = reporting.read_results(spec, project)
    trial = next(t for t in results.trials if t.run == first.run)
    (strong,) = trial.strong
    assert (strong.attack, strong.samples, strong.radii) == ("AutoAttack", 100, RADII)
    assert (strong.clean, strong.robust) == (0.8, (0.4, 0.2))
    assert strong.survivors == ((0.45, 0.4), (0.25, 0.2))
    assert strong.sample_hash == hash_of_first(TEST)(100)
    check, seeds = trial.checks
    assert (check.number, check.name, check.verdict) == (5, "zero gradients", "fail")
    assert (seeds.name, seeds.text) == ("seeds", count_seeds(2).text)
    assert results.provenance["pyautoattack"] == "0.2.0"
    assert results.provenance["diagnosis"].startswith("1 of 1 diagnoses used other seeds")
    assert [(d.name, d.text) for d in trial.detections] == [
        ("robust overfitting", "It fell at epoch 2.")
    ]
    assert trial.other is not None
    assert (trial.other.norm, trial.other.radii, trial.other.robust) == ("l2", (0.5,), (OTHER,))
    assert not any(t.strong or t.checks or t.detections for t in results.trials if t is not trial)


def test_numbers_of_other_test_samples_are_not_reported(
    done: Callable[..., StudySpec], project: Path, tmp_path: Path
) -> None:
    spec = done("other-samples", "  autoattack: {samples: 100}\n", **{"[0, 1]": "[7]"})
    client = connect(find_store(project))
    results = reporting.read_results(spec, project)
    assert not {"pyautoattack", "diagnosis"} & results.provenance.keys()
    run = results.trials[0].run
    odd = replace(attack(0.05, 40), sample_hash="odd")
    log_attack(client, run, odd, 0, "a log", tmp_path)
    with pytest.raises(TrackingError, match=r"first 100 test samples .* got one on odd"):
        reporting.read_results(spec, project)
    log_attack(client, run, attack(0.05, 40), 0, "a log", tmp_path)
    assert reporting.read_results(spec, project).trials[0].strong
    arrays = {"best": bits(0.8, (0.5, 0.3)), "last": bits(0.9, (0.4, 0.2)), "sample_hash": "odd"}
    np.savez(tmp_path / BITS_FILE, **arrays)
    client.log_artifact(run, str(tmp_path / BITS_FILE))
    rule = rf"run {run}: bits\.npz: must be of the test samples {TEST_HASH}, got odd; delete it"
    with pytest.raises(TrackingError, match=rule):
        reporting.read_results(spec, project)


def test_a_sample_that_is_wrong_without_an_attack_is_right_at_no_radius() -> None:
    one, other = attack(0.05, 40), attack(0.1, 20)
    bits = one.bits.copy()
    bits[:, 0] = False
    (strong,) = strong_results([other, replace(one, bits=bits)])
    assert strong.radii == RADII
    assert (strong.clean, strong.robust) == (0.79, (0.39, 0.19))


FINDINGS = "# tiny\n\n## Findings\n\n- A finding of 1 pp.\n- Another.\n"


def test_the_note_is_the_findings_with_links_and_the_front(tmp_path: Path, read: Read) -> None:
    spec = declared(read, "noted")
    assert reporting.study_note(spec, tmp_path) == spec.about
    (tmp_path / "findings.md").write_text(FINDINGS)
    text = reporting.study_note(spec, tmp_path)
    assert text == FINDINGS.strip()
    runs = StudyRuns(experiment="7", parent="f" * 32)
    links, blank, *lines = framed_note(runs, "report", text).splitlines()
    assert links.startswith(f"[Report](#/experiments/7/runs/{runs.parent}/artifacts/report/index")
    assert links.count("workflowType=machine_learning") == 3
    assert blank == ""
    [picture] = [line for line in lines if line not in FINDINGS.splitlines()]
    assert f"get-artifact?path=report/front.svg&run_uuid={runs.parent}" in picture
    assert lines.index(picture) < lines.index("## Findings")
    added = len(framed_note(runs, "report", text)) - len(text)
    assert added < MOST_FRAME_CHARACTERS


@pytest.mark.parametrize("line", ["- A finding of 1.25 pp.\n", "x" * 9000 + "\n"])
def test_a_long_note_ends_with_a_whole_line_and_fits(tmp_path: Path, read: Read, line: str) -> None:
    (tmp_path / "findings.md").write_text("# tiny\n\n" + line * 1000)
    note = reporting.study_note(declared(read, "noted"), tmp_path)
    assert len(note) <= MOST_NOTE_CHARACTERS - MOST_FRAME_CHARACTERS
    *lines, blank, last = note.splitlines()
    assert (blank, last) == ("", "The report has more.")
    assert set(lines[2:]) <= {line.strip()}


def test_mlflow_takes_the_longest_note(store: Any, client: Any, tmp_path: Path, read: Read) -> None:
    runs = open_study(client, store, declared(read, "longest"), {})
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "index.html").write_text("<p>report</p>")
    note = "ε" * MOST_NOTE_CHARACTERS
    address = log_report(client, runs, folder, "comparison/one+two", note)
    assert client.get_run(runs.parent).data.tags["mlflow.note.content"] == note
    page = f"{runs.parent}/artifacts/comparison/one+two/index.html"
    assert address.endswith(f"{page}?workflowType=machine_learning")
    [logged] = client.list_artifacts(runs.parent, "comparison/one+two")
    assert logged.path == "comparison/one+two/index.html"


def test_a_report_of_two_studies_is_logged_with_both(
    done: Callable[..., StudySpec], project: Path
) -> None:
    one, two = done("one"), done("two", **{"rho: [0.1, 0.2]": "rho: [0.3]", "[0, 1]": "[1, 2]"})
    report = reporting.report_studies((one, two), project)
    assert report.page == project / "reports" / "one+two" / "index.html"
    assert report.without_results == ()
    assert "/artifacts/comparison/one+two/index.html?" in report.address
    client = connect(find_store(project))
    for spec in (one, two):
        runs = find_study(client, spec.name)
        assert runs is not None
        logged = {item.path for item in client.list_artifacts(runs.parent, "comparison/one+two")}
        assert "comparison/one+two/index.html" in logged
        # The note tells of the study's own report, not of this one.
        assert client.get_run(runs.parent).data.tags["mlflow.note.content"] == spec.about


@pytest.fixture(autouse=True)
def _few_replicates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let reports be written from few replicates, whose number does not matter here."""
    monkeypatch.setitem(write_report.__kwdefaults__, "replicates", 20)


def test_a_report_of_more_trials_is_kept(
    done: Callable[..., StudySpec], project: Path, read: Read
) -> None:
    spec = done("kept")
    first = reporting.report_study(spec, project)
    held, page = reporting.count_reported(first.page.parent), first.page.read_bytes()
    assert held == len(reporting.read_results(spec, project).trials) > 0
    assert reporting.report_study(spec, project).kept == "", "an equal one is replaced"

    fewer = declared(read, "kept", **{"[0, 1]": "[0]"})
    report = reporting.report_study(fewer, project)
    assert first.page.read_bytes() == page
    assert report.page == project / "reports" / "kept@fewer" / "index.html"
    assert reporting.count_reported(report.page.parent) == held / 2
    assert f"holds {held} trials, but only {held // 2} are done" in report.kept
    assert report.address == "", "the one in MLflow is kept, too"

    none = declared(read, "kept", **{"radii: [0.05, 0.1]": "radii: [0.01, 0.1]"})
    report = reporting.report_study(none, project)
    assert first.page.read_bytes() == page
    assert report.without_results == ("kept",)
    assert "none is written" in report.kept

    report = reporting.report_studies((fewer,), project, is_forced=True)
    assert report.kept == ""
    assert reporting.count_reported(first.page.parent) == held / 2


def test_studies_that_differ_are_not_compared(read: Read, tmp_path: Path) -> None:
    one = declared(read, "one")
    other = declared(read, "other", **{"radii: [0.05, 0.1]": "radii: [0.1]"})
    with pytest.raises(ResultsError, match=r"set of radii differs: 0\.05, 0\.1 and 0\.1"):
        reporting.report_studies((one, other), tmp_path)
    with pytest.raises(ResultsError, match="named 2 times"):
        reporting.report_studies((one, one), tmp_path)
