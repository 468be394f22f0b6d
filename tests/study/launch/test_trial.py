"""A trial without Ray: what it records, goes on from, and ends by, read back from MLflow."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from study.launch.states import FileStates, TrialContext
from study.launch.trainable import CellTrainable
from study.launch.trial import EndedError, Trial
from study.plan import space
from study.records.runs import BITS_FILE, open_study
from study.records.store import Store
from study.records.values import run_params
from study.search.searcher import ray_config
from study.spec import SearchSpec, StopSpec, StudySpec
from trainers.checkpoint import load_state, load_weights, save_state
from trainers.data.dataset import Dataset
from trainers.evaluation.evaluate import evaluate
from trainers.train import evaluated_model, new_state, train

CPU = torch.device("cpu")
TEXT = """\
single:
  data: {name: digits}
  model: {name: small_cnn, width: 2}
  training: {epochs: EPOCHS, batch_size: 50, learning_rate: RATE, momentum: 0.9,
             weight_decay: 0.0, schedule: step, milestones: [0.95]MORE}
  seeds: [0]
  methods: {at: {inputs: {fgsm_rs: {norm: linf, epsilon: 0.1}}}}
  evaluation: {norm: linf, radii: [0.05, 0.1], objective_radius: 0.1, other_norm_radii: [0.3, 0.5],
               attack: {pgd: {steps: 1, restarts: 1}}, checkpoint: last}
"""


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def make(
    read: Callable[..., StudySpec], store: Store, client: Any, few: Dataset, tmp_path: Path
) -> Callable[..., tuple[TrialContext, dict[str, Any]]]:
    """Make the context of a study of one cell, and the cell as Ray hands it to a worker."""

    def make_context(
        epochs: int = 3, rate: str = "0.1", more: str = "", states: Path | None = None
    ) -> tuple[TrialContext, dict[str, Any]]:
        text = TEXT.replace("EPOCHS", str(epochs)).replace("RATE", rate).replace("MORE", more)
        spec = read(text=text)
        context = TrialContext(
            spec=spec,
            dataset=few,
            store=store,
            runs=open_study(client, store, spec, {}),
            tags={},
            states=FileStates(folder=states or tmp_path / "states"),
            expected_trials={},
            began=0.0,
            workers_lock=None,
        )
        [configuration] = space.grid_configurations(spec)
        [cell] = space.cells(spec, configuration, few.fingerprint)
        forget(client, context)
        return context, ray_config(cell)

    return make_context


def forget(client: Any, context: TrialContext) -> None:
    """Delete the runs of earlier tests, so that a cell is open again."""
    for run in client.search_runs([context.runs.experiment], "tags.kind = 'trial'"):
        client.delete_run(run.info.run_id)


def to_its_end(trial: Trial) -> dict[str, Any]:
    while not (result := trial.advance())["done"]:
        pass
    return result


def runs(client: Any, context: TrialContext) -> list[Any]:
    """The study's trials, the latest first."""
    return list(client.search_runs([context.runs.experiment], "tags.kind = 'trial'"))


def bits_of(run: Any) -> dict[str, Any]:
    with np.load(Path(run.info.artifact_uri) / BITS_FILE) as file:
        return dict(file)


def test_a_finished_trial_records_the_averaged_network_in_both_norms(
    make: Any, client: Any, few: Dataset
) -> None:
    context, chosen = make(epochs=6, more=", ema_decay: 0.9, end_on: []")
    result = to_its_end(Trial(context, chosen, "one", Counter()))
    [run] = runs(client, context)
    config = space.train_config(context.spec, space.grid_configurations(context.spec)[0], 0)
    twin = new_state(config, few, CPU)
    list(train(config, few, CPU, twin))
    found = evaluate(evaluated_model(twin), few.test, few.divisor, config.evaluation, 0, CPU)
    own = evaluate(twin.model, few.test, few.divisor, config.evaluation, 0, CPU)
    assert (own.bits != found.bits).any()
    bits, metrics = bits_of(run), run.data.metrics
    assert (bits["last"] == found.bits).all()
    assert (bits["last_other"] == found.other_bits).all()
    assert bits["best_other"].shape == (2, 30)
    assert bits["other_radii"].tolist() == [0.3, 0.5]
    assert [metrics[f"last/test_robust_l2_{r}"] for r in (0.3, 0.5)] == [*found.other_robust]
    assert [metrics[f"last/test_robust_linf_{r}"] for r in (0.05, 0.1)] == [*found.robust]
    assert {f"best/test_robust_l2_{r}" for r in (0.3, 0.5)} <= metrics.keys()
    weights, _ = load_weights(Path(run.info.artifact_uri) / "checkpoints" / "last.pt")
    judged = evaluated_model(twin).state_dict()
    assert all(torch.equal(tensor, judged[name]) for name, tensor in weights.items())
    assert any(not torch.equal(t, twin.model.state_dict()[name]) for name, t in weights.items())
    assert result["objective_robust"] == twin.metrics[-1].validation_robust
    assert run.info.status == "FINISHED"
    assert "resumed" not in run.data.tags


def test_a_trial_whose_study_has_one_norm_keeps_no_other(make: Any, client: Any) -> None:
    context, _ = make(epochs=1)
    evaluation = replace(context.spec.evaluation, other_norm_radii=())
    context = replace(context, spec=context.spec.model_copy(update={"evaluation": evaluation}))
    [cell] = space.cells(
        context.spec, space.grid_configurations(context.spec)[0], context.dataset.fingerprint
    )
    to_its_end(Trial(context, ray_config(cell), "one", Counter()))
    [run] = runs(client, context)
    assert bits_of(run).keys() == {"best", "last", "radii", "sample_hash"}
    assert not any("_l2_" in name for name in run.data.metrics)


def test_the_cost_of_a_trial_is_counted_in_total_and_per_sample(make: Any, client: Any) -> None:
    context, chosen = make(epochs=2)
    to_its_end(Trial(context, chosen, "one", Counter()))
    [run] = runs(client, context)
    cost = {name: v for name, v in run.data.metrics.items() if name.startswith("cost/")}
    assert cost["cost/total_forward_passes"] == 2 * 100 * 2
    assert cost["cost/total_input_backward_passes"] == 2 * 100
    assert cost["cost/total_weight_backward_passes"] == 2 * 100
    assert cost["cost/passes_per_sample"] == 2 + 1 + 2 * 1
    assert {
        "detect/largest_robust_fall",
        "detect/best_minus_last_robust",
    } <= run.data.metrics.keys()


def test_a_lost_trial_goes_on_where_it_was_and_ends_as_if_it_was_not(
    make: Any, client: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("study.launch.trial.CHECKPOINT_SECONDS", 0.0)
    context, chosen = make(epochs=4, more=", ema_decay: 0.5, gradient_clip: 0.5")
    whole = to_its_end(Trial(context, chosen, "whole", Counter()))
    [run] = runs(client, context)
    expected = bits_of(run)
    forget(client, context)
    lost = Trial(context, chosen, "lost", Counter())
    for _ in range(2):
        lost.advance()
    [kept] = (tmp_path / "states").iterdir()
    again = Trial(context, chosen, "again", Counter())
    assert again.advance()["epoch"] == 3
    took = {"seconds": whole["seconds"]}
    assert to_its_end(again) | took == whole
    latest = runs(client, context)[0]
    assert latest.data.tags["resumed"] == "after epoch 2"
    assert all((bits_of(latest)[name] == values).all() for name, values in expected.items())
    history = client.get_metric_history(latest.info.run_id, "train/loss")
    assert [point.step for point in history] == [1, 2, 3, 4]
    assert not kept.exists()


def test_the_end_that_a_lost_worker_recorded_is_taken_where_there_may_be_one(
    make: Any, client: Any, tmp_path: Path
) -> None:
    context, chosen = make(epochs=1)
    done = to_its_end(Trial(context, chosen, "one", Counter()))
    local = replace(context, workers_lock=tmp_path / "workers.lock")
    shared = replace(local, store=replace(context.store, artifacts=""))
    for place, config in (
        (local, chosen | {"again": True}),
        (context, chosen),
        (shared, chosen),
    ):
        found = Trial(place, config, "two", Counter()).advance()
        assert found == done | {"seconds": 0.0}
    # Elsewhere nobody can have ended the cell, and the store is not asked.
    assert Trial(local, chosen, "three", Counter()).advance()["epoch"] == 1


def test_a_trial_that_a_rung_stopped_goes_on_bit_for_bit_once_nothing_stops_it(
    make: Any, client: Any, few: Dataset
) -> None:
    context, chosen = make(epochs=5, more=", end_on: []")
    stop = StopSpec(rungs=(0.4,), keep=0.5, grids=True)
    search = SearchSpec(trials=1, stop=stop)
    stoppable = replace(context, spec=context.spec.model_copy(update={"search": search}))
    trial = Trial(stoppable, chosen, "one", Counter())
    assert [trial.advance()["epoch"] for _ in range(2)] == [1, 2]
    [stopped] = runs(client, context)
    assert stopped.data.metrics["train/epoch"] == 2, "known before the launcher decides"
    trial.kill("stopped before its last epoch")
    result = to_its_end(Trial(context, chosen, "two", Counter()))
    resumed = next(run for run in runs(client, context) if run.info.run_id != stopped.info.run_id)
    assert resumed.data.tags["resumed"] == "after epoch 2"
    config = space.train_config(context.spec, space.grid_configurations(context.spec)[0], 0)
    whole = list(train(config, few, CPU, new_state(config, few, CPU)))
    assert resumed.data.metrics["train/loss"] == whole[-1].train_loss
    assert result["complete"]


def test_a_state_is_kept_after_the_first_epoch_that_took_long(
    make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    context, chosen = make()
    trial = Trial(context, chosen, "quick", Counter())
    trial.advance()
    assert not (tmp_path / "states").exists()
    monkeypatch.setattr("study.launch.trial.CHECKPOINT_SECONDS", 0.0)
    Trial(context, chosen, "slow", Counter()).advance()
    assert len([*(tmp_path / "states").iterdir()]) == 1


@pytest.mark.parametrize("is_first", [True, False], ids=["from the start", "later"])
def test_a_keeper_that_fails_costs_no_trial_and_is_said_on_the_run(
    is_first: bool, make: Any, client: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("study.launch.trial.CHECKPOINT_SECONDS", 0.0)
    folder = tmp_path / "kept"
    context, chosen = make(states=folder)
    trial = Trial(context, chosen, "one", Counter())
    if not is_first:
        trial.advance()
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    folder.write_text("no folder")
    to_its_end(trial)
    [run] = runs(client, context)
    assert run.info.status == "FINISHED"
    assert f"{folder}/{chosen['key']}.pt: cannot be" in run.data.tags["not_resumable"]


def test_a_damaged_state_costs_the_state_alone(
    make: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, chosen = make(epochs=1)
    context.states.save(chosen["key"], b"damaged")
    to_its_end(Trial(context, chosen, "one", Counter()))
    [run] = runs(client, context)
    assert run.info.status == "FINISHED"
    assert not {"resumed", "not_resumable"} & run.data.tags.keys()
    assert context.states.load(chosen["key"]) is None


def doctored(context: TrialContext, chosen: dict[str, Any]) -> None:
    """Keep a state after two epochs, whose robust accuracy is said to have fallen steeply."""
    config = space.train_config(context.spec, space.grid_configurations(context.spec)[0], 0)
    state = new_state(config, context.dataset, CPU)
    for _, robust in zip(train(config, context.dataset, CPU, state), (0.5, 0.1), strict=False):
        told = {"validation_robust": robust, "train_accuracy": 0.5}
        state.metrics[-1] = replace(state.metrics[-1], **told)
        content = BytesIO()
        save_state(content, state, chosen["key"])
    context.states.save(chosen["key"], content.getvalue())
    restored = load_state(BytesIO(content.getvalue()), config, context.dataset, CPU, chosen["key"])
    assert restored is not None


FALL = "epoch 2: robust validation accuracy fell from 50.0% to 10.0%, while accuracy on the crafted"


def test_a_detection_that_ends_nothing_is_a_tag_and_numbers_of_the_run(
    make: Any, client: Any
) -> None:
    context, chosen = make(epochs=3)
    doctored(context, chosen)
    to_its_end(Trial(context, chosen, "one", Counter()))
    [run] = runs(client, context)
    assert run.info.status == "FINISHED"
    assert run.data.tags["detected.catastrophic_overfitting"].startswith(FALL)
    assert run.data.metrics["detect/largest_robust_fall"] == pytest.approx(0.4)
    last = run.data.metrics["last/validation_robust"]
    gap = run.data.metrics["detect/best_minus_last_robust"]
    assert gap == pytest.approx(max(0.0, 0.5 - last))
    history = client.get_metric_history(run.info.run_id, "detect/largest_robust_fall")
    assert [point.value for point in history][:2] == [0.0, pytest.approx(0.4)]


def test_a_detection_that_ends_is_a_tag_and_the_reason_and_leaves_no_state(
    make: Any, client: Any
) -> None:
    context, chosen = make(epochs=3, more=", end_on: [catastrophic_overfitting]")
    doctored(context, chosen)
    trial = Trial(context, chosen, "one", Counter())
    with pytest.raises(EndedError, match=r"^overfitted catastrophically in epoch 2: robust") as end:
        trial.advance()
    trial.fail(str(end.value), "", would_repeat=True)
    [run] = runs(client, context)
    assert run.data.tags["detected.catastrophic_overfitting"].startswith(FALL)
    assert context.states.load(chosen["key"]) is None


ENDINGS = {
    "stuck": ("0.0", r"stuck at chance in epoch 5: training loss 2\.\d+ is above 0\.98 ln 10 = "),
    "diverged": ("1.0e+9", r"diverged in epoch \d: training loss "),
}


@pytest.mark.parametrize(("rate", "reason"), ENDINGS.values(), ids=ENDINGS)
def test_a_training_that_ends_early_fails_with_its_reason_and_would_again(
    rate: str, reason: str, make: Any, client: Any
) -> None:
    context, chosen = make(epochs=6, rate=rate)
    result = stepped(context, chosen)
    assert (result["failed"], result["store_failed"]) == (True, False)
    [run] = runs(client, context)
    assert run.info.status == "FAILED"
    assert run.data.tags["reason"] == result["reason"]
    assert run.data.tags["would_repeat"] == "true"
    assert re.match(reason, result["reason"])
    assert client.list_artifacts(run.info.run_id) == []


def stepped(context: TrialContext, chosen: dict[str, Any]) -> dict[str, Any]:
    """Drive the trainable to its end, as Ray does."""

    class WithContext(CellTrainable):
        def setup(self, config: dict[str, Any]) -> None:  # type: ignore[override]
            super().setup(config, context)

    trainable = WithContext(chosen)
    while not (result := trainable.step())["done"]:
        pass
    return dict(result)


MANY = """\
many:
  data: {name: digits}
  model: {name: small_cnn, width: 2}
  training: {epochs: 3, batch_size: 50, learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0,
             schedule: step, milestones: [0.5, 0.75], end_on: []}
  seeds: [0]
  methods:
    standard: {}
    gsam: {weights: {gsam: {rho: 0.2}}}
    awp: {weights: {awp: {gamma: 0.01}}, inputs: {fgsm_rs: {norm: l2, epsilon: 0.4}}}
    noise: {inputs: {noise: {sigma: 0.1}}}
    trades: {inputs: {pgd: {norm: linf, epsilon: 0.1, steps: 2}}, loss: {trades: {beta: 3.0}}}
  evaluation: {norm: linf, radii: [0.05, 0.1], objective_radius: 0.1,
               attack: {pgd: {steps: 1, restarts: 1}}}
"""
TOLD = {
    "standard": {"sides.weights": "none", "sides.inputs.sigma": "none"},
    "gsam": {"rho": 0.2, "sides.weights.rho_min": 0.0, "sides.weights.alpha": 0.4},
    "awp": {"epsilon": 0.4, "sides.weights.gamma": 0.01, "sides.inputs.norm": "l2"},
    "noise": {"sides.inputs": "noise", "sides.inputs.sigma": 0.1},
    "trades": {
        "epsilon": 0.1,
        "sides.loss": "trades",
        "sides.loss.beta": 3.0,
        "sides.inputs.steps": 2,
    },
}


def test_trials_have_the_same_parameters_but_for_radii_that_a_method_lacks(
    read: Any,
) -> None:
    spec = read(text=MANY)
    params = {}
    for configuration in space.grid_configurations(spec):
        [cell] = space.cells(spec, configuration, "some-data")
        params[configuration.method] = run_params(spec, cell)
    assert params.keys() == TOLD.keys()
    radii = {"rho", "epsilon"}
    assert len({frozenset(named.keys() - radii) for named in params.values()}) == 1
    held = {method: radii & named.keys() for method, named in params.items()}
    assert held == {
        "standard": set(),
        "gsam": {"rho"},
        "awp": {"epsilon"},
        "noise": set(),
        "trades": {"epsilon"},
    }
    for method, told in TOLD.items():
        assert {name: params[method][name] for name in told} == told
        assert params[method]["setup.milestones"] == "0.5, 0.75"
        assert params[method]["sides.inputs.active"] in ("0-1", "none")
        assert params[method]["setup.end_on"] == "none"
        assert params[method]["setup.evaluation.radii"] == "0.05, 0.1"
        assert params[method]["setup.evaluation.other_norm_radii"] == "none"
