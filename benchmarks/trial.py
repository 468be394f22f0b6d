"""What one whole trial costs, end to end: `python benchmarks/trial.py`.

All epochs with their validation, and the evaluation of both checkpoints, the best and the last, at
every radius. In one process, steady, after a trial of each side that is not counted; each trial in
a fresh process, with its imports, its data and all that is compiled or captured, as the first on a
machine; and the same where torch's cache of compiled code is warm.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import machine
from cases import METHODS, Case, forwarded, options, read_case, read_output
from machine import Timing

MEASURED = ("standard", "sam", "at_4", "at_10")
PLACES = ("one process", "fresh processes", "fresh processes, warm cache")
QUICK_METHODS, QUICK_EPOCHS = ("standard", "at_4"), 2


def run_trial(case: Case, side: str, method: str, workers: int) -> dict[str, float]:
    """Run a trial in this process; return the accuracies that it reached."""
    config = case.config(method)
    if side == "baseline":
        from baseline import baseline_trial  # with torchvision, which ours never loads

        return baseline_trial(config, case.data, case.device)
    if side == "repaired":
        from baseline import baseline_trial

        return baseline_trial(config, case.data, case.device, workers=workers, tf32=True)
    from ours import our_trial

    return our_trial(config, case.data, case.device, side)


def run_fresh(told: argparse.Namespace, side: str, method: str) -> dict[str, float]:
    """Run a trial in a process of its own."""
    words = ["--alone", side, "--methods", method, "--workers", str(told.workers)]
    done = subprocess.run(
        [sys.executable, __file__, *words, *forwarded(told)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return json.loads(done.stdout.splitlines()[-1])


def run_first(told: argparse.Namespace, side: str, method: str) -> dict[str, float]:
    """Run a trial in a process of its own, with an empty cache of compiled code."""
    with machine.fresh_cache():
        return run_fresh(told, side, method)


def measure(
    sides: list[str], run: Callable[[str], dict[str, float]], told: argparse.Namespace, warmup: int
) -> dict[str, Any]:
    """Time rounds of trials of every side, in turn; keep the accuracies of the last round."""
    reached: dict[str, dict[str, float]] = {}

    def keep(side: str) -> None:
        reached[side] = run(side)

    variants = {side: partial(keep, side) for side in sides}
    timings = machine.interleave(variants, told.rounds, warmup=warmup)
    return {side: _summary(timings, side) | {"reached": reached[side]} for side in sides}


def _summary(timings: dict[str, Timing], side: str) -> dict[str, Any]:
    timing, baseline = timings[side], timings["baseline"]
    return {
        "seconds": timing.wall,
        "cpu_seconds": timing.cpu,
        "against": {
            "wall": asdict(machine.ratio(baseline.wall, timing.wall)),
            "cpu": asdict(machine.ratio(baseline.cpu, timing.cpu)),
        },
    }


def lines(found: dict[str, Any]) -> list[str]:
    """Write what was measured as a table."""
    heads = ("method", "in", "side", "seconds", "CPU s", "faster than the baseline", "by CPU time")
    rows = [(*heads, "clean, robust")]
    for result in found["results"]:
        for side, one in result["sides"].items():
            is_ours = side != "baseline"
            ratios = [machine.ratio_text(one["against"][clock]) for clock in ("wall", "cpu")]
            reached = [f"{one['reached'][f'last_{kind}']:.3f}" for kind in ("clean", "robust")]
            rows.append(
                (
                    result["method"],
                    result["in"],
                    side,
                    machine.range_text(one["seconds"]),
                    machine.range_text(one["cpu_seconds"]),
                    *(ratios if is_ours else ("", "")),
                    ", ".join(reached),
                )
            )
    return [
        *machine.table(rows),
        "",
        f"{found['epochs']} epochs. Medians and ranges of {found['rounds']} interleaved rounds; in "
        f"one process, or with a warm cache, after {found['warmup']} more.",
        "Clean, robust: test accuracies of the last epoch in the last round, the second at the "
        "objective radius.",
    ]


def main() -> None:
    """Measure every method, print and write; or run one trial and print what it reached."""
    parser = options(__doc__.splitlines()[0])
    parser.set_defaults(rounds=3)
    parser.add_argument("--methods", nargs="+", choices=METHODS)
    parser.add_argument(
        "--sides",
        nargs="+",
        default=["baseline", "ours"],
        help="baseline first; repaired, or another form of ours",
    )
    parser.add_argument("--places", nargs="+", choices=PLACES)
    parser.add_argument("--workers", type=int, default=8, help="of the side `repaired`")
    parser.add_argument("--alone", help="run one trial of this side in this process")
    told = parser.parse_args()
    if told.quick:
        told.rounds, told.epochs = 1, told.epochs or QUICK_EPOCHS
    told.methods = told.methods or (QUICK_METHODS if told.quick else MEASURED)
    case = read_case(told)
    if told.alone is not None:
        print(json.dumps(run_trial(case, told.alone, told.methods[0], told.workers)))
        return
    about, results, warmup = machine.describe(case.device), [], 0 if told.quick else 1
    runs = {
        "one process": lambda side, method: run_trial(case, side, method, told.workers),
        "fresh processes": partial(run_first, told),
        "fresh processes, warm cache": partial(run_fresh, told),
    }
    for place in told.places or (PLACES[:2] if told.quick else PLACES):
        methods = told.methods[:1] if told.quick and place != "one process" else told.methods
        with machine.fresh_cache():
            for method in methods:
                run = partial(runs[place], method=method)
                sides = measure(told.sides, run, told, 0 if place == "fresh processes" else warmup)
                results.append({"method": method, "in": place, "sides": sides})
    found = {
        "title": f"Whole trials: {case.title}.",
        "machine": about,
        "epochs": case.training.epochs,
        "rounds": told.rounds,
        "warmup": warmup,
        "results": results,
    }
    machine.publish(f"trial-{case.stem}", found, lines(found), read_output(told))


if __name__ == "__main__":
    main()
