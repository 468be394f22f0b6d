"""The network of a run as MLflow loads it, from the project and from a moved copy of it."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow.pytorch
import pytest
import torch
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ENDPOINT_NOT_FOUND, INVALID_PARAMETER_VALUE

import study
from study.records.models import log_model
from study.records.runs import StudyRuns, weights_file
from study.records.store import connect, find_store

IMAGES = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _own_address() -> Iterator[None]:
    """MLflow keeps the address of its store in the environment, where projects look first."""
    yield
    mlflow.set_tracking_uri(None)
    os.environ.pop("MLFLOW_TRACKING_URI", None)


def model_of(folder: Path, run: str) -> Any:
    client = connect(find_store(folder))
    experiment = client.get_run(run).info.experiment_id
    [model] = [m for m in client.search_logged_models([experiment]) if m.source_run_id == run]
    return model


@pytest.mark.parametrize("is_moved", [False, True], ids=["here", "moved"])
def test_mlflow_loads_the_network_that_the_study_reads(
    trained: Any, tmp_path: Path, is_moved: bool
) -> None:
    folder = trained.study.project
    if is_moved:
        folder = tmp_path / "moved"
        shutil.copytree(trained.study.project, folder)
        assert Path(model_of(folder, trained.runs[0]).artifact_location).is_relative_to(folder)
    ours = study.load(trained.runs[0], checkpoint="last", folder=folder)
    mlflow.set_tracking_uri(find_store(folder).uri)
    theirs = mlflow.pytorch.load_model(f"runs:/{trained.runs[0]}/model")
    assert not theirs.training
    assert torch.equal(theirs(IMAGES), ours(IMAGES))


def test_model_is_listed_with_its_values_and_takes_no_room(trained: Any) -> None:
    run = trained.runs[2]
    model = model_of(trained.study.project, run)
    assert (model.name, model.status, model.tags) == ("model", "READY", {"checkpoint": "last"})
    assert model.params == {"method": "sam", "rho": "0.1", "seed": "0"}
    client = connect(find_store(trained.study.project))
    kept = Path(client.get_run(run).info.artifact_uri) / weights_file("last")
    place = Path(model.artifact_location)
    assert (place / "data" / "model.pth").samefile(kept)
    own = [path for path in place.rglob("*") if path.is_file() and path.suffix != ".pth"]
    assert sum(path.stat().st_size for path in own) < 2000


class Refusing:
    """A client of MLflow whose server answers every request for a model with one code."""

    def __init__(self, code: int) -> None:
        self.code = code

    def create_logged_model(self, *arguments: Any, **named: Any) -> Any:
        raise MlflowException("no such address", error_code=self.code)


def test_old_server_costs_no_trial_but_any_other_error_is_raised(tmp_path: Path) -> None:
    run: Any = type("Run", (), {"id": "run", "artifacts": "mlflow-artifacts:/1"})()
    runs = StudyRuns(experiment="1", parent="parent")
    rest = (runs, run, "last", tmp_path, {}, (1, 8, 8))
    old: Any = Refusing(ENDPOINT_NOT_FOUND)
    assert log_model(old, *rest) == "the MLflow server knows no Logged Models; update it"
    wrong: Any = Refusing(INVALID_PARAMETER_VALUE)
    with pytest.raises(MlflowException):
        log_model(wrong, *rest)
