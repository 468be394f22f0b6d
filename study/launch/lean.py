"""Ray on this machine without what nothing here uses, which is a large part of its start.

Ray has no settings for most of it, so private parts of Ray are replaced while it starts. Where one
of them is gone in another version, Ray starts as it does by itself.
"""

import contextlib
import functools
from collections.abc import Iterator

from study.launch import forks


@contextlib.contextmanager
def lean_start() -> Iterator[None]:
    """Replace parts of Ray while `ray.init` runs inside.

    - Its servers get a session of their own: a SIGTERM to our process group would end them before
      the launch has ended properly.
    - The autoscaler's monitor is left out, as there is one node, and so are the process that
      follows the workers' output, which is not shown, and the server of the dashboard. Each takes
      seconds of CPU time, and Ray waits for the last.
    - Workers are forks of the nursery.
    """
    # ray takes seconds to import: only if there is work.
    from ray._private import parameter, services

    popen, parameters = services.ConsolePopen, parameter.RayParams
    server = getattr(services, "start_api_server", None)
    left_out = {"no_monitor": True, "include_log_monitor": False}
    parts = {**left_out, "setup_worker_path": forks.__file__}
    services.ConsolePopen = functools.partial(popen, start_new_session=True)
    parameter.RayParams = functools.partial(parameters, **parts)
    services.start_api_server = _no_server
    try:
        yield
    finally:
        services.ConsolePopen, parameter.RayParams = popen, parameters
        services.start_api_server = server


def _no_server(*arguments: object, **named: object) -> tuple[None, None]:
    """Return the address and the process of no dashboard, as Ray does where none could start."""
    return None, None


def use_plain_workers() -> None:
    """Make Tune run trials in workers without environments of their own, which start quickly.

    Tune sets an environment variable for PyTorch Lightning, which costs a second at launch.
    Variables that users set for clouds are still passed on.
    """
    # The name is private to Ray and may vanish. ray takes seconds to import: only if there is work.
    with contextlib.suppress(ImportError, AttributeError):
        from ray.tune.execution import class_cache

        class_cache.DEFAULT_ENV_VARS.clear()
