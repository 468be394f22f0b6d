"""How trials share a device: `python benchmarks/packing.py`.

1, 2 and 4 processes train the same network at once, each for the same time after a barrier, and
their samples per second are added up. On a GPU they take turns, unless NVIDIA MPS runs: `--mps`
measures both, where `nvidia-cuda-mps-control` is installed.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import machine
from cases import METHODS, Case, forwarded, options, read_case, read_output
from ours import FORMS, train_ours

MEASURED = ("sam", "at_10")
MPS_CONTROL = "nvidia-cuda-mps-control"
READY, GO = "ready", "go"
NUM_VALIDATION = 20


def train_for(case: Case, method: str, form: str, seconds: float) -> dict[str, float]:
    """Train after a warm-up epoch and the barrier; count samples and seconds up to an epoch's end.

    A training that ends is followed by another, as trials are.
    """
    epochs = _epochs(case, method, form)
    next(epochs)
    print(READY, flush=True)
    assert sys.stdin.readline().strip() == GO
    num_epochs, started, before = 0, time.perf_counter(), machine.cpu_seconds()
    while time.perf_counter() - started < seconds:
        next(epochs)
        num_epochs += 1
    elapsed = time.perf_counter() - started
    used = machine.cpu_seconds() - before
    samples = num_epochs * len(case.data.train.labels)
    return {"samples": samples, "seconds": elapsed, "cpu_seconds": used}


def _epochs(case: Case, method: str, form: str) -> Iterator[dict[str, Any]]:
    while True:
        yield from train_ours(case.config(method), case.data, case.device, form)


def throughput(
    told: argparse.Namespace, method: str, num_trials: int, environment: dict[str, str]
) -> dict[str, float]:
    """Run `num_trials` processes at once; add up their samples per second and the cores they had.

    Fewer cores than processes, on a machine that has them, tell of outside load.
    """
    words = [sys.executable, __file__, "--worker", "--methods", method, "--ours", told.ours]
    words += ["--seconds", str(told.seconds), *forwarded(told)]
    pipe = subprocess.PIPE
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(
                subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env=environment)
            )
            for _ in range(num_trials)
        ]
        for worker in workers:
            if worker.stdout.readline().strip() != READY:
                raise RuntimeError(f"a worker ended before it began: {' '.join(words[1:])}")
        for worker in workers:
            worker.stdin.write(f"{GO}\n")
            worker.stdin.flush()
        reports = [json.loads(worker.communicate()[0].splitlines()[-1]) for worker in workers]
    return {
        key: sum(report[of] / report["seconds"] for report in reports)
        for key, of in (("samples_per_second", "samples"), ("cores", "cpu_seconds"))
    }


@contextlib.contextmanager
def mps() -> Iterator[dict[str, str]]:
    """Run the MPS daemon with folders of its own; yield the environment that its clients need."""
    with tempfile.TemporaryDirectory(prefix="rhoeps-mps-") as name:
        places = {"CUDA_MPS_PIPE_DIRECTORY": "pipe", "CUDA_MPS_LOG_DIRECTORY": "log"}
        for key, folder in places.items():
            places[key] = str(Path(name) / folder)
            Path(places[key]).mkdir()
        environment = _environment() | places
        subprocess.run([MPS_CONTROL, "-d"], check=True, env=environment)
        try:
            yield environment
        finally:
            subprocess.run([MPS_CONTROL], input="quit\n", text=True, check=True, env=environment)


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def sharings(told: argparse.Namespace) -> list[str]:
    """Name the ways in which processes share the device here."""
    if not told.mps:
        return ["processes"]
    if told.device != "cuda" or shutil.which(MPS_CONTROL) is None:
        raise SystemExit(f"--mps: needs a GPU and {MPS_CONTROL}, not found; leave --mps out")
    return ["processes", "processes with MPS"]


def measure(told: argparse.Namespace, method: str, sharing: str) -> dict[str, Any]:
    """Measure every number of trials in turn; ratios are to one trial of the same round."""
    found: dict[int, list[dict[str, float]]] = {count: [] for count in told.trials}
    place = mps() if sharing.endswith("MPS") else contextlib.nullcontext(_environment())
    with place as environment:
        for _ in range(told.rounds):
            for count, measured in found.items():
                measured.append(throughput(told, method, count, environment))
    one = [1 / each["samples_per_second"] for each in found[1]]
    trials = {}
    for count, measured in found.items():
        rates = [each["samples_per_second"] for each in measured]
        trials[str(count)] = {
            "samples_per_second": rates,
            "cores": [each["cores"] for each in measured],
            "against_one": asdict(machine.ratio(one, [1 / rate for rate in rates])),
        }
    return {"method": method, "sharing": sharing, "trials": trials}


def lines(found: dict[str, Any]) -> list[str]:
    """Write what was measured as a table."""
    rows = [("method", "sharing", "trials", "samples/s, all together", "cores", "against one")]
    for result in found["results"]:
        for count, one in result["trials"].items():
            rates = machine.range_text(one["samples_per_second"], digits=0)
            cores = machine.range_text(one["cores"])
            ratio = machine.ratio_text(one["against_one"]) if count != "1" else ""
            rows.append((result["method"], result["sharing"], count, rates, cores, ratio))
    return [
        *machine.table(rows),
        "",
        f"Medians and ranges of {found['rounds']} interleaved rounds of {found['seconds']:g} s, "
        f"each process with one thread, after an epoch that is not counted; form {found['form']}.",
    ]


def main() -> None:
    """Measure every method, print and write; or be one of the processes."""
    parser = options(__doc__.splitlines()[0])
    parser.set_defaults(rounds=3)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=MEASURED)
    parser.add_argument("--trials", nargs="+", type=int, default=[1, 2, 4], help="1 is among them")
    parser.add_argument("--ours", choices=FORMS, default="uncompiled", help="our side's form")
    parser.add_argument("--seconds", type=float, default=10.0, help="that a measurement takes")
    parser.add_argument("--mps", action="store_true", help="measure with NVIDIA MPS, too")
    parser.add_argument("--worker", action="store_true", help="be one of the processes")
    told = parser.parse_args()
    if told.quick:
        told.rounds, told.trials, told.methods = 1, [1, 2], told.methods[:1]
        told.seconds = min(told.seconds, 1.0)
    case = read_case(told).with_parts(validation=NUM_VALIDATION)
    if told.worker:
        print(json.dumps(train_for(case, told.methods[0], told.ours, told.seconds)))
        return
    about = machine.describe(case.device)
    pairs = [(method, sharing) for method in told.methods for sharing in sharings(told)]
    found = {
        "title": f"Trials at once: {case.title}.",
        "machine": about,
        "form": told.ours,
        "rounds": told.rounds,
        "seconds": told.seconds,
        "results": [measure(told, method, sharing) for method, sharing in pairs],
    }
    machine.publish(f"packing-{case.stem}", found, lines(found), read_output(told))


if __name__ == "__main__":
    main()
