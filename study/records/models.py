"""The network of a trial as a Logged Model of MLflow: `runs:/RUN/model`.

MLflow's own `log_model` would take seconds, as it imports the network in a second process, and
would pickle it. What `mlflow.pytorch.load_model` needs is a description and the weights, which
`trainers.checkpoint` reads without running code of the file. On this machine the weights are a hard
link to the run's checkpoint, and take no room of their own.
"""

import json
import os
import platform
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from study.records.runs import StudyRuns, TrialRun, local_path, weights_file

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL = "model"
"""The Logged Model of every run is called so, and its address is `runs:/RUN/model`."""
READER = "trainers.checkpoint"
"""The module whose `Unpickler` reads the weights file for MLflow."""
OLD_SERVER = ("ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED")
"""MLflow's codes of a server that knows no Logged Models."""


def log_model(
    client: "MlflowClient",
    runs: StudyRuns,
    run: TrialRun,
    checkpoint: str,
    folder: Path,
    params: Mapping[str, object],
    image_shape: tuple[int, ...],
) -> str:
    """Log the network of a run as its model; return why not, empty if it was logged.

    The weights lie among the run's files already, and also in `folder`, which is on this machine. A
    server that knows no models is no failure.
    """
    texts = {name: str(value) for name, value in params.items()}
    try:
        model = client.create_logged_model(
            runs.experiment,
            name=MODEL,
            source_run_id=run.id,
            tags={"checkpoint": checkpoint},
            params=texts,
            model_type="classifier",
        )
    except Exception as error:
        if getattr(error, "error_code", "") not in OLD_SERVER:
            raise
        return "the MLflow server knows no Logged Models; update it"
    weights, place = weights_file(checkpoint), local_path(model.artifact_location)
    held = local_path(run.artifacts)
    with tempfile.TemporaryDirectory(prefix="rhoeps-") as name:
        content = Path(name)
        (content / "data").mkdir()
        described = description(run.id, model.model_id, image_shape)
        (content / "MLmodel").write_text(described, encoding="utf-8")
        (content / "data" / "pickle_module_info.txt").write_text(READER, encoding="utf-8")
        if place is None or held is None:
            linked(folder / weights, content / "data" / "model.pth")
        client.log_model_artifacts(model.model_id, str(content))
    if place is not None and held is not None:
        linked(held / weights, place / "data" / "model.pth")
    client.finalize_logged_model(model.model_id, "READY")
    return ""


def description(run: str, model: str, image_shape: tuple[int, ...]) -> str:
    """Return MLflow's description of a model: who reads it, and what it takes and returns."""
    tensor = {"dtype": "float32", "shape": [-1, *image_shape]}
    content: dict[str, Any] = {
        "artifact_path": f"models:/{model}",
        "flavors": {
            "pytorch": {
                "code": None,
                "model_data": "data",
                "pytorch_version": version("torch"),
            },
            "python_function": {
                "data": "data",
                "loader_module": "mlflow.pytorch",
                "python_version": platform.python_version(),
            },
        },
        "mlflow_version": version("mlflow"),
        "model_id": model,
        "run_id": run,
        "signature": {"inputs": _specified(tensor), "outputs": None, "params": None},
    }
    return yaml.safe_dump(content, sort_keys=False)


def _specified(tensor: Mapping[str, Any]) -> str:
    return json.dumps([{"type": "tensor", "tensor-spec": tensor}])


def linked(source: Path, target: Path) -> None:
    """Make a hard link to a file, or a copy where the disk has no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
