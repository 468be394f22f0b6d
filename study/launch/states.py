"""Where the states of cells in training are kept, so that any worker can resume from them.

They are files on the launching machine. Workers on that machine use the files themselves; those of
a cluster, wherever they run, use them through a Ray actor on the launcher's node. What else the
trials of a launch share, as Ray's object store carries it to the workers, is at the end.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from study.records.runs import StudyRuns
from study.records.starts import StartFile
from study.records.store import Store
from study.spec import StudySpec
from trainers.data.cache import written_aside
from trainers.data.dataset import Dataset

KEEPER_SECONDS = 60.0
"""How long a worker waits for the launcher's node before it goes on without it."""


class StatesError(RuntimeError):
    """A state cannot be saved or read; no training has to end because of that."""


class States(Protocol):
    """Saved states, as bytes by key; every call may raise `StatesError`."""

    def save(self, key: str, content: bytes) -> None:
        """Save a state in place of an earlier one; a reader gets one of the two, whole."""

    def load(self, key: str) -> bytes | None:
        """Read a state; return None if there is none."""

    def delete(self, key: str) -> None:
        """Delete a state, if there is one."""


@dataclass(frozen=True, kw_only=True)
class FileStates:
    """States as files in a folder."""

    folder: Path

    def save(self, key: str, content: bytes) -> None:
        """Write a state aside, then rename it, so that no reader finds half of one."""
        path = self._path(key)
        with _explained(path, "written"), written_aside(path) as file:
            file.write(content)

    def load(self, key: str) -> bytes | None:
        """Read a state's file; return None if there is none."""
        path, content = self._path(key), None
        with _explained(path, "read"), contextlib.suppress(FileNotFoundError):
            content = path.read_bytes()
        return content

    def delete(self, key: str) -> None:
        """Delete a state's file."""
        path = self._path(key)
        with _explained(path, "deleted"):
            path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.pt"


@dataclass(frozen=True, kw_only=True)
class ClusterStates:
    """States that a Ray actor keeps."""

    keeper: Any
    """The handle of a `FileStates` on the launcher's node."""

    def save(self, key: str, content: bytes) -> None:
        """Send a state to the keeper, and wait until it is written."""
        self._ask("save", key, content)

    def load(self, key: str) -> bytes | None:
        """Read a state through the keeper; return None if there is none."""
        content: bytes | None = self._ask("load", key)
        return content

    def delete(self, key: str) -> None:
        """Delete a state through the keeper, if there is one."""
        self._ask("delete", key)

    def _ask(self, what: str, *arguments: object) -> Any:
        """Call the keeper. Raises `StatesError` if it fails, is lost or does not answer."""
        import ray  # takes seconds: only on a cluster, where it is loaded anyway

        try:
            return ray.get(getattr(self.keeper, what).remote(*arguments), timeout=KEEPER_SECONDS)
        except ray.exceptions.RayTaskError as error:
            raise StatesError(str(error.cause)) from error
        except ray.exceptions.RayError as error:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise StatesError(f"the launcher's node does not answer: {reason}") from error


def keep_here(folder: Path) -> ClusterStates:
    """Start the keeper of states: a folder of this node, for workers of all nodes of the cluster.

    Ray starts the keeper again if it is lost, and ends it with the launch; the files stay.
    """
    # ray takes seconds to import: only on a cluster.
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # It takes no CPU, as otherwise a small cluster would have room for one trial fewer.
    node = ray.get_runtime_context().get_node_id()
    keeper = ray.remote(FileStates).options(
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=1,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node, soft=False),
    )
    return ClusterStates(keeper=keeper.remote(folder=folder))


@contextlib.contextmanager
def _explained(path: Path, done: str) -> Iterator[None]:
    """Raise `StatesError` for an error of the file system, which most often is a full disk."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise StatesError(f"{path}: cannot be {done} ({reason}); free space there") from error


@dataclass(frozen=True, kw_only=True)
class TrialContext:
    """What every trial of a launch shares."""

    spec: StudySpec
    dataset: Dataset
    store: Store
    runs: StudyRuns
    tags: Mapping[str, str]
    """Versions and commit of the code that is launched."""
    states: States
    """Where the states of cells are kept while they are trained."""
    expected_trials: Mapping[str, float]
    """Open cells per slot when the launch began, by shape of training (`study.plan.cost`)."""
    began: float
    """When the launch began, in seconds since the epoch."""
    workers_lock: Path | None
    """Held while a worker lives; None on a cluster, whose nodes share no locks."""
    starts: Mapping[str, StartFile] = field(default_factory=dict)
    """The weights that cells start from, by their hash in `TrainConfig.start`."""
