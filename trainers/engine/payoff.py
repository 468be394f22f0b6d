"""When compiling a step pays: what it costs, and what it saves as measured on this machine.

A compilation takes from seconds to minutes and makes each later step shorter. It is worth that only
where enough steps of its shape are left; what it took and what it saves is written down beside
torch's cache of compiled code (`TORCHINDUCTOR_CACHE_DIR`), for the next process and the next study.
"""

import contextlib
import fcntl
import getpass
import hashlib
import json
import math
import os
import platform
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from trainers.config import NUMERICS_VERSION, TrainConfig
from trainers.data.dataset import Dataset
from trainers.engine.engine import Engine
from trainers.engine.program import Program, known_program, shape

EXPECTED_SECONDS = {"cpu": 30.0, "cuda": 90.0}
"""Of a first compilation, before one was measured: 15 to 30 s for the small network on one core."""
EXPECTED_SHARE = 0.15
"""Of a step's time that is saved, before it was measured: 10 to 30 % on one core."""
LEAST_EPOCHS = 2
"""That both forms ran, and were timed, before one is called faster."""
LOAD_SECONDS = 5.0
"""Of taking over from torch's cache what another process compiled: 3 to 5 s on one core."""


@dataclass(frozen=True, kw_only=True)
class Compilation:
    """What compiling the steps of one shape was measured to save."""

    plain_step_seconds: float
    compiled_step_seconds: float


@contextlib.contextmanager
def compiling(
    config: TrainConfig, data: Dataset, device: torch.device, engine: Engine, epochs_done: int
) -> Iterator[bool]:
    """Tell whether the next epoch's steps should be compiled, and note what it cost and saved.

    While one process compiles a shape, others go on without, and take it over when it is ready.
    """
    if engine.compiled != "when it pays":
        yield engine.compiled == "always"
        return
    plain, compiled = (known_program(config, data, device, engine, is_) for is_ in (False, True))
    file = record_file((*shape(config), data.image_shape, len(data.classes)), device)
    known = read_compilation(file)
    if compiled is not None and compiled.is_prepared:  # in this process already, or not to be had
        is_faster = known is None or known.compiled_step_seconds < known.plain_step_seconds
        yield compiled.is_compiled and is_faster
        _note(file, plain, compiled)
        return
    num_steps = math.ceil(len(data.train.labels) / config.training.batch_size)
    left = (config.training.epochs - epochs_done) * num_steps + engine.later_steps
    is_timed = plain is not None and plain.timed_epochs >= LEAST_EPOCHS
    step_seconds = plain.step_seconds if plain is not None and is_timed else math.inf
    if not pays(known, step_seconds, left, device.type):
        yield False
        return
    with only_here(file) as is_only:
        yield is_only or known is not None


def pays(known: Compilation | None, step_seconds: float, steps_left: int, device: str) -> bool:
    """Tell whether the steps that are left repay a compilation.

    known: what was measured, so that torch's cache holds the code; None before. step_seconds: of a
    step without it, inf where that is not known yet.
    """
    if known is not None:
        saved = known.plain_step_seconds - known.compiled_step_seconds
        return steps_left * saved > LOAD_SECONDS
    is_measured = math.isfinite(step_seconds)
    return is_measured and steps_left * step_seconds * EXPECTED_SHARE > EXPECTED_SECONDS[device]


def _note(file: Path, plain: Program | None, compiled: Program) -> None:
    """Write down both forms' times, once both are measured over as many epochs."""
    if plain is None or not compiled.is_compiled:
        return
    if min(plain.timed_epochs, compiled.timed_epochs) >= LEAST_EPOCHS:
        write_compilation(
            file,
            Compilation(
                plain_step_seconds=plain.step_seconds,
                compiled_step_seconds=compiled.step_seconds,
            ),
        )


def record_file(shape: tuple[object, ...], device: torch.device) -> Path:
    """Name the file of a shape's measurements on this kind of device, with this torch."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    text = repr((shape, name, torch.get_num_threads(), torch.__version__, NUMERICS_VERSION))
    folder = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    if not folder:  # torch's own default
        folder = f"{tempfile.gettempdir()}/torchinductor_{getpass.getuser()}"
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return Path(folder) / "rhoeps" / f"{digest}.json"


def read_compilation(file: Path) -> Compilation | None:
    """Read what was measured; None where nothing readable is."""
    try:
        return Compilation(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_compilation(file: Path, compilation: Compilation) -> None:
    """Write a measurement aside, and rename; a disk that refuses costs no training."""
    aside = file.with_suffix(f".{os.getpid()}.part")
    with contextlib.suppress(OSError):
        aside.write_text(json.dumps(asdict(compilation)) + "\n", encoding="utf-8")
        aside.replace(file)


@contextlib.contextmanager
def only_here(file: Path) -> Iterator[bool]:
    """Tell whether no other process compiles this shape now, and keep others from it meanwhile."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.with_suffix(".lock").open("w")
    except OSError:
        yield False
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
