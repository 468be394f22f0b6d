"""What the pages of docs/ say: they build, their commands exist, their files and messages too."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from analysis import analyse, read_table
from study.cli import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
COMMANDS = get_command(app).commands  # type: ignore[attr-defined]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.DOTALL)


def command_lines() -> Iterator[tuple[str, str]]:
    """Yield each `study …` of indented lines and shell scripts, with its page."""
    for page, text in PAGES.items():
        lines = re.findall(r"^ {4}(study .*)$", text, re.M)
        scripts = [script for block in blocks(page, "bash") for script in block.splitlines()]
        inside = re.findall(r"\bstudy (?:launch|report|evaluate)[^\"`\n]*", "\n".join(scripts))
        for line in (*lines, *inside):
            yield page, line.partition("#")[0].strip()


def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    words = ["-m", "sphinx", "--fail-on-warning", "--quiet", str(DOCS), str(tmp_path / "out")]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    reference = (DOCS / "generated" / "yaml.md").read_text(encoding="utf-8")
    row = r"\| `rho` \| number \|  \| Radius, l2 over all weights together"
    assert re.search(row, reference), "the docstring of a setting"


def test_every_command_and_option_exists() -> None:
    found = list(command_lines())
    assert len(found) > 10
    for page, line in found:
        _, name, *rest = line.split()
        assert name in COMMANDS, f"{page}: {line}"
        known = {option for one in COMMANDS[name].params for option in one.opts}
        for word in rest:
            assert not word.startswith("--") or word in known, f"{page}: {line}"


def test_scripts_are_valid() -> None:
    bash = shutil.which("bash")
    assert bash is not None
    scripts = blocks("slurm.md", "bash")
    assert len(scripts) == 2
    for script in scripts:
        done = subprocess.run([bash, "-n"], input=script, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "--requeue" not in script or "scontrol requeue" in script


def test_yaml_is_valid_and_the_manifest_has_a_job() -> None:
    for page in ("gpu.md", "kubernetes.md"):
        for block in blocks(page, "yaml"):
            assert yaml.safe_load(block)
    [manifest] = map(yaml.safe_load, blocks("kubernetes.md", "yaml"))
    [group] = manifest["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    [worker] = group["template"]["spec"]["containers"]
    assert {"name": "OMP_NUM_THREADS", "value": "1"} in worker["env"]
    assert manifest["kind"] == "RayJob"
    assert "study launch NAME --yes" in manifest["spec"]["entrypoint"]


def test_messages_are_those_of_the_sources() -> None:
    texts = []
    for package in ("study", "trainers", "analysis"):
        for path in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            texts += [
                node.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            ]
    everything = "\n".join(texts)
    listed = re.findall(r"^\| `([^`]+)` \|", PAGES["messages.md"], re.M)
    assert len(listed) > 12
    for message in listed:
        assert message in everything, message


def test_the_table_from_elsewhere_is_reported(tmp_path: Path) -> None:
    [block] = blocks("comparing.md", "text")
    name, _, content = block.partition("\n")
    table = tmp_path / name.removeprefix("# ")
    table.write_text(content, encoding="utf-8")
    analysis = analyse(read_table(table, num_test=10_000, num_classes=10), replicates=100)
    assert [one.name for one in analysis.results.references] == ["published AT"]
    assert {one.name for one in analysis.results.methods} == {"sam", "at"}


@pytest.mark.slow
def test_the_first_study_runs_as_its_page_says(tmp_path: Path) -> None:
    for language in ("python", "yaml"):
        [block] = blocks("first_study.md", language)
        name, _, content = block.partition("\n")
        (tmp_path / name.removeprefix("# ")).write_text(content, encoding="utf-8")
    lines = re.findall(r"^ {4}((?:study|python) .*)$", PAGES["first_study.md"], re.M)
    assert len(lines) == 6
    said = []
    for line in lines:
        program, *rest = line.split()
        words = ["-m", "study", *rest] if program == "study" else rest
        command = [sys.executable, *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        said.append(done.stdout)
    assert "no mistakes" in said[1]
    assert "to run: 6 trials" in said[2]
    assert "shades: 6 of 6 trials done" in said[3]
    assert (tmp_path / "reports" / "shades" / "index.html").is_file()
