"""Reports are filed in MLflow by a process of their own."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from study.records.runs import open_study
from study.records.store import SQLITE, Store, TrackingError, find_store
from study.report.filing import Entry, Filing


def write_report(folder: Path) -> Path:
    folder.mkdir()
    (folder / "index.html").write_text("<p>report</p>", encoding="utf-8")
    return folder


def test_report_is_filed_with_every_study_that_was_launched(
    store: Store, client: Any, tmp_path: Path, read: Any
) -> None:
    spec = read().model_copy(update={"name": "filed"})
    runs = open_study(client, store, spec, {})
    entries = [
        Entry(study="filed", place="report", note="What was found: ε."),
        Entry(study="never launched", place="report", note="Nothing."),
    ]
    with Filing(store) as filing:
        [address] = filing.file(write_report(tmp_path / "a report"), entries)
    assert f"runs/{runs.parent}/artifacts/report/index.html?" in address
    assert [item.path for item in client.list_artifacts(runs.parent, "report")] == [
        "report/index.html"
    ]
    note = client.get_run(runs.parent).data.tags["mlflow.note.content"]
    assert note.splitlines()[-1] == "What was found: ε."


def test_store_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    store = find_store(tmp_path)
    path = Path(store.uri.removeprefix(SQLITE))
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 100)
    with Filing(store) as filing, pytest.raises(TrackingError, match="cannot be used"):
        filing.file(tmp_path, [Entry(study="one", place="report", note="")])


def test_process_that_is_lost_is_said(store: Store, tmp_path: Path) -> None:
    with Filing(store) as filing:
        os.kill(filing._process.pid, signal.SIGKILL)
        with pytest.raises(TrackingError, match=r"ended with code -9; run the same command again"):
            filing.file(tmp_path, [Entry(study="one", place="report", note="")])


def test_nothing_is_left_of_a_report_that_fails(store: Store) -> None:
    def fail() -> None:
        with Filing(store) as filing:
            processes.append(filing._process)
            raise ValueError("no report")

    processes: list[Any] = []
    with pytest.raises(ValueError, match="no report"):
        fail()
    assert processes[0].poll() == -signal.SIGKILL
