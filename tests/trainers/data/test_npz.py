"""Tests of arrays of one's own in an `.npz`."""

import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainers.config import DataConfig
from trainers.data import npz
from trainers.data.cache import DataError, hash_of
from trainers.data.dataset import Dataset, data_fingerprint, load_data
from trainers.data.doubts import doubts
from trainers.data.subset import is_grouped, sample_hash

REAL = "RHOEPS_CIFAR10_NPZ"
"""Names an `.npz` with the whole of CIFAR-10."""
SHAPE = (20, 4, 6, 3)


def arrays(shape: tuple[int, ...] = SHAPE, **others: Any) -> dict[str, Any]:
    """Make arrays of two classes; `others` replaces them, a None drops one."""
    random = np.random.default_rng(0)
    found: dict[str, Any] = {
        "train_x": random.integers(0, 256, shape, dtype=np.uint8),
        "train_y": np.arange(shape[0], dtype=np.uint8) % 2,
        "test_x": random.integers(0, 256, (6, *shape[1:]), dtype=np.uint8),
        "test_y": np.arange(6) % 2,
    } | others
    return {key: value for key, value in found.items() if value is not None}


def saved(folder: Path, **given: Any) -> Path:
    np.savez(folder / "own.npz", **given)
    return folder / "own.npz"


def load(path: Path, **settings: Any) -> Dataset:
    return load_data(DataConfig(name=f"npz:{path}", **settings), path.parent / "cache")


def test_an_npz_comes_in_three_parts_with_its_classes(tmp_path: Path) -> None:
    data = load(saved(tmp_path, **arrays(classes=np.array(["cat", "dog"]))))
    assert [len(part.labels) for part in (data.train, data.validation, data.test)] == [16, 4, 6]
    assert (data.classes, data.divisor, data.augmentation) == (("cat", "dog"), 255, "none")
    assert np.bincount(data.validation.labels).tolist() == [2, 2]
    assert load(saved(tmp_path, **arrays())).classes == ("0", "1")


LAYOUTS: dict[str, tuple[tuple[int, ...], Callable[[Any], Any]]] = {
    "grey": ((20, 4, 6), lambda images: images[:, np.newaxis]),
    "one channel first": ((20, 1, 4, 6), lambda images: images),
    "one channel last": ((20, 4, 6, 1), lambda images: images.transpose(0, 3, 1, 2)),
    "three first": ((20, 3, 4, 6), lambda images: images),
    "three last": (SHAPE, lambda images: images.transpose(0, 3, 1, 2)),
}


@pytest.mark.parametrize(("shape", "expected"), LAYOUTS.values(), ids=LAYOUTS)
def test_images_may_lie_in_any_usual_order(
    shape: tuple[int, ...], expected: Callable[[Any], Any], tmp_path: Path
) -> None:
    given = arrays(shape)
    data = load(saved(tmp_path, **given))
    assert np.array_equal(data.test.images, expected(given["test_x"]))
    assert data.test.images.flags.c_contiguous


def test_a_fingerprint_is_of_the_content_not_of_place_or_time(tmp_path: Path) -> None:
    path = saved(tmp_path, **arrays())
    first = load(path).fingerprint
    os.utime(path, ns=(1, 1))
    elsewhere = path.rename(tmp_path / "renamed.npz")
    assert load(elsewhere).fingerprint == first
    other = arrays()
    other["test_y"][:] = 1
    assert load(saved(tmp_path, **other)).fingerprint != first


def test_an_unchanged_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, **arrays())
    config = DataConfig(name=f"npz:{path}")
    first = data_fingerprint(config, tmp_path)

    def refuse(*arguments: object) -> None:
        raise AssertionError("hashed again")

    monkeypatch.setattr(npz.hashlib, "file_digest", refuse)
    assert data_fingerprint(config, tmp_path) == first


def test_colour_images_of_32_by_32_are_augmented(tmp_path: Path) -> None:
    path = saved(tmp_path, **arrays((20, 32, 32, 3)))
    assert load(path).augmentation == "crop_flip"
    assert load(path, augmentation="crop").augmentation == "crop"


def no_file(path: Path) -> None:
    path.unlink()


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_cut_file(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-300])


def changed_pixels(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[300] ^= 1
    path.write_bytes(content)


def one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def a_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"train_x": 1}))


DAMAGES = [no_file, a_folder, a_cut_file, changed_pixels, one_array, a_pickle]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_file_that_is_no_archive_of_arrays_is_one_line(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    path = saved(tmp_path, **arrays())
    damage(path)
    with pytest.raises(DataError, match=r"own\.npz: must be an \.npz that can be read") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_test_part_that_stands_class_by_class_is_shuffled(tmp_path: Path) -> None:
    given = arrays((100, 4, 6, 3))
    given["test_x"], given["test_y"] = given["train_x"][::-1], np.arange(100) // 50
    data = load(saved(tmp_path, **given))
    assert set(data.test.labels[:20].tolist()) == {0, 1}
    expected = given["test_x"].transpose(0, 3, 1, 2)
    pairs = [
        {(int(label), image.tobytes()) for label, image in zip(labels, images, strict=True)}
        for labels, images in (
            (data.test.labels, data.test.images),
            (given["test_y"], expected),
        )
    ]
    assert pairs[0] == pairs[1]
    few = load(saved(tmp_path, **given), test_samples=10)
    assert not is_grouped(few.test.labels)


ORDERS = {
    "mixed": ([0, 1, 0, 1, 0, 1], "npz 1"),
    "nearly sorted": ([0, 0, 1, 1, 1, 0], "npz 1"),
    "one class": ([1, 1, 1, 1, 1, 1], "npz 1"),
    "sorted": ([0, 0, 0, 1, 1, 1], "npz 1 mixed"),
    "sorted downwards": ([1, 1, 1, 1, 0, 0], "npz 1 mixed"),
}


@pytest.mark.parametrize(("labels", "form"), ORDERS.values(), ids=ORDERS)
def test_only_a_sorted_test_part_changes_what_a_file_is_named(
    labels: list[int], form: str, tmp_path: Path
) -> None:
    given = arrays(test_y=np.array(labels))
    path = saved(tmp_path, **given)
    stat, content = path.stat(), hashlib.sha256(path.read_bytes()).hexdigest()
    # What a version without this rule remembered of the file.
    (tmp_path / "cache").mkdir()
    stamp = [str(path.resolve()), str(stat.st_size), str(stat.st_mtime_ns)]
    known = hash_of(["npz 1", *stamp])
    (tmp_path / "cache" / f"npz-{known}.fingerprint").write_text(hash_of(["npz 1", content]))
    data = load(path)
    assert data.fingerprint == hash_of([form, content])
    is_kept = np.array_equal(data.test.images, given["test_x"].transpose(0, 3, 1, 2))
    assert is_kept == (form == "npz 1")


def test_a_file_that_cannot_be_used_is_named_and_then_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, **arrays(test_y=None))
    assert len(data_fingerprint(DataConfig(name=f"npz:{path}"), tmp_path)) == 32
    with pytest.raises(DataError, match="lacks test_y; add them"):
        load(path)


BLACK = {"train_x": "train", "test_x": "test"}


@pytest.mark.parametrize(("key", "part"), BLACK.items(), ids=BLACK)
def test_images_without_a_pixel_above_one_are_refused(key: str, part: str, tmp_path: Path) -> None:
    given = arrays()
    given[key] = (given[key] / 255).astype(np.uint8)  # fractions that were cast
    given[key][0] = 1
    with pytest.raises(DataError, match=rf"npz: {part}: pixels must .* got none above 1; if they"):
        load(saved(tmp_path, **given))
    given[key][0, 0, 0, 0] = 2
    assert load(saved(tmp_path, **given)).divisor == 255


OBJECTS = np.array([{}] * 20, dtype=object)
MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "a missing array": ({"test_x": None, "test_y": None}, "lacks test_x, test_y; add them"),
    "objects": ({"train_x": OBJECTS}, r"read without pickle \(Object arrays"),
    "fractions": ({"train_x": np.zeros(SHAPE)}, r"train_x: must be uint8 .* got float64"),
    "flat images": ({"train_x": np.zeros((20, 72), np.uint8)}, r"must have shape .* got 20 × 72"),
    "no test": ({"test_x": np.zeros((0, 4, 6, 3), np.uint8)}, r"test_x: .* none of them 0"),
    "both orders": ({"train_x": np.zeros((20, 3, 6, 3), np.uint8)}, "both could be the channels"),
    "no order": ({"train_x": np.zeros((20, 4, 6, 2), np.uint8)}, "neither can be the channels"),
    "another size": (
        {"test_x": np.zeros((6, 5, 6, 3), np.uint8)},
        r"test_x: .* shape of train_x, 3 × 4 × 6 as \(C, H, W\), got 3 × 5 × 6",
    ),
    "fractional labels": ({"train_y": np.zeros(20)}, r"train_y: must be whole .* got float64"),
    "too few labels": ({"test_y": np.zeros(5, int)}, r"test_y: .* \(6,\), got 5"),
    "labels in a table": ({"test_y": np.zeros((6, 1), int)}, r"test_y: .* \(6,\), got 6 × 1"),
    "labels from one": ({"train_y": np.arange(20) % 2 + 1}, r"got no 0 among 1 … 2"),
    "a gap": ({"train_y": np.arange(20) % 2 * 2}, r"got no 1 among 0 … 2"),
    "a negative label": ({"train_y": np.arange(20) % 2 - 1}, r"labels must be ≥ 0, got -1"),
    "one class": ({"train_y": np.zeros(20, int)}, "needs at least two classes, got one"),
    "a class of test alone": (
        {"test_y": np.array([0, 1, 2, 0, 1, 0])},
        r"test_y: each class must also be in train_y, which has 0 … 1, got 2",
    ),
    "few images": (
        {"train_x": np.zeros((4, 4, 6, 3), np.uint8), "train_y": np.array([0, 1, 0, 1])},
        r"train_x: needs at least 5 images, .* got 4",
    ),
    "too many names": ({"classes": np.array(["a", "b", "c"])}, r"must be 2 texts, .* shape 3;"),
    "names in bytes": ({"classes": np.array([b"a", b"b"])}, r"must be 2 texts, .* got \|S1"),
}


@pytest.mark.parametrize(("others", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_the_arrays_is_one_line_that_names_it(
    others: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load(saved(tmp_path, **arrays(**others)))
    assert str(caught.value).startswith(str(tmp_path / "own.npz"))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not os.environ.get(REAL), reason=f"{REAL} names no .npz with CIFAR-10")
def test_the_real_cifar10_has_its_published_statistics(tmp_path: Path) -> None:
    path = Path(os.environ[REAL])
    decoded = npz.load(path)
    assert decoded.train_images.shape == (50_000, 3, 32, 32)
    assert decoded.test_images.shape == (10_000, 3, 32, 32)
    assert np.bincount(decoded.train_labels).tolist() == [5000] * 10
    assert np.bincount(decoded.test_labels).tolist() == [1000] * 10
    counts = [np.bincount(decoded.train_images[:, c].ravel(), minlength=256) for c in range(3)]
    values = np.arange(256) / 255
    mean = [np.average(values, weights=count) for count in counts]
    square = [np.average(values**2, weights=count) for count in counts]
    std = np.sqrt(np.array(square) - np.array(mean) ** 2)
    assert mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=5e-5)
    assert std == pytest.approx((0.2470, 0.2435, 0.2616), abs=5e-5)

    config = DataConfig(name=f"npz:{path}", samples=10_000, test_samples=1005)
    data = load_data(config, tmp_path)
    assert np.bincount(data.train.labels).tolist() == [1000] * 10
    assert np.bincount(data.validation.labels).tolist() == [100] * 10
    assert sorted(np.bincount(data.test.labels).tolist()) == [100] * 5 + [101] * 5
    assert data.augmentation == "crop_flip"
    assert data.mean == pytest.approx(mean, abs=0.01)
    whole = load_data(DataConfig(name=f"npz:{path}"), tmp_path)
    assert len(whole.train.labels) == 49_000
    assert doubts(whole) == ()
    assert sample_hash(whole.validation) == sample_hash(data.validation)
