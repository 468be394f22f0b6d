"""What the README says, run."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import study
from tests.study.notebook.conftest import train_cells

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TINY = """\
digits:
  data: {name: digits, samples: 100, test_samples: 60}
  model: {name: small_cnn, width: 2}
  training: {epochs: 1, batch_size: 50, learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0,
             schedule: cosine}
  seeds: [0]
  methods: {standard: {}, sam: {weights: {sam: {rho: [0.1]}}}}
  evaluation: {norm: linf, radii: [0.1], objective_radius: 0.1,
               attack: {pgd: {steps: 1, restarts: 1}}}
"""


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_study_shown_is_the_study_shipped() -> None:
    shipped = (ROOT / "studies.yaml").read_text(encoding="utf-8")
    assert block("yaml") in shipped


def test_readme_is_short_and_its_picture_is_there() -> None:
    assert len(README.splitlines()) < 120
    for picture in re.findall(r"!\[[^]]+\]\(([^)]+)\)", README):
        assert (ROOT / picture).is_file(), picture


def test_quoted_sentence_is_that_of_the_recorded_demo() -> None:
    """`.readme/findings.md` is from the run of the demo that drew the picture."""
    recorded = (ROOT / ".readme" / "findings.md").read_text(encoding="utf-8")
    quoted = " ".join(re.findall(r"^> (.*)$", README, re.MULTILINE))
    assert len(quoted) > 60
    assert quoted in " ".join(recorded.replace("\\", "").split())


def test_the_demo_prints_what_the_readme_and_its_page_say() -> None:
    printed = (ROOT / "docs" / "demo.txt").read_text(encoding="utf-8")
    found = re.search(r"`(digits: \d+ of \d+ trials done[^`]*)`", README)
    assert found is not None
    assert found[1] in printed
    assert "reports/digits/index.html" in printed


@pytest.mark.slow
def test_notebook_steps_run_as_they_are_written(tmp_path: Path) -> None:
    """Its launch finds every trial done; that of docs/loading.md, in a test of its own, none."""
    (tmp_path / "studies.yaml").write_text(TINY, encoding="utf-8")
    train_cells(study.open("digits", folder=tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", block("python")], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "reports" / "digits" / "index.html").is_file()


def test_make_targets_of_the_readme_exist() -> None:
    make = shutil.which("make")
    assert make is not None
    for target in re.findall(r"^    make (\w+)", README, re.MULTILINE):
        asked = subprocess.run([make, "-n", target], cwd=ROOT, capture_output=True, text=True)
        assert asked.returncode == 0, asked.stderr
