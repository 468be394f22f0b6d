"""How the MLflow UI first shows a study: its configurations, and one click deeper its trials.

The UI keeps a view in a tag of the experiment, as zlib-compressed JSON; `?viewStateShareKey=` in
its address opens it. A later UI that cannot read it shows its usual columns.
"""

import base64
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode

from study.records.configurations import KIND, NAME_TAG
from study.records.runs import StudyRuns, robust_name
from study.spec import StudySpec, swept_in
from study.spec.own import keys_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

TRAINING_PAGES = {"workflowType": "machine_learning"}
"""An option of addresses in the UI, which begins with its pages for generative AI without it."""
SECTION = "study"
MOST_FRAME_CHARACTERS = 800
"""More than `framed_note` adds."""
FINDINGS_HEADING = "## Findings"
ViewName = Literal["study", "trials"]
"""The view of configurations, whose name older addresses hold, and that of trials."""


def view_tags(spec: StudySpec) -> dict[str, str]:
    """Return the experiment's tags that hold the two views."""
    states = {"study": _configurations(spec), "trials": _trials(spec)}
    return {f"mlflow.sharedViewState.{name}": _packed(state) for name, state in states.items()}


def view_address(runs: StudyRuns, view: ViewName = "study") -> str:
    """Return a view's fragment, to be appended to the address of the UI."""
    return page_address(runs, viewStateShareKey=view)


def log_report(
    client: "MlflowClient", runs: StudyRuns, folder: Path, place: str, note: str = ""
) -> str:
    """Log a report bundle on the parent run, below `place`; return its address in the UI.

    The address is a fragment, from the `#` on. A `note` that is not empty replaces the run's note.
    """
    client.log_artifacts(runs.parent, str(folder), place)
    if note:
        client.set_tag(runs.parent, "mlflow.note.content", note)
    return page_address(runs, f"/{runs.parent}/artifacts/{place}/index.html")


def framed_note(runs: StudyRuns, place: str, text: str) -> str:
    """Return a parent run's note: links, then `text` with the front of the report at `place`.

    The picture is read from the run's artifacts, by the address that the UI itself uses. It stands
    above the findings, so that the beginning of the text is seen before the note is unfolded.
    """
    report = page_address(runs, f"/{runs.parent}/artifacts/{place}/index.html")
    links = {
        "Report": report,
        "Configurations": view_address(runs),
        "Trials": view_address(runs, "trials"),
    }
    listed = " · ".join(f"[{name}]({address})" for name, address in links.items())
    # The UI drops every width, and an SVG without one takes the width that there is.
    picture = f"![The front](get-artifact?path={place}/front.svg&run_uuid={runs.parent})"
    above, heading, below = text.partition(FINDINGS_HEADING)
    return f"{listed}\n\n{above}{picture}\n\n{heading}{below}" if heading else f"{listed}\n\n{text}"


def home_address() -> str:
    """Return the fragment of the UI's list of experiments, which has its pages for training."""
    return f"#/experiments?{urlencode(TRAINING_PAGES)}"


def page_address(runs: StudyRuns, page: str = "", **options: str) -> str:
    """Return the fragment of a page below an experiment's runs in the UI, from the `#` on."""
    query = urlencode({**TRAINING_PAGES, **options})
    return f"#/experiments/{runs.experiment}/runs{page}?{query}"


def _packed(state: Mapping[str, Any]) -> str:
    text = json.dumps(state, separators=(",", ":"))
    return f"deflate;{base64.b64encode(zlib.compress(text.encode(), 9)).decode()}"


def _configurations(spec: StudySpec) -> dict[str, Any]:
    """Return the view of configurations, the most robust first."""
    swept = _swept(spec)
    parallel = {
        **_chart("PARALLEL"),
        "selectedParams": swept,
        # The radii are metrics, too, as runs without a value of a parameter would be left out.
        "selectedMetrics": ["rho", "epsilon", "clean", "robust"],
        "showAllRuns": True,
    }
    return {
        **_table(f"tags.kind = '{KIND}'", "robust"),
        "selectedColumns": [
            *(f"params.`{name}`" for name in ("method", "rho", "epsilon", *swept)),
            *(f"metrics.`{name}`" for name in ("clean", "robust", "robust_low", "robust_high")),
            *(f"metrics.`{name}`" for name in ("seeds", "seconds")),
        ],
        **_charts(spec, "clean", "robust", "means over seeds", parallel),
    }


def _trials(spec: StudySpec) -> dict[str, Any]:
    """Return the view of trials, which can be grouped by their configuration."""
    evaluation = spec.evaluation
    clean = f"{evaluation.checkpoint}/test_clean"
    robust = robust_name(evaluation.checkpoint, evaluation.norm, evaluation.objective_radius)
    return {
        **_table("tags.kind = 'trial'", robust),
        "selectedColumns": [
            *(f"params.`{name}`" for name in ("method", "rho", "epsilon", *_swept(spec), "seed")),
            f"tags.`{NAME_TAG}`",
            f"metrics.`{clean}`",
            f"metrics.`{robust}`",
            "attributes.`Models`",
        ],
        **_charts(spec, clean, robust, "single trials"),
    }


def _swept(spec: StudySpec) -> list[str]:
    """List the parameters of training and model that tell configurations apart."""
    paths = dict.fromkeys(path for name in spec.methods for path, _ in swept_in(spec, name))
    return [param_name(path) for path in paths]


def _table(chosen: str, metric: str) -> dict[str, Any]:
    return {
        "searchFilter": chosen,
        "orderByKey": f"metrics.`{metric}`",
        "orderByAsc": False,
        "runsHiddenMode": "SHOW_ALL",
    }


def _charts(spec: StudySpec, clean: str, robust: str, what: str, *more: Any) -> dict[str, Any]:
    """Return a chart of the accuracies against each other, and more charts."""
    scatter = {
        **_chart("SCATTER"),
        "xaxis": {"key": clean, "type": "METRIC", "dataAccessKey": clean},
        "yaxis": {"key": robust, "type": "METRIC", "dataAccessKey": robust},
    }
    shown = {
        "uuid": SECTION,
        "name": f"{spec.name}: test accuracy, {what}",
        "display": True,
        "isReordered": False,
        "deleted": False,
        "isGenerated": False,
    }
    return {"compareRunSections": [shown], "compareRunCharts": [scatter, *more]}


def _chart(kind: str) -> dict[str, Any]:
    return {
        "type": kind,
        "uuid": f"{SECTION}-{kind.lower()}",
        "metricSectionId": SECTION,
        "runsCountToCompare": 100,
        "deleted": False,
        "isGenerated": False,
    }


def param_name(path: str) -> str:
    """Return the name in MLflow of a setting of training or model, as `run_params` gives it.

    >>> param_name("training.learning_rate"), param_name("model.width")
    ('setup.learning_rate', 'setup.model.width')
    >>> param_name("training.optimizer.my_parts:lion.beta"), param_name("model.settings.depth")
    ('setup.optimizer.beta', 'setup.model.depth')
    """
    kind, _, setting = path.partition(".")
    *above, name = keys_of(setting)
    shown = ["model"] if kind == "model" else above[:1]
    return ".".join(["setup", *shown, name])
