"""Evaluating what was trained before equals training it again, and costs no training."""

from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from study.launch.states import FileStates, TrialContext
from study.launch.trial import Trial
from study.plan import space
from study.plan.plan import EVALUATED_TAG, LAST_ALONE_TAG, make_plan
from study.records.attacks import AttackRecord, Threat, is_attacked, log_attack, metric_name
from study.records.runs import BITS_FILE, objective_names, open_study, read_bits, read_trials
from study.records.store import Store
from study.search.searcher import StudySearcher
from study.spec import StudySpec
from trainers.checkpoint import load_weights
from trainers.data.dataset import Dataset

TEXT = """\
NAME:
  data: {name: digits}
  model: {name: small_cnn, width: 2}
  training: {epochs: 3, batch_size: 50, learning_rate: 0.2, momentum: 0.9, weight_decay: 0.0,
             schedule: cosine, ema_decay: 0.5}
  seeds: [0]
  methods: {at: {inputs: {fgsm_rs: {norm: linf, epsilon: 0.1}}}}
  evaluation: EVALUATION
"""
FIRST = """{norm: linf, radii: [0.05, 0.1], objective_radius: 0.1,
               attack: {pgd: {steps: 1, restarts: 1}}}"""
OTHERS = {
    "a further radius": "{norm: linf, radii: [0.02, 0.05, 0.1], objective_radius: 0.1, "
    "attack: {pgd: {steps: 1, restarts: 1}}}",
    "another attack": "{norm: linf, radii: [0.05, 0.1], objective_radius: 0.1, "
    "attack: {pgd: {steps: 4, restarts: 2}}}",
    "the other norm beside": "{norm: linf, radii: [0.05, 0.1], objective_radius: 0.1, "
    "other_norm_radii: [0.3], attack: {pgd: {steps: 1, restarts: 1}}}",
    "another objective": "{norm: linf, radii: [0.05, 0.1], objective_radius: 0.05, "
    "checkpoint: last, attack: {pgd: {steps: 1, restarts: 1}}}",
    "another norm": "{norm: l2, radii: [0.3], objective_radius: 0.3, checkpoint: last, "
    "attack: {pgd: {steps: 1, restarts: 1}}}",
}


class Lab:
    """Studies of one cell, whose trials run as a worker runs them."""

    def __init__(self, read: Any, store: Store, client: Any, few: Dataset, folder: Path) -> None:
        self.read, self.store, self.client, self.few, self.folder = read, store, client, few, folder

    def spec(self, name: str, evaluation: str) -> StudySpec:
        made = self.read(text=TEXT.replace("NAME", name).replace("EVALUATION", evaluation))
        assert isinstance(made, StudySpec)
        return made

    def records(self, spec: StudySpec) -> list[Any]:
        found = read_trials(self.client, spec.evaluation.checkpoint)
        return [record for record in found if record.study == spec.name]

    def plan(self, spec: StudySpec, *known: StudySpec) -> Any:
        names = {one.name for one in (spec, *known)}
        records = read_trials(self.client, spec.evaluation.checkpoint)
        return make_plan(spec, self.few.fingerprint, (r for r in records if r.study in names))

    def launch(self, spec: StudySpec, *known: StudySpec) -> Any:
        """Run the study's cell, from what the studies in `known` have; return its record."""
        context = TrialContext(
            spec=spec,
            dataset=self.few,
            store=self.store,
            runs=open_study(self.client, self.store, spec, {}),
            tags={},
            states=FileStates(folder=self.folder / "states"),
            expected_trials={},
            began=0.0,
            workers_lock=None,
        )
        config = StudySearcher(spec, self.plan(spec, *known)).suggest("trial")
        trial = Trial(context, config, "trial", Counter())
        while not trial.advance()["done"]:
            pass
        [record] = self.records(spec)
        return record


@pytest.fixture
def lab(read: Callable[..., StudySpec], store: Store, client: Any, few: Any, tmp_path: Path) -> Lab:
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id], "tags.kind = 'trial'"):
            client.delete_run(run.info.run_id)
    torch.set_num_threads(1)
    return Lab(read, store, client, few, tmp_path)


@pytest.mark.parametrize("change", OTHERS)
def test_evaluating_what_was_trained_equals_training_it_again(lab: Lab, change: str) -> None:
    name = change.replace(" ", "_")
    first = lab.spec(f"first_{name}", FIRST)
    trained = lab.launch(first)
    spec = lab.spec(f"evaluated_{name}", OTHERS[change])
    [planned] = lab.plan(spec, first).cells
    assert planned.state == "to evaluate"
    assert planned.source.run == trained.run
    found = lab.launch(spec, first)
    again = lab.launch(lab.spec(f"trained_{name}", OTHERS[change]))

    assert found.labels[EVALUATED_TAG] == trained.run
    assert found.is_complete
    assert found.objectives == again.objectives
    held = ("last",) if LAST_ALONE_TAG in found.labels else ("best", "last")
    assert held == (("last",) if "checkpoint: last" in OTHERS[change] else ("best", "last"))
    ours, theirs = found.metrics, again.metrics
    same = [name for name in theirs if name.startswith((*(f"{h}/" for h in held), "cost/total"))]
    assert {name: ours[name] for name in same} == {name: theirs[name] for name in same}
    assert ours["seconds"] == trained.metrics["seconds"], "what the training took"
    bits, expected = read_bits(lab.store, found), read_bits(lab.store, again)
    for part in (*held, *(f"{h}_other" for h in held if f"{h}_other" in expected)):
        assert np.array_equal(bits[part], expected[part]), part
    for checkpoint in held:
        path = f"checkpoints/{checkpoint}.pt"
        weights, metadata = load_weights(Path(found.artifacts) / path)
        others, _ = load_weights(Path(again.artifacts) / path)
        assert metadata["cell"] == found.cell_key
        assert all(torch.equal(weights[n], others[n]) for n in others)
    assert lab.plan(spec, first).num_open == 0


def test_epochs_and_attacks_come_along(lab: Lab) -> None:
    first = lab.spec("with_attacks", FIRST)
    trained = lab.launch(first)
    threat = Threat(norm="linf", radius=0.1, samples="all")
    attack = AttackRecord(
        checkpoint="best",
        threat=threat,
        attack="AutoAttack",
        attacks=("apgd-ce",),
        bits=np.ones((2, 30), dtype=bool),
        sample_hash="h",
        versions={},
    )
    log_attack(lab.client, trained.run, attack, 0, "log", lab.folder / "files")
    found = lab.launch(lab.spec("more_attacks", OTHERS["a further radius"]), first)
    assert is_attacked(found, "best", "AutoAttack", threat)
    history = lab.client.get_metric_history
    for name in ("train/loss", "validation/robust", "validation/clean"):
        ours = [(m.step, m.value) for m in history(found.run, name)]
        assert ours == [(m.step, m.value) for m in history(trained.run, name)]
        assert len(ours) == 3


@pytest.mark.parametrize("change", ["another objective", "another norm"])
def test_study_that_reads_the_best_epoch_has_the_last_one_evaluated(lab: Lab, change: str) -> None:
    name = change.replace(" ", "_")
    evaluation = OTHERS[change].replace("checkpoint: last, ", "")
    first = lab.spec(f"old_{name}", FIRST)
    trained = lab.launch(first)
    threat = Threat(norm="linf", radius=0.1, samples="all")
    lab.client.log_metric(trained.run, metric_name("best", "AutoAttack", threat), 0.1)
    spec = lab.spec(f"new_{name}", evaluation)
    [planned] = lab.plan(spec, first).cells
    assert (planned.state, planned.source.run) == ("to evaluate", trained.run)
    found = lab.launch(spec, first)
    again = lab.launch(lab.spec(f"again_{name}", evaluation))

    assert found.is_complete
    assert found.labels[LAST_ALONE_TAG] == "true"
    assert found.labels[EVALUATED_TAG] == trained.run
    last = tuple(again.metrics[name] for name in objective_names("last"))
    assert found.objectives == last
    assert not [name for name in found.metrics if name.startswith("best/")]
    # The picture, the model and the bits are of the epoch that is read.
    assert (Path(found.artifacts) / "adversarial_examples.png").is_file()
    [experiment] = {lab.client.get_run(found.run).info.experiment_id}
    models = lab.client.search_logged_models([experiment])
    assert [model.tags["checkpoint"] for model in models] == ["last"]
    assert set(read_bits(lab.store, found)) == {"last", "radii", "sample_hash"}
    [planned] = lab.plan(spec, first).cells
    assert (planned.state, planned.record.objectives) == ("done", last)
    # Who was trained for these settings knows the best epoch, and is read instead.
    trained_too = lab.spec(f"again_{name}", evaluation)
    [planned] = lab.plan(spec, first, trained_too).cells
    assert (planned.state, planned.record.run) == ("done", again.run)
    further = lab.spec(f"further_{name}", evaluation.replace("radii: [0", "radii: [0.01, 0"))
    [planned] = lab.plan(further, first, spec, trained_too).cells
    assert (planned.state, planned.source.run) == ("to evaluate", again.run)


def test_damaged_weights_fail_once_and_are_trained_next(lab: Lab) -> None:
    first = lab.spec("damaged", FIRST)
    trained = lab.launch(first)
    (Path(trained.artifacts) / "checkpoints/last.pt").write_bytes(b"damaged")
    spec = lab.spec("after_damage", OTHERS["a further radius"])
    config = StudySearcher(spec, lab.plan(spec, first)).suggest("trial")
    assert config["source"] == trained.run
    with pytest.raises(ValueError, match="is damaged"):
        lab.launch(spec, first)
    for run in lab.client.search_runs(
        [open_study(lab.client, lab.store, spec, {}).experiment], "tags.kind = 'trial'"
    ):
        lab.client.set_terminated(run.info.run_id, "FAILED")
    [planned] = lab.plan(spec, first).cells
    assert planned.state == "failed"
    assert StudySearcher(spec, lab.plan(spec, first)).suggest("trial")["source"] == ""


def test_bits_of_a_run_without_a_best_epoch_hold_the_last_alone(lab: Lab) -> None:
    first = lab.spec("whole", FIRST)
    lab.launch(first)
    found = lab.launch(lab.spec("alone", OTHERS["another norm"]), first)
    content = (Path(found.artifacts) / BITS_FILE).read_bytes()
    assert set(np.load(BytesIO(content))) == {"last", "radii", "sample_hash"}
    assert not (Path(found.artifacts) / "checkpoints" / "best.pt").exists()
    [by_best] = [r for r in read_trials(lab.client, "best") if r.run == found.run]
    assert (by_best.is_complete, by_best.objectives) == (True, found.objectives)


def test_training_key_is_that_of_the_weights_alone(lab: Lab) -> None:
    keys, trained = set(), set()
    for number, evaluation in enumerate([FIRST, *OTHERS.values()]):
        spec = lab.spec(f"keys_{number}", evaluation)
        [configuration] = space.grid_configurations(spec)
        [cell] = space.cells(spec, configuration, "data")
        keys.add(cell.key)
        trained.add(space.training_key(space.canonical(cell.config, "data")))
    assert len(keys) == len(OTHERS) + 1
    assert len(trained) == 1
