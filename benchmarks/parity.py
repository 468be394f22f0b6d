"""Whether the fast training is the same training: `python benchmarks/parity.py`.

(a) Step by step: from the same weights, on the same batches, with the same noise, every form of our
training against the baseline's step, which is plain torch; the losses of 20 steps may usually
differ by 1e-5, or 1e-4 where an attack takes the sign of a gradient, which rounding decides near 0.
(b) As a whole: test accuracies over several seeds against the baseline's, each with random
numbers of its own; the means may differ by two standard errors, or by 0.3 points of clean and 0.5
points of robust accuracy. Exit code 1 where anything differs by more.
"""

import copy
import math
import statistics
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import machine
import torch
from baseline import BaselineState, baseline_trial, new_baseline
from baseline_step import baseline_step
from cases import METHODS, Case, options, read_case, read_output
from ours import FORMS, our_state, our_trial, train_ours
from torch import Tensor
from torch.nn import functional as F

from trainers.config import Norm, Pgd, TrainConfig
from trainers.engine.engine import generator
from trainers.step.inputs import BALLS
from trainers.train import TrainState

STEPPED: tuple[tuple[str, Norm], ...] = (
    ("standard", "linf"),
    ("sam", "linf"),
    ("at_10", "l2"),
    ("sam_at_10", "l2"),
    ("at_10", "linf"),
    ("sam_at_10", "linf"),
)
"""By method, and norm of its input side."""
USUAL, SIGNED, LARGEST = 1e-5, 1e-4, 1e-3
"""Limits of the median difference of a loss, in (a), without and with the sign of a gradient; and
of the largest, as now and then rounding decides a ReLU, a maximum or a sign within an attack."""
L2_EPSILON = 0.5
WHOLE = ("standard", "sam", "at_10")
EXACT = ("plain", "uncompiled", "compiled")
"""The forms in float32."""
NUM_STEPS = 20
QUICK_EPOCHS = 2
LIMITS = {"clean": 0.003, "robust": 0.005}
"""Differences of accuracies that pass in (b) even where the standard error is smaller."""


def batches_of(
    case: Case, config: TrainConfig, epoch: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Draw what our training draws in an epoch: images, where the input side starts, labels."""
    num_train, device, side = len(case.data.train.labels), case.device, config.method.inputs

    def stream(name: str) -> torch.Generator:
        return generator(config.seed, name, epoch, device=device)

    order = torch.randperm(num_train, generator=stream("batch order"), device=device)
    images = torch.tensor(case.data.train.images, device=device)[order]
    images = images.to(torch.float32) / case.data.divisor
    labels = torch.tensor(case.data.train.labels, device=device)[order]
    if case.data.augmentation == "crop_flip":
        random, shape = stream("augmentation"), (num_train, 2)
        width = case.data.image_shape[1] // 8
        corners = torch.randint(2 * width + 1, shape, generator=random, device=device)
        flips = torch.randint(2, (num_train,), generator=random, device=device)
        images = _augmented(images, width, corners.tolist(), flips.tolist())
    random, size = stream("input noise"), config.training.batch_size
    for x, y in zip(images.split(size), labels.split(size), strict=True):
        start = x
        if isinstance(side, Pgd):
            start = (x + side.epsilon * BALLS[side.norm].draw(tuple(x.shape), random)).clamp(0, 1)
        yield x, start, y


def _augmented(images: Tensor, width: int, corners: list[list[int]], flips: list[int]) -> Tensor:
    """Crop each image from its reflection at the borders, `width` wide; mirror some."""
    padded = F.pad(images, (width,) * 4, mode="reflect")
    rows, columns = images.shape[2:]
    cropped = [
        one[:, top : top + rows, left : left + columns]
        for one, (top, left) in zip(padded, corners, strict=True)
    ]
    pairs = zip(cropped, flips, strict=True)
    return torch.stack([one.flip(2) if flip else one for one, flip in pairs])


def compare_steps(case: Case, method: str, norm: Norm, form: str) -> dict[str, Any]:
    """Compare the mean loss of every epoch, a full batch and a short one, with the twin's.

    The twin begins each epoch with our weights, batch statistics and momentum: left to itself,
    rounding alone would lead it elsewhere. A control, the twin in another memory format, shows how
    far rounding alone leads within an epoch.
    """
    small = case.with_parts(train=5 * case.training.batch_size // 3, validation=2)
    config = small.config(method, epochs=NUM_STEPS // 2)
    if norm == "l2":
        inputs = Pgd(norm="l2", epsilon=L2_EPSILON, steps=config.method.inputs.steps)
        config = replace(config, method=replace(config.method, inputs=inputs))
    state = our_state(config, small.data, small.device, form)
    twin, control = (new_baseline(config, small.data, small.device) for _ in range(2))
    control.model.to(memory_format=torch.channels_last)
    losses: dict[str, list[float]] = {"ours": [], "twin": [], "control": []}
    before = copy.deepcopy(state)
    for epoch, ours in enumerate(train_ours(config, small.data, small.device, form, state)):
        losses["ours"].append(ours["train_loss"])
        losses["twin"].append(twin_epoch(small, config, twin, before, epoch))
        losses["control"].append(twin_epoch(small, config, control, before, epoch))
        before = copy.deepcopy(state)
    gaps = {
        name: [abs(a - b) for a, b in zip(losses[name], losses["twin"], strict=True)]
        for name in ("ours", "control")
    }
    usual = SIGNED if (norm, method[-2:]) == ("linf", "10") else USUAL
    is_near = statistics.median(gaps["ours"]) <= usual and max(gaps["ours"]) <= LARGEST
    about = {"method": method, "norm": norm, "form": form, "engine": state.engine}
    return about | {"losses": losses, "differences": gaps, "limit": usual, "passes": is_near}


def twin_epoch(
    case: Case, config: TrainConfig, twin: BaselineState, before: TrainState, epoch: int
) -> float:
    """Take the twin through our epoch from our state before it; return the mean loss."""
    twin.model.load_state_dict(before.model.state_dict())
    for weight, momentum in zip(twin.model.parameters(), before.memory.moments, strict=True):
        twin.optimizer.state[weight]["momentum_buffer"] = momentum.clone()
    total = 0.0
    for images, start, labels in batches_of(case, config, epoch):
        given = (twin.model, twin.optimizer, config.method, images, start, labels)
        total += float(baseline_step(*given)[0]) * len(labels)
        twin.scheduler.step()
    return total / len(case.data.train.labels)


def compare_seeds(case: Case, method: str, form: str, num_seeds: int) -> list[dict[str, Any]]:
    """Compare the last epoch's test accuracies of whole trainings, over seeds."""
    reached: dict[str, list[dict[str, float]]] = {"ours": [], "baseline": []}
    for seed in range(num_seeds):
        config = case.config(method, seed=seed)
        reached["ours"].append(our_trial(config, case.data, case.device, form))
        reached["baseline"].append(baseline_trial(config, case.data, case.device))
    found = []
    for kind, limit in LIMITS.items():
        ours, theirs = (
            [one[f"last_{kind}"] for one in reached[side]] for side in ("ours", "baseline")
        )
        error = math.sqrt((statistics.variance(ours) + statistics.variance(theirs)) / num_seeds)
        difference = statistics.mean(ours) - statistics.mean(theirs)
        found.append(
            {
                "method": method,
                "accuracy": kind,
                "ours": ours,
                "baseline": theirs,
                "difference": difference,
                "standard_error": error,
                "passes": abs(difference) <= max(2 * error, limit),
            }
        )
    return found


def lines(found: dict[str, Any]) -> list[str]:
    """Write both comparisons as tables."""
    verdicts = {True: "yes", False: "NO"}
    heads = ("method", "norm", "form", "loss, first and last", "difference: median", "largest")
    rows = [(*heads, "control: median", "largest", "agrees")]
    for one in found["steps"]:
        losses = " and ".join(f"{one['losses']['ours'][place]:.4f}" for place in (0, -1))
        gaps = [
            f"{of(one['differences'][name]):.1e}"
            for name in ("ours", "control")
            for of in (statistics.median, max)
        ]
        verdict = verdicts[one["passes"]]
        rows.append((one["method"], one["norm"], one["form"], losses, *gaps, verdict))
    seeds = [("method", "test accuracy", "ours", "baseline", "difference", "std. error", "agrees")]
    for one in found["seeds"]:
        means = [f"{100 * statistics.mean(one[side]):.2f} %" for side in ("ours", "baseline")]
        difference, error = (f"{100 * one[key]:.2f}" for key in ("difference", "standard_error"))
        seeds.append(
            (one["method"], one["accuracy"], *means, difference, error, verdicts[one["passes"]])
        )
    return [
        f"Losses of {NUM_STEPS} steps in float32, two by two from equal weights. Control: plain "
        "torch against itself, channels last.",
        f"The median difference may be {USUAL:g}, {SIGNED:g} where an attack takes signs; the "
        f"largest {LARGEST:g}.",
        *machine.table(rows),
        "",
        f"Test accuracies of the last of {found['epochs']} epochs, in points, means over "
        f"{found['num_seeds']} seeds; form {found['form']}.",
        "They may differ by two standard errors, or by 0.3 (clean) and 0.5 (robust).",
        *machine.table(seeds),
    ]


def main() -> None:
    """Compare, print and write; exit with 1 where anything differs by more than it may."""
    parser = options(__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=WHOLE, help="in (b)")
    parser.add_argument("--seeds", type=int, default=3, help="in (b); at least 2")
    parser.add_argument("--ours", choices=FORMS, default="ours", help="our side's form in (b)")
    parser.add_argument("--forms", nargs="+", choices=EXACT, help="in (a)")
    told = parser.parse_args()
    if told.quick:
        told.seeds, told.epochs = 2, told.epochs or QUICK_EPOCHS
        told.forms = told.forms or ["uncompiled"]
    told.forms = told.forms or EXACT
    case = read_case(told)
    about, steps, seeds = machine.describe(case.device), [], []
    with machine.fresh_cache():
        with machine.precision("ieee"):
            for method, norm in STEPPED:
                steps += [compare_steps(case, method, norm, form) for form in told.forms]
        for method in told.methods:
            seeds += compare_seeds(case, method, told.ours, told.seeds)
    found = {
        "title": f"Parity: {case.title}.",
        "machine": about,
        "steps": steps,
        "num_seeds": told.seeds,
        "epochs": case.training.epochs,
        "form": told.ours,
        "seeds": seeds,
    }
    machine.publish(f"parity-{case.stem}", found, lines(found), read_output(told))
    sys.exit(0 if all(one["passes"] for one in steps + seeds) else 1)


if __name__ == "__main__":
    main()
