"""Trained networks, loaded by what they were trained with."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import study
from study.notebook.networks import LoadError
from study.records.runs import weights_file
from study.records.store import connect, find_store
from trainers.checkpoint import RECIPE, load_weights, save_weights
from trainers.data.dataset import load_data

from .conftest import DECLARED


def images_of(opened: Any) -> tuple[Tensor, Tensor]:
    data = load_data(opened.spec.data, opened.project)
    return torch.tensor(data.test.images) / data.divisor, torch.tensor(data.test.labels)


def accuracy(network: nn.Module, opened: Any) -> float:
    images, labels = images_of(opened)
    return float((network(images).argmax(dim=1) == labels).double().mean())


def test_loaded_network_has_the_accuracy_that_was_recorded(trained: Any) -> None:
    for trial in trained.study.results().trials:
        network = trained.study.load(trial.method, seed=trial.seed, **trial.values)
        assert accuracy(network, trained.study) == pytest.approx(trial.clean), trial.run


def test_network_is_ready_for_evaluation_and_for_attacks(trained: Any) -> None:
    network = trained.study.load("sam", rho=0.1, seed=0)
    assert not network.training
    assert not any(weight.requires_grad for weight in network.parameters())
    assert {tensor.dtype for tensor in network.parameters()} == {torch.float32}
    images, labels = images_of(trained.study)
    images.requires_grad_(True)
    loss = nn.functional.cross_entropy(network(images), labels)
    [gradient] = torch.autograd.grad(loss, images)
    assert gradient.abs().max() > 0


def test_checkpoint_is_that_of_the_study_unless_named(trained: Any) -> None:
    client = connect(find_store(trained.study.project))
    for checkpoint in ("best", "last"):
        weights = trained.study.load("standard", seed=0, checkpoint=checkpoint).state_dict()
        path = Path(client.download_artifacts(trained.runs[0], weights_file(checkpoint)))
        stored, _ = load_weights(path)
        assert all(torch.equal(weights[name], stored[name]) for name in stored)
    default = trained.study.load("standard", seed=0).state_dict()
    assert all(torch.equal(default[name], stored[name]) for name in stored)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"method": "sma", "seed": 0}, "tiny: has no method sma; did you mean sam?"),
        (
            {"method": "sam", "seed": 0},
            "tiny: sam varies; choose one of rho=0.1; rho=0.1235",
        ),
        (
            {"method": "sam", "seed": 0, "rho": 0.3},
            "tiny: sam has no trial with rho=0.3; it has rho=0.1; rho=0.1235",
        ),
        (
            {"method": "sam", "seed": 0, "epsilon": 0.3},
            "tiny: sam has no values of epsilon; it has rho",
        ),
        (
            {"method": "standard", "seed": 0, "rho": 0.3},
            "tiny: standard has no values of rho; it has none; leave it out",
        ),
        ({"method": "sam", "rho": 0.1, "seed": 2}, "tiny: sam has no seed 2; it has 0, 1"),
        (
            {"method": "at", "seed": 1},
            "tiny: at epsilon=8/255 seed=1 is missing, and has no network; launch the study first",
        ),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_what_is_not_there_is_told_with_what_there_is(
    trained: Any, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(LoadError) as error:
        trained.study.load(**asked)
    assert str(error.value) == message


def test_values_match_as_they_are_printed_and_under_their_long_names(trained: Any) -> None:
    exact = trained.study.load("sam", rho=0.123456, seed=0).state_dict()
    for named in ({"rho": 0.1235}, {"weights.sam.rho": 0.123456}):
        other = trained.study.load("sam", seed=0, **named).state_dict()
        assert all(torch.equal(exact[name], other[name]) for name in exact)


def test_unknown_checkpoint_lists_those_of_the_run(trained: Any) -> None:
    with pytest.raises(LoadError, match="has no checkpoint first; it has best and last"):
        trained.study.load("sam", rho=0.1, seed=0, checkpoint="first")


def test_run_is_loaded_by_its_id_after_the_project_was_moved(trained: Any, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(trained.study.project, moved)
    here = study.from_dict(DECLARED, "tiny", folder=moved)
    by_run = study.load(trained.runs[0], folder=moved, checkpoint="last").state_dict()
    by_name = here.load("standard", seed=0).state_dict()
    assert all(torch.equal(by_run[name], by_name[name]) for name in by_run)


def test_weights_of_old_runs_are_loaded_by_their_data_set(trained: Any, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(trained.study.project, old)
    client = connect(find_store(old))
    for name in ("best", "last"):
        path = Path(client.get_run(trained.runs[0]).info.artifact_uri) / weights_file(name)
        assert path.is_relative_to(old)
        weights, metadata = load_weights(path)
        del metadata[RECIPE]
        save_weights(path, weights, metadata)
    network = study.load(trained.runs[0], folder=old)
    assert 0 <= accuracy(network, trained.study) <= 1


def test_run_that_is_no_trial_is_refused(trained: Any) -> None:
    client = connect(find_store(trained.study.project))
    parent = client.get_run(trained.runs[0]).data.tags["mlflow.parentRunId"]
    with pytest.raises(LoadError, match="is not a trial of a study"):
        study.load(parent, folder=trained.study.project)


@pytest.mark.parametrize("run", ["abc", "a/b", "0" * 32])
def test_run_that_is_nowhere_is_refused(trained: Any, run: str) -> None:
    with pytest.raises(LoadError, match=rf"run {run}: is not in .*; name the run of a trial"):
        study.load(run, folder=trained.study.project)
