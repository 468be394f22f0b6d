"""Small data sets and configurations for the tests of `trainers`."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from trainers.config import (
    DataConfig,
    EvaluationConfig,
    Method,
    ModelConfig,
    PgdAttack,
    TrainConfig,
    TrainingConfig,
)
from trainers.data.dataset import Dataset, load_data
from trainers.data.subset import Split
from trainers.engine.program import forget_programs


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Of module scope, so that it holds while other fixtures of a module train, too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _no_programs() -> Iterator[None]:
    """Let no test find what another one, which may have replaced functions, has prepared."""
    yield
    forget_programs()


@pytest.fixture(scope="session")
def cpu() -> torch.device:
    return torch.device("cpu")


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """The digits, with arrays that cannot be written, as they arrive from a shared store."""
    data = load_data(DataConfig(name="digits"), Path("unused"))
    for split in (data.train, data.validation, data.test):
        split.images.flags.writeable = split.labels.flags.writeable = False
    return data


@pytest.fixture(scope="session")
def few_digits(digits: Dataset) -> Dataset:
    """150 / 40 / 40 digits: an epoch takes three steps of 64, the last one short."""

    def first(split: Split, count: int) -> Split:
        return Split(images=split.images[:count], labels=split.labels[:count])

    parts = {"train": first(digits.train, 150)}
    parts |= {"validation": first(digits.validation, 40), "test": first(digits.test, 40)}
    kept = {name: getattr(digits, name) for name in Dataset.__dataclass_fields__}
    return Dataset(**(kept | parts))


@pytest.fixture(scope="session")
def make_images() -> Callable[..., Dataset]:
    """Build a data set of random images of any shape."""

    def make(shape: tuple[int, int, int], classes: int = 10, count: int = 24) -> Dataset:
        random = np.random.default_rng(0)

        def part() -> Split:
            images: NDArray[np.uint8] = random.integers(0, 256, (count, *shape), dtype=np.uint8)
            return Split(images=images, labels=np.arange(count, dtype=np.int64) % classes)

        return Dataset(
            name="random",
            fingerprint="random",
            classes=tuple(str(label) for label in range(classes)),
            divisor=255,
            train=part(),
            validation=part(),
            test=part(),
            mean=(0.5,) * shape[0],
            std=(0.29,) * shape[0],
            augmentation="crop_flip" if shape == (3, 32, 32) else "none",
        )

    return make


@pytest.fixture(scope="session")
def make_config() -> Callable[..., TrainConfig]:
    """Build a configuration: the digits study's, with what a test wants to differ."""

    def make(
        method: Method | None = None,
        *,
        seed: int = 0,
        width: int = 4,
        depth: int = 0,
        norm_layer: str = "batch",
        model: str = "small_cnn",
        radii: tuple[float, ...] = (0.05, 0.1),
        norm: str = "linf",
        attack: PgdAttack | None = None,
        **training: object,
    ) -> TrainConfig:
        defaults: dict[str, object] = {
            "epochs": 3,
            "batch_size": 64,
            "learning_rate": 0.1,
            "momentum": 0.9,
            "weight_decay": 5e-4,
            "schedule": "cosine",
        }
        return TrainConfig(
            data=DataConfig(name="digits"),
            model=ModelConfig(name=model, width=width, depth=depth, norm_layer=norm_layer),
            training=TrainingConfig(**(defaults | training)),  # type: ignore[arg-type]
            method=Method() if method is None else method,
            evaluation=EvaluationConfig(
                norm=norm,  # type: ignore[arg-type]
                radii=radii,
                objective_radius=radii[-1],
                attack=PgdAttack(steps=5, restarts=1) if attack is None else attack,
            ),
            seed=seed,
        )

    return make


@pytest.fixture
def unjudged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave validation out: what is compared, counted or timed is training alone."""
    monkeypatch.setattr("trainers.train.validate", lambda *arguments: (0.0, 0.0))
