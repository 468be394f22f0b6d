"""What docs/loading.md says, run as it is written."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[3] / "docs" / "loading.md").read_text(encoding="utf-8")


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_page_has_its_blocks_and_they_are_python() -> None:
    assert len(blocks()) == 5
    for number, block in enumerate(blocks()):
        compile(block, f"block {number}", "exec")


@pytest.mark.slow
def test_page_runs_as_it_is_written(tmp_path: Path) -> None:
    checks = """
assert set(trials["run"]) >= {best["run"]} and len(trials) == 6 and len(configurations) == 3
assert logits.shape == (8, 10)
print("all of it ran")
"""
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks()) + checks],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "all of it ran"
