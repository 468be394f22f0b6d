"""What a search spends by the clock, in its quick form, and the table of the documentation."""

import json
import sys
from pathlib import Path

import pytest
import search_time

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_ways_are_measured_by_what_they_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["search_time.py", "--quick", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    search_time.main()
    found = json.loads((tmp_path / "search_time.json").read_text(encoding="utf-8"))
    every, other = found["ways"].values()
    num_cells = 3 * search_time.QUICK_TRIALS
    assert (every["finished"], every["stopped"]) == (num_cells, 0)
    assert every["epochs"] == num_cells * search_time.QUICK_EPOCHS
    assert search_time.QUICK_TRIALS <= other["finished"] <= num_cells
    assert other["ratio"]["median"] > 0
    assert (tmp_path / "search_time.txt").read_text(encoding="utf-8") == capsys.readouterr().out


def test_the_table_of_the_documentation_is_what_was_measured() -> None:
    found = json.loads((ROOT / "benchmarks" / "search_time.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "spending_less.md").read_text(encoding="utf-8")
    most = found["ways"][search_time.ALL]["epochs"]
    assert list(found["ways"]) == list(search_time.WAYS)
    for way, one in found["ways"].items():
        name = way.replace("keep 0.7", "`keep: 0.7`").replace("keep 0.5", "`keep: 0.5`")
        ratio = "" if way == search_time.ALL else f"×{one['ratio']['median']:.2f} "
        cells = f"| {name} | {one['epochs'] / most:.1%} | {one['seconds'][0]:.1f} | {ratio}|\n"
        assert cells in page, cells
