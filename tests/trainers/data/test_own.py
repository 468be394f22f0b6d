"""Tests of data of one's own: what a part may return, what is kept of it, and what is refused."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.parts import own
from trainers.config import ConfigError, DataConfig
from trainers.data import mapped
from trainers.data.cache import DataError
from trainers.data.dataset import Dataset, data_fingerprint, load_data
from trainers.data.mapped import Mapped
from trainers.data.subset import sample_hash

DATA = '''\
import numpy as np
import torch
from pathlib import Path
from PIL import Image

CLASSES = ["ant", "bee", "cat"]


def arrays(seed: int = 0):
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (30, 8, 9, 3), dtype=np.uint8)
    labels = np.arange(30) % 3
    parts = {"train": slice(18), "validation": slice(18, 24), "test": slice(24, 30)}
    found = {name: (images[rows], labels[rows]) for name, rows in parts.items()}
    return {**found, "classes": CLASSES}


def named():
    return {**arrays(), "classes": np.array(CLASSES)}


def pair():
    found = arrays()
    return found["train"], found["test"]


class Pictures(torch.utils.data.Dataset):
    """Pictures of different sizes, as a torch data set has them."""

    classes = ["dark", "light"]

    def __init__(self, train: bool, smallest: int = 10):
        self.count = 20 if train else 6
        self.smallest = smallest

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        size = (self.smallest + index, self.smallest, 3)
        return Image.fromarray(np.full(size, 10 + index, np.uint8)), torch.tensor(index % 2)


class Tensors:
    """Fractions, as ToTensor makes them, in rows as those of Hugging Face."""

    def __len__(self):
        return 18

    def __getitem__(self, index):
        image = torch.from_numpy(arrays()["train"][0][index]).permute(2, 0, 1).float() / 255
        return {"image": image, "label": index % 3}


def rows():
    return {"train": Tensors(), "test": Tensors()}


def stored(root: str):
    with Path(__file__).with_name("reads").open("a") as file:
        file.write(".")
    found = np.load(Path(root, "images.npy"), mmap_mode="r")
    labels = np.arange(len(found)) % 3
    return {"train": (found[:18], labels[:18]), "test": (found[18:], labels[18:])}


class Shaky(Pictures):
    def __getitem__(self, index):
        return np.random.default_rng().integers(0, 256, (8, 8), dtype=np.uint8), index % 2
'''


def config_of(place: Path, name: str, settings: dict[str, Any], **others: Any) -> DataConfig:
    part = own(place, "data", f"my_data:{name}", **settings)
    return DataConfig(name=f"my_data:{name}", settings=part, **others)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "my_data.py").write_text(DATA)
    return tmp_path


def load(place: Path, name: str, settings: dict[str, Any] | None = None, **others: Any) -> Dataset:
    return load_data(config_of(place, name, settings or {}, **others), place / "cache")


def test_arrays_and_their_validation_part_are_taken_as_they_are(place: Path) -> None:
    data = load(place, "arrays")
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (30, 8, 9, 3), dtype=np.uint8).transpose(0, 3, 1, 2)
    assert data.classes == ("ant", "bee", "cat")
    assert (data.image_shape, data.divisor) == ((3, 8, 9), 255)
    np.testing.assert_array_equal(data.train.images, images[:18])
    np.testing.assert_array_equal(data.validation.images, images[18:24])
    np.testing.assert_array_equal(data.validation.labels, np.arange(18, 24) % 3)
    # The test part is mixed, as it may come class by class.
    assert {image.tobytes() for image in np.asarray(data.test.images)} == {
        image.tobytes() for image in images[24:]
    }


def test_names_of_classes_may_be_an_array(place: Path) -> None:
    assert load(place, "named").classes == ("ant", "bee", "cat")


def test_where_there_is_no_validation_part_one_is_split_off(place: Path) -> None:
    data = load(place, "pair")
    assert [len(part.labels) for part in (data.train, data.validation, data.test)] == [15, 3, 6]
    assert data.classes == ("0", "1", "2")


def test_fractions_in_rows_are_stored_as_255ths(place: Path) -> None:
    whole = load(place, "rows")
    expected = load(place, "arrays")
    both = np.concatenate([whole.train.images, whole.validation.images])
    assert {image.tobytes() for image in both} == {
        image.tobytes() for image in np.asarray(expected.train.images)
    }


def test_a_torch_data_set_of_pictures_is_scaled_and_cut(place: Path) -> None:
    data = load(place, "Pictures", resize=8)
    assert data.image_shape == (3, 8, 8)
    assert data.classes == ("dark", "light")
    values = np.concatenate([data.train.images, data.validation.images])[:, 0, 0, 0]
    assert sorted(values) == list(range(10, 30))
    with pytest.raises(DataError, match=r"train\[1\]: all images must have one size.*data.resize"):
        load(place, "Pictures")


def test_other_settings_are_other_data(place: Path) -> None:
    one, other = (load(place, "arrays", {"seed": seed}) for seed in (0, 1))
    assert one.fingerprint != other.fingerprint
    assert sample_hash(one.test) != sample_hash(other.test)


def test_what_is_known_is_not_read_again_until_a_file_below_its_path_changes(place: Path) -> None:
    root = place / "pets"
    root.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (24, 8, 8), dtype=np.uint8)
    np.save(root / "images.npy", images)
    config = config_of(place, "stored", {"root": str(root)})

    def named() -> tuple[str, int]:
        name = data_fingerprint(config, place / "cache")
        return name, (place / "reads").stat().st_size

    first, count = named()
    assert named() == (first, count)
    load_data(config, place / "cache")
    assert named() == (first, count)
    os.utime(root / "images.npy", ns=(1, 1))
    assert named() == (first, count + 1)
    np.save(root / "images.npy", images[::-1])
    changed, _ = named()
    assert changed != first
    assert load_data(config, place / "cache").fingerprint == changed


def test_an_edit_that_changes_no_image_keeps_the_fingerprint(place: Path) -> None:
    before = load(place, "arrays").fingerprint
    (place / "my_data.py").write_text(DATA.replace("(30, 8, 9, 3)", "(30, 4 + 4, 9, 3)"))
    assert load(place, "arrays").fingerprint == before
    (place / "my_data.py").write_text(DATA.replace("(30, 8, 9, 3)", "(30, 9, 9, 3)"))
    assert load(place, "arrays").fingerprint != before


@pytest.mark.parametrize("name", ["arrays", "pair", "rows"])
def test_data_larger_than_memory_is_mapped_and_the_same(
    place: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    in_memory = load(place, name)
    for path in (place / "cache").iterdir():
        path.unlink()
    monkeypatch.setattr(mapped, "MOST_IN_MEMORY", 100)
    for _ in range(2):
        in_file = load(place, name)
        assert in_file.fingerprint == in_memory.fingerprint
        for part in ("train", "validation", "test"):
            assert isinstance(getattr(in_file, part).images, Mapped)
            assert sample_hash(getattr(in_file, part)) == sample_hash(getattr(in_memory, part))
    assert not list((place / "cache").glob(f"own-{os.getpid()}*"))


def of_images(text: str) -> str:
    """Return a part whose training images are an expression."""
    return (
        "import numpy as np\nimport torch\n\n\ndef wrong():\n"
        f"    labels = np.arange(12) % 2\n    images = {text}\n"
        "    return (images, labels), (images, labels)\n"
    )


PLACE = r"my_data\.py:5: wrong: "
WRONG = [
    ("def wrong():\n    return 3\n", r"my_data\.py:1: wrong: must return a mapping .* got int;"),
    ("def wrong():\n    return {'train': 1}\n", "must return a mapping with .* got train;"),
    ("def wrong():\n    return [], []\n", "train: needs at least one image, got none;"),
    ("def wrong():\n    return {}['a']\n", r"my_data\.py:2: KeyError: 'a'"),
    (of_images("np.zeros((12, 8, 8))[:3]"), PLACE + "train: must have a label for each image"),
    (of_images("np.full((12, 8, 8), 7)"), r"train\[0\]: pixels must be uint8.* got int64;"),
    (of_images("np.full((12, 8, 8), -0.5)"), r"fractions must lie in \[0, 1\].*remove Normalize"),
    (of_images("np.zeros((12, 8, 8, 5), np.uint8)"), r"train\[0\]: must have shape .*8 × 8 × 5;"),
    (of_images("np.zeros((12, 8, 8), np.uint8)"), "pixels must use the range from 0 to 255"),
]


@pytest.mark.parametrize(("text", "says"), WRONG)
def test_what_cannot_be_used_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "my_data.py").write_text(text)
    with pytest.raises(DataError) as caught:
        load(tmp_path, "wrong")
    assert re.search(says, str(caught.value)), caught.value
    assert "\n" not in str(caught.value)


def test_labels_are_checked_as_those_of_an_npz(tmp_path: Path) -> None:
    text = of_images("np.full((12, 8, 8), 9, np.uint8)").replace("% 2", "% 2 * 2")
    (tmp_path / "my_data.py").write_text(text)
    with pytest.raises(DataError, match="train: must use every label from 0 to the largest"):
        load(tmp_path, "wrong")
    text = text.replace("% 2 * 2", "/ 12")
    (tmp_path / "my_data.py").write_text(text)
    with pytest.raises(DataError, match="the label must be a whole number, got float64"):
        load(tmp_path, "wrong")


def test_data_that_is_drawn_anew_at_each_reading_is_refused(place: Path) -> None:
    with pytest.raises(DataError, match="must give the same image each time"):
        load(place, "Shaky")


def test_settings_and_names_go_together() -> None:
    with pytest.raises(ConfigError, match="or your own, such as my_data:Pets"):
        DataConfig(name="my_data:Pets")


def test_a_saved_folder_of_hugging_face_is_read(place: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="Hugging Face's datasets is not installed")
    images = [Image.fromarray(np.full((9, 8 + n, 3), 9 * n, np.uint8)) for n in range(20)]
    columns = {"img": images, "label": [n % 2 for n in range(20)]}
    features = datasets.Features(
        img=datasets.Image(), label=datasets.ClassLabel(names=["even", "odd"])
    )
    whole = datasets.Dataset.from_dict(columns, features=features)
    parts = whole.train_test_split(test_size=5, shuffle=False)
    parts.save_to_disk(place / "saved")
    text = "import datasets\n\n\ndef saved(root: str):\n    return datasets.load_from_disk(root)\n"
    (place / "my_data.py").write_text(text)
    data = load(place, "saved", {"root": str(place / "saved")}, resize=8)
    assert data.classes == ("even", "odd")
    assert data.image_shape == (3, 8, 8)
    assert [len(part.labels) for part in (data.train, data.validation, data.test)] == [12, 3, 5]


def test_fractions_are_rounded_to_the_nearest_255th(tmp_path: Path) -> None:
    text = of_images("np.where(labels, 100.6, 100.4)[:, None, None] / 255 * np.ones((12, 8, 8))")
    (tmp_path / "my_data.py").write_text(text)
    assert set(np.unique(load(tmp_path, "wrong").train.images)) == {100, 101}
