"""A conventional training loop, correct and as the field writes it: what claims are measured by.

Images are decoded, cropped and flipped one by one as PIL objects by a DataLoader; SAM goes from
parameter to parameter; PGD calls `loss.backward()`, which takes the weights' gradients along, and
clears them afterwards; every step reads its loss and its correct answers from the device. Float32,
contiguous NCHW. Network, batches, steps, passes, augmentation, schedule and evaluations are those
of `trainers`; of its code only the network's construction is used. Random numbers come from torch's
global generator.
"""

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from baseline_evaluation import Judged, find_bits, nested_accuracies
from baseline_step import baseline_step, random_start
from machine import precision
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from trainers.config import EvaluationConfig, Method, Pgd, PgdAttack, TrainConfig
from trainers.data.dataset import Dataset
from trainers.data.subset import Split
from trainers.data.torchvision_import import torchvision_module
from trainers.networks.build import build_model

VALIDATION_ATTACK = PgdAttack(steps=10, restarts=1)
EVALUATION_BATCH_SIZE = 500


class PilImages(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Images that are opened and transformed one at a time."""

    def __init__(self, split: Split, transform: Any) -> None:
        images = split.images.transpose(0, 2, 3, 1)
        self.images = np.ascontiguousarray(images[..., 0] if images.shape[3] == 1 else images)
        self.labels = split.labels
        self.transform = transform

    def __len__(self) -> int:
        """Count the images."""
        return len(self.labels)

    def __getitem__(self, sample: int) -> tuple[Tensor, int]:
        """Open and transform one image; give its label."""
        return self.transform(Image.fromarray(self.images[sample])), int(self.labels[sample])


def make_loader(
    split: Split, data: Dataset, device: torch.device, *, batch_size: int = 0, workers: int = 0
) -> "DataLoader[Any]":
    """Load a part: shuffled and augmented in batches of `batch_size`; in order where that is 0.

    With workers, they stay alive between epochs and memory is pinned for a GPU.
    """
    transforms = torchvision_module("transforms")
    is_training = batch_size > 0
    steps: list[Any] = []
    if is_training and data.augmentation == "crop_flip":
        _, height, width = data.image_shape
        steps += [
            transforms.RandomCrop((height, width), padding=height // 8, padding_mode="reflect"),
            transforms.RandomHorizontalFlip(),
        ]
    steps.append(transforms.ToTensor())
    if data.divisor != 255:
        steps.append(transforms.Lambda(partial(torch.mul, other=255 / data.divisor)))
    return DataLoader(
        PilImages(split, transforms.Compose(steps)),
        batch_size=batch_size if is_training else EVALUATION_BATCH_SIZE,
        shuffle=is_training,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=workers > 0 and device.type == "cuda",
    )


@dataclass(kw_only=True)
class BaselineState:
    """A training between two epochs."""

    model: nn.Module
    optimizer: torch.optim.SGD
    scheduler: torch.optim.lr_scheduler.LRScheduler
    epoch: int = 0
    best_score: float = -math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)


def new_baseline(config: TrainConfig, data: Dataset, device: torch.device) -> BaselineState:
    """Build network, optimiser and schedule; the seed is the global generators'."""
    if config.training.schedule != "cosine":
        raise ValueError(
            f"schedule: the baseline has only cosine, got {config.training.schedule!r}; say cosine"
        )
    torch.manual_seed(config.seed)
    model = build_model(config.model, data, torch.default_generator)
    model = model.to(memory_format=torch.contiguous_format).to(device)  # type: ignore[call-overload]
    training = config.training
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=training.learning_rate,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
    )
    num_steps = training.epochs * math.ceil(len(data.train.labels) / training.batch_size)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    return BaselineState(model=model, optimizer=optimizer, scheduler=scheduler)


def train_baseline(
    config: TrainConfig,
    data: Dataset,
    device: torch.device,
    *,
    workers: int = 0,
    tf32: bool = False,
    state: BaselineState | None = None,
) -> Iterator[dict[str, Any]]:
    """Train one network; yield each epoch's metrics as it ends.

    The repaired form has `workers`, and `tf32`, which also lets cuDNN choose its kernels by trial.
    """
    state = new_baseline(config, data, device) if state is None else state
    batch_size = config.training.batch_size
    loader = make_loader(data.train, data, device, batch_size=batch_size, workers=workers)
    validation = make_loader(data.validation, data, device, workers=workers)
    threat = config.evaluation
    while state.epoch < config.training.epochs:
        with precision("tf32" if tf32 else "default", cudnn_benchmark=tf32):
            started = time.perf_counter()
            loss, accuracy = train_epoch(state, config.method, loader, device)
            trained = time.perf_counter()
            attacks = [(threat.objective_radius, VALIDATION_ATTACK)]
            bits = find_bits(state.model, validation, threat.norm, attacks, device)
        clean, robust = nested_accuracies(bits)
        state.epoch += 1
        if (clean + robust) / 2 > state.best_score:
            state.best_score = (clean + robust) / 2
            state.best_weights = copy.deepcopy(state.model.state_dict())
        yield {
            "epoch": state.epoch,
            "train_loss": loss,
            "train_accuracy": accuracy,
            "validation_clean": clean,
            "validation_robust": robust,
            "seconds": trained - started,
            "validation_seconds": time.perf_counter() - trained,
        }


def train_epoch(
    state: BaselineState, method: Method, loader: "DataLoader[Any]", device: torch.device
) -> tuple[float, float]:
    """Train on every batch; return mean loss and accuracy of the samples, each before its step."""
    total, right, seen = 0.0, 0, 0
    for loaded, loaded_labels in loader:
        images = loaded.to(device, non_blocking=True)
        labels = loaded_labels.to(device, non_blocking=True)
        side = method.inputs
        start = random_start(images, side.norm, side.epsilon) if isinstance(side, Pgd) else images
        loss, logits = baseline_step(state.model, state.optimizer, method, images, start, labels)
        state.scheduler.step()
        total += loss.item() * len(labels)
        right += int((logits.argmax(1) == labels).sum().item())
        seen += len(labels)
    return total / seen, right / seen


def evaluate_baseline(
    model: nn.Module,
    split: Split,
    data: Dataset,
    evaluation: EvaluationConfig,
    device: torch.device,
    *,
    workers: int = 0,
    tf32: bool = False,
) -> Judged:
    """Judge `model` on all samples of a part, without an attack and at every radius."""
    loader = make_loader(split, data, device, workers=workers)
    attacks = [(radius, evaluation.attack) for radius in evaluation.radii]
    with precision("tf32" if tf32 else "default", cudnn_benchmark=tf32):
        bits = find_bits(model, loader, evaluation.norm, attacks, device)
    clean, *robust = nested_accuracies(bits)
    return Judged(bits, clean, tuple(robust))


def baseline_trial(
    config: TrainConfig,
    data: Dataset,
    device: torch.device,
    *,
    workers: int = 0,
    tf32: bool = False,
) -> dict[str, float]:
    """Train, and evaluate both checkpoints on the test part."""
    state = new_baseline(config, data, device)
    repaired = {"workers": workers, "tf32": tf32}
    for _ in train_baseline(config, data, device, state=state, **repaired):
        pass
    found = {}
    for checkpoint in ("last", "best"):
        if checkpoint == "best":
            state.model.load_state_dict(state.best_weights)
        judged = evaluate_baseline(
            state.model, data.test, data, config.evaluation, device, **repaired
        )
        found[f"{checkpoint}_clean"] = judged.clean
        robust = dict(zip(config.evaluation.radii, judged.robust, strict=True))
        found[f"{checkpoint}_robust"] = robust[config.evaluation.objective_radius]
    return found
