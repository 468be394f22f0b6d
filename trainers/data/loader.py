"""Batches of a mapped file, gathered ahead by worker processes while the steps run.

A worker is this module, run by Python as a program that imports numpy alone. It reads positions
from its standard input and copies the images into memory that it shares with the trainer, which
owns it and names no file. It ends as its input is closed: however the trainer ends, killed or not,
the operating system closes that, and nothing is left behind.
"""

import mmap
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainers.data.mapped import Mapped

SLOTS_PER_WORKER = 2
"""Batches that each worker may be ahead: one is read while the next is gathered."""
MOST_WORKERS = 4
DONE = b"."


class LoaderError(RuntimeError):
    """A worker ended before its work did; one line with the way out."""


@contextmanager
def gathered(
    images: Mapped, batches: Sequence[NDArray[np.int64]], num_workers: int
) -> Iterator[Iterator[NDArray[np.uint8]]]:
    """Yield the batches of images at positions, in order, each valid until the next is asked for.

    Worker processes gather some batches ahead. They end with the block, whatever ends it.
    """
    num_workers = max(1, min(num_workers, MOST_WORKERS, len(batches)))
    slots = num_workers * SLOTS_PER_WORKER
    largest = max(len(batch) for batch in batches)
    shape = (slots, largest, *images.shape[1:])
    with ExitStack() as stack:
        descriptor = os.memfd_create("rhoeps batches")
        stack.callback(os.close, descriptor)
        os.ftruncate(descriptor, int(np.prod(shape)))
        room = _mapped_room(descriptor, shape)
        workers = [
            stack.enter_context(_worker(images.path, descriptor, shape)) for _ in range(num_workers)
        ]
        yield _in_turn(images, batches, workers, room)


def _in_turn(
    images: Mapped,
    batches: Sequence[NDArray[np.int64]],
    workers: Sequence["subprocess.Popen[bytes]"],
    room: NDArray[np.uint8],
) -> Iterator[NDArray[np.uint8]]:
    """Yield the batches, for which the workers are asked in turn, each for its own slots."""
    slots = len(room)

    def ask(number: int) -> None:
        if number < len(batches):
            rows = images.rows[batches[number]]
            head = np.array([number % slots, len(rows)], dtype=np.int64)
            _send(workers[number % len(workers)], head.tobytes() + rows.tobytes())

    for number in range(slots):
        ask(number)
    for number, batch in enumerate(batches):
        _await(workers[number % len(workers)])
        yield room[number % slots, : len(batch)]
        ask(number + slots)


@contextmanager
def _worker(
    path: Path, descriptor: int, shape: tuple[int, ...]
) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a worker; at the end close its input, by which it ends, and wait for that."""
    sizes = [str(size) for size in shape]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "trainers.data.loader", str(path), str(descriptor), *sizes],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[descriptor],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        start_new_session=True,  # an interrupt from the keyboard is the trainer's to handle
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process
    finally:
        process.stdout.close()  # first, so that it does not wait to answer
        with suppress(BrokenPipeError):  # it has ended already
            process.stdin.close()
        process.wait()


def _send(worker: "subprocess.Popen[bytes]", message: bytes) -> None:
    assert worker.stdin is not None
    try:
        worker.stdin.write(message)
        worker.stdin.flush()
    except BrokenPipeError:
        raise _ended(worker) from None


def _await(worker: "subprocess.Popen[bytes]") -> None:
    assert worker.stdout is not None
    if worker.stdout.read(1) != DONE:
        raise _ended(worker)


def _ended(worker: "subprocess.Popen[bytes]") -> LoaderError:
    return LoaderError(
        f"a process that gathers batches ended with code {worker.wait()}; if the machine is short "
        "of memory, run fewer trials at a time (resources.cpu), then launch again"
    )


def _mapped_room(descriptor: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the shared memory as an array, (slots, B, C, H, W)."""
    memory = mmap.mmap(descriptor, int(np.prod(shape)))
    return np.frombuffer(memory, dtype=np.uint8).reshape(shape)


def serve(path: Path, room: NDArray[np.uint8]) -> None:
    """Answer each request until the input ends: gather the images at its rows into its slot."""
    stored = np.load(path, mmap_mode="r", allow_pickle=False)
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while len(head := requests.read(16)) == 16:
        slot, count = np.frombuffer(head, dtype=np.int64).tolist()
        rows = np.frombuffer(requests.read(8 * count), dtype=np.int64)
        # Without checking every position, which would gather into another array first.
        np.take(np.asarray(stored), rows, axis=0, out=room[slot, :count], mode="clip")
        answers.write(DONE)
        answers.flush()


if __name__ == "__main__":
    try:
        serve(Path(sys.argv[1]), _mapped_room(int(sys.argv[2]), tuple(map(int, sys.argv[3:]))))
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(0)  # the trainer has ended; what stands in the pipe is for nobody
