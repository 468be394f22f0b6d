"""Run everything that needs a GPU, within eight minutes: `make gpu`.

The tests of `tests/gpu`, then the benchmarks, in order of worth. Each part is a process with a time
limit. A part that fails, runs over or lacks a package is reported, and the next one runs. The
benchmarks write their results beside their scripts, as they do when they are started by hand.
"""

import argparse
import contextlib
import importlib.metadata
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
PASSED = "passed"
TOTAL_SECONDS = 480
GRACE_SECONDS = 5.0
"""From the interrupt of a part that ran over to its end by force; pytest and Ray use them to say
what they reached and to tidy up."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One process of the run."""

    name: str
    words: tuple[str, ...]
    """What Python is started with."""
    seconds: float
    """After which the part is ended."""
    needs: tuple[str, ...] = ()
    """Distributions without which the part is left out, beyond those that `trainers` imports."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a part ended."""

    part: str
    result: str
    seconds: float


TESTS = Part(
    name="tests/gpu",
    # The project's settings name plugins of pytest: a machine that only trains may lack them.
    words=(
        *("-m", "pytest", "tests/gpu", "-m", "not slow", "-q", "--import-mode=importlib"),
        *("-o", "addopts=", "-W", "ignore::pytest.PytestConfigWarning", "-p", "no:cacheprovider"),
    ),
    seconds=120,
    needs=("pytest",),
)
FEW = ("--images", "2560")
"""20 batches of 128. Each CUDA graph and kernel choice is paid once, so few batches are enough for
steady epochs. No part compiles, which takes about 90 s for a shape. Sizes and limits were chosen by
estimate, and have not been seen on a GPU yet."""
BENCHMARKS = (
    Part(
        name="parity",
        words=(
            *("parity.py", *FEW, "--forms", "plain", "uncompiled"),
            *("--epochs", "4", "--seeds", "2", "--methods", "standard", "sam", "at_10"),
        ),
        seconds=75,
    ),
    Part(
        name="train_step",
        words=(
            *("train_step.py", *FEW, "--rounds", "3", "--epochs-per-round", "1"),
            *("--methods", "standard", "sam", "at_10"),
            *("--ours", "plain", "uncompiled", "bfloat16_uncompiled"),
        ),
        seconds=70,
    ),
    Part(
        name="trial",
        words=(
            *("trial.py", *FEW, "--rounds", "3", "--epochs", "2"),
            *("--methods", "sam", "at_10", "--places", "one process"),
        ),
        seconds=45,
    ),
    Part(
        name="packing",
        words=(
            *("packing.py", *FEW, "--rounds", "2", "--seconds", "3"),
            *("--methods", "sam", "--trials", "1", "2", "4"),
        ),
        seconds=55,
    ),
    Part(
        name="gpu_study",
        words=("gpu_study.py",),
        seconds=80,
        needs=("rhoeps", "ray", "mlflow", "optuna", "pydantic", "pyyaml", "typer", "rich"),
    ),
)


def parts(device: str, output: Path) -> list[Part]:
    """Return the parts in order of worth, for a device and a folder of results."""
    told = ("--device", device, "--output", str(output))
    return [TESTS, *(_script(part, told) for part in BENCHMARKS)]


def _script(part: Part, told: Sequence[str]) -> Part:
    name, *words = part.words
    changed = asdict(part) | {"words": (str(HERE / name), *words, *told)}
    return Part(**changed)


def run_parts(chosen: Iterable[Part], grace_seconds: float = GRACE_SECONDS) -> list[Result]:
    """Run parts one after the other, whatever becomes of them."""
    return [run_part(part, grace_seconds) for part in chosen]


def run_part(part: Part, grace_seconds: float = GRACE_SECONDS) -> Result:
    """Run a part and what it starts to the end, or to its time limit."""
    missing = [name for name in part.needs if not _is_installed(name)]
    if missing:
        return Result(part=part.name, result=f"left out: needs {', '.join(missing)}", seconds=0.0)
    print(f"\n== {part.name}, at most {part.seconds:g} s", flush=True)
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *part.words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )
    try:
        code = process.wait(part.seconds)
        result = PASSED if code == 0 else f"failed: exit code {code}"
    except subprocess.TimeoutExpired:
        result = f"ran over its {part.seconds:g} s"
    finally:  # also where the user interrupts
        _end(process, grace_seconds)
    return Result(part=part.name, result=result, seconds=time.perf_counter() - started)


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _end(process: "subprocess.Popen[bytes]", grace_seconds: float) -> None:
    """End a process with its children: by an interrupt, and after `grace_seconds` by force."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def rows(results: Sequence[Result]) -> list[tuple[str, str, str]]:
    """Return the rows of the closing table, its heads first."""
    found = [(one.part, one.result, f"{one.seconds:.1f}") for one in results]
    return [("part", "result", "seconds"), *found]


def main() -> None:
    """Run the parts, print the table and write it; exit with 1 where one did not pass."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=HERE, help="folder of the results")
    parser.add_argument("--only", nargs="+", help="parts to run, by name; all, unless given")
    told = parser.parse_args()
    if not _is_installed("torch"):
        sys.exit(f"gpu: needs torch, which {sys.executable} does not have; install it there")
    import machine  # with torch, which may not be there
    import torch

    if not torch.cuda.is_available():
        sys.exit(
            f"gpu: needs a GPU, and torch {torch.__version__} finds none here; "
            "run it where torch.cuda.is_available() is true"
        )
    everything = parts("cuda", told.output.resolve())
    unknown = set(told.only or ()) - {part.name for part in everything}
    if unknown:
        names = ", ".join(part.name for part in everything)
        sys.exit(f"gpu: --only: must be among {names}, got {', '.join(sorted(unknown))}")
    about = machine.describe(torch.device("cuda"))
    results = run_parts(part for part in everything if told.only is None or part.name in told.only)
    print()
    found = {
        "title": "All that needs a GPU, at sizes for eight minutes.",
        "machine": about,
        "parts": [asdict(result) for result in results],
    }
    machine.publish("gpu", found, machine.table(rows(results)), told.output)
    sys.exit(0 if all(result.result == PASSED for result in results) else 1)


if __name__ == "__main__":
    main()
