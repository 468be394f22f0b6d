"""The command as a user types it: what it prints, and its exit code."""

import errno
import json
import os
import pty
import re
import signal
import subprocess
import sys
from importlib.metadata import version
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer

from study.cli import main
from study.output.ends import end
from study.records.store import connect, find_store
from tests.study.conftest import TINY
from tests.waits import end_of, wait_until
from trainers.data.cache import DataError

ASCII_ALONE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

COMMANDS = (
    *("list", "check", "plan", "launch", "status"),
    *("evaluate", "diagnose", "report", "ui", "schema"),
)
MISTAKES = [
    pytest.param(
        ("launch", "tinny"), "studies.yaml: has no study tinny; did you mean tiny?", id="study"
    ),
    pytest.param(("status", "other"), "studies.yaml: has no study other; it has tiny", id="other"),
    pytest.param(
        *(("evaluate", "tinny"), "studies.yaml: has no study tinny; did you mean tiny?"),
        id="study to evaluate",
    ),
    pytest.param(("plan", "tiny", "--file", "no.yaml"), "no.yaml", id="file"),
    pytest.param(("check", "--file", "."), ".", id="directory"),
    pytest.param(
        ("plan", "Tiny"), "studies.yaml: has no study Tiny; did you mean tiny?", id="another case"
    ),
]
USAGE = [
    pytest.param(("plam", "tiny"), "No such command 'plam'. Did you mean 'plan'?", id="command"),
    pytest.param(("report", "--replase"), "; did you mean --replace?", id="option"),
    pytest.param(("ui", "--port", "99999"), "--port", id="port"),
]


def run(project: Any, *words: str, **environment: str) -> tuple[int, str]:
    """Run `study` to its end as `project.run` does, but in this process, without its imports."""
    written = BytesIO()
    stream = TextIOWrapper(written, encoding="utf-8", newline="", write_through=True)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"COLUMNS": "200", **environment}.items():
            patch.setenv(name, value)
        patch.chdir(project.folder)
        patch.setattr(sys, "argv", ["study", *words])
        for name in ("stdout", "stderr"):
            patch.setattr(sys, name, stream)
        with pytest.raises(SystemExit) as ended:
            main()
    code = ended.value.code
    assert isinstance(code, int)
    return code, written.getvalue().decode()


def test_list_and_check_name_every_study(project: Any) -> None:
    assert project.run("list") == (
        0,
        "tiny  12 trials (6 searched)  "
        "Twelve cells of a network too small to learn, for tests of the machinery.\n",
    )
    code, output = project.run("check")
    assert (code, output) == (0, "studies.yaml: tiny: no mistakes; next: study plan tiny\n")


@pytest.mark.parametrize(("words", "expected"), MISTAKES)
def test_mistake_is_one_line_and_exit_code_two(
    project: Any, words: tuple[str, ...], expected: str
) -> None:
    code, output = run(project, *words)
    assert code == 2
    assert output.startswith(expected)
    assert output.count("\n") == 1


@pytest.mark.parametrize(("words", "expected"), USAGE)
def test_misspelled_command_or_option_gets_the_one_that_was_meant(
    project: Any, words: tuple[str, ...], expected: str
) -> None:
    code, output = run(project, *words)
    assert (code, "Traceback" in output) == (2, False), output
    assert expected in output.splitlines()[-1]


def test_command_in_capitals_is_the_command(project: Any) -> None:
    assert run(project, "LIST")[0] == 0


def test_only_study_of_a_file_need_not_be_named(project: Any) -> None:
    assert run(project, "plan") == run(project, "plan", "tiny")
    project.write(project.file.read_text() + TINY.replace("tiny:", "second:"))
    for command in ("plan", "launch", "report"):
        assert run(project, command) == (
            2,
            "studies.yaml: has several studies; name one of tiny, second\n",
        )


def test_file_is_named_before_the_command_or_after_it(project: Any) -> None:
    named = str(project.file.rename(project.folder / "other.yaml"))
    code, output = run(project, "plan", "--file", named)
    assert code == 0, output
    assert output.endswith(f"next: study launch tiny --file {named}\n")
    assert run(project, "--file", named, "plan", "tiny") == (code, output)
    assert run(project, "--file", "no.yaml", "PLAN", "--file", named) == (code, output)
    code, output = run(project, "--file", "no.yaml", "plan")
    assert (code, output) == (2, "no.yaml: there is no such file; check its name and folder\n")


def test_version_is_the_installed_one(project: Any) -> None:
    assert run(project, "--version") == (0, f"rhoeps {version('rhoeps')}\n")


@pytest.mark.parametrize("columns", ["80", "200"])
def test_help_tells_of_each_command_in_whole_lines(project: Any, columns: str) -> None:
    code, output = run(project, "--help", COLUMNS=columns)
    assert code == 0
    assert max(map(len, output.splitlines())) <= 80
    for name in COMMANDS:
        [line] = re.findall(rf"^  {name} +(.+)$", output, re.MULTILINE)
        assert line.endswith("."), line
        assert not line.endswith(("..", "…")), line


def test_large_launch_asks_on_a_terminal_and_needs_yes_elsewhere(project: Any) -> None:
    project.write(project.file.read_text().replace("seeds: [0, 1]", f"seeds: {list(range(200))}"))
    assert run(project, "launch") == (
        2,
        "tiny: 1,200 trials of unknown length: must be confirmed, but there is no terminal; "
        "add --yes\n",
    )
    assert not (project.folder / "runs").exists()
    project.write(project.file.read_text().replace("batch_size: 250", "batch_size: 333"))
    code, output = run(project, "launch", "--yes")
    assert code == 2
    assert "to run: 1200 trials" in output
    assert "must not leave a last batch of one" in output.splitlines()[-1]


@pytest.mark.parametrize("answer", ["\n", "n\n", "\x04"], ids=["enter", "no", "end"])
def test_large_launch_is_not_begun_without_a_yes(project: Any, answer: str) -> None:
    project.write(project.file.read_text().replace("seeds: [0, 1]", f"seeds: {list(range(200))}"))
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "study", "launch"]
    ends = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    with subprocess.Popen(words, cwd=project.folder, **ends) as process:  # type: ignore[call-overload]
        os.close(theirs)
        output = ""
        while "[y/N]" not in output:
            output += os.read(ours, 1000).decode()
        os.write(ours, answer.encode())
        assert process.wait(60) == 2
    output += os.read(ours, 1000).decode()
    os.close(ours)
    assert "Launch 1,200 trials of unknown length? [y/N] " in output
    assert output.endswith("nothing was launched\r\n")
    assert not (project.folder / "runs").exists()


def test_outside_a_project_the_way_to_one_is_told_and_the_example_works(project: Any) -> None:
    project.file.unlink()
    code, output = run(project, "plan")
    assert (code, output.count("\n")) == (2, 1)
    assert output.startswith(f"studies.yaml: there is no such file in {project.folder}; change to ")
    assert ", name a file with --file, or " in output
    assert output.endswith("or write one like the example of study check --help\n")
    code, output = run(project, "check", "--help")
    lines = output.splitlines()
    start = lines.index("  first:")
    project.write("\n".join(line.removeprefix("  ") for line in lines[start:]))
    code, output = run(project, "check")
    assert (code, output) == (0, "studies.yaml: first: no mistakes; next: study plan first\n")


def test_check_refuses_what_a_launch_would_refuse(project: Any) -> None:
    project.write(project.file.read_text().replace("name: digits", "name: npz:none.npz"))
    code, output = run(project, "check")
    assert (code, output.count("\n")) == (2, 1), output
    assert output.startswith(f"studies.yaml:3: tiny.data.name: {project.folder}/none.npz: must be")


STARTS = {
    "a file": (
        ("standard: {}", "standard: {start: none.pt}"),
        "9: tiny.methods.standard.start: must name a file that can be read (No such file or ",
    ),
    "another study": (
        ("  methods:", "  start: {from: other, method: sam}\n  methods:"),
        "8: tiny.start: study other has no finished trial; study launch other first",
    ),
}


@pytest.mark.parametrize("command", ["check", "plan", "launch", "status", "evaluate", "report"])
@pytest.mark.parametrize(("edit", "told"), STARTS.values(), ids=STARTS)
def test_wrong_start_is_told_with_its_line_by_every_command(
    project: Any, command: str, edit: tuple[str, str], told: str
) -> None:
    project.write(project.file.read_text().replace(*edit))
    code, output = run(project, command)
    line = output.splitlines()[0].removeprefix("warning: ")  # of check, for another study
    assert line.startswith(f"studies.yaml:{told}"), output
    assert code == (0 if output.startswith("warning: ") else 2), output


def test_launch_tells_of_weights_of_another_network_at_the_line_of_their_start(
    project: Any,
) -> None:
    torch.save({"conv.weight": torch.ones(3)}, project.folder / "other.pt")
    text = project.file.read_text()
    project.write(text.replace("    standard: {}", "    standard: {start: other.pt}"))
    code, output = project.run("launch", "--yes")
    assert (code, "Traceback" in output) == (2, False), output
    place = "studies.yaml:9: tiny.methods.standard.start: "
    told = output.splitlines()[-1]
    assert told.startswith(f"{place}must hold the weights of this network, but lacks "), output


ENDS = [
    pytest.param(DataError("no data"), 2, id="what is needed is missing"),
    pytest.param(OSError(errno.ENOSPC, "No space left on device"), 1, id="the work failed"),
]


@pytest.mark.parametrize(("error", "code"), ENDS)
def test_exit_code_tells_refused_from_failed(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> Any:
        raise error

    with pytest.raises(typer.Exit) as ended:
        end("plan", work, as_json=False)
    assert ended.value.exit_code == code
    assert capsys.readouterr().err.count("\n") == 1


def test_exit_codes_are_documented(project: Any) -> None:
    _, output = run(project, "--help")
    text = " ".join(output.split())
    for told in ("0 done", "1 the work failed", "2 refused before it began", "130 stopped"):
        assert told in text


def test_all_mistakes_of_a_file_are_told_at_once(project: Any) -> None:
    project.write(
        project.file.read_text()
        .replace("seeds: [0, 1]", "seeds: []")
        .replace("rho: [0.1", "rho: [-1")
    )
    code, output = run(project, "launch", "tiny")
    assert code == 2
    places = [line.split(": ")[1] for line in output.splitlines()]
    assert sorted(places) == ["tiny.methods.sam.weights.sam.rho", "tiny.seeds"]


def test_plan_of_a_fresh_study_starts_nothing_and_writes_nothing(project: Any) -> None:
    code, output = run(project, "plan", "tiny")
    assert code == 0, output
    assert re.search(r"sam_at +· +· +· +· +6\n", output)
    assert "to run: 12 trials of 1 CPU, 0 GPU each" in output
    assert "time: unknown" in output
    assert output.endswith("next: study launch tiny\n")
    assert [path.name for path in project.folder.iterdir()] == ["studies.yaml"]


def test_output_is_plain_where_the_terminal_knows_ascii_alone(project: Any) -> None:
    project.write(project.file.read_text().replace("about: Twelve", "about: ε – twelve ₪ …"))
    code, output = project.run("plan", "tiny", **ASCII_ALONE)
    assert code == 0, output
    assert "standard     .        2" in output
    code, output = project.run("list", **ASCII_ALONE)
    assert code == 0, output
    assert "epsilon - twelve ? ..." in output


def test_names_in_any_script_are_found_and_kept_where_the_terminal_knows_ascii_alone(
    project: Any,
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    arrays = {"train_x": images, "train_y": np.arange(40) % 2, "test_y": np.arange(10) % 2}
    np.savez(project.folder / "données.npz", test_x=images[:10], **arrays)
    text = project.file.read_text().replace("name: digits", "name: npz:données.npz")
    named = project.folder / "étude.yaml"
    named.write_text(text.replace("about: Twelve", "about: ₪ ε"), encoding="utf-8")
    code, output = project.run("list", "--json", "--file", named.name, **ASCII_ALONE)
    assert code == 0, output
    [about] = (one["about"] for one in json.loads(output.splitlines()[-1])["result"]["studies"])
    assert about.startswith("₪ ε")
    code, output = project.run("plan", "--json", "--file", named.name, **ASCII_ALONE)
    assert code == 0, output
    assert json.loads(output.splitlines()[-1])["next"] == "study launch tiny --file étude.yaml"


def test_status_and_report_before_any_launch_are_truthful(project: Any) -> None:
    code, output = run(project, "status", "tiny")
    assert code == 0, output
    assert "12 trials: 0 done, 0 running" in output
    code, output = run(project, "report", "tiny")
    assert code == 1, output
    hint, last = output.splitlines()
    assert hint == "tiny: no trial has a result yet; to see why, run: study plan tiny"
    assert last == "open: reports/tiny/index.html"
    assert (project.folder / "reports" / "tiny" / "index.html").is_file()


def test_gpu_is_a_warning_of_check_and_an_error_of_what_needs_it(project: Any) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    project.write(project.file.read_text() + "  resources: {gpu: 0.5}\n")
    code, output = run(project, "check")
    assert code == 0
    place = "warning: studies.yaml:16: tiny.resources.gpu"
    rule = "must not exceed the GPUs of the machine, got 0.5, and it has 0; "
    assert output.startswith(f"{place}: {rule}")
    code, output = run(project, "launch", "tiny")
    assert code == 2, output
    assert output.startswith("tiny.resources.gpu: must not exceed the GPUs of the machine")


def test_check_warns_of_data_that_are_not_what_they_seem(project: Any) -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (40, 8, 8), dtype=np.uint8)
    labels = np.arange(40) % 2
    arrays = {"train_x": images, "train_y": labels, "test_y": labels[:6]}
    np.savez(project.folder / "own.npz", test_x=images[4:10], **arrays)
    studies = project.file.read_text().replace("name: digits", "name: npz:own.npz")
    project.write(studies.replace("tiny:", "first:") + studies.replace("tiny:", "second:"))
    code, output = run(project, "check")
    assert code == 0
    lines = output.splitlines()
    assert lines[-1].startswith("studies.yaml: first, second: no mistakes")
    for name in ("first", "second"):
        (line,) = (line for line in lines if line.startswith(f"warning: {name}.data: "))
        assert "6 of the 6 test images are also training or validation images" in line
        assert "the first is test image 0" in line


def test_ui_without_runs_says_what_to_do(project: Any) -> None:
    code, output = run(project, "ui")
    assert code == 2
    assert "there are no runs yet; next: study launch tiny" in output


def test_ui_that_is_stopped_while_it_imports_mlflow_ends_in_order(project: Any) -> None:
    (project.folder / "runs").mkdir()
    connect(find_store(project.folder))
    ui = project.start("ui")
    loaded = Path(f"/proc/{ui.pid}/maps")
    wait_until(lambda: "/sqlalchemy/" in loaded.read_text(), ui)  # of MLflow's first imports
    ui.terminate()
    assert end_of(ui) == "interrupted by SIGTERM; run the same command again\n"
    assert ui.returncode == 128 + signal.SIGTERM


def test_damaged_store_is_said_without_a_traceback(project: Any) -> None:
    (project.folder / "runs").mkdir()
    (project.folder / "runs" / "mlflow.db").write_bytes(b"not a database" * 100)
    code, output = run(project, "status", "tiny")
    assert code == 2
    assert "cannot be used" in output
    assert "Traceback" not in output


def test_help_documents_every_command_with_an_example(project: Any) -> None:
    code, output = run(project, "--help")
    assert code == 0
    for command in COMMANDS:
        assert re.search(rf"^ +{command}\b", output, re.MULTILINE), command
        code, text = run(project, command, "--help")
        assert code == 0
        assert f"Example: study {command}" in text


def test_readme_documents_every_command_and_every_study_checks(project: Any) -> None:
    root = Path(__file__).parents[2]
    readme = (root / "README.md").read_text(encoding="utf-8")
    for command in COMMANDS:
        assert f"study {command}" in readme, command
    code, output = run(project, "check", "--file", str(root / "studies.yaml"))
    assert code == 0, output


def test_secret_of_the_store_is_never_shown(project: Any) -> None:
    uri = "http://user:secret@127.0.0.1:9"
    code, output = project.run(
        "status", "tiny", MLFLOW_TRACKING_URI=uri, MLFLOW_HTTP_REQUEST_MAX_RETRIES="0"
    )
    assert code == 2, output
    assert "secret" not in output
