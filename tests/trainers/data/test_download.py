"""Tests of archives that are fetched once, whole, and by one process at a time."""

import contextlib
import hashlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.waits import wait_until
from trainers.data import published as download
from trainers.data.cache import DataError
from trainers.data.published import Archive, alone, data_root, fetch

CONTENT = bytes(range(256)) * 2000


class Server:
    """A server on this machine: `answers` by path; `asked`, the paths in order."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.cut = 0
        """Bytes at the end that are promised and never sent."""
        self.waits = threading.Event()
        """Nothing is answered before it is set."""
        self.waits.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                outer.waits.wait()
                with contextlib.suppress(ConnectionError):  # of who did not wait
                    self.answer(outer.answers.get(self.path))

            def answer(self, answer: bytes | None) -> None:
                self.send_response(404 if answer is None else 200)
                content = answer or b""
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) - outer.cut])

            def log_message(self, *arguments: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def close(self) -> None:
        self.waits.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    server.answers["/set.bin"] = CONTENT
    yield server
    server.close()


@pytest.fixture
def closed() -> str:
    """The address of a server that is gone."""
    server = Server()
    url = server.url("/set.bin")
    server.close()
    return url


def archive(*urls: str, path: str = "raw/set.bin", content: bytes = CONTENT) -> Archive:
    return Archive(path, hashlib.md5(content).hexdigest(), urls)


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_an_archive_is_fetched_once(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = [archive(server.url("/set.bin"))]
    fetch("set", wanted, tmp_path)
    assert (tmp_path / "raw" / "set.bin").read_bytes() == CONTENT
    place = tmp_path / "raw"
    assert capsys.readouterr().err == f"downloading set.bin (1 MB) to {place}\n"
    fetch("set", wanted, tmp_path)
    assert server.asked == ["/set.bin"]
    assert files(tmp_path) == ["raw/set.bin"]


def test_a_person_sees_how_far_a_download_is(
    server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(download, "SHOWN_SECONDS", -1.0)
    fetch("set", [archive(server.url("/set.bin"))], tmp_path)
    shown = capsys.readouterr().err
    assert shown.endswith("100%\n")
    assert [part.rpartition(": ")[2] for part in shown.split("\r")[1:]] == ["51%", "100%\n"]


def test_an_archive_placed_by_hand_needs_no_server(closed: str, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "set.bin").write_bytes(CONTENT)
    fetch("set", [archive(closed)], tmp_path)


def test_a_damaged_archive_is_replaced(server: Server, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "set.bin").write_bytes(CONTENT[:-1])
    fetch("set", [archive(server.url("/set.bin"))], tmp_path)
    assert (tmp_path / "raw" / "set.bin").read_bytes() == CONTENT


def test_the_next_mirror_is_tried(server: Server, closed: str, tmp_path: Path) -> None:
    urls = (closed, server.url("/elsewhere"), server.url("/set.bin"))
    fetch("set", [archive(*urls)], tmp_path)
    assert server.asked == ["/elsewhere", "/set.bin"]


def damaged(server: Server) -> None:
    server.answers["/set.bin"] = CONTENT[::-1]


def absent(server: Server) -> None:
    server.answers.clear()


def cut(server: Server) -> None:
    server.cut = 1000


def silent(server: Server) -> None:
    server.waits.clear()


FAILURES = {
    damaged: r"came damaged or cut, with MD5 \w{32}",
    absent: "HTTP 404",
    cut: "came damaged or cut, .*",
    silent: "timed out",
}


@pytest.mark.parametrize(
    ("fail", "reason"), FAILURES.items(), ids=[fail.__name__ for fail in FAILURES]
)
def test_a_failing_server_is_one_line_that_says_what_to_do(
    fail: Callable[[Server], None],
    reason: str,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.3)
    fail(server)
    with pytest.raises(DataError, match=rf"{server.url('/set.bin')} \(({reason})\); ") as caught:
        fetch("set", [archive(server.url("/set.bin"))], tmp_path)
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == []


def test_without_a_network_the_line_names_all_that_is_missing(
    closed: str, server: Server, tmp_path: Path
) -> None:
    there = archive(server.url("/set.bin"))
    first, second = (archive(closed, closed, path=f"raw/{n}.gz", content=b"") for n in "ab")
    with pytest.raises(DataError) as caught:
        fetch("set", [there, first, second], tmp_path)
    message = str(caught.value)
    assert message.startswith("data: set is not there and could not be downloaded from ")
    assert message.count(f"{closed} (") == 2
    assert f"put a.gz (MD5 {first.md5}), b.gz (MD5 {second.md5}) into {tmp_path}/raw" in message
    assert "RHOEPS_DATA" in message
    assert "\n" not in message
    assert files(tmp_path) == ["raw/set.bin"]


def test_a_full_disk_is_one_line(server: Server, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "set.bin.part").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"cannot be written \(No space left .*\); free space") as e:
        fetch("set", [archive(server.url("/set.bin"))], tmp_path)
    assert "\n" not in str(e.value)


def test_a_place_that_cannot_be_written_is_one_line(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    root = tmp_path / "file" / "data"
    for attempt in (
        lambda: fetch("set", [archive(server.url("/set.bin"))], root),
        lambda: alone(root / "set.lock", "waiting").__enter__(),
    ):
        with pytest.raises(DataError, match=r"file/data: cannot be written .* set RHOEPS_DATA"):
            attempt()


def test_the_data_root_is_the_environments_or_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RHOEPS_DATA", raising=False)
    assert data_root(tmp_path) == tmp_path
    monkeypatch.setenv("RHOEPS_DATA", "~/data")
    assert data_root(tmp_path) == Path.home() / "data"


LOADER = """
import sys
from pathlib import Path
import numpy as np
from trainers.data.cache import Decoded
from trainers.data.published import Archive, Source, load_source

def decode(root, place):
    content = np.frombuffer((root / "set.bin").read_bytes(), np.uint8)
    with (root / "decoded").open("a") as file:
        file.write("once ")
    images, labels = content.reshape(-1, 1, 16, 16), np.zeros(2000, np.int64)
    return Decoded(images, labels, images, labels, ("a",))

url, md5, root = sys.argv[1:]
source = Source((Archive("set.bin", md5, (url,)),), decode)
print(len(load_source("cifar10", source, Path(root)).train_images))
"""


def test_processes_that_load_at_once_download_and_decode_once(
    server: Server, tmp_path: Path
) -> None:
    server.waits.clear()
    words = [server.url("/set.bin"), archive().md5, str(tmp_path)]
    told = tmp_path / "told"
    with told.open("w") as errors:
        running = [
            subprocess.Popen(
                [sys.executable, "-c", LOADER, *words],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
            for _ in range(3)
        ]
    try:
        wait_until(lambda: told.read_text().count("waiting for another process") == 2, running[0])
    finally:
        server.waits.set()
    outputs = [one.communicate()[0] for one in running]
    assert outputs == ["2000\n"] * 3, told.read_text()
    assert told.read_text().count("waiting for another process that is preparing cifar10") == 2
    assert server.asked == ["/set.bin"]
    assert (tmp_path / "decoded").read_text() == "once "
