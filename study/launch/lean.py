"""Ray on this machine without what nothing here uses, which is a large part of its start.

Ray has no settings for most of it, so private parts of Ray are replaced while it starts. Where one
of them is gone in another version, Ray starts as it does by itself.

Run as a script, this file starts a worker process in the place of Ray's own script, and so it
imports nothing but the standard library.
"""

import contextlib
import functools
import os
import runpy
import sys
from collections.abc import Iterator, Sequence

ENVIRONMENT = "--serialized-runtime-env-context"
"""The option by which Ray hands a worker what is special about its environment."""
EMPTY = ("", "{}")


@contextlib.contextmanager
def lean_start() -> Iterator[None]:
    """Replace parts of Ray while `ray.init` runs inside.

    - Its servers get a session of their own: a SIGTERM to our process group would end them before
      the launch has ended properly.
    - The autoscaler's monitor is left out, as there is one node, and so are the process that
      follows the workers' output, which is not shown, and the server of the dashboard. Each takes
      seconds of CPU time, and Ray waits for the last.
    - Workers are started by this file.
    """
    # ray takes seconds to import: only if there is work.
    from ray._private import parameter, services

    popen, parameters = services.ConsolePopen, parameter.RayParams
    server = getattr(services, "start_api_server", None)
    left_out = {"no_monitor": True, "include_log_monitor": False, "setup_worker_path": __file__}
    services.ConsolePopen = functools.partial(popen, start_new_session=True)
    parameter.RayParams = functools.partial(parameters, **left_out)
    services.start_api_server = _no_server
    try:
        yield
    finally:
        services.ConsolePopen, parameter.RayParams = popen, parameters
        services.start_api_server = server


def _no_server(*arguments: object, **named: object) -> tuple[None, None]:
    """Return the address and the process of no dashboard, as Ray does where none could start."""
    return None, None


def use_started_workers() -> None:
    """Make Tune run trials in the worker processes that Ray starts anyway, one for each CPU.

    Tune sets an environment variable for PyTorch Lightning, for which Ray would start more workers.
    They cost a second at launch, and leave two processes idle. Variables that users set for clouds
    are still passed on.
    """
    # The name is private to Ray and may vanish. ray takes seconds to import: only if there is work.
    with contextlib.suppress(ImportError, AttributeError):
        from ray.tune.execution import class_cache

        class_cache.DEFAULT_ENV_VARS.clear()


def start_worker(words: Sequence[str]) -> None:
    """Become Ray's worker, as Ray's own script does, which imports Ray to read two options."""
    values = [word.partition("=")[2] for word in words if word.startswith(f"{ENVIRONMENT}=")]
    if all(value in EMPTY for value in values):
        ours = (f"{ENVIRONMENT}=", "--language=")
        rest = [word for word in words if not word.startswith(ours)]
        os.execv(sys.executable, [sys.executable, *rest])
    del sys.path[0]  # the folder of this file, whose modules are not for `import` without a package
    runpy.run_module("ray._private.workers.setup_worker", run_name="__main__")


if __name__ == "__main__":
    start_worker(sys.argv[1:])
