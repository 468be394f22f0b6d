"""Tests of the data sets: the digits, image folders, and what a configuration makes of a set."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainers.config import AUGMENTATIONS, TORCHVISION_SETS, DataConfig
from trainers.data import folder
from trainers.data.cache import DataError, hash_of
from trainers.data.dataset import (
    DIGITS_FINGERPRINT,
    Dataset,
    data_fingerprint,
    load_data,
    num_validation,
)
from trainers.data.subset import sample_hash

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


def load(place: Path, **settings: object) -> Dataset:
    return load_data(folder_config(place, **settings), place.parent / "cache")


def folder_config(place: Path, **settings: object) -> DataConfig:
    return DataConfig(name=f"folder:{place}", **settings)  # type: ignore[arg-type]


def digits_with(**settings: object) -> Dataset:
    return load_data(DataConfig(name="digits", **settings), Path("unused"))  # type: ignore[arg-type]


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
    assert digits.augmentation == "none"


def test_digits_fingerprint_is_the_hash_of_the_three_parts(digits: Dataset) -> None:
    parts = (digits.train, digits.validation, digits.test)
    text = " ".join(sample_hash(part) for part in parts)
    assert f"digits-{hashlib.sha256(text.encode()).hexdigest()[:8]}" == DIGITS_FINGERPRINT
    assert digits.fingerprint == DIGITS_FINGERPRINT == name_of_digits()


def name_of_digits(**settings: object) -> str:
    config = DataConfig(name="digits", **settings)  # type: ignore[arg-type]
    return data_fingerprint(config, Path("unused"))


def test_naming_data_sets_imports_no_large_library_and_touches_no_file() -> None:
    slow = {"torch", "torchvision", "sklearn", "scipy", "PIL", "urllib.request"}
    program = (
        "import sys; from pathlib import Path; from trainers.data.dataset import data_fingerprint;"
        "from trainers.config import AUGMENTATIONS, TORCHVISION_SETS, DataConfig;"
        "[data_fingerprint(DataConfig(name=name), Path('/no/such/place'))"
        " for name in ('digits', *TORCHVISION_SETS)];"
        f"print({slow} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_mean_and_deviation_are_those_of_the_training_part(digits: Dataset) -> None:
    pixels = digits.train.images.astype(np.float64) / 16
    assert digits.mean == pytest.approx([pixels.mean()], rel=1e-12)
    assert digits.std == pytest.approx([pixels.std()], rel=1e-12)


def test_folder_gives_the_pixels_of_its_files(make_folder: MakeFolder) -> None:
    place = make_folder()
    data = load(place)
    assert data.classes == ("cat", "dog")
    assert data.image_shape == (3, 4, 6)
    assert data.divisor == 255
    assert [len(part.labels) for part in (data.train, data.validation, data.test)] == [20, 5, 5]
    assert sorted(data.test.labels.tolist()) == [0, 0, 0, 1, 1]
    stored = np.asarray(Image.open(place / "test" / "cat" / "1.png")).transpose(2, 0, 1)
    same = (data.test.images == stored).all(axis=(1, 2, 3))
    assert data.test.labels[same].tolist() == [0]
    assert data.augmentation == "none"


def test_first_test_samples_of_a_folder_are_of_all_classes(make_folder: MakeFolder) -> None:
    place = make_folder(
        test={"cat": 60, "dog": 60, "elk": 60}, train={"cat": 9, "dog": 9, "elk": 9}
    )
    for options in ({}, {"test_samples": 90}):
        first = np.bincount(load(place, **options).test.labels[:30], minlength=3)
        assert first.min() >= 4, first


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
    name = folder_config(place)
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
    assert load(make_folder(size=(32, 32))).augmentation == "crop_flip"


def test_a_channel_without_variation_has_deviation_one(make_folder: MakeFolder) -> None:
    place = make_folder(mode="L")
    for path in place.glob("*/*/*.png"):
        Image.new("L", (6, 4), 51).save(path)
    data = load(place)
    assert (data.mean, data.std) == ((0.2,), (1.0,))


def test_validation_has_1000_images_where_a_fifth_allows_it() -> None:
    sizes = {50_000: 1000, 9000: 1000, 6000: 1000, 5000: 1000, 4999: 999, 4000: 800, 25: 5, 5: 1}
    assert {size: num_validation(size) for size in sizes} == sizes


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
        r"test: each class must also stand in train, which has cat, dog, got wolf",
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


def test_the_name_and_the_samples_of_a_folder_are_those_of_earlier_versions(tmp_path: Path) -> None:
    """Recorded with the first version that mixed the test part, of the same files."""
    for part, counts in {"train": {"a": 4, "b": 6}, "test": {"a": 1, "b": 2}}.items():
        for label, count in counts.items():
            place = tmp_path / "images" / part / label
            place.mkdir(parents=True)
            for number in range(count):
                pixels = bytes((7 * number + 31 * i + len(part)) % 256 for i in range(3 * 6 * 4))
                (place / f"{number}.ppm").write_bytes(b"P6 6 4 255 " + pixels)
    data = load(tmp_path / "images")
    assert data.fingerprint == "cefe2538dffd8ece56b36ca4e0a8fd36-mixed"
    parts = (data.train, data.validation, data.test)
    assert [sample_hash(part) for part in parts] == [
        "73492e58ab33537e",
        "4b3cb47f15ab1059",
        "3e6ad9c5155d3f19",
    ]


ORIENTATIONS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    3: lambda stored: stored[::-1, ::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    8: lambda stored: np.rot90(stored),
}
"""EXIF 2.3, table of tag 274: from the stored pixels (H, W, C) to those shown."""


@pytest.mark.parametrize(("number", "shown"), ORIENTATIONS.items(), ids=map(str, ORIENTATIONS))
@pytest.mark.parametrize("form", ["png", "tiff"])
def test_a_photograph_is_read_as_it_is_shown(
    number: int, shown: Callable[[np.ndarray], np.ndarray], form: str, make_folder: MakeFolder
) -> None:
    place = make_folder(size=(6, 4))
    shape = (6, 4, 3) if number >= 5 else (4, 6, 3)
    stored = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    _save_photograph(stored, place / "test" / "dog" / f"photo.{form}", number)
    found = {image.tobytes() for image in load(place).test.images}
    assert np.ascontiguousarray(shown(stored).transpose(2, 0, 1)).tobytes() in found


@pytest.mark.parametrize("form", ["png", "jpg", "webp", "tiff"])
def test_only_a_turned_photograph_changes_what_a_folder_is_named(
    form: str, make_folder: MakeFolder
) -> None:
    place = make_folder(size=(6, 6))
    photo = place / "test" / "dog" / f"photo.{form}"
    for number in (1, 6):
        _save_photograph(np.zeros((6, 6, 3), np.uint8), photo, number)
        entries = folder.CLASS_FOLDERS.entries(place)
        contents = [hashlib.sha256(entry.path.read_bytes()).hexdigest() for entry in entries]
        stated = [
            f"{entry.name}\0{content}" for entry, content in zip(entries, contents, strict=True)
        ]
        earlier = hash_of(["folder 2", *stated])
        # What a version that read photographs as they are stored remembered.
        cache, stamps = place.parent / "cache", [f"{e.name}\0{e.stamp}" for e in entries]
        known = hash_of(["folder 2", str(place.resolve()), *stamps])
        cache.mkdir(exist_ok=True)
        (cache / f"folder-{known}.fingerprint").write_text(earlier)
        found = data_fingerprint(folder_config(place), cache)
        assert (found == f"{earlier}-mixed") == (number == 1)


def _save_photograph(stored: np.ndarray, path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(path, exif=exif)


def test_images_whose_names_are_not_utf8_are_read(make_folder: MakeFolder) -> None:
    place = make_folder()
    first = load(place)
    pixels = np.full((4, 6, 3), 77, dtype=np.uint8)
    Image.fromarray(pixels).save(place / "plain.png")
    os.rename(place / "plain.png", os.fsencode(place / "test" / "dog") + b"/caf\xe9.png")
    data = load(place)
    assert data.fingerprint != first.fingerprint
    assert (data.test.images == 77).all(axis=(1, 2, 3)).sum() == 1


def test_the_name_of_a_folder_above_need_not_be_utf8(make_folder: MakeFolder) -> None:
    place = make_folder()
    elsewhere = Path(os.fsdecode(os.fsencode(place.parent) + b"/caf\xe9"))
    place.rename(elsewhere)
    assert len(load(elsewhere).test.labels) == 5


def test_a_class_whose_name_is_not_utf8_is_one_line(make_folder: MakeFolder) -> None:
    place = make_folder()
    for part in ("train", "test"):
        os.rename(place / part / "dog", os.fsencode(place / part) + b"/caf\xe9")
    with pytest.raises(DataError, match="the name of a class must be UTF-8") as caught:
        load(place)
    assert str(caught.value).encode().startswith(os.fsencode(place / "train" / "caf\\xe9: "))


def test_a_folder_of_masks_of_zero_and_one_is_refused(make_folder: MakeFolder) -> None:
    place = make_folder(mode="L")
    for path in place.glob("train/*/*.png"):
        Image.new("L", (6, 4), 1).save(path)
    with pytest.raises(DataError, match=r"images: train: pixels must use the range") as caught:
        load(place)
    assert "\n" not in str(caught.value)


def test_samples_are_taken_from_what_is_not_validation(digits: Dataset) -> None:
    fewer = digits_with(samples=200, test_samples=50)
    assert np.bincount(fewer.train.labels).tolist() == [20] * 10
    assert np.bincount(fewer.test.labels).tolist() == [5] * 10
    assert sample_hash(fewer.validation) == sample_hash(digits.validation)
    for part in ("train", "test"):
        kept, whole = ({i.tobytes() for i in getattr(d, part).images} for d in (fewer, digits))
        assert kept < whole
    pixels = fewer.train.images / 16
    assert fewer.mean == pytest.approx([pixels.mean()], rel=1e-12)
    assert fewer.std == pytest.approx([pixels.std()], rel=1e-12)


def test_all_samples_by_their_number_are_all_samples(digits: Dataset) -> None:
    everything = digits_with(samples=1000, test_samples=500)
    assert sample_hash(everything.train) == sample_hash(digits.train)
    assert sample_hash(everything.test) == sample_hash(digits.test)


TOO_MANY = {
    "training images": (
        {"samples": 1001},
        r"data\.samples: .* and the 1000 training images .*1001",
    ),
    "less than one of a class": ({"samples": 9}, r"one of each of the 10 classes .* got 9"),
    "test images": (
        {"test_samples": 501},
        r"data\.test_samples: .* and the 500 test images, got 501",
    ),
}


@pytest.mark.parametrize(("settings", "message"), TOO_MANY.values(), ids=TOO_MANY)
def test_more_samples_than_there_are_is_one_line_with_their_number(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        digits_with(**settings)
    assert "\n" not in str(caught.value)


def test_a_fingerprint_names_each_choice_that_changes_what_is_trained_on() -> None:
    choices: list[dict[str, object]] = [
        {},
        {"samples": 50},
        {"test_samples": 50},
        {"samples": 50, "test_samples": 50},
        {"augmentation": "crop"},
        {"augmentation": "crop_flip"},
    ]
    names = [name_of_digits(**choice) for choice in choices]
    assert len(set(names)) == len(choices)
    assert name_of_digits(augmentation="none") == names[0] == DIGITS_FINGERPRINT
    for choice, name in zip(choices, names, strict=True):
        assert digits_with(**choice).fingerprint == name


def test_auto_is_what_is_usual_for_a_published_set() -> None:
    usual = {name: known.augmentation for name, known in TORCHVISION_SETS.items()}
    assert usual["cifar10"] == usual["cifar100"] == "crop_flip"
    assert usual["svhn"] == usual["mnist"] == usual["fashion_mnist"] == "none"
    assert set(usual.values()) <= set(AUGMENTATIONS) - {"auto"}
    assert digits_with(augmentation="auto").augmentation == "none"


def test_a_chosen_augmentation_applies_to_every_set(make_folder: MakeFolder) -> None:
    assert digits_with(augmentation="crop").augmentation == "crop"
    place = make_folder(size=(32, 32))
    assert load(place, augmentation="none").augmentation == "none"


@pytest.mark.parametrize("size", [(6, 7), (1, 8)], ids=["low", "narrow"])
def test_images_too_small_to_be_cropped_are_refused(
    size: tuple[int, int], make_folder: MakeFolder
) -> None:
    place = make_folder(size=size)
    with pytest.raises(DataError, match=f"at least 8 pixels high .* got {size[1]} × {size[0]}"):
        load(place, augmentation="crop")
    assert load(place).augmentation == "none"


def test_classes_of_one_image_each_leave_nothing_to_validate_on(make_folder: MakeFolder) -> None:
    one_each = {f"class {number}": 1 for number in range(6)}
    place = make_folder(train=one_each, test=one_each)
    with pytest.raises(DataError, match="needs a class of two or more images"):
        load(place)
