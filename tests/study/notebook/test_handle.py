"""The handle on a study: opening, what it shows, and that it imports nothing before its time."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import study
from study.notebook.handle import UnconfirmedError
from study.spec import SpecError, StudySpec
from study.summary import MANY_TRIALS

from .conftest import DECLARED

SLOW = ("numpy", "pandas", "torch", "ray", "optuna", "mlflow", "scipy", "matplotlib", "pydantic")


def test_import_alone_loads_no_library() -> None:
    code = f"import sys, study; print(sorted(set({SLOW!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_opening_and_planning_import_no_slow_library(tmp_path: Path) -> None:
    code = (
        f"import sys, study; study.from_dict({DECLARED!r}, 'tiny').plan(); "
        f"print(sorted(set({SLOW[1:-1]!r}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.strip() == "[]"


def test_unknown_name_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'opne'"):
        study.opne  # type: ignore[attr-defined]  # noqa: B018
    assert set(study.__all__) == {"Study", "from_dict", "load", "open"}


def test_study_of_a_file_is_opened_by_name_and_folder(
    read: Callable[..., StudySpec], tmp_path: Path
) -> None:
    spec = read()
    for opened in (
        study.open("tiny", folder=tmp_path),
        study.open(folder=tmp_path),
        study.open("tiny", file=tmp_path / "studies.yaml"),
    ):
        assert opened.spec == spec
        assert opened.project == tmp_path
    with pytest.raises(SpecError, match=r"studies\.yaml: has no study tinny; did you mean tiny\?"):
        study.open("tinny", folder=tmp_path)


def test_mapping_and_file_declare_the_same_cells(
    read: Callable[..., StudySpec], tmp_path: Path
) -> None:
    opened = study.open({"tiny": DECLARED}, folder=tmp_path)
    methods = "standard: {}, sam: {weights: {sam: {rho: [0.1, 0.123456]}}}, "
    methods += "at: {inputs: {pgd: {norm: linf, epsilon: [8/255], steps: 1}}}"
    text = f"""\
tiny:
  data: {{name: digits, samples: 100, test_samples: 60}}
  model: {{name: small_cnn, width: 2}}
  training: {{epochs: 2, batch_size: 50, learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0,
             schedule: cosine}}
  seeds: [0, 1]
  methods: {{{methods}}}
  evaluation: {{norm: linf, radii: [0.05, 0.1], objective_radius: 0.1, checkpoint: last,
               attack: {{pgd: {{steps: 1, restarts: 1}}}}}}
"""
    file = tmp_path / "studies.yaml"
    file.write_text(text, encoding="utf-8")
    theirs = study.open("tiny", file=file).plan()
    ours = opened.plan()
    assert [c.cell.key for c in ours.cells] == [c.cell.key for c in theirs.cells]


def test_lists_arrays_ranges_and_numpy_numbers_are_read(tmp_path: Path) -> None:
    methods = {"sam": {"weights": {"sam": {"rho": {"low": np.float64(0.1), "high": 0.4}}}}}
    declared = DECLARED | {"methods": methods, "seeds": np.arange(2), "search": {"trials": 3}}
    plan = study.from_dict(declared, "mine", folder=tmp_path).plan()
    assert (plan.num_cells, plan.seeds) == (6, 2)


WRONG: dict[str, tuple[Any, str | None, str]] = {
    "no name": (DECLARED, None, "a study needs a name"),
    "of two": ({"a": DECLARED, "b": DECLARED}, None, "has several studies; name one of a, b"),
    "a set": (DECLARED | {"seeds": {0}}, "a", "a.seeds: must be a number, text, a boolean, a list"),
    "nan": (
        DECLARED | {"methods": {"sam": {"weights": {"sam": {"rho": float("nan")}}}}},
        "a",
        "a.methods.sam.weights.sam.rho: numbers must be finite, got nan",
    ),
    "a key": (DECLARED | {"methods": {1: {}}}, "a", "a.methods: a key must be a word, got 1"),
    "misspelt": (DECLARED | {"sedes": [0]}, "a", "a.sedes: unknown key; did you mean seeds?"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistake_in_a_mapping_is_one_line_without_a_file(case: str) -> None:
    declared, name, message = WRONG[case]
    with pytest.raises(SpecError) as error:
        study.from_dict(declared, name)
    assert message in str(error.value)
    assert len(error.value.messages) == 1


def test_what_is_no_mapping_is_refused() -> None:
    with pytest.raises(SpecError, match="must be a mapping of studies, got NoneType; write"):
        study.from_dict(None)  # type: ignore[arg-type]


def test_mapping_that_holds_itself_is_refused() -> None:
    declared: dict[str, Any] = dict(DECLARED)
    declared["data"] = declared
    with pytest.raises(SpecError, match="holds itself"):
        study.from_dict(declared, "a")


def test_large_launch_needs_a_yes(tmp_path: Path) -> None:
    opened = study.from_dict(
        DECLARED | {"seeds": range(MANY_TRIALS // 2)}, "large", folder=tmp_path
    )
    with pytest.raises(UnconfirmedError, match=r"2,000 trials.*confirm it with launch\(yes=True\)"):
        opened.launch()
    assert not (tmp_path / "runs").exists()


def test_study_and_plan_show_themselves_in_a_notebook(trained: Any) -> None:
    shown = trained.study._repr_html_()
    assert "Five cells of a few digits &amp; a tiny &lt;network&gt;." in shown
    assert "<td>rho</td><td>4</td>" in shown
    plan = trained.study.plan()
    assert repr(plan) == "<Plan of tiny: 7 of 8 trials done>"
    assert "<td>at</td><td>1</td><td>1</td>" in plan._repr_html_()


def test_frames_have_the_trials_of_the_study(trained: Any) -> None:
    frame = trained.study.results().to_frame()
    assert sorted(frame["run"]) == sorted(trained.runs)
    assert set(frame["rho"].dropna()) == {0.1, 0.123456}
