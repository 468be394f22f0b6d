"""Tests of folders whose images have different sizes, and of folders larger than memory."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainers.config import ConfigError, DataConfig
from trainers.data import folder, mapped
from trainers.data.cache import DataError
from trainers.data.dataset import Dataset, data_fingerprint, load_data
from trainers.data.mapped import Mapped
from trainers.data.subset import sample_hash
from trainers.data.torchvision_import import torchvision_module

SIZES = [(20, 31), (33, 17), (16, 16), (40, 13), (11, 12)]


def config_of(place: Path, **settings: object) -> DataConfig:
    return DataConfig(name=f"folder:{place}", **settings)  # type: ignore[arg-type]


def load(place: Path, **settings: object) -> Dataset:
    return load_data(config_of(place, **settings), place.parent / "cache")


@pytest.fixture
def unequal(tmp_path: Path) -> Path:
    """Two classes of five training images and two test images, each of another size."""
    random = np.random.default_rng(0)
    place = tmp_path / "unequal"
    for label in ("a", "b"):
        for part, sizes in (("train", SIZES), ("test", SIZES[:2])):
            (place / part / label).mkdir(parents=True)
            for number, (width, height) in enumerate(sizes):
                pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / part / label / f"{number}.png")
    return place


def make_grey(place: Path, but: int) -> None:
    """Make all images of a folder grey but the last `but` in order."""
    paths = sorted(place.glob("train/*/*.png")) + sorted(place.glob("test/*/*.png"))
    for path in paths[: len(paths) - but]:
        Image.open(path).convert("L").save(path)


def test_images_of_unequal_sizes_are_refused_with_the_way_out(unequal: Path) -> None:
    with pytest.raises(DataError, match=r"must have one size, .* write data\.resize: 20"):
        load(unequal)


@pytest.mark.parametrize(("resize", "crop"), [(12, "none"), (12, 9), (16, 7), (48, 40)])
def test_a_declared_size_equals_that_of_torchvision(
    unequal: Path, resize: int, crop: int | str
) -> None:
    side = resize if crop == "none" else int(crop)
    data = load(unequal, resize=resize, center_crop=crop)
    assert data.image_shape == (3, side, side)
    transforms = torchvision_module("transforms")
    same = transforms.Compose([transforms.Resize(resize), transforms.CenterCrop(side)])
    expected = {
        np.asarray(same(Image.open(path))).transpose(2, 0, 1).tobytes()
        for path in unequal.glob("train/*/*.png")
    }
    images = [*np.asarray(data.train.images), *np.asarray(data.validation.images)]
    assert {image.tobytes() for image in images} == expected


def test_a_size_is_part_of_the_fingerprint_and_of_the_cache(unequal: Path) -> None:
    cache = unequal.parent / "cache"
    settings = [{"resize": 12}, {"resize": 16}, {"resize": 16, "center_crop": 12}]
    names = {data_fingerprint(config_of(unequal, **each), cache) for each in settings}
    assert len(names) == 3
    plain = data_fingerprint(config_of(unequal), cache)
    assert all(name.startswith(plain.removesuffix("-mixed")) for name in names)
    whole = data_fingerprint(config_of(unequal, resize=16, center_crop=16), cache)
    assert whole in names  # the square is that large by itself
    for each in settings:
        assert load(unequal, **each).image_shape[1] == each.get("center_crop", each["resize"])


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"resize": 0}, "resize: must be"),
        ({"center_crop": 8}, "center_crop: needs resize"),
        ({"resize": 8, "center_crop": 9}, "center_crop: .* at most as large"),
    ],
)
def test_a_size_that_cannot_be_is_refused(settings: dict[str, int], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        config_of(Path("some"), **settings)
    with pytest.raises(ConfigError, match="resize: is for folders"):
        DataConfig(name="digits", resize=8)


@pytest.mark.parametrize("colours", [0, 1, 14])
def test_a_folder_larger_than_memory_is_mapped_and_the_same(
    unequal: Path, monkeypatch: pytest.MonkeyPatch, colours: int
) -> None:
    make_grey(unequal, but=colours)
    in_memory = load(unequal, resize=12)
    monkeypatch.setattr(folder, "DECODED_AT_ONCE", 3)
    monkeypatch.setattr(mapped, "CHUNK_BYTES", 1000)
    for path in (unequal.parent / "cache").glob("*.npz"):
        path.unlink()
    # Below one image, so that no part of the data is read into memory.
    monkeypatch.setattr(mapped, "MOST_IN_MEMORY", 100)
    for _ in range(2):  # decoded, then from the cache
        in_file = load(unequal, resize=12)
        assert in_file.image_shape == in_memory.image_shape == (3 if colours else 1, 12, 12)
        assert (in_file.mean, in_file.std) == (in_memory.mean, in_memory.std)
        assert in_file.fingerprint == in_memory.fingerprint
        for name in ("train", "validation", "test"):
            part, whole = getattr(in_file, name), getattr(in_memory, name)
            assert isinstance(part.images, Mapped)
            assert sample_hash(part) == sample_hash(whole)


def test_a_small_part_of_a_large_folder_is_read_into_memory(
    unequal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped, "MOST_IN_MEMORY", 3 * 12 * 12 * 2)
    data = load(unequal, resize=12, samples=2)
    assert not isinstance(data.train.images, Mapped)
    assert isinstance(data.test.images, Mapped)


@pytest.mark.parametrize("damage", ["absent", "cut"])
def test_a_damaged_file_of_images_is_decoded_again(
    unequal: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr(mapped, "MOST_IN_MEMORY", 100)
    first = sample_hash(load(unequal, resize=12).test)
    (path,) = (unequal.parent / "cache").glob("*.npy")
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    assert sample_hash(load(unequal, resize=12).test) == first


def test_images_that_another_machine_lacks_are_one_line(tmp_path: Path) -> None:
    images = Mapped(tmp_path / "gone.npy", np.arange(2))
    with pytest.raises(OSError, match="on a cluster, every node needs this folder"):
        np.asarray(images)
