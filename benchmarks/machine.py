"""What every benchmark shares: the machine in words, its peak, fair timing, and the written result.

Variants are timed one after the other, A, B, A, B, in one run, so that outside load falls on all of
them alike. What is claimed is the ratio of their medians, with its range over the rounds; below
×1.1 it is a tie. CPU seconds are those of the process and of its ended children.
"""

import contextlib
import json
import os
import platform
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

HERE = Path(__file__).parent
CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
TIE = 1.1
"""A ratio below it, and above its inverse, shows nothing."""
PRECISIONS = {"default": (True, False), "tf32": (True, True), "ieee": (False, False)}
"""Whether TF32 may stand for float32 on a GPU: in convolutions, in matrix products. The first are
PyTorch's defaults."""
Clock = Callable[[], float]


class Spent(NamedTuple):
    """Seconds that a variant says it took, where it knows better than a clock around it."""

    wall: float
    cpu: float


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of every round of a variant, in the order of the rounds."""

    wall: tuple[float, ...]
    cpu: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How many times longer one variant took than another."""

    median: float
    """Of the medians."""
    low: float
    """The smallest of any round; a round compares neighbours in time."""
    high: float

    @property
    def is_tie(self) -> bool:
        """Whether the ratio is too near 1 to show anything."""
        return 1 / TIE < self.median < TIE


def cpu_seconds() -> float:
    """Give the CPU time of this process and of its ended children, in seconds."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def interleave(
    variants: Mapping[str, Callable[[], Spent | None]],
    rounds: int,
    *,
    warmup: int = 1,
    wall: Clock = time.perf_counter,
    cpu: Clock = cpu_seconds,
    synchronise: Callable[[], None] = lambda: None,
) -> dict[str, Timing]:
    """Time the variants in turn, `rounds` times each, after `warmup` rounds that do not count.

    A variant is timed by the clocks around it, unless it returns what it spent. `synchronise` waits
    for the device before a clock is read.
    """
    spent: dict[str, list[Spent]] = {name: [] for name in variants}
    for number in range(warmup + rounds):
        for name, variant in variants.items():
            synchronise()
            before = Spent(wall(), cpu())
            told = variant()
            synchronise()
            measured = Spent(wall() - before.wall, cpu() - before.cpu)
            if number >= warmup:
                spent[name].append(measured if told is None else told)
    return {
        name: Timing(wall=tuple(s.wall for s in all_), cpu=tuple(s.cpu for s in all_))
        for name, all_ in spent.items()
    }


def ratio(slow: Sequence[float], fast: Sequence[float]) -> Ratio:
    """Compare the seconds of two variants, round by round.

    >>> ratio([6.0, 4.0, 8.0], [2.0, 2.0, 2.0])
    Ratio(median=3.0, low=2.0, high=4.0)
    """
    rounds = [one / other for one, other in zip(slow, fast, strict=True)]
    median = statistics.median(slow) / statistics.median(fast)
    return Ratio(median=median, low=min(rounds), high=max(rounds))


def synchroniser(device: torch.device) -> Callable[[], None]:
    """Give what waits for the device: nothing on a CPU."""
    return torch.cuda.synchronize if device.type == "cuda" else lambda: None


@contextlib.contextmanager
def precision(name: str, *, cudnn_benchmark: bool = False) -> Iterator[None]:
    """Set a precision of `PRECISIONS` with cuDNN's usual choices; put back what stood before."""
    convolutions, products = PRECISIONS[name]
    wanted = (
        (torch.backends.cudnn, "allow_tf32", convolutions),
        (torch.backends.cuda.matmul, "allow_tf32", products),
        (torch.backends.cudnn, "benchmark", cudnn_benchmark),
        (torch.backends.cudnn, "deterministic", False),
    )
    before = [getattr(place, name) for place, name, _ in wanted]
    for place, name, value in wanted:
        setattr(place, name, value)
    try:
        yield
    finally:
        for (place, name, _), value in zip(wanted, before, strict=True):
            setattr(place, name, value)


@contextlib.contextmanager
def fresh_cache() -> Iterator[Path]:
    """Let torch keep compiled code in an empty folder, for this process and its children.

    So nothing depends on what earlier runs left behind. Yields the folder.
    """
    before = os.environ.get(CACHE_VARIABLE)
    with tempfile.TemporaryDirectory(prefix="rhoeps-cache-", ignore_cleanup_errors=True) as folder:
        os.environ[CACHE_VARIABLE] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.pop(CACHE_VARIABLE, None)
            os.environ |= {} if before is None else {CACHE_VARIABLE: before}


def describe(device: torch.device) -> dict[str, str]:
    """Describe the machine and its software, without naming it; ask before the work starts."""
    described = {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "load before": f"{os.getloadavg()[0]:.2f}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if device.type == "cuda":
        about = torch.cuda.get_device_properties(device)
        described |= {
            "gpu": f"{about.name}, {about.total_memory / 2**30:.0f} GiB",
            "cuda": str(torch.version.cuda),
            "cudnn": str(torch.backends.cudnn.version()),
            "TF32 in convolutions": str(torch.backends.cudnn.allow_tf32),
            "in matrix products": str(torch.backends.cuda.matmul.allow_tf32),
        }
    return described | {"commit": _commit()}


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def _commit() -> str:
    """Name the commit, with a + where code has changed since; unknown without git."""
    git = ("git", "-C", str(HERE))
    try:
        found = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", ":/*.py"], check=False)
    return found.stdout.strip() + ("+" if changed.returncode else "")


def peak_rates(device: torch.device, size: int) -> dict[str, float]:
    """Measure the best FLOP rate of products of square matrices, by precision, in FLOP/s.

    On a CPU float32, with the threads that torch has; on a GPU bf16 and TF32. 10 products each.
    """
    if device.type != "cuda":
        return {"float32": _product_rate(torch.rand(size, size), synchroniser(device))}
    square = torch.rand(size, size, device=device)
    with precision("tf32"):
        return {
            "bf16": _product_rate(square.to(torch.bfloat16), torch.cuda.synchronize),
            "tf32": _product_rate(square, torch.cuda.synchronize),
        }


def _product_rate(square: torch.Tensor, synchronise: Callable[[], None]) -> float:
    out = square @ square
    fastest = float("inf")
    for _ in range(10):
        synchronise()
        started = time.perf_counter()
        torch.mm(square, square, out=out)
        synchronise()
        fastest = min(fastest, time.perf_counter() - started)
    return 2 * float(len(square)) ** 3 / fastest


def timing_values(timing: Timing) -> dict[str, Any]:
    """Give a timing for JSON, with its medians."""
    medians = {f"{kind}_median": statistics.median(getattr(timing, kind)) for kind in CLOCKS}
    return {**asdict(timing), **medians}


CLOCKS = ("wall", "cpu")


def ratio_text(found: Ratio | Mapping[str, float]) -> str:
    """Print a ratio with its range.

    >>> ratio_text(Ratio(median=3.0, low=2.0, high=4.0))
    '×3.00 (2.00–4.00)'
    >>> ratio_text(Ratio(median=1.05, low=0.9, high=1.2))
    '×1.05 (0.90–1.20), a tie'
    """
    one = found if isinstance(found, Ratio) else Ratio(**found)
    tie = ", a tie" if one.is_tie else ""
    return f"×{one.median:.2f} ({one.low:.2f}–{one.high:.2f}){tie}"


def range_text(values: Sequence[float], scale: float = 1.0, digits: int = 2) -> str:
    """Print a median and its range.

    >>> range_text([0.002, 0.001, 0.004], 1e3, 1)
    '2.0 (1.0–4.0)'
    """
    low, median, high = min(values), statistics.median(values), max(values)
    one, two, three = (f"{scale * value:.{digits}f}" for value in (median, low, high))
    return f"{one} ({two}–{three})"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align rows in columns, the first row being their heads."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return [
        "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def publish(stem: str, found: Mapping[str, Any], lines: Sequence[str], output: Path | None) -> None:
    """Print a result below the machine's description; write it as text and JSON, if told where."""
    about = ", ".join(f"{name} {value}" for name, value in found["machine"].items())
    written = "\n".join([found["title"], about, "", *lines]) + "\n"
    print(written, end="")
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        (output / f"{stem}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        (output / f"{stem}.txt").write_text(written, encoding="utf-8")
