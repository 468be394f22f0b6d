"""Where trials run: the Ray cluster, started in-process or joined, and how many fit."""

import contextlib
import functools
import logging
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, TypeVar

from study.launch import forks
from study.launch.interrupts import Interrupts
from study.records import store as storage
from study.records.store import Store
from study.spec import StudySpec

T = TypeVar("T")

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "inf",
    "TORCHINDUCTOR_COMPILE_THREADS": "1",
    **storage.ENVIRONMENT,
}
"""Set before ray is imported, unless the user has set it; workers inherit it."""

CREDENTIALS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
"""Passed on to the workers of a cluster, if the user has set them."""

LEAST_OBJECT_STORE_BYTES = 128 * 1024**2
"""Room for what Ray keeps besides the data; its default is 30 % of the machine's memory."""
PATIENCE_SECONDS = 15.0
"""How long a launch that gets a signal waits for Ray to start, so as to end Ray properly."""
START_ATTEMPTS = 3
"""On a busy machine Ray's processes may wait too long for each other, and a start fails."""
KNOWN_RAY = "2.60."
"""The version of Ray whose raylet is known to run without its agents."""
AGENT_COMMANDS = ("--dashboard_agent_command=", "--runtime_env_agent_command=")
"""The options by which the raylet is told how to start its agents."""
AGENT_PORTS = {
    "metrics_agent_port": -1,
    "metrics_export_port": -1,
    "dashboard_agent_listen_port": -1,
    "runtime_env_agent_port": 1,
}
"""What agents without servers record; -1 says that there is none, and the last has no such word."""
IDLE = (
    "import os, time; raylet = int(os.environ['RAY_RAYLET_PID'])\n"
    "while os.getppid() == raylet: time.sleep(1)"
)
"""A program that waits for the end of the raylet that started it."""
ENVIRONMENT_HOOKS = ("RAY_RUNTIME_ENV_HOOK", "RAY_JOB_CONFIG_JSON_ENV_VAR")
"""Variables by which users give all workers an environment, which an agent makes."""
ANSWER_SECONDS = 5.0
"""How long a cluster may take to accept a connection."""


class ClusterError(RuntimeError):
    """Trials cannot be run here; the message says why, and the way out."""


def is_joined() -> bool:
    """Return whether the user names a running cluster, in `RAY_ADDRESS`."""
    return bool(os.environ.get("RAY_ADDRESS"))


def local_slots(spec: StudySpec) -> int:
    """Count the trials that this machine runs at a time; `ClusterError` if it cannot run one."""
    gpus = 0
    if spec.resources.gpu > 0:
        import torch  # takes seconds: only if a GPU is asked for

        gpus = torch.cuda.device_count()
    return slots(spec, len(os.sched_getaffinity(0)), gpus)


def slots(spec: StudySpec, cpus: float, gpus: float) -> int:
    """Count the trials that fit into `cpus` and `gpus` at a time.

    Raises `ClusterError` if not even one fits.
    """
    wanted = spec.resources
    place = f"{spec.name}.resources"
    if wanted.cpu > cpus:
        raise ClusterError(
            f"{place}.cpu: must not exceed the CPUs of the machine, got {wanted.cpu}, and it has "
            f"{cpus:g}; ask for fewer"
        )
    by_cpu = int(cpus // wanted.cpu)
    if wanted.gpu == 0:
        return by_cpu
    if wanted.gpu > gpus:
        raise ClusterError(
            f"{place}.gpu: must not exceed the GPUs of the machine, "
            f"got {wanted.gpu:g}, and it has {gpus:g}; "
            "set gpu: 0, or launch where there are more"
        )
    # Ray places a fraction on one GPU: with 0.4 each, two GPUs hold four trials, not five.
    return min(by_cpu, int(gpus * (1 // wanted.gpu)))


def refuse_names_beyond_utf8() -> None:
    """Raise `ClusterError` if Ray could not pass on this folder or command, which it does as UTF-8.

    Linux allows any bytes in a name; Python holds those that are not UTF-8 as surrogates.
    """
    for name in (os.getcwd(), *sys.argv):
        shown = name.encode(errors="replace").decode()
        if shown != name:
            raise ClusterError(
                f"{shown}: must be UTF-8, as Ray passes it on to its processes; rename it, or "
                "launch from another folder through a link (--file LINK/studies.yaml)"
            )


@contextlib.contextmanager
def worker_nursery(spec: StudySpec) -> Iterator[None]:
    """Start the process that workers of this machine are forks of.

    Nothing on a joined cluster, nor where trials use a GPU, as CUDA must not have begun before a
    fork, which no test on a GPU has shown yet.
    """
    if is_joined() or spec.resources.gpu > 0:
        yield
        return
    with forks.nursery(ENVIRONMENT, spec.resources.cpu):
        yield


@contextlib.contextmanager
def ray_session(
    spec: StudySpec,
    project: Path,
    store: Store,
    data_bytes: int,
    interrupts: Interrupts,
    meanwhile: Callable[[], None],
) -> Iterator[int]:
    """Start Ray in this process, or join the cluster of `RAY_ADDRESS`, for as long as needed.

    Yields the number of slots. Ray runs quietly, without telemetry and dashboard. `meanwhile` is
    called while Ray's processes start, which takes seconds; its error is raised here.
    Raises `ClusterError` if the cluster cannot be joined, is too small, or has several nodes that
    could not reach a store in a local file.
    """
    for name, value in (ENVIRONMENT | _waits()).items():
        os.environ.setdefault(name, value)
    import ray  # takes seconds: only if there is work, and after the environment is set

    if ray.is_initialized():  # by a notebook; starting it again would end what runs there
        raise ClusterError(
            "Ray: runs in this process already; call ray.shutdown() first, or start a cluster of "
            "its own and name it in RAY_ADDRESS"
        )
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    options: dict[str, object] = {"logging_level": "critical", "log_to_driver": False}
    if is_joined():
        _refuse_silent_address(_joined_address())
        options["address"] = os.environ["RAY_ADDRESS"]
        handed = (*ENVIRONMENT, *CREDENTIALS)
        variables = {name: os.environ[name] for name in handed if name in os.environ}
        options["runtime_env"] = {"env_vars": variables}
    else:
        _prepare_token(project)
        options["address"] = "local"  # not a Ray that somebody else runs on this machine
        options["include_dashboard"] = False
        options["num_cpus"] = len(os.sched_getaffinity(0))
        options["object_store_memory"] = LEAST_OBJECT_STORE_BYTES + 2 * data_bytes
    ended = threading.Event()
    done = _in_thread(meanwhile)
    attempts = 1 if is_joined() else START_ATTEMPTS
    try:
        attempt(lambda: _await(_start(options, ended), done, interrupts), ray.shutdown, attempts)
        _refuse_unreachable_store(store)
        resources = ray.cluster_resources()
        yield slots(spec, resources.get("CPU", 0), resources.get("GPU", 0))
    finally:
        ray.shutdown()
        ended.set()
        interrupts.retake()


def attempt(start: Callable[[], None], undo: Callable[[], None], attempts: int) -> None:
    """Call `start` until it raises no `ClusterError`, up to `attempts` times; `undo` failures."""
    for left in reversed(range(attempts)):
        try:
            return start()
        except ClusterError:
            if not left:
                raise
            undo()


def _waits() -> dict[str, str]:
    """Return how long Ray waits for its own processes: longer on a busy machine."""
    load = os.getloadavg()[0] / len(os.sched_getaffinity(0))
    factor = min(5.0, max(1.0, load))
    names = {"RAY_gcs_server_port_wait_time_s": 30, "RAY_worker_register_timeout_seconds": 60}
    return {name: str(round(factor * seconds)) for name, seconds in names.items()}


def _start(options: dict[str, object], ended: threading.Event) -> "Future[Any]":
    """Call `ray.init` in a thread of its own, until `ended` is set.

    From the main thread, Ray would take over SIGTERM for good, and abort on it. The thread has to
    outlive Ray, whose processes ask the kernel to end them with the thread that started them.
    """
    import ray  # takes seconds: only if there is work

    def init() -> Any:
        with _lean_start():
            return ray.init(**options)

    return _in_thread(init, ended)


@contextlib.contextmanager
def _lean_start() -> Iterator[None]:
    """Replace parts of Ray while `ray.init` runs inside.

    - Its servers get a session of their own: a SIGTERM to our process group would end them before
      the launch has ended properly.
    - The autoscaler's monitor is left out, as there is one node, and so are the process that
      follows the workers' output, which is not shown, and the server of the dashboard. Each takes
      seconds of CPU time, and Ray waits for the last.
    - So are the raylet's agents, as `_without_agents` says. Ray would first import what these need
      for a dashboard, so it is told that this is missing.
    - Workers are forks of the nursery.
    """
    # ray takes seconds to import: only if there is work.
    from ray._private import parameter, services, utils

    popen, parameters = services.ConsolePopen, parameter.RayParams
    server = getattr(services, "start_api_server", None)
    missing = getattr(utils, "get_dashboard_dependency_error", None)
    left_out = {"no_monitor": True, "include_log_monitor": False}
    parts = {**left_out, "setup_worker_path": forks.__file__}

    def start(words: list[str], **named: Any) -> Any:
        return popen(_without_agents(words), **{**named, "start_new_session": True})

    services.ConsolePopen = start
    parameter.RayParams = functools.partial(parameters, **parts)
    services.start_api_server = _no_server
    utils.get_dashboard_dependency_error = lambda: ImportError("left out")
    try:
        yield
    finally:
        services.ConsolePopen, parameter.RayParams = popen, parameters
        services.start_api_server = server
        utils.get_dashboard_dependency_error = missing


def _without_agents(words: list[str]) -> list[str]:
    """Return the raylet's command with idle processes as its agents; another command as it is.

    One agent serves the dashboard, the other one makes environments for workers, and trials need
    neither. Both take seconds of CPU time to import what they need, and Ray waits for their ports.
    Here the ports are recorded at once, as by agents without servers. The raylet ends with any of
    its agents, so there has to be a process for each.
    """
    # ray takes seconds to import: only if there is work.
    import ray

    options = {name: value for name, _, value in (word.partition("=") for word in words)}
    is_raylet = all(command.rstrip("=") in options for command in AGENT_COMMANDS)
    if not is_raylet or not ray.__version__.startswith(KNOWN_RAY):
        return words
    from ray._private.worker import _maybe_modify_runtime_env  # private to Ray: of that version
    from ray._raylet import persist_port  # type: ignore[attr-defined]

    hooked = any(name in os.environ for name in ENVIRONMENT_HOOKS)
    if hooked or _maybe_modify_runtime_env({}, True):  # the latter below `uv run`
        return words
    for name, port in AGENT_PORTS.items():
        persist_port(options["--session_dir"], options["--node_id"], name, port)
    idle = subprocess.list2cmdline([sys.executable, "-I", "-S", "-c", IDLE])
    left = [word for word in words if not word.startswith(AGENT_COMMANDS)]
    return [*left, *(f"{command}{idle}" for command in AGENT_COMMANDS)]


def _no_server(*arguments: object, **named: object) -> tuple[None, None]:
    """Return the address and the process of no dashboard, as Ray does where none could start."""
    return None, None


def use_plain_workers() -> None:
    """Make Tune run trials in workers without environments of their own, which start quickly.

    Tune sets an environment variable for PyTorch Lightning, which costs a second at launch.
    Variables that users set for clouds are still passed on to other machines.
    """
    # The name is private to Ray and may vanish. ray takes seconds to import: only if there is work.
    with contextlib.suppress(ImportError, AttributeError):
        from ray.tune.execution import class_cache

        class_cache.DEFAULT_ENV_VARS.clear()
        if not is_joined():  # workers have all variables of the launch anyway
            class_cache.ENV_VARS_TO_PROPAGATE.clear()


def _in_thread(work: Callable[[], T], until: threading.Event | None = None) -> "Future[T]":
    """Do some work in a thread of its own, so that the main thread can handle signals.

    If `until` is given, the thread lives until it is set.
    """
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # whatever it is, the main thread raises it
            done.set_exception(error)
        if until is not None:
            until.wait()

    threading.Thread(target=run, daemon=True).start()
    return done


def _await(started: "Future[Any]", done: "Future[None]", interrupts: Interrupts) -> None:
    """Wait for `ray.init` and the work beside it, and keep our signal handlers installed.

    After a signal, wait for at most `PATIENCE_SECONDS`, then raise `Interrupted`. Raises
    `ClusterError` if Ray cannot be started or the cluster cannot be joined.
    """
    stopped = None
    while wait([started, done], timeout=0.05).not_done:
        interrupts.retake()  # Ray's C++ part handles SIGTERM itself from some moment on
        stopped = stopped or (time.monotonic() if interrupts.stopped_by else None)
        if stopped is not None and time.monotonic() - stopped > PATIENCE_SECONDS:
            interrupts.check()
    interrupts.retake()
    done.result()
    try:
        started.result()
    except Exception as error:  # Ray raises bare ones, too
        reason = " ".join(str(error).split())[:300]
        if is_joined():
            raise ClusterError(_unreachable(reason)) from error
        raise ClusterError(
            f"Ray could not be started on this machine in {START_ATTEMPTS} attempts: {reason}; run "
            "the same command again once the machine is less busy and /tmp/ray has free space"
        ) from error


def _unreachable(reason: str) -> str:
    return (
        f"RAY_ADDRESS: no cluster can be joined at {os.environ['RAY_ADDRESS']}: {reason}; start "
        "it, set its token in RAY_AUTH_TOKEN with RAY_AUTH_MODE=token, or unset RAY_ADDRESS to "
        "run on this machine"
    )


def _joined_address() -> str:
    """Return the address in `RAY_ADDRESS`; for `auto`, that of the cluster that Ray would join.

    Raises `ClusterError` if there is none.
    """
    address = os.environ["RAY_ADDRESS"]
    if address != "auto":
        return address.removeprefix("ray://")
    from ray._private.services import canonicalize_bootstrap_address  # as ray.init looks for one

    try:
        return canonicalize_bootstrap_address(address) or address
    except (ConnectionError, ValueError) as error:
        raise ClusterError(_unreachable(" ".join(str(error).split())[:200])) from error


def _refuse_silent_address(address: str) -> None:
    """Raise `ClusterError` if nothing listens at an address: Ray would try for many minutes."""
    host, _, port = address.rpartition(":")
    if "://" in address or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
    except OSError as error:
        raise ClusterError(_unreachable(f"{address}: {error.strerror or error}")) from error


def _refuse_unreachable_store(store: Store) -> None:
    """Raise `ClusterError` if several nodes would record in a file that only one can reach."""
    import ray  # takes seconds, but is loaded by now

    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) > 1 and store.is_local:
        raise ClusterError(
            f"RAY_ADDRESS: the cluster has {len(nodes)} nodes, and only one of them can reach "
            f"{store.uri}; set MLFLOW_TRACKING_URI to an MLflow server"
        )


def _prepare_token(project: Path) -> None:
    """Write a token for the embedded cluster if the home directory cannot hold one.

    Ray keeps its token in `~/.ray`. Where that cannot be written, the token lies under `runs/`,
    readable by this user alone.
    """
    names = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE")
    if any(name in os.environ for name in names):
        return
    try:
        folder = Path.home() / ".ray"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return
    except (OSError, RuntimeError):
        pass  # there is no home directory, or it cannot be written
    token = project / "runs" / "ray-token"
    if not token.exists() or not token.read_text(encoding="utf-8"):
        token.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
