"""The JSON Schema of studies.yaml: the shipped one, and that it agrees with the reader."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import study.output
from study.output.schemas import studies_schema
from study.spec.source import read_yaml
from tests.study.conftest import TINY

ROOT = Path(__file__).parents[3]
SHIPPED = Path(study.output.__file__).parent / "studies.json"

REFUSED = [
    pytest.param("seeds: [0, 1]", "seed: [0, 1]", id="unknown key"),
    pytest.param("name: digits", "name: 3", id="a number as a name"),
    pytest.param("rho: [0.1, 0.2]", "roh: 0.1", id="unknown setting"),
    pytest.param("weights: {sam: {rho: [0.1, 0.2]}}", "weights: {sma: {rho: 1}}", id="side"),
    pytest.param("low: 0.05, high", "lower: 0.05, high", id="range"),
    pytest.param("trials: 3", "trials: 0", id="too few trials"),
    pytest.param("trials: 3", "trials: 3, stop: {rungs: 0.5}", id="half a stop"),
    pytest.param("norm: linf, radii", "norm: l1, radii", id="norm"),
    pytest.param("schedule: cosine", "schedule: cosin", id="word"),
]
ACCEPTED = [
    pytest.param("epsilon: 0.1, steps", "epsilon: 8/255, steps", id="fraction"),
    pytest.param("sam: {rho: [0.1, 0.2]}", "my_parts:Mine: {gain: 2}", id="own part"),
    pytest.param("width: 2", "width: {low: 2, high: 4}", id="range of whole numbers"),
    pytest.param("learning_rate: 0.1", "learning_rate: [0.1, 0.2]", id="grid"),
    pytest.param("{trials: 3}", "{stop: {rungs: [0.5], keep: 0.5}, seeds: adaptive}", id="stop"),
    pytest.param("{trials: 3}", "{trials: 3, stop: never}\n  budget: {hours: 8}", id="budget"),
]


def plain(value: Any) -> Any:
    """Lists and mappings as JSON has them."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple) else value


@pytest.fixture(scope="module")
def schema() -> Any:
    made = json.loads(studies_schema())
    jsonschema.Draft202012Validator.check_schema(made)
    return jsonschema.Draft202012Validator(made)


def is_valid(schema: Any, text: str, folder: Path) -> bool:
    file = folder / "some.yaml"
    file.write_text(text, encoding="utf-8")
    return bool(schema.is_valid(plain(read_yaml(file).data)))


def test_the_shipped_schema_is_that_of_the_models() -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    assert text == studies_schema() + "\n", "run: study schema > study/output/studies.json"


def test_every_shipped_study_fits_and_the_file_names_the_schema(schema: Any) -> None:
    file = ROOT / "studies.yaml"
    schema.validate(plain(read_yaml(file).data))
    first = file.read_text(encoding="utf-8").splitlines()[0]
    named = first.removeprefix("# yaml-language-server: $schema=")
    assert (ROOT / named).samefile(SHIPPED)


@pytest.mark.parametrize(("before", "after"), REFUSED)
def test_a_mistake_that_an_editor_can_see_is_refused(
    schema: Any, tmp_path: Path, before: str, after: str
) -> None:
    assert before in TINY
    assert not is_valid(schema, TINY.replace(before, after), tmp_path)


@pytest.mark.parametrize(("before", "after"), ACCEPTED)
def test_what_may_be_written_is_accepted(
    schema: Any, tmp_path: Path, before: str, after: str
) -> None:
    assert before in TINY
    assert is_valid(schema, TINY, tmp_path)
    assert is_valid(schema, TINY.replace(before, after), tmp_path)
