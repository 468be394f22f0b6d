"""Tests of the published data sets: small archives of the same form, read by torchvision."""

import gzip
import hashlib
import io
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from numpy.typing import NDArray

from trainers.config import TORCHVISION_SETS, DataConfig
from trainers.data import published
from trainers.data.cache import DataError, Decoded, to_cache
from trainers.data.dataset import load_data
from trainers.data.published import Archive
from trainers.data.torchvision_import import torchvision_module

RANDOM = np.random.default_rng(0)
NOWHERE = "http://127.0.0.1:9/"
"""No server: whatever is downloaded in these tests is a mistake."""


def datasets() -> Any:
    """Return torchvision's data sets, which take seconds to import: not while tests are listed."""
    return torchvision_module("datasets")


def pixels(*shape: int) -> NDArray[np.uint8]:
    return RANDOM.integers(0, 256, shape, dtype=np.uint8)


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def cifar(root: Path, base: Any, key: str, names: str) -> tuple[Any, Decoded]:
    """Write a small archive of the form of CIFAR; return a class that knows its sums."""
    sizes = {file: 3 for file, _ in (*base.train_list, *base.test_list)}
    parts = {file: (pixels(n, 3072), (np.arange(n) % 2).tolist()) for file, n in sizes.items()}
    contents = {
        file: pickle.dumps({"data": images, key: labels, "coarse_labels": [7] * 3})
        for file, (images, labels) in parts.items()
    }
    contents[base.meta["filename"]] = pickle.dumps({names: ["cat", "dog"], "other": []})
    with tarfile.open(root / base.filename, "w:gz") as tar:
        for file, content in contents.items():
            info = tarfile.TarInfo(f"{base.base_folder}/{file}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))

    meta = base.meta["filename"]
    known = {
        "url": f"{NOWHERE}{base.filename}",
        "tgz_md5": md5((root / base.filename).read_bytes()),
        "train_list": [[file, md5(contents[file])] for file, _ in base.train_list],
        "test_list": [[file, md5(contents[file])] for file, _ in base.test_list],
        "meta": base.meta | {"md5": md5(contents[meta])},
    }

    def joined(files: list[list[str]]) -> tuple[Any, Any]:
        images = np.concatenate([parts[file][0] for file, _ in files]).reshape(-1, 3, 32, 32)
        return images, np.concatenate([parts[file][1] for file, _ in files])

    expected = Decoded(*joined(base.train_list), *joined(base.test_list), ("cat", "dog"))
    return type(base.__name__, (base,), known), expected


def svhn(root: Path) -> tuple[Any, Decoded]:
    """As `cifar`, of two files of Matlab in which a zero is called ten."""
    parts, split_list = {}, {}
    for part in ("train", "test"):
        images, labels = pixels(32, 32, 3, 10), np.arange(1, 11)
        file = root / f"{part}_32x32.mat"
        scipy.io.savemat(file, {"X": images, "y": labels[:, np.newaxis]})
        split_list[part] = [f"{NOWHERE}{file.name}", file.name, md5(file.read_bytes())]
        parts[part] = (images.transpose(3, 2, 0, 1), labels % 10)

    small = type("SVHN", (datasets().SVHN,), {"split_list": split_list})
    return small, Decoded(*parts["train"], *parts["test"], tuple("0123456789"))


def mnist(root: Path, base: Any, classes: tuple[str, ...]) -> tuple[Any, Decoded]:
    """As `cifar`, of four compressed files."""
    arrays, resources = [], []
    for file, _ in base.resources:
        array = pixels(10, 28, 28) if "images" in file else np.arange(10, dtype=np.uint8)
        sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
        content = gzip.compress(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())
        path = root / base.__name__ / "raw" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        resources.append((file, md5(content)))
        arrays.append(array[:, np.newaxis] if array.ndim == 3 else array)
    small = type(base.__name__, (base,), {"mirrors": [NOWHERE], "resources": resources})
    return small, Decoded(*arrays, classes)


FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat")
FASHION += ("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
CLASSES = {"mnist": tuple("0123456789"), "fashion_mnist": FASHION}
"""Of the sets whose names torchvision writes otherwise, or that are spelt out to be sure."""


def small_set(name: str, root: Path) -> tuple[Any, Decoded]:
    """Write small archives of a published set's form, by the class that it is derived from."""
    base = getattr(datasets(), TORCHVISION_SETS[name].class_name)
    if issubclass(base, datasets().SVHN):
        return svhn(root)
    if issubclass(base, datasets().CIFAR10):
        fine = "fine_" if issubclass(base, datasets().CIFAR100) else ""
        return cifar(root, base, f"{fine}labels", f"{fine}label_names")
    return mnist(root, base, CLASSES.get(name, tuple(base.classes)))


def same(one: Decoded, other: Decoded) -> bool:
    pairs = zip(one[:4], other[:4], strict=True)
    equal = all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)
    return equal and one.classes == other.classes


@pytest.mark.parametrize("name", TORCHVISION_SETS)
def test_archives_that_are_there_are_read_once_and_then_not_needed(
    name: str, tmp_path: Path
) -> None:
    small, expected = small_set(name, tmp_path)
    archives = {path for path in tmp_path.rglob("*") if path.is_file()}
    found = published.source(small)
    expected = expected._replace(
        train_labels=expected.train_labels.astype(np.int64),
        test_labels=expected.test_labels.astype(np.int64),
    )
    assert same(published.load_source(name, found, tmp_path), expected)
    for path in archives:
        path.unlink()
    assert same(published.load_source(name, found, tmp_path), expected)
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {f"{published.fingerprint(name)}.npz", f"{name}.lock"}


def test_a_damaged_archive_is_not_read(tmp_path: Path) -> None:
    small, _ = small_set("cifar10", tmp_path)
    with (tmp_path / "cifar-10-python.tar.gz").open("ab") as file:
        file.write(b"more")
    with pytest.raises(DataError, match=r"cifar10 is not there .*127\.0\.0\.1:9"):
        published.load_source("cifar10", published.source(small), tmp_path)


def test_what_a_killed_process_unpacked_is_no_hindrance(tmp_path: Path) -> None:
    small, expected = small_set("cifar10", tmp_path)
    left = tmp_path / "cifar10.unpacked" / "cifar-10-batches-py"
    left.mkdir(parents=True)
    (left / "data_batch_1").write_text("half of it")
    decoded = published.load_source("cifar10", published.source(small), tmp_path)
    assert np.array_equal(decoded.train_images, expected.train_images)
    assert not left.exists()


@pytest.mark.parametrize("name", TORCHVISION_SETS)
def test_the_known_sums_are_those_of_torchvisions_archives(name: str) -> None:
    found = published.source(getattr(datasets(), TORCHVISION_SETS[name].class_name))
    assert tuple(archive.md5 for archive in found.archives) == TORCHVISION_SETS[name].md5s


def test_fingerprints_stay_what_they_are() -> None:
    """Recorded: another one would train every study again."""
    for recorded in (
        "cifar10-c3d5a9ae",
        "cifar100-e4965bee",
        "fashion_mnist-44bc449d",
        "mnist-3ef5dce6",
        "svhn-ca66bdf9",
    ):
        assert published.fingerprint(recorded.partition("-")[0]) == recorded


def a_published_set(root: Path, name: str, shape: tuple[int, ...], count: int = 100) -> None:
    """Keep random images as if they were the decoded archives of a set."""
    labels = np.arange(count) % 10
    decoded = Decoded(
        pixels(count, *shape), labels, pixels(20, *shape), labels[:20], tuple("abcdefghij")
    )
    to_cache(root / f"{published.fingerprint(name)}.npz", decoded)


@pytest.mark.parametrize("is_named", [False, True], ids=["in the cache", "in RHOEPS_DATA"])
def test_a_published_set_is_split_and_augmented_as_is_usual(
    is_named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache = tmp_path / "root", tmp_path / "cache"
    monkeypatch.delenv("RHOEPS_DATA", raising=False)
    if is_named:
        monkeypatch.setenv("RHOEPS_DATA", str(root))
    a_published_set(root if is_named else cache, "cifar10", (3, 32, 32))
    data = load_data(DataConfig(name="cifar10", samples=20), cache)
    assert data.fingerprint == f"{published.fingerprint('cifar10')}-train20"
    assert [len(part.labels) for part in (data.train, data.validation, data.test)] == [20, 20, 20]
    assert (data.augmentation, data.divisor) == ("crop_flip", 255)
    assert np.bincount(data.validation.labels).tolist() == [2] * 10


def test_a_kept_set_is_read_without_torch(tmp_path: Path) -> None:
    a_published_set(tmp_path, "mnist", (1, 28, 28))
    program = (
        "import sys; from pathlib import Path; from trainers.data.dataset import load_data;"
        "from trainers.config import DataConfig;"
        f"data = load_data(DataConfig(name='mnist'), Path({str(tmp_path)!r}));"
        "print(data.augmentation, data.image_shape, 'torch' in sys.modules)"
    )
    environment = {"PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout == "none (1, 28, 28) False\n"


def test_without_a_network_a_published_set_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a proxy that is not there, so that no request leaves this machine."""
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, NOWHERE)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("RHOEPS_DATA", raising=False)
    with pytest.raises(DataError, match=r"data: mnist is not there and could not be") as caught:
        load_data(DataConfig(name="mnist"), tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert f"into {tmp_path}/MNIST/raw by hand" in message
    assert message.count("train-images-idx3-ubyte.gz") == 3  # of two mirrors; to be put there


def test_an_archive_is_found_where_torchvision_puts_it() -> None:
    assert published.source(datasets().FashionMNIST).archives[0] == Archive(
        "FashionMNIST/raw/train-images-idx3-ubyte.gz",
        TORCHVISION_SETS["fashion_mnist"].md5s[0],
        tuple(f"{one}train-images-idx3-ubyte.gz" for one in datasets().FashionMNIST.mirrors),
    )
