"""Tests of folders that are laid out as Tiny-ImageNet is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainers.config import DataConfig
from trainers.data.cache import DataError
from trainers.data.dataset import Dataset, data_fingerprint, load_data
from trainers.data.subset import sample_hash

CAT, DOG = "n02", "n01"


def load(place: Path, **settings: object) -> Dataset:
    config = DataConfig(name=f"folder:{place}", **settings)  # type: ignore[arg-type]
    return load_data(config, place.parent / "cache")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Two classes of ten and five training images of 8 × 8, and four of test."""
    random = np.random.default_rng(0)
    place = tmp_path / "tiny"

    def save(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)

    for label, count in ((CAT, 10), (DOG, 5)):
        for number in range(count):
            save(place / "train" / label / "images" / f"{label}_{number}.JPEG")
        (place / "train" / label / f"{label}_boxes.txt").write_text("boxes\n")
    for number in range(4):
        save(place / "val" / "images" / f"val_{number}.JPEG")
    lines = [f"val_{n}.JPEG\t{CAT if n % 3 else DOG}\t0\t0\t7\t7\n" for n in range(4)]
    (place / "val" / "val_annotations.txt").write_text("".join(lines))
    save(place / "test" / "images" / "test_0.JPEG")
    (place / "wnids.txt").write_text(f"{CAT}\n{DOG}\n")
    return place


def test_tiny_imagenet_takes_its_validation_part_for_test(tiny: Path) -> None:
    data = load(tiny)
    assert data.classes == (DOG, CAT)
    assert data.image_shape == (3, 8, 8)
    assert [len(part.labels) for part in (data.train, data.validation, data.test)] == [12, 3, 4]
    found = {
        (int(label), image.tobytes())
        for label, image in zip(data.test.labels, data.test.images, strict=True)
    }
    places = [tiny / "val" / "images" / f"val_{number}.JPEG" for number in (0, 3, 1, 2)]
    stored = [np.asarray(Image.open(place)).transpose(2, 0, 1).tobytes() for place in places]
    assert found == set(zip((0, 0, 1, 1), stored, strict=True))


def test_tiny_imagenet_is_cropped_and_flipped(tiny: Path) -> None:
    assert load(tiny).augmentation == "crop_flip"
    assert load(tiny, augmentation="none").augmentation == "none"


def test_its_second_load_is_from_the_cache(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(tiny)

    def refuse(*arguments: object) -> None:
        raise AssertionError("read an image again")

    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", refuse)
        again = load(tiny)
    assert (again.fingerprint, again.classes) == (first.fingerprint, first.classes)
    assert sample_hash(again.train) == sample_hash(first.train)


def test_its_fingerprint_sees_annotations_and_not_what_is_ignored(tiny: Path) -> None:
    config, cache = DataConfig(name=f"folder:{tiny}"), tiny.parent / "cache"
    first = data_fingerprint(config, cache)
    (tiny / "test" / "images" / "test_0.JPEG").unlink()
    (tiny / "wnids.txt").unlink()
    (tiny / "train" / CAT / f"{CAT}_boxes.txt").write_text("others\n")
    assert data_fingerprint(config, cache) == first
    annotations = tiny / "val" / "val_annotations.txt"
    annotations.write_text(
        annotations.read_text().replace(f"val_0.JPEG\t{DOG}", f"val_0.JPEG\t{CAT}")
    )
    assert data_fingerprint(config, cache) != first


def test_words_name_the_classes_and_change_no_fingerprint(tiny: Path) -> None:
    first = load(tiny)
    (tiny / "words.txt").write_text(f"n00\tthing\n{DOG}\tdog, hound\n{CAT}\tcat, pussy\n")
    named = load(tiny)
    assert named.classes == ("dog", "cat")
    assert named.fingerprint == first.fingerprint
    (tiny / "words.txt").write_text(f"{DOG}\tcrane, bird\n{CAT}\tcrane\n")
    assert load(tiny).classes == (f"crane {DOG}", f"crane {CAT}")
    (tiny / "words.txt").write_text(f"{DOG}\tdog\n")
    assert load(tiny).classes == ("dog", CAT)


def annotate(line: str) -> Callable[[Path], object]:
    """Give a mistake: one more line of annotations."""

    def make(place: Path) -> None:
        with (place / "val" / "val_annotations.txt").open("a") as file:
            file.write(line)

    return make


MISTAKES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no tab": (annotate("val_4.JPEG n01\n"), r"val_annotations\.txt:5: must be file, tab, class"),
    "no class": (annotate("val_4.JPEG\t\n"), r"val_annotations\.txt:5: must be file, tab, class"),
    "twice": (annotate(f"val_0.JPEG\t{CAT}\n"), r"txt:5: names val_0\.JPEG again"),
    "no such image": (annotate(f"val_9.JPEG\t{CAT}\n"), r"names val_9\.JPEG, which is not in"),
    "not annotated": (
        lambda place: Image.new("RGB", (8, 8)).save(place / "val" / "images" / "other.png"),
        r"other\.png: has no line in .*val_annotations\.txt",
    ),
    "no text": (
        lambda place: (place / "val" / "val_annotations.txt").write_bytes(b"\xff\xfe"),
        r"val_annotations\.txt: must be a text that can be read",
    ),
    "unknown class": (
        lambda place: (
            annotate("val_4.JPEG\tn99\n")(place),
            Image.new("RGB", (8, 8)).save(place / "val" / "images" / "val_4.JPEG"),
        ),
        r"each class must also stand in train, which has n01, n02, got n99",
    ),
    "no images of a class": (
        lambda place: (place / "train" / CAT / "images").rename(place / "train" / CAT / "pictures"),
        r"n02.images: must be a folder of the class's images",
    ),
    "an empty class": (
        lambda place: (place / "train" / "n03" / "images").mkdir(parents=True),
        r"n03.images: a class needs at least one image; delete .*n03$",
    ),
    "no images to test": (
        lambda place: (place / "val" / "images").rename(place / "val" / "pictures"),
        r"val.images: must be a folder of the images that are annotated",
    ),
    "nothing annotated": (
        lambda place: (
            [image.unlink() for image in (place / "val" / "images").iterdir()],
            (place / "val" / "val_annotations.txt").write_text(""),
        ),
        r"val_annotations\.txt: needs at least one image, got none",
    ),
}


@pytest.mark.parametrize(("make_mistake", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_tiny_imagenet_is_one_line_that_names_it(
    make_mistake: Callable[[Path], object], message: str, tiny: Path
) -> None:
    make_mistake(tiny)
    with pytest.raises(DataError, match=message) as caught:
        load(tiny)
    assert "\n" not in str(caught.value)
