"""Ray's workers as forks of one process, which imports torch and MLflow for all of them.

A worker that Ray starts spends seconds of CPU time on these imports, and so does every other one.
Here the nursery, a process of the launch, does so once, while Ray starts. What Ray starts as a
worker is this file: it asks the nursery for a fork, which goes on as that worker with the asking
process's environment and files. Where no nursery answers, the process becomes the worker itself.

Run as a script, this file imports nothing but the standard library.
"""

import contextlib
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

NURSERY = "RHOEPS_NURSERY"
"""Environment variable with the address of the nursery, for the workers of one launch."""
IMPORTED = ("study.launch.trial", "mlflow.store.tracking.sqlalchemy_store")
"""All that is needed until the first epoch. Not Ray, whose C++ part reads its settings, and the job
and the raylet that it serves, from the environment as it is imported."""
RUNTIME = "--serialized-runtime-env-context"
"""The option by which Ray hands a worker what is special about its environment."""
LENGTH_BYTES = 8
STREAMS = (0, 1, 2)


@contextlib.contextmanager
def nursery(environment: Mapping[str, str], threads: int) -> Iterator[None]:
    """Start the process that forks workers, for as long as needed; `threads` are those of each.

    Where its socket cannot be made, as in a temporary folder with a long name, workers start
    without it.
    """
    source = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
    defaults = {"OMP_NUM_THREADS": str(threads), **environment}
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rhoeps-"))
        with socket.socket(socket.AF_UNIX) as server:
            try:
                server.bind(f"{folder}/nursery")
            except OSError:
                yield
                return
            server.listen()
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "study.launch.forks", str(server.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[server.fileno()],
                env={**defaults, **os.environ, "PYTHONPATH": path},
                start_new_session=True,  # Ctrl-C is the launch's to handle
            )
        # Forks are quick to start, and Ray would hold up all our threads until the first is there.
        variables = {NURSERY: f"{folder}/nursery", "RAY_prestart_worker_first_driver": "0"}
        os.environ |= variables
        try:
            yield
        finally:
            for name in variables:
                del os.environ[name]
            process.kill()
            process.communicate()


def serve(server: socket.socket, imported: Sequence[str] = IMPORTED) -> None:
    """Run the nursery: import, then fork for each worker that asks, until standard input ends."""
    for name in imported:
        import_module(name)
    gc.freeze()  # so that collections in the forks leave the shared memory shared
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the forks
    while True:
        ready, _, _ = select.select([server.fileno(), 0], [], [])
        if 0 in ready:
            return
        asking, _ = server.accept()
        if os.fork() == 0:
            server.close()
            _become_worker(asking)
        asking.close()


def _become_worker(asking: socket.socket) -> NoReturn:
    """Go on as a worker, in the place of the process that asks, and end no later than it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    length, streams, _, _ = socket.recv_fds(asking, LENGTH_BYTES, len(STREAMS))
    with asking.makefile("rb") as told:
        words, environment, folder = json.loads(told.read(int.from_bytes(length, "big")))
    for target, stream in zip(STREAMS, streams, strict=True):
        os.dup2(stream, target)
        os.close(stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    threading.Thread(target=lambda: (asking.recv(1), os._exit(1)), daemon=True).start()
    sys.argv = list(words)
    sys.path[0:0] = [str(Path(words[0]).parent)]  # as for a script
    runpy.run_path(words[0], run_name="__main__")
    sys.exit()


def start_worker(words: Sequence[str]) -> None:
    """Run as Ray's worker, whose command `words` are: as a fork of the nursery, or by itself."""
    values = [word.partition("=")[2] for word in words if word.startswith(f"{RUNTIME}=")]
    if any(value not in ("", "{}") for value in values):
        # Ray's own script, which imports Ray to read this option.
        del sys.path[0]
        runpy.run_module("ray._private.workers.setup_worker", run_name="__main__")
        return
    words = [word for word in words if not word.startswith((f"{RUNTIME}=", "--language="))]
    if NURSERY in os.environ and not words[0].startswith("-"):  # options of Python before the file
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as asking:
            asking.connect(os.environ[NURSERY])
            told = json.dumps([words, dict(os.environ), os.getcwd()]).encode()
            socket.send_fds(asking, [len(told).to_bytes(LENGTH_BYTES, "big")], STREAMS)
            asking.sendall(told)
            asking.recv(1)  # until the worker has ended
            return
    os.execv(sys.executable, [sys.executable, *words])


if __name__ == "__main__":
    if sys.argv[1].isdigit():
        serve(socket.socket(fileno=int(sys.argv[1])))
    else:
        start_worker(sys.argv[1:])
