"""Calls to a tracking server that goes away and comes back; the server is a real socket."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from study.records import outages
from study.records.outages import PatientClient, connect_patiently, is_outage
from study.records.runs import TrialRun, open_study
from study.records.store import Store, TrackingError, connect, silence

TAGS = {"study": "s", "cell": "c", "method": "m", "block": "", "number": "-1", "config": "{}"}


class Down:
    """A client whose first calls fail as they do while a server is away."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures, self.error, self.calls = failures, error, 0

    def set_tag(self, *arguments: Any) -> tuple[Any, ...]:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return arguments


@pytest.fixture
def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "AGAIN_SECONDS", 0.01)


@pytest.mark.usefixtures("quick")
def test_call_is_repeated_until_the_server_is_back() -> None:
    server = Store(uri="http://127.0.0.1:9", artifacts="")
    down = Down(3, MlflowException("API request failed with exception"))
    client: Any = PatientClient(down, server)  # type: ignore[arg-type]
    assert client.set_tag("run", "name", "value") == ("run", "name", "value")
    assert down.calls == 4


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("store", "error", "is_hurried"),
    [
        (Store(uri="sqlite:////x.db", artifacts="/x"), MlflowException("disk full"), False),
        (Store(uri="http://h:1", artifacts=""), OSError("the worker's disk is full"), False),
        (Store(uri="http://h:1", artifacts=""), MlflowException("no", error_code=1000), False),
        (Store(uri="http://h:1", artifacts=""), MlflowException("away"), True),
    ],
    ids=["a file", "another failure", "a wrong request", "a launch that is stopped"],
)
def test_call_that_time_will_not_mend_is_made_once(
    store: Store, error: Exception, is_hurried: bool
) -> None:
    down = Down(9, error)
    client: Any = PatientClient(down, store, lambda: is_hurried)  # type: ignore[arg-type]
    with pytest.raises(type(error)):
        client.set_tag("run", "name", "value")
    assert down.calls == 1


def test_outage_is_told_from_a_wrong_request(free_port: int, monkeypatch: Any) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(MlflowException) as refused:
        MlflowClient(f"http://127.0.0.1:{free_port}").search_experiments()
    assert is_outage(refused.value)
    assert not is_outage(ValueError("ours"))


def test_server_that_nobody_hears_is_said_within_seconds_and_without_its_secret(
    free_port: int,
) -> None:
    store = Store(uri=f"http://me:secret@127.0.0.1:{free_port}", artifacts="")
    with pytest.raises(TrackingError) as said:
        connect(store)
    assert f"no server answers at http://***@127.0.0.1:{free_port} (Connection" in str(said.value)
    assert "secret" not in str(said.value)


def test_files_and_servers_behind_a_proxy_are_taken_to_answer(
    free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert silence(Store(uri="sqlite:////nowhere.db", artifacts="")) == ""
    store = Store(uri=f"http://127.0.0.1:{free_port}", artifacts="")
    assert silence(store) == "Connection refused"
    monkeypatch.setenv("http_proxy", "http://proxy:1")
    monkeypatch.setenv("no_proxy", "")
    assert silence(store) == ""


def test_worker_waits_for_a_server_that_comes_back(
    free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Empty(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"experiments": []}')

        do_POST = do_GET  # noqa: N815 - the library's name

        def log_message(self, *arguments: Any) -> None:
            pass

    waits: list[float] = []
    server: list[HTTPServer] = []

    def come_back(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            server.append(HTTPServer(("127.0.0.1", free_port), Empty))
            threading.Thread(target=server[0].serve_forever, daemon=True).start()

    monkeypatch.setattr(outages.time, "sleep", come_back)
    client: Any = connect_patiently(Store(uri=f"http://127.0.0.1:{free_port}", artifacts=""))
    assert client.search_experiments() == []
    assert waits == [outages.AGAIN_SECONDS] * 3
    server[0].shutdown()
    server[0].server_close()


def test_epochs_are_held_back_while_the_server_is_away_and_all_written_later(
    store: Store, client: Any, read: Any
) -> None:
    away = [True]
    spec = read().model_copy(update={"name": "held"})
    runs = open_study(client, store, spec, {})
    run = TrialRun(client, runs, "a run", TAGS, {}, lambda: away[0])
    for epoch in (1, 2):
        run.log({"loss": 1 / epoch}, epoch, flush_seconds=0)
    assert client.get_metric_history(run.id, "loss") == []
    away[0] = False
    run.log({"loss": 0.1}, 3, flush_seconds=0)
    assert [point.step for point in client.get_metric_history(run.id, "loss")] == [1, 2, 3]
    run.kill("done")
