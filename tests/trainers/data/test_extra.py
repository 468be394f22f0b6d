"""Tests of extra images: read, checked, mixed into training batches alone, in the fingerprint."""

import io
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from trainers.checkpoint import load_state, save_state
from trainers.config import ConfigError, DataConfig, ExtraData, TrainConfig
from trainers.data.dataset import DataError, Dataset, data_fingerprint, joined, load_data
from trainers.data.doubts import doubts
from trainers.data.mapped import Mapped
from trainers.data.subset import Split
from trainers.engine.engine import PLAIN
from trainers.engine.program import forget_programs
from trainers.step.batches import on_device, with_extra
from trainers.step.step import step
from trainers.train import TrainState, new_state, train

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")
COUNT = 30


def arrays(seed: int = 0) -> dict[str, NDArray[Any]]:
    """Digits that are none: noise, with labels of every class."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 17, (COUNT, 8, 8), dtype=np.uint8)
    return {"image": images, "label": np.arange(COUNT) % 10}


def written(folder: Path, **changed: NDArray[Any]) -> Path:
    path = folder / "generated.npz"
    np.savez(path, **(arrays() | changed))
    return path


def config_of(path: Path, share: float = 0.7) -> DataConfig:
    return DataConfig(name="digits", extra=ExtraData(name=f"npz:{path}", share=share))


@pytest.fixture(scope="module")
def extended(few_digits: Dataset) -> Dataset:
    """150 training images, and 30 extra ones for 70 % of each batch."""
    given = arrays()
    extra = Split(images=given["image"][:, None], labels=given["label"])
    return replace(few_digits, extra=extra, extra_share=0.7)


def run(config: TrainConfig, data: Dataset) -> TrainState:
    state = new_state(config, data, CPU)
    for _ in train(config, data, CPU, state, PLAIN):
        pass
    return state


@pytest.mark.parametrize("keys", [("image", "label"), ("train_x", "train_y")])
def test_extra_images_stand_beside_a_data_set_that_is_what_it_was(
    keys: tuple[str, str], tmp_path: Path, digits: Dataset
) -> None:
    given = arrays()
    path = tmp_path / "generated.npz"
    np.savez(path, **dict(zip(keys, given.values(), strict=True)))
    found = load_data(config_of(path), tmp_path)
    assert np.array_equal(found.extra.images[:, 0], given["image"])
    assert np.array_equal(found.extra.labels, given["label"])
    assert found.extra_share == 0.7
    for name in ("train", "validation", "test"):
        ours, theirs = getattr(found, name), getattr(digits, name)
        assert np.array_equal(ours.images, theirs.images)
        assert np.array_equal(ours.labels, theirs.labels)
    assert (found.mean, found.std) == (digits.mean, digits.std)


def test_the_fingerprint_has_the_share_and_the_content_of_the_extra_images(tmp_path: Path) -> None:
    path, other = written(tmp_path), tmp_path / "other.npz"
    found = [data_fingerprint(config_of(path, share), tmp_path) for share in (0.7, 0.7, 0.3)]
    assert found[0] == found[1] != found[2]
    assert found[0].startswith("digits-b855613c-extra0.7-")
    assert load_data(config_of(path), tmp_path).fingerprint == found[0]
    other.write_bytes(path.read_bytes())  # the same under another name
    assert data_fingerprint(config_of(other), tmp_path) == found[0]
    np.savez(other, **arrays(seed=1))
    assert data_fingerprint(config_of(other), tmp_path) != found[0]
    assert data_fingerprint(DataConfig(name="digits"), tmp_path) == "digits-b855613c"


REFUSED: dict[str, tuple[dict[str, NDArray[Any]], str]] = {
    "another shape": (
        {"image": np.full((COUNT, 9, 8), 9, np.uint8)},
        "image: must have images of the shape of the data set, 1 × 8 × 8 as .*, got 1 × 9 × 8",
    ),
    "floats": ({"image": np.full((COUNT, 8, 8), 0.5)}, "image: must be uint8"),
    "another range": (
        {"image": np.full((COUNT, 8, 8), 200, np.uint8)},
        "range from 0 to 16, got 200 as the largest",
    ),
    "black": ({"image": np.ones((COUNT, 8, 8), np.uint8)}, "got 1 as the largest"),
    "an unknown class": ({"label": np.full(COUNT, 10)}, "of the 10 classes, 0 … 9, got 10"),
    "no label": ({"label": np.full(COUNT, -1)}, "each image needs a label .* got -1"),
    "too few labels": ({"label": np.arange(10)}, "one label for each of the 30 images"),
}


@pytest.mark.parametrize(("changed", "rule"), REFUSED.values(), ids=REFUSED)
def test_images_that_cannot_join_are_refused(
    changed: dict[str, NDArray[Any]], rule: str, tmp_path: Path
) -> None:
    path = written(tmp_path, **changed)
    with pytest.raises(DataError, match=rf"^data\.extra: .*generated\.npz: .*{rule}"):
        load_data(config_of(path), tmp_path)


def test_a_file_without_labels_or_without_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "generated.npz"
    np.savez(path, image=arrays()["image"])
    with pytest.raises(DataError, match=r"^data\.extra: .*needs the arrays train_x, train_y"):
        load_data(config_of(path), tmp_path)
    for find in (load_data, data_fingerprint):
        with pytest.raises(DataError, match=r"^data\.extra: .*absent\.npz: must be an \.npz"):
            find(config_of(tmp_path / "absent.npz"), tmp_path)


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"name": "folder:x"}, "name: must be npz:PATH"),
        ({"name": "npz:"}, "name: must be npz:PATH"),
        ({"share": 0.0}, r"share: must lie in \(0, 1\)"),
        ({"share": 1.0}, r"share: must lie in \(0, 1\)"),
    ],
)
def test_settings_of_extra_images_are_checked(settings: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        ExtraData(**({"name": "npz:x.npz", "share": 0.5} | settings))


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_a_batch_has_images_of_both_sources(share: float, make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=r"data: extra\.share must leave an image of each source"):
        replace(make_config(batch_size=64), data=config_of(Path("x.npz"), share))


@pytest.mark.parametrize(("share", "batch_size"), [(0.7, 64), (0.3, 150), (0.5, 7), (0.9, 1000)])
def test_each_batch_has_its_share_and_no_training_image_twice(
    share: float, batch_size: int, extended: Dataset
) -> None:
    """150 images an epoch, as without extra ones; the short last batch has its share, too."""
    data = replace(extended, extra_share=share)
    order = torch.randperm(150, generator=torch.Generator().manual_seed(1))
    before = order.clone()
    found = with_extra(order, data, batch_size, torch.Generator().manual_seed(2))
    assert torch.equal(order, before)
    assert found.shape == (150,)
    assert found.max() < 150 + COUNT
    for batch, planned in zip(found.split(batch_size), order.split(batch_size), strict=True):
        is_extra = batch >= 150
        assert is_extra.sum() == round(share * len(batch))
        assert torch.equal(batch[~is_extra], planned[: int((~is_extra).sum())])
    kept = found[found < 150]
    assert len(kept.unique()) == len(kept)


def test_extra_images_are_drawn_alike() -> None:
    """Each as often as every other, with replacement, as there may be fewer than a batch takes."""
    images = np.zeros((10, 1, 8, 8), np.uint8)
    extra = Split(images=images, labels=np.arange(10))
    data: Any = type("Data", (), {"extra": extra, "extra_share": 0.5})
    found = with_extra(torch.arange(20_000), data, 100, torch.Generator().manual_seed(3))
    counts = torch.bincount(found[found >= 20_000] - 20_000, minlength=10)
    assert counts.sum() == 10_000
    assert (counts - 1000).abs().max() < 5 * math.sqrt(900)


def test_positions_after_the_training_part_are_those_of_extra_images(extended: Dataset) -> None:
    source = on_device(extended, CPU)
    assert len(source.images) == len(source.labels) == 150 + COUNT
    assert np.array_equal(source.images[150:].numpy(), extended.extra.images)
    assert np.array_equal(source.labels[150:].numpy(), extended.extra.labels)
    cropped = replace(extended, augmentation="crop")
    assert on_device(cropped, CPU).images.shape == (150 + COUNT, 1, 10, 10)


def test_a_training_sees_its_share_of_extra_images(
    extended: Dataset, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In every epoch others, by the seed; lengths and passes are those of a training without."""
    seen: list[list[int]] = []

    def record(*arguments: Any) -> None:
        seen.append(arguments[4].samples.tolist())
        step(*arguments)

    monkeypatch.setattr("trainers.engine.program.step", record)
    config = make_config(epochs=2, batch_size=50)
    found = run(config, extended)
    assert [len(batch) for batch in seen] == [50] * 6
    assert [sum(at >= 150 for at in batch) for batch in seen] == [35] * 6
    assert seen[0] != seen[3]
    first, again = seen[:6], run(config, extended)
    assert seen[6:] == first
    forget_programs()
    alone = run(config, replace(extended, extra_share=0.0))
    passes = [metrics.forward_passes for metrics in found.metrics]
    assert passes == [metrics.forward_passes for metrics in alone.metrics] == [150, 150]
    assert found.metrics[0].train_loss == again.metrics[0].train_loss
    assert found.metrics[0].train_loss != alone.metrics[0].train_loss


@pytest.mark.parametrize("augmentation", ["none", "crop_flip"])
def test_a_training_with_extra_images_resumed_equals_uninterrupted_bit_for_bit(
    augmentation: str, extended: Dataset, make_config: MakeConfig
) -> None:
    data = replace(extended, augmentation=augmentation)
    config = make_config()
    whole, begun = run(config, data), new_state(config, data, CPU)
    next(train(config, data, CPU, begun, PLAIN))
    file = io.BytesIO()
    save_state(file, begun, "digest")
    file.seek(0)
    forget_programs()
    resumed = load_state(file, config, data, CPU, "digest")
    assert resumed is not None
    for _ in train(config, data, CPU, resumed, PLAIN):
        pass
    pairs = zip(whole.model.state_dict().values(), resumed.model.state_dict().values(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_extra_images_that_are_tested_or_validated_on_are_a_doubt(extended: Dataset) -> None:
    assert not [text for text in doubts(extended) if "extra" in text]
    images = extended.extra.images.copy()
    images[4], images[7] = extended.test.images[0], extended.validation.images[1]
    seen = replace(extended, extra=replace(extended.extra, images=images))
    texts = [text for text in doubts(seen) if "extra" in text]
    assert len(texts) == 2
    assert "1 of the 30 extra images are also validation images" in texts[0]
    assert "the first is extra image 4" in texts[1]


def test_extra_images_join_no_images_that_stay_in_a_file(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = load_data(DataConfig(name="digits"), tmp_path).train.images
    np.save(tmp_path / "images.npy", whole)
    stored = Mapped(tmp_path / "images.npy", np.arange(len(whole)))
    with pytest.raises(DataError, match=r"^data\.extra: joins images that are in memory"):
        joined(config_of(path), stored, tuple("0123456789"), 16)
    assert len(joined(config_of(path), whole, tuple("0123456789"), 16).labels) == COUNT
