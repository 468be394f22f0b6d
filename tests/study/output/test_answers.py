"""The JSON objects of the commands, against the JSON Schema that the package ships."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from study.cli import app
from study.launch.launch import Outcome
from study.output import answers
from study.output.ends import VERSION, print_answer
from study.output.schemas import answers_schema
from study.plan.plan import make_plan
from study.records.attacks import CheckRecord
from study.report.report import Report
from study.spec import StudySpec
from tests.records import DATA, finished_trial
from tests.study.plan.test_plan import failed, grid_cells

Read = Callable[..., StudySpec]


@pytest.fixture(scope="module")
def schema() -> Any:
    made = json.loads(answers_schema())
    jsonschema.Draft202012Validator.check_schema(made)
    return jsonschema.Draft202012Validator(made)


def planned(spec: StudySpec) -> Any:
    first, second, third, *_ = grid_cells(spec)
    running = {"status": "RUNNING", "is_complete": False, "objectives": None}
    return make_plan(
        spec,
        DATA,
        [finished_trial(first), failed(second), replace(finished_trial(third), **running)],
    )


class Verified:
    """What `study evaluate` returns, without the networks."""

    def __init__(self, spec: StudySpec) -> None:
        check = CheckRecord(number=1, name="zero gradients", verdict="warn", text="many")
        self.members = ()
        self.checklist = ((grid_cells(spec)[0], (check,)),)
        self.failures = (("standard seed=0", "out of memory"),)


def built(spec: StudySpec) -> dict[str, Any]:
    """The result of each command, from real values."""
    plan = planned(spec)
    failures = ((grid_cells(spec)[1], "broke"),)
    outcome = Outcome(plan=plan, started=3, failures=failures, stopped_by=None, problem="")
    report = Report(page=Path("reports/tiny/index.html"), address="#/", without_results=())
    verification = answers.verification_answer(spec, Verified(spec))  # type: ignore[arg-type]
    return {
        "list": answers.studies_answer({"tiny": spec}),
        "check": answers.check_answer(Path("studies.yaml"), ["tiny"], ["no GPU"]),
        "plan": answers.plan_answer(spec, plan, None),
        "status": answers.status_answer(spec, plan),
        "launch": answers.launch_answer(spec, outcome),
        "evaluate": verification,
        "diagnose": verification,
        "report": answers.report_answer(report),
        "ui": answers.ui_answer("http://127.0.0.1:5000", {"tiny": "http://127.0.0.1:5000/#/"}),
    }


def test_what_every_command_finds_fits_the_schema_and_no_key_is_left_out(
    read: Read, schema: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    results = built(read())
    commands = {info.name or info.callback.__name__ for info in app.registered_commands}  # type: ignore[union-attr]
    assert set(results) == commands - {"schema"}
    for command, result in results.items():
        print_answer(command, 0, "study report tiny", (), result)
        answer = json.loads(capsys.readouterr().out)
        schema.validate(answer)
        answer["result"]["more"] = 1
        assert not schema.is_valid(answer), command


def test_states_of_cells_are_told_with_their_numbers(read: Read) -> None:
    status = built(read())["status"]
    assert status["states"] == {"done": 1, "failed": 1, "missing": 3, "running": 1}
    done, broken, running, *_ = status["cells"]
    assert (done["validation_clean"], done["validation_robust"]) == (0.9, 0.5)
    assert (broken["state"], broken["reason"], running["state"]) == ("failed", "broke", "running")
    assert running["values"] == {"rho": 0.1}
    assert (done["checkpoint"], broken["checkpoint"]) == ("best", None)


def run(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run a command in this process; return its exit code, stdout and stderr."""
    with pytest.raises(SystemExit) as ended:
        app(words, prog_name="study")
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


@pytest.mark.parametrize("words", ["list", "plan", "status", "check", "plan tinny"])
def test_the_only_thing_on_stdout_is_one_object(
    read: Read,
    tmp_path: Path,
    schema: Any,
    capsys: pytest.CaptureFixture[str],
    words: str,
) -> None:
    read()
    code = 2 if "tinny" in words else 0
    ended, out, err = run(
        [*words.split(), "--json", "--file", str(tmp_path / "studies.yaml")], capsys
    )
    answer = json.loads(out)
    schema.validate(answer)
    assert (ended, answer["exit_code"], answer["version"]) == (code, code, VERSION)
    assert answer["errors"] == (err.splitlines() if code else [])
    assert (answer["result"] is None) == bool(code)
    assert err


def test_without_the_option_there_is_no_json(
    read: Read, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    read()
    _, out, err = run(["plan", "--file", str(tmp_path / "studies.yaml")], capsys)
    assert not err
    assert "{" not in out


def test_the_object_in_the_documentation_is_one_of_ours(schema: Any) -> None:
    page = (Path(__file__).parents[3] / "docs" / "scripts.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    answer = json.loads(block)
    schema.validate(answer)
    assert answer["exit_code"] == 2
