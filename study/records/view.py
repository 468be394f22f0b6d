"""How the MLflow UI first shows a study's runs: the columns that matter, and two charts.

The UI keeps such a view in a tag of the experiment, as zlib-compressed JSON; `?viewStateShareKey=`
in its address opens it. A later UI that cannot read it shows its usual columns.
"""

import base64
import json
import zlib
from typing import Any

from study.records.runs import StudyRuns, robust_name
from study.spec import StudySpec, swept_in

KEY = "study"
SECTION = "study"


def view_tag(spec: StudySpec, runs: StudyRuns) -> tuple[str, str]:
    """Return the name and the value of the experiment tag that holds the view."""
    state = json.dumps(_state(spec, runs), separators=(",", ":"))
    packed = base64.b64encode(zlib.compress(state.encode(), 9)).decode()
    return f"mlflow.sharedViewState.{KEY}", f"deflate;{packed}"


def view_address(runs: StudyRuns) -> str:
    """Return the view's fragment, to be appended to the address of the UI."""
    return f"#/experiments/{runs.experiment}/runs?viewStateShareKey={KEY}"


def _state(spec: StudySpec, runs: StudyRuns) -> dict[str, Any]:
    evaluation = spec.evaluation
    clean = f"{evaluation.checkpoint}/test_clean"
    robust = robust_name(evaluation.checkpoint, evaluation.norm, evaluation.objective_radius)
    paths = dict.fromkeys(path for name in spec.methods for path, _ in swept_in(spec, name))
    swept = [param_name(path) for path in paths]
    params = ("method", "rho", "epsilon", *swept, "seed")
    return {
        "selectedColumns": [
            *(f"params.`{name}`" for name in params),
            f"metrics.`{clean}`",
            f"metrics.`{robust}`",
            "metrics.`seconds`",
        ],
        "searchFilter": "tags.kind = 'trial'",
        "orderByKey": f"metrics.`{robust}`",
        "orderByAsc": False,
        "runsHiddenMode": "SHOW_ALL",
        "compareRunSections": [
            {
                "uuid": SECTION,
                "name": f"{spec.name}: test accuracy",
                "display": True,
                "isReordered": False,
                "deleted": False,
                "isGenerated": False,
            }
        ],
        "compareRunCharts": [
            {
                **_chart("PARALLEL", "Radii and test accuracies"),
                "selectedParams": ["rho", "epsilon", *swept],
                "selectedMetrics": [clean, robust],
                "showAllRuns": True,
            },
            {
                **_chart("SCATTER", "Robust against clean accuracy"),
                "xaxis": {"key": clean, "type": "METRIC", "dataAccessKey": clean},
                "yaxis": {"key": robust, "type": "METRIC", "dataAccessKey": robust},
            },
        ],
    }


def param_name(path: str) -> str:
    """Return the name in MLflow of a setting of training or model, as `run_params` gives it.

    >>> param_name("training.learning_rate"), param_name("model.width")
    ('setup.learning_rate', 'setup.model.width')
    """
    return f"setup.{path.removeprefix('training.')}"


def _chart(kind: str, title: str) -> dict[str, Any]:
    return {
        "type": kind,
        "uuid": f"{SECTION}-{kind.lower()}",
        "displayName": title,
        "metricSectionId": SECTION,
        "runsCountToCompare": 100,
        "deleted": False,
        "isGenerated": False,
    }
