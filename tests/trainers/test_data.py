"""Tests of the data sets: the digits, the split by class, and image folders."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainers import folder as folders
from trainers.data import (
    DIGITS_FINGERPRINT,
    DataError,
    Dataset,
    Split,
    data_fingerprint,
    load_data,
    sample_hash,
    split_by_class,
)

MakeFolder = Callable[..., Path]


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Write random images: per part, how many of each class."""

    def make(
        train: dict[str, int] | None = None,
        test: dict[str, int] | None = None,
        size: tuple[int, int] = (6, 4),
        mode: str = "RGB",
    ) -> Path:
        random = np.random.default_rng(0)
        place = tmp_path / "images"
        parts = {"train": {"cat": 10, "dog": 15} if train is None else train}
        parts["test"] = {"cat": 3, "dog": 2} if test is None else test
        for part, classes in parts.items():
            for label, count in classes.items():
                (place / part / label).mkdir(parents=True)
                for number in range(count):
                    channels = (3,) if mode == "RGB" else ()
                    shape = (size[1], size[0], *channels)
                    pixels = random.integers(0, 256, shape, dtype=np.uint8)
                    Image.fromarray(pixels).save(place / part / label / f"{number}.png")
        return place

    return make


def load(place: Path) -> Dataset:
    return load_data(f"folder:{place}", place.parent / "cache")


def test_digits_come_in_1000_297_and_500_with_every_class_in_proportion(digits: Dataset) -> None:
    parts = (digits.train, digits.validation, digits.test)
    assert [len(part.labels) for part in parts] == [1000, 297, 500]
    everything = np.bincount(np.concatenate([part.labels for part in parts]))
    for part in parts:
        expected = everything * len(part.labels) / 1797
        assert np.abs(np.bincount(part.labels) - expected).max() < 1.5
        assert part.images.dtype == np.uint8
        assert part.images.shape[1:] == digits.image_shape == (1, 8, 8)
    assert digits.train.images.max() == digits.divisor == 16
    assert not digits.augment


def test_digits_fingerprint_is_the_hash_of_the_three_parts(digits: Dataset) -> None:
    parts = (digits.train, digits.validation, digits.test)
    text = " ".join(sample_hash(part) for part in parts)
    assert f"digits-{hashlib.sha256(text.encode()).hexdigest()[:8]}" == DIGITS_FINGERPRINT
    assert digits.fingerprint == DIGITS_FINGERPRINT == data_fingerprint("digits", Path("unused"))


def test_naming_a_data_set_imports_neither_torch_nor_scikit_learn() -> None:
    program = (
        "import sys; from pathlib import Path; from trainers.data import data_fingerprint;"
        "data_fingerprint('digits', Path('unused'));"
        "print({'torch', 'sklearn', 'PIL'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_mean_and_deviation_are_those_of_the_training_part(digits: Dataset) -> None:
    pixels = digits.train.images.astype(np.float64) / 16
    assert digits.mean == pytest.approx([pixels.mean()], rel=1e-12)
    assert digits.std == pytest.approx([pixels.std()], rel=1e-12)


def test_split_by_class_moves_each_class_in_proportion_and_loses_nothing() -> None:
    labels = np.repeat(np.arange(4), [40, 30, 20, 10]).astype(np.int64)
    split = Split(images=np.arange(100, dtype=np.uint8).reshape(100, 1, 1, 1), labels=labels)
    first, second = split_by_class(split, 25, "seed")
    assert np.bincount(second.labels).tolist() in ([10, 8, 5, 2], [10, 7, 5, 3])
    both = np.concatenate([first.images.ravel(), second.images.ravel()])
    assert sorted(both.tolist()) == list(range(100))
    again, other = split_by_class(split, 25, "seed"), split_by_class(split, 25, "other")
    assert np.array_equal(second.images, again[1].images)
    assert not np.array_equal(second.images, other[1].images)


def test_split_by_class_leaves_every_class_in_the_first_part() -> None:
    split = Split(images=np.zeros((7, 1, 1, 1), np.uint8), labels=np.array([0] * 6 + [1]))
    first, second = split_by_class(split, 3, "seed")
    assert 1 in first.labels
    assert 1 not in second.labels


def test_sample_hash_sees_pixels_labels_and_order() -> None:
    images = np.arange(8, dtype=np.uint8).reshape(2, 1, 2, 2)
    hashes = {
        sample_hash(Split(images=images, labels=np.array([0, 1]))),
        sample_hash(Split(images=images, labels=np.array([1, 0]))),
        sample_hash(Split(images=images[::-1], labels=np.array([0, 1]))),
        sample_hash(Split(images=images.reshape(2, 1, 1, 4), labels=np.array([0, 1]))),
    }
    assert len(hashes) == 4


def test_folder_gives_the_pixels_of_its_files(make_folder: MakeFolder) -> None:
    place = make_folder()
    data = load(place)
    assert data.classes == ("cat", "dog")
    assert data.image_shape == (3, 4, 6)
    assert data.divisor == 255
    assert [len(part.labels) for part in (data.train, data.validation, data.test)] == [20, 5, 5]
    assert data.test.labels.tolist() == [0, 0, 0, 1, 1]
    stored = np.asarray(Image.open(place / "test" / "cat" / "1.png"))
    assert np.array_equal(data.test.images[1], stored.transpose(2, 0, 1))
    assert not data.augment


def test_second_load_reads_no_image_and_gives_the_same(
    make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_folder()
    first = load(place)

    def refuse(*arguments: object) -> None:
        raise AssertionError("read an image again")

    monkeypatch.setattr(Image, "open", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    second = load(place)
    assert first.fingerprint == second.fingerprint
    for name in ("train", "validation", "test"):
        assert sample_hash(getattr(first, name)) == sample_hash(getattr(second, name))


def test_fingerprint_sees_content_and_names_not_times(make_folder: MakeFolder) -> None:
    place = make_folder()
    cache = place.parent / "cache"
    name = f"folder:{place}"
    first = data_fingerprint(name, cache)
    picture = place / "train" / "cat" / "0.png"
    os.utime(picture, ns=(1, 1))
    (place / "train" / "cat" / ".hidden").write_text("no image")
    assert data_fingerprint(name, cache) == first
    Image.new("RGB", (6, 4)).save(picture)
    changed = data_fingerprint(name, cache)
    picture.rename(picture.with_name("00.png"))
    renamed = data_fingerprint(name, cache)
    assert len({first, changed, renamed}) == 3


@pytest.mark.parametrize("damage", [b"", b"no archive", None], ids=["empty", "text", "cut"])
def test_damaged_cache_is_rebuilt(damage: bytes | None, make_folder: MakeFolder) -> None:
    place = make_folder()
    first = load(place)
    (kept,) = (place.parent / "cache").glob("*.npz")
    (remembered,) = (place.parent / "cache").glob("*.fingerprint")
    remembered.write_text("damaged")
    kept.write_bytes(kept.read_bytes()[:-500] if damage is None else damage)
    again = load(place)
    assert sample_hash(first.test) == sample_hash(again.test)
    assert first.fingerprint == again.fingerprint
    assert len(kept.read_bytes()) > 1000


def test_grey_images_have_one_channel_unless_one_is_coloured(make_folder: MakeFolder) -> None:
    place = make_folder(mode="L")
    assert load(place).image_shape == (1, 4, 6)
    Image.new("RGB", (6, 4), (255, 0, 0)).save(place / "test" / "dog" / "red.png")
    assert load(place).image_shape == (3, 4, 6)


def test_only_32_by_32_colour_images_are_augmented(make_folder: MakeFolder) -> None:
    assert load(make_folder(size=(32, 32))).augment


def test_a_channel_without_variation_has_deviation_one(make_folder: MakeFolder) -> None:
    place = make_folder(mode="L")
    for path in place.glob("*/*/*.png"):
        Image.new("L", (6, 4), 51).save(path)
    data = load(place)
    assert (data.mean, data.std) == ((0.2,), (1.0,))


def test_validation_has_1000_images_where_a_fifth_allows_it() -> None:
    sizes = {50_000: 1000, 9000: 1000, 6000: 1000, 5000: 1000, 4999: 999, 4000: 800, 25: 5, 5: 1}
    assert {size: folders.num_validation(size) for size in sizes} == sizes


MISTAKES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no such folder": (
        lambda place: place.rename(place.with_name("elsewhere")),
        r"train: must be a folder .* correct the path",
    ),
    "no test": (lambda place: _remove(place / "test"), r"test: must be a folder"),
    "empty test": (
        lambda place: (_remove(place / "test"), (place / "test").mkdir()),
        r"test: needs at least one image",
    ),
    "empty train": (
        lambda place: (_remove(place / "train"), (place / "train").mkdir()),
        r"train: needs at least two classes, got none",
    ),
    "one class": (
        lambda place: (_remove(place / "train" / "dog"), _remove(place / "test" / "dog")),
        r"train: needs at least two classes, got cat",
    ),
    "empty class": (
        lambda place: (place / "train" / "ant").mkdir(),
        r"train.ant: a class needs at least one image",
    ),
    "unknown class in test": (
        lambda place: (place / "test" / "dog").rename(place / "test" / "wolf"),
        r"test.wolf: each class must also stand in train, which has cat, dog",
    ),
    "a file beside the classes": (
        lambda place: (place / "train" / "list.txt").write_text("cat"),
        r"list\.txt: only folders",
    ),
    "not an image": (
        lambda place: (place / "train" / "cat" / "notes.txt").write_text("a cat"),
        r"notes\.txt: must be an image that can be read",
    ),
    "a cut image": (
        lambda place: _cut(place / "train" / "cat" / "3.png"),
        r"3\.png: must be an image that can be read",
    ),
    "a folder in a class": (
        lambda place: (place / "train" / "cat" / "more").mkdir(),
        r"more: only images may stand in a class",
    ),
    "two sizes": (
        lambda place: Image.new("RGB", (7, 4)).save(place / "test" / "dog" / "9.png"),
        r"dog.9\.png: all images must have one size, got 7×4 where .*cat.0\.png has 6×4",
    ),
    "16 bits": (
        lambda place: Image.new("I;16", (6, 4)).save(place / "test" / "dog" / "9.png"),
        r"9\.png: images must have at most 8 bits",
    ),
}


def _remove(place: Path) -> None:
    for path in sorted(place.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    place.rmdir()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize(("make_mistake", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_a_folder_is_one_line_that_names_it(
    make_mistake: Callable[[Path], object], message: str, make_folder: MakeFolder
) -> None:
    place = make_folder()
    make_mistake(place)
    with pytest.raises(DataError, match=message) as caught:
        load(place)
    assert "\n" not in str(caught.value)


def test_too_few_training_images_are_refused(make_folder: MakeFolder) -> None:
    with pytest.raises(DataError, match="needs at least 5 images"):
        load(make_folder(train={"cat": 2, "dog": 2}))


def test_unknown_data_set_is_refused() -> None:
    with pytest.raises(DataError, match="must be digits or folder:PATH, got 'cifar10'"):
        load_data("cifar10", Path("unused"))
