"""What the pages on own parts say: their files run, and their story is true."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from study.precheck import Machine, foresee
from study.spec import read_studies

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ("own_network.md", "own_method.md", "own_data.md")
MACHINE = Machine(cpus=2, gpus=0, free_bytes=2**40)


def write_files(page: str, folder: Path) -> list[str]:
    """Write each block of a page that begins with a file's name; return the names."""
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:python|yaml)\n# ([\w.]+)\n(.*?)```", text, re.DOTALL)
    for name, content in blocks:
        (folder / name).write_text(content, encoding="utf-8")
    return [name for name, _ in blocks]


@pytest.mark.parametrize("page", PAGES)
def test_the_files_of_a_page_keep_their_contract(page: str, tmp_path: Path) -> None:
    studies = [name for name in write_files(page, tmp_path) if name.endswith(".yaml")]
    assert studies
    for name in studies:
        specs = read_studies(tmp_path / name)
        assert foresee(specs.values(), tmp_path / name, MACHINE).mistakes == ()


def test_the_file_of_the_story_is_of_about_forty_lines(tmp_path: Path) -> None:
    write_files("own_method.md", tmp_path)
    assert len((tmp_path / "my_parts.py").read_text(encoding="utf-8").splitlines()) <= 42


def study(folder: Path, *words: str) -> str:
    command = [sys.executable, "-m", "study", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_an_own_method_is_reported_beside_adversarial_training_and_runs_again_when_edited(
    tmp_path: Path,
) -> None:
    write_files("own_method.md", tmp_path)
    file = tmp_path / "my_parts.py"
    assert "no mistakes" in study(tmp_path, "check", "mine")
    assert "mine: 8 of 8 trials done" in study(tmp_path, "launch", "mine")
    study(tmp_path, "report", "mine")
    findings = (tmp_path / "reports" / "mine" / "findings.md").read_text(encoding="utf-8")
    assert re.search(r"\*\*Primary contrast.\*\* “layer\\_sam” and “at”", findings)
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("1e-12", "1e-9"), encoding="utf-8")
    plan = study(tmp_path, "plan", "mine")
    assert re.search(r"layer_sam +· +4 ", plan), plan
    assert re.search(r"at +2 +· ", plan), plan
    assert "4 missing: finished under other settings: my_parts.py changed since" in plan
