"""What the benchmarks train: data set, network and settings, chosen on the command line.

`digits` is the case of the bundled study; `synthetic` has 32 × 32 RGB images that can be learned,
so that attacks find robust samples to work on; every other data set is known by its name.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from machine import HERE
from numpy.typing import NDArray

from trainers.config import (
    DEFAULT_WIDTHS,
    AdaptiveGsam,
    DataConfig,
    EigenSam,
    Esam,
    EvaluationConfig,
    FSam,
    LookSam,
    Method,
    ModelConfig,
    Msam,
    Pgd,
    PgdAttack,
    Sam,
    TrainConfig,
    TrainingConfig,
    WeightSide,
)
from trainers.data.dataset import Dataset, load_data
from trainers.data.subset import Split

CACHE = Path(tempfile.gettempdir()) / "rhoeps-benchmarks"
SHARP: dict[str, Callable[..., WeightSide]] = {
    "look_sam_5": partial(LookSam, every=5),
    "esam": Esam,
    "f_sam": FSam,
    "msam": Msam,
    "eigen_sam": EigenSam,
    "adaptive_gsam": AdaptiveGsam,
}
"""Weight sides that no baseline has: compared with SAM, which they would replace."""
METHODS = ("standard", "sam", *SHARP, "at_4", "at_10", "sam_at_10")
"""at_K: PGD with K steps on the input side. look_sam_K: a SAM gradient on every K-th step."""
NUM_CLASSES = 10
FEW = {"train": 80, "validation": 40, "test": 60}
"""Samples of the quick form, in batches of 32."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A data set with the settings that all methods share."""

    stem: str
    """Part of the names of the files that a result is written to."""
    data: Dataset
    device: torch.device
    model: ModelConfig
    training: TrainingConfig
    evaluation: EvaluationConfig
    rho: float
    epsilon: float

    def config(self, method: str, *, seed: int = 0, **training: int) -> TrainConfig:
        """Configure a method of `METHODS`, by name; `training` replaces settings."""
        weights, _, steps = method.rpartition("at_")
        sides: dict[str, WeightSide | Pgd] = {}
        if method in SHARP:
            sides["weights"] = SHARP[method](rho=self.rho)
        if weights == "sam_" or method == "sam":
            sides["weights"] = Sam(rho=self.rho)
        if steps.isdigit():
            sides["inputs"] = Pgd(norm="linf", epsilon=self.epsilon, steps=int(steps))
        return TrainConfig(
            data=DataConfig(name="digits" if self.data.name == "digits" else "folder:benchmark"),
            model=self.model,
            training=replace(self.training, **training),
            method=Method(**sides),  # type: ignore[arg-type]
            evaluation=self.evaluation,
            seed=seed,
        )

    @property
    def title(self) -> str:
        """The case in words."""
        channels, height, width = self.data.image_shape
        return (
            f"{self.stem}, {len(self.data.train.labels)} training images of {channels} × {height} "
            f"× {width}; {self.model.name} of width {self.model.width}, "
            f"batches of {self.training.batch_size}"
        )

    def with_parts(self, **counts: int) -> "Case":
        """Keep the first samples of some parts: `with_parts(validation=10)`."""
        parts = {name: first(getattr(self.data, name), count) for name, count in counts.items()}
        return replace(self, data=replace(self.data, **parts))


def first(split: Split, count: int) -> Split:
    """Keep the first samples of a part."""
    return Split(images=split.images[:count], labels=split.labels[:count])


def options(description: str) -> argparse.ArgumentParser:
    """Give a parser with the options that all benchmarks share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--data", help="synthetic, or any name of a data set; digits on a CPU")
    parser.add_argument("--images", type=int, default=50_000, help="of the synthetic training part")
    parser.add_argument("--model", choices=DEFAULT_WIDTHS, help="the case's own, unless given")
    parser.add_argument("--epochs", type=int, help="of a training; the case's own, unless given")
    parser.add_argument("--rounds", type=int, default=5, help="in which every variant runs once")
    parser.add_argument("--quick", action="store_true", help="a few seconds, to see that it works")
    parser.add_argument(
        "--output", type=Path, help="folder of the .txt and .json; beside the script unless quick"
    )
    return parser


def read_case(told: argparse.Namespace) -> Case:
    """Make the case that was asked for, with one thread on a CPU."""
    device = torch.device(told.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    name = told.data or ("digits" if device.type == "cpu" else "synthetic")
    count = FEW["train"] if told.quick else told.images
    data = synthetic(count) if name == "synthetic" else load_data(DataConfig(name=name), CACHE)
    case = _digits(data, device) if name == "digits" else _colours(data, device)
    if told.model is not None:
        case = replace(case, model=ModelConfig(name=told.model, width=DEFAULT_WIDTHS[told.model]))
    if told.epochs is not None:
        case = replace(case, training=replace(case.training, epochs=told.epochs))
    if not told.quick:
        return case
    return replace(case.with_parts(**FEW), training=replace(case.training, batch_size=32))


def read_output(told: argparse.Namespace) -> Path | None:
    """Decide where results are written: a quick run leaves the recorded ones alone."""
    return None if told.quick and told.output is None else told.output or HERE


def forwarded(told: argparse.Namespace) -> list[str]:
    """Give the words that make a child process read the same case."""
    words = ["--device", told.device, "--images", str(told.images)]
    for name in ("data", "model", "epochs"):
        if getattr(told, name) is not None:
            words += [f"--{name}", str(getattr(told, name))]
    return words + (["--quick"] if told.quick else [])


def _digits(data: Dataset, device: torch.device) -> Case:
    """Give the case of the bundled study `digits`."""
    return Case(
        stem=f"{device.type}-digits",
        data=data,
        device=device,
        model=ModelConfig(name="small_cnn", width=8),
        training=_training(epochs=20, batch_size=64),
        evaluation=EvaluationConfig(
            norm="linf",
            radii=(0.05, 0.1, 0.15, 0.2),
            objective_radius=0.1,
            attack=PgdAttack(steps=10, restarts=3),
            checkpoint="last",
        ),
        rho=0.2,
        epsilon=0.1,
    )


def _colours(data: Dataset, device: torch.device) -> Case:
    """Take PreActResNet-18 on a GPU, the small network on a CPU."""
    name = "preact_resnet18" if device.type == "cuda" else "small_cnn"
    return Case(
        stem=f"{device.type}-{data.name.partition(':')[0]}",
        data=data,
        device=device,
        model=ModelConfig(name=name, width=DEFAULT_WIDTHS[name]),
        training=_training(epochs=100, batch_size=128),
        evaluation=EvaluationConfig(
            norm="linf",
            radii=(2 / 255, 4 / 255, 6 / 255, 8 / 255),
            objective_radius=8 / 255,
            attack=PgdAttack(steps=10, restarts=1),
            checkpoint="last",
        ),
        rho=0.1,
        epsilon=8 / 255,
    )


def _training(epochs: int, batch_size: int) -> TrainingConfig:
    return TrainingConfig(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=0.1,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="cosine",
    )


def synthetic(num_train: int) -> Dataset:
    """Draw 32 × 32 RGB images in ten classes: smooth patterns of a class under noise.

    The validation part has a tenth and the test part a fifth of the training part's samples.
    """
    random = np.random.default_rng(0)
    coarse = random.uniform(-1, 1, (NUM_CLASSES, 3, 4, 4))
    patterns = coarse.repeat(8, axis=2).repeat(8, axis=3)

    def part(count: int) -> Split:
        labels = np.arange(count, dtype=np.int64) % NUM_CLASSES
        images = np.empty((count, 3, 32, 32), dtype=np.uint8)
        for start in range(0, count, 1000):
            images[start : start + 1000] = _drawn(patterns[labels[start : start + 1000]], random)
        return Split(images=images, labels=labels)

    return Dataset(
        name="synthetic",
        fingerprint=f"synthetic-{num_train}",
        classes=tuple(str(label) for label in range(NUM_CLASSES)),
        divisor=255,
        train=part(num_train),
        validation=part(max(1, num_train // 10)),
        test=part(max(1, num_train // 5)),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        augmentation="crop_flip",
    )


def _drawn(patterns: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.uint8]:
    """Put noise upon patterns, as stored pixels."""
    noise = random.standard_normal(patterns.shape, dtype=np.float32)
    return (127.5 + 40 * patterns + 50 * noise).clip(0, 255).round().astype(np.uint8)
