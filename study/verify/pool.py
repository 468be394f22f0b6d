"""Work on trained networks in Ray: independent units, as many at a time as there are slots.

One Ray session serves all rounds of work; the first round that has work starts it.
"""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

import torch

from study.launch import cluster
from study.launch.interrupts import Interrupts
from study.launch.locks import Lease, hold_shared
from study.plan.fronts import Network
from study.records.runs import artifact, checkpoint_read, find_study, weights_file
from study.records.store import Store, connect, masked, recording
from study.spec import StudySpec
from trainers.checkpoint import CheckpointError, load_weights
from trainers.data.dataset import Dataset
from trainers.train import new_state

U = TypeVar("U")
T = TypeVar("T")

POLL_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class WorkContext:
    """What all units of work share; Ray's object store carries it to the workers."""

    spec: StudySpec
    dataset: Dataset
    store: Store
    workers_lock: Path | None
    """Held while a worker may write; None on a cluster, whose nodes do not share locks."""

    @property
    def device(self) -> torch.device:
        """Where networks run."""
        return torch.device("cuda" if self.spec.resources.gpu > 0 else "cpu")


@dataclass(frozen=True, kw_only=True)
class Ended(Generic[T]):
    """How a unit of work ended: with its result, or with the reason why it has none."""

    found: T | None
    reason: str
    seconds: float


class Pool:
    """A Ray session that lasts as long as there is work; a signal ends it, finished units are kept.

    A context manager that leaves nothing running. Signals are deferred while Ray runs.
    """

    def __init__(
        self,
        spec: StudySpec,
        project: Path,
        store: Store,
        dataset: Dataset,
        interrupts: Interrupts,
    ) -> None:
        lock = None if cluster.is_joined() else project / "runs" / "workers.lock"
        self._context = WorkContext(spec=spec, dataset=dataset, store=store, workers_lock=lock)
        self._project = project
        self._interrupts = interrupts
        self._lease: Lease | None = None
        self._stack = contextlib.ExitStack()
        self._num_slots = 0
        self._shared: Any = None

    def __enter__(self) -> "Pool":
        """Return the pool; Ray starts with the first unit."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End Ray, if it was started."""
        self._stack.close()

    def run(
        self,
        work: Callable[[WorkContext, U], T],
        units: Sequence[U],
        tell: Callable[[U, Ended[T]], None],
    ) -> None:
        """Run `work` on every unit, and call `tell` as each ends; a failure affects no other unit.

        Raises `Interrupted` on a signal, and `ClusterError` or `TrackingError` if Ray or the store
        cannot be used. A unit whose worker is lost is tried once more.
        """
        if not units:
            return
        self._start()
        import ray  # seconds: only when there is work

        needs = self._context.spec.resources
        remote = ray.remote(_attempt).options(
            num_cpus=needs.cpu, num_gpus=needs.gpu, max_retries=1, name=work.__name__
        )
        waiting = deque(units)
        flying: dict[Any, U] = {}
        while waiting or flying:
            self._interrupts.check()
            if self._lease is not None:
                self._lease.renew()
            while waiting and len(flying) < self._num_slots:
                unit = waiting.popleft()
                flying[remote.remote(self._shared, work, unit)] = unit
            ended, _ = ray.wait(list(flying), num_returns=1, timeout=POLL_SECONDS)
            for reference in ended:
                tell(flying.pop(reference), _outcome(reference))

    def _start(self) -> None:
        """Start Ray, connect to the store meanwhile, and share the data, all once."""
        if self._shared is not None:
            return
        context = self._context
        dataset = context.dataset
        data_bytes = sum(split.images.nbytes for split in (dataset.train, dataset.test))
        self._stack.enter_context(self._interrupts.deferred())
        self._stack.enter_context(cluster.worker_nursery(context.spec))
        session = cluster.ray_session(
            context.spec, self._project, context.store, data_bytes, self._interrupts, self._open
        )
        self._num_slots = self._stack.enter_context(session)
        self._interrupts.check()
        import ray  # seconds: only when there is work

        self._shared = ray.put(context)

    def _open(self) -> None:
        """Acquire the study's lease if the store is shared and the study was launched there."""
        client = connect(self._context.store)
        if not self._context.store.is_shared:
            return
        with recording(self._context.store):
            runs = find_study(client, self._context.spec.name)
            if runs is not None:
                lease = Lease(client, runs)
                lease.take()
                self._lease = lease
                self._stack.callback(self._release)

    def _release(self) -> None:
        """Release the lease."""
        assert self._lease is not None
        with recording(self._context.store):
            self._lease.release()


def load_network(context: WorkContext, network: Network) -> torch.nn.Module:
    """Build a trained network from its weights at the checkpoint that it is read at.

    Raises `CheckpointError` if the weights are missing, damaged or of another cell.
    """
    record, cell = network.record, network.cell
    name = weights_file(checkpoint_read(record.labels, context.spec.evaluation.checkpoint))
    with artifact(context.store, record, name) as path:
        weights, metadata = load_weights(path)
        if metadata["cell"] != cell.key:
            raise CheckpointError(
                f"{path}: holds the weights of cell {metadata['cell']} and not of {cell.key}; "
                "delete it, then launch the study: its cell runs again"
            )
    model = new_state(cell.config, context.dataset, context.device).model
    model.load_state_dict(weights)
    return model


def _attempt(context: WorkContext, work: Callable[[WorkContext, U], T], unit: U) -> Ended[T]:
    """Run one unit in a Ray worker; an exception becomes the reason of its failure."""
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        if context.workers_lock is not None:
            stack.enter_context(hold_shared(context.workers_lock))
        torch.set_num_threads(context.spec.resources.cpu)
        try:
            found, reason = work(context, unit), ""
        except Exception as error:
            found, reason = None, _reason(error)
    return Ended(found=found, reason=reason, seconds=time.monotonic() - started)


def _outcome(reference: Any) -> Ended[Any]:
    """Return what a worker returned. A lost worker counts as a failure of this unit."""
    import ray  # imported by then: a unit was running

    try:
        ended: Ended[Any] = ray.get(reference)
    except ray.exceptions.RayError as error:
        return Ended(found=None, reason=f"its worker was lost: {_reason(error)}", seconds=0.0)
    return ended


def _reason(error: Exception) -> str:
    return masked(f"{type(error).__name__}: {' '.join(str(error).split())}"[:500])
