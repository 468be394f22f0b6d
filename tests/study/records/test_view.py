"""Tests of the view that the MLflow UI opens first, against the UI that is installed."""

import base64
import json
import zlib
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from study.records.runs import StudyRuns
from study.records.view import view_address, view_tag
from study.spec import StudySpec

RUNS = StudyRuns(experiment="7", parent="0" * 32)


@pytest.fixture(scope="module")
def interface() -> str:
    """The scripts of the UI, as one text."""
    folder = Path(mlflow.__file__).parent / "server" / "js" / "build" / "static" / "js"
    return "".join(script.read_text(encoding="utf-8") for script in sorted(folder.glob("*.js")))


def test_the_installed_ui_reads_the_view_and_every_setting_of_it(
    interface: str, read: Callable[..., StudySpec]
) -> None:
    tag, content = view_tag(read(), RUNS)
    prefix, _, key = tag.rpartition(".")
    assert prefix in interface
    assert view_address(RUNS) == f"#/experiments/7/runs?viewStateShareKey={key}"
    assert "viewStateShareKey" in interface
    form, _, packed = content.partition(";")
    assert f'"{form};' in interface or form in interface
    state = json.loads(zlib.decompress(base64.b64decode(packed)))
    charts = state["compareRunCharts"]
    for name in {*state, *(name for chart in charts for name in chart)}:
        assert name in interface, name


def test_the_view_shows_what_the_study_varies_and_its_two_accuracies(
    read: Callable[..., StudySpec],
) -> None:
    _, content = view_tag(read(), RUNS)
    state = json.loads(zlib.decompress(base64.b64decode(content.partition(";")[2])))
    assert "params.`rho`" in state["selectedColumns"]
    scatter = state["compareRunCharts"][1]
    assert (scatter["xaxis"]["key"], scatter["yaxis"]["key"]) == (
        "best/test_clean",
        "best/test_robust_linf_0.1",
    )
