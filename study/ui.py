"""The MLflow UI on a project's store: only for this machine, until Ctrl-C."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from study.launch.interrupts import Interrupted, Interrupts
from study.records.runs import find_study
from study.records.store import TrackingError, connect, find_store, store_exists
from study.records.view import home_address, view_address

HOST = "127.0.0.1"
START_SECONDS = 120.0
PORTS_TRIED = 50


Announce = Callable[[str, dict[str, str]], None]


def print_addresses(address: str, studies: Mapping[str, str]) -> None:
    """Print the address of the UI, and those of the studies' runs."""
    print(f"MLflow UI: {address}")
    for name, place in studies.items():
        print(f"  {name}: {place}")
    print("press Ctrl-C to stop it", flush=True)


def serve_ui(
    project: Path, studies: Sequence[str], first_port: int, announce: Announce = print_addresses
) -> int:
    """Start the UI, announce its address and that of each study's runs, and wait until it ends.

    Returns the exit code. Raises `TrackingError` if there is nothing to show or no UI can start.
    """
    store = find_store(project)
    if store.uri.startswith(("http://", "https://")):
        print(f"the runs are on the server {store.shown}: open that address in a browser")
        return 0
    if not store_exists(store):
        raise TrackingError(
            f"{store.shown}: there are no runs yet; next: study launch {studies[0]}"
        )
    client = connect(store)
    found = [(name, find_study(client, name)) for name in studies]
    address = f"http://{HOST}:{free_port(first_port)}"
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", store.uri]
    command += ["--host", HOST, "--port", address.rpartition(":")[2], "--workers", "1"]
    # Jobs are for the generative-AI pages, and start eight processes.
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ}
    log = project / "runs" / "ui.log"
    with log.open("w", encoding="utf-8") as output, Interrupts():
        server = subprocess.Popen(
            command, env=environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            _await(server, address, log)
            announce(
                f"{address}/{home_address()}",
                {name: f"{address}/{view_address(runs)}" for name, runs in found if runs},
            )
            return server.wait()
        except Interrupted as stop:
            return 0 if stop.signal == signal.SIGINT else 128 + int(stop.signal)
        finally:
            _end(server)


def _end(server: "subprocess.Popen[bytes]") -> None:
    """End the server and all its child processes, which are in a process group of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(timeout=10)


def free_port(first: int) -> int:
    """Return the first free port on this machine from `first` upwards."""
    for port in range(first, first + PORTS_TRIED):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise TrackingError(
        f"ports {first} to {first + PORTS_TRIED - 1} are all in use; choose another with --port"
    )


def _await(server: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    """Wait until the server answers."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if server.poll() is not None:
            raise TrackingError(f"the MLflow UI did not start; its log is {log}")
        try:
            with urlopen(f"{address}/health", timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.3)
    raise TrackingError(f"the MLflow UI does not answer; its log is {log}")
