"""What a training step costs, steady: `python benchmarks/train_step.py`.

Whole epochs of training, data gathering or loading included, divided by their steps; validation is
not counted, and neither is what the first round costs. Ours is timed by the training's own metrics.
Compared with the baseline, with the baseline repaired (on a GPU: loader workers, pinned memory,
TF32), and with the limit: the operations that the step needs, at the measured peak. LookSAM, ESAM
and their kin are compared with what they replace, SAM: the baseline's, and ours by operators.
"""

import argparse
import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import machine
import torch
from baseline import train_baseline
from cases import METHODS, SHARP, Case, options, read_case, read_output
from machine import Spent, Timing
from ours import FORMS, train_ours
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from trainers.config import passes
from trainers.networks.build import build_model

MEASURED = ("standard", "sam", *SHARP, "at_10", "sam_at_10")
NUM_VALIDATION = 20
"""Validation is not counted, and kept short."""
MATRIX_SIZES = {"cpu": 2048, "cuda": 8192}
QUICK_MATRIX_SIZE = 512
REPAIRED_WORKERS = {"cpu": 0, "cuda": 8}
FORMS_BY_DEVICE = {
    "cpu": ["uncompiled", "compiled"],
    "cuda": ["uncompiled", "compiled", "bfloat16_uncompiled", "bfloat16_compiled"],
}


def pass_flops(case: Case) -> dict[str, float]:
    """Count the FLOPs per sample of a training pass, and of one for the inputs' gradient alone."""
    model = build_model(case.model, case.data, torch.Generator())
    images, labels = torch.rand(2, *case.data.image_shape), torch.zeros(2, dtype=torch.int64)
    with FlopCounterMode(display=False) as training:
        F.cross_entropy(model(images), labels).backward()
    model.requires_grad_(False)
    with FlopCounterMode(display=False) as inputs:
        F.cross_entropy(model(images.requires_grad_()), labels).backward()
    return {
        "training": training.get_total_flops() / 2,
        "inputs": inputs.get_total_flops() / 2,
    }


def step_flops(case: Case, method: str, counted: dict[str, float]) -> float:
    """Count the FLOPs per sample that a step of a method needs."""
    needed = passes(case.config(method).method)
    # A pass forward that no gradient follows, as ESAM selects by, is a third of a training pass.
    bare = max(0.0, needed.forward - needed.weight_backward - needed.input_backward) / 3
    training = (needed.weight_backward + bare) * counted["training"]
    return training + needed.input_backward * counted["inputs"]


def variant(
    epochs: Iterator[dict[str, Any]], num_epochs: int, last: dict[str, Any]
) -> Callable[[], Spent]:
    """Advance a training by some epochs, and tell what their training parts took.

    The CPU time of an epoch is shared between training and validation as its wall time is. `last`
    is filled with the metrics of the last epoch.
    """

    def advance() -> Spent:
        wall, cpu = 0.0, 0.0
        for _ in range(num_epochs):
            before = machine.cpu_seconds()
            epoch = next(epochs)
            used = machine.cpu_seconds() - before
            share = epoch["seconds"] / (epoch["seconds"] + epoch["validation_seconds"])
            wall, cpu = wall + epoch["seconds"], cpu + used * share
            last.update(epoch)
        return Spent(wall, cpu)

    return advance


def measure(
    case: Case, method: str, told: argparse.Namespace
) -> tuple[dict[str, Timing], dict[str, Any]]:
    """Time rounds of epochs of every side, in turn; tell by what our forms were executed."""
    needed = told.epochs_per_round * (told.rounds + 1)
    config = case.config(method, epochs=max(case.training.epochs, needed))
    place = (config, case.data, case.device)
    rival = place
    if method in SHARP:
        rival = (case.config("sam", epochs=config.training.epochs), *place[1:])
    trainings = {"baseline": train_baseline(*rival)}
    if told.workers > 0:
        trainings["repaired"] = train_baseline(*rival, workers=told.workers, tf32=True)
    if rival is not place:
        trainings["sam"] = train_ours(*rival, "uncompiled")
    trainings |= {form: train_ours(*place, form) for form in told.ours}
    last: dict[str, dict[str, Any]] = {name: {} for name in trainings}
    variants = {
        name: variant(one, told.epochs_per_round, last[name]) for name, one in trainings.items()
    }
    timings = machine.interleave(variants, told.rounds)
    return timings, {form: last[form]["engine"] for form in told.ours}


def summarise(
    case: Case, timings: dict[str, Timing], num_epochs: int, needs: dict[str, float]
) -> dict[str, Any]:
    """Turn seconds of rounds into seconds per step, samples per second, shares and ratios.

    needs: seconds that the needed operations of a sample take at each measured peak.
    """
    num_samples = num_epochs * len(case.data.train.labels)
    num_steps = num_epochs * math.ceil(len(case.data.train.labels) / case.training.batch_size)
    sides = {}
    for name, timing in timings.items():
        median = statistics.median(timing.wall)
        sides[name] = {
            "step_seconds": [seconds / num_steps for seconds in timing.wall],
            "step_cpu_seconds": [seconds / num_steps for seconds in timing.cpu],
            "samples_per_second": num_samples / median,
            "share_of_peak": {peak: num_samples * need / median for peak, need in needs.items()},
            "against": {
                other: {
                    "wall": asdict(machine.ratio(timings[other].wall, timing.wall)),
                    "cpu": asdict(machine.ratio(timings[other].cpu, timing.cpu)),
                }
                for other in ("baseline", "repaired", "sam")
                if other in timings and name not in (other, "baseline")
            },
        }
    return sides


def lines(found: dict[str, Any]) -> list[str]:
    """Write what was measured as a table."""
    heads = ("method", "side", "ms per step", "CPU ms", "samples/s", "share of peak")
    ratios = {
        "faster than the baseline": ("baseline", "wall"),
        "by CPU time": ("baseline", "cpu"),
        "than the repaired baseline": ("repaired", "wall"),
        "than our SAM": ("sam", "wall"),
    }
    measured = {name for result in found["results"] for name in result["sides"]}
    ratios = {head: ratio for head, ratio in ratios.items() if ratio[0] in measured}
    rows = [(*heads, *ratios)]
    for result in found["results"]:
        for name, side in result["sides"].items():
            shares, against = side["share_of_peak"].items(), side["against"]
            rows.append(
                (
                    result["method"],
                    name,
                    machine.range_text(side["step_seconds"], 1e3),
                    machine.range_text(side["step_cpu_seconds"], 1e3),
                    f"{side['samples_per_second']:.0f}",
                    ", ".join(f"{100 * share:.1f} % {peak}" for peak, share in shares),
                    *(
                        machine.ratio_text(against[other][clock]) if other in against else ""
                        for other, clock in ratios.values()
                    ),
                )
            )
    executions = {
        f"{form}: " + ", ".join(f"{part} {by}" for part, by in engine.items())
        for result in found["results"]
        for form, engine in result["engines"].items()
    }
    peaks = ", ".join(f"{rate / 1e9:.0f} GFLOP/s {peak}" for peak, rate in found["peaks"].items())
    return [
        *machine.table(rows),
        "",
        f"Medians and ranges of {found['rounds']} interleaved rounds of "
        f"{found['epochs_per_round']} epochs, after one more that is not counted.",
        f"Measured peak: {peaks}. Share: of the operations that a step needs, so the gradients of "
        "weights in the baseline's attack are not among them.",
        "CPU: of the process, without that of loader workers.",
        *sorted(executions),
    ]


def main() -> None:
    """Measure every method, print and write."""
    parser = options(__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=MEASURED)
    parser.add_argument("--ours", nargs="+", choices=FORMS, help="our side's forms")
    parser.add_argument("--workers", type=int, help="of the repaired baseline; 0: leave it out")
    parser.add_argument("--epochs-per-round", type=int, default=2)
    parser.set_defaults(rounds=4)
    told = parser.parse_args()
    case = read_case(told).with_parts(validation=NUM_VALIDATION)
    kind = case.device.type
    told.rounds = 1 if told.quick else told.rounds
    told.ours = told.ours or (["uncompiled"] if told.quick else FORMS_BY_DEVICE[kind])
    told.workers = REPAIRED_WORKERS[kind] if told.workers is None else told.workers
    described = machine.describe(case.device)
    peaks = machine.peak_rates(case.device, QUICK_MATRIX_SIZE if told.quick else MATRIX_SIZES[kind])
    counted, results = pass_flops(case), []
    with machine.fresh_cache():
        for method in told.methods:
            flops = step_flops(case, method, counted)
            needs = {peak: flops / rate for peak, rate in peaks.items()}
            timings, engines = measure(case, method, told)
            sides = summarise(case, timings, told.epochs_per_round, needs)
            about = {"method": method, "flops_per_sample": flops, "engines": engines}
            results.append(about | {"sides": sides})
    found = {
        "title": f"Training steps: {case.title}.",
        "machine": described,
        "peaks": peaks,
        "flops_per_sample_and_pass": counted,
        "rounds": told.rounds,
        "epochs_per_round": told.epochs_per_round,
        "results": results,
    }
    machine.publish(f"train_step-{case.stem}", found, lines(found), read_output(told))


if __name__ == "__main__":
    main()
