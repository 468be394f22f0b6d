"""A second process that logs reports to MLflow, and imports it while the report is being written.

The processes exchange lines of JSON: first the store, then what to file; the answer is the
addresses in the UI, or an error. The second process ends when the first closes the pipe.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from study.records.configurations import ConfigurationRow, ConfigurationRuns
from study.records.runs import find_study
from study.records.store import Store, TrackingError, connect, recording
from study.records.view import framed_note, log_report


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Where a report is filed for one study."""

    study: str
    place: str
    """Folder within the artifacts of the study's parent run."""
    note: str
    """Replaces the run's note; if empty, the note stays."""
    configurations: tuple[ConfigurationRow, ...] = ()
    """What the runs of the study's configurations are to hold; without any, they stay."""
    views: Mapping[str, str] = field(default_factory=dict)
    """Tags of the experiment."""


class Filing:
    """A process that logs a report to the parent runs of its studies."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __enter__(self) -> "Filing":
        """Start the process."""
        source = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "study.report.filing"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            text=True,
            start_new_session=True,  # Ctrl-C is the first process's to handle
        )
        self._tell(asdict(self._store))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process; it has ended by itself if it has filed a report."""
        if kind is not None:
            self._process.kill()
        self._process.communicate()

    def file(self, folder: Path, entries: Sequence[Entry]) -> list[str]:
        """File a report; return its address in the UI for each study that was ever launched.

        Raises `TrackingError` if the store cannot be reached or written.
        """
        self._tell({"folder": str(folder), "entries": [asdict(entry) for entry in entries]})
        answer, _ = self._process.communicate()
        if not answer:
            code = self._process.returncode
            raise TrackingError(
                f"the report is in {folder}, but the process that files it in MLflow ended with "
                f"code {code}; run the same command again"
            )
        found = json.loads(answer)
        if "error" in found:
            raise TrackingError(found["error"])
        return list(found["addresses"])

    def _tell(self, words: dict[str, Any]) -> None:
        """Send a line. If the process has ended, the reader of its answer will notice."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(words) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass


def file_here(store: Store, folder: Path, entries: Sequence[Entry]) -> list[str]:
    """File a report as `Filing.file` does, in this process."""
    client = connect(store)
    with recording(store):
        return file_entries(client, folder, entries)


def file_entries(client: Any, folder: Path, entries: Sequence[Entry]) -> list[str]:
    """Log a report for each entry whose study was ever launched; return the addresses."""
    addresses = []
    for entry in entries:
        runs = find_study(client, entry.study)
        if runs is None:
            continue
        note = framed_note(runs, entry.place, entry.note) if entry.note else ""
        addresses.append(log_report(client, runs, folder, entry.place, note))
        for tag in entry.views.items():
            client.set_experiment_tag(runs.experiment, *tag)
        if entry.configurations:
            ConfigurationRuns(client, runs).record(entry.configurations)
    return addresses


def serve(lines: IO[str], answers: IO[str]) -> None:
    """Run the process: connect to the store in the first line, file the report in the second."""
    store = Store(**json.loads(lines.readline()))
    answer: dict[str, Any]
    try:
        client = connect(store)
        line = lines.readline()
        if not line:
            return
        job = json.loads(line)
        entries = [_entry(entry) for entry in job["entries"]]
        with recording(store):
            answer = {"addresses": file_entries(client, Path(job["folder"]), entries)}
    except TrackingError as error:
        answer = {"error": str(error)}
    answers.write(json.dumps(answer) + "\n")


def _entry(told: dict[str, Any]) -> Entry:
    rows = tuple(ConfigurationRow(**row) for row in told.pop("configurations"))
    return Entry(**told, configurations=rows)


if __name__ == "__main__":
    to_first, sys.stdout = sys.stdout, sys.stderr
    serve(sys.stdin, to_first)
