"""Tests of the view that the MLflow UI opens first, against the UI that is installed."""

import base64
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest

from study.records.runs import StudyRuns
from study.records.view import view_address, view_tags
from study.spec import StudySpec

RUNS = StudyRuns(experiment="7", parent="0" * 32)


@pytest.fixture(scope="module")
def interface() -> str:
    """The scripts of the UI, as one text."""
    folder = Path(mlflow.__file__).parent / "server" / "js" / "build" / "static" / "js"
    return "".join(script.read_text(encoding="utf-8") for script in sorted(folder.glob("*.js")))


def states(spec: StudySpec) -> dict[str, Any]:
    """Unpack the views by the names of their tags."""
    found = {}
    for tag, content in view_tags(spec).items():
        form, _, packed = content.partition(";")
        assert form == "deflate"
        found[tag] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return found


def test_the_installed_ui_reads_the_views_and_every_setting_of_them(
    interface: str, read: Callable[..., StudySpec]
) -> None:
    for name in ("viewStateShareKey", "deflate", "workflowType", "machine_learning"):
        assert name in interface
    for tag, state in states(read()).items():
        prefix, _, key = tag.rpartition(".")
        assert prefix in interface
        query = f"workflowType=machine_learning&viewStateShareKey={key}"
        assert view_address(RUNS, key) == f"#/experiments/7/runs?{query}"
        charts = state["compareRunCharts"]
        for name in {*state, *(name for chart in charts for name in chart)}:
            assert name in interface, name


def test_views_show_what_the_study_varies_and_its_two_accuracies(
    read: Callable[..., StudySpec],
) -> None:
    configurations, trials = states(read()).values()
    for state, clean, robust in (
        (configurations, "clean", "robust"),
        (trials, "best/test_clean", "best/test_robust_linf_0.1"),
    ):
        assert "params.`rho`" in state["selectedColumns"]
        assert state["orderByKey"] == f"metrics.`{robust}`"
        scatter = state["compareRunCharts"][0]
        assert (scatter["xaxis"]["key"], scatter["yaxis"]["key"]) == (clean, robust)
    assert configurations["searchFilter"] == "tags.kind = 'configuration'"
    assert "tags.`configuration`" in trials["selectedColumns"]
