"""What would fail at launch is found before, each thing in one line with its place."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from study.precheck import LEAST_FREE_BYTES, Foreseen, Machine, foresee
from study.spec import StudySpec, read_studies
from trainers.data.cache import Decoded, to_cache
from trainers.data.published import fingerprint

Read = Callable[..., StudySpec]
AMPLE = Machine(cpus=8, gpus=1, free_bytes=LEAST_FREE_BYTES)


def write_images(path: Path, side: int, count: int = 20, **other: Any) -> None:
    images = np.arange(count * side * side, dtype=np.int64).reshape(count, side, side) % 256
    labels = np.arange(count) % 2
    arrays = {
        "train_x": images.astype(np.uint8),
        "train_y": labels,
        "test_x": images.astype(np.uint8),
        "test_y": labels,
    }
    np.savez(path, **arrays | other)


@pytest.fixture
def look(tmp_path: Path, read: Any) -> Callable[..., Foreseen]:
    """Look ahead for the study `tiny` with a text replaced."""

    def look_ahead(old: str, new: str, machine: Machine = AMPLE) -> Foreseen:
        assert old in read.text
        spec = read(text=read.text.replace(old, new))
        return foresee([spec], tmp_path / "studies.yaml", machine)

    return look_ahead


def line(tmp_path: Path, found: tuple[str, ...]) -> str:
    """Return the only line without the file's name."""
    [text] = found
    assert len(text.splitlines()) == 1
    return text.removeprefix(f"{tmp_path}/studies.yaml:")


def test_valid_study_on_a_fitting_machine_has_nothing_in_its_way(look: Any) -> None:
    assert look("tiny:", "tiny:") == Foreseen(mistakes=(), warnings=())


DATA = {
    "no file": ("npz:none.npz", "none.npz: must be an .npz that can be read"),
    "no folder": ("folder:none", "none/train: must be a folder with a folder of images per class"),
    "other arrays": ("npz:other.npz", "other.npz: needs the arrays train_x, train_y"),
    "floats": ("npz:floats.npz", "floats.npz: train_x: must be uint8"),
    "other labels": ("npz:labels.npz", "labels.npz: train_y: must have one label for each of the"),
}


@pytest.mark.parametrize(("name", "told"), DATA.values(), ids=DATA)
def test_missing_and_misshapen_data_is_found_at_its_key(
    look: Any, tmp_path: Path, name: str, told: str
) -> None:
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    write_images(tmp_path / "floats.npz", 8, train_x=np.zeros((20, 8, 8)))
    write_images(tmp_path / "labels.npz", 8, train_y=np.zeros(3, dtype=np.int64))
    found = look("name: digits", f"name: {name}")
    assert line(tmp_path, found.mistakes).startswith(f"3: tiny.data.name: {tmp_path}/{told}")


def test_every_doubt_about_the_data_is_a_warning_of_each_study(read: Any, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 60, (20, 8, 8), dtype=np.uint8)
    write_images(tmp_path / "seen.npz", 8, train_x=images, test_x=images)
    text = read.text.replace("name: digits", "name: npz:seen.npz")
    specs = [read(text=text.replace("tiny:", f"{name}:", 1)) for name in ("first", "second")]
    found = foresee(specs, tmp_path / "studies.yaml", AMPLE)
    assert found.mistakes == ()
    for name in ("first", "second"):
        start = f"{name}.data: "
        told = [text.removeprefix(start) for text in found.warnings if text.startswith(start)]
        assert [text[:20] for text in told] == [
            "no pixel of the trai",
            "no pixel of the test",
            "20 of the 20 test im",
        ]


def test_a_published_set_is_doubted_if_it_is_there_and_never_downloaded(
    look: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RHOEPS_DATA", str(tmp_path))
    for proxy in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9/")
    assert look("name: digits", "name: cifar10") == Foreseen(mistakes=(), warnings=())
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 32, 32), dtype=np.uint8)
    labels = np.arange(50) % 2
    decoded = Decoded(images, labels, images[10:19], labels[10:19], ("cat", "dog"))
    to_cache(tmp_path / f"{fingerprint('cifar10')}.npz", decoded)
    found = look("name: digits", "name: cifar10")
    assert found.mistakes == ()
    assert any(text.startswith("tiny.data: 9 of the 9 test images") for text in found.warnings)


def test_more_samples_than_there_are_is_found_at_its_own_key(look: Any, tmp_path: Path) -> None:
    found = look("{name: digits}", "{name: digits, test_samples: 501}")
    told = "3: tiny.data.test_samples: must lie between 1 and the 500 test images, got 501; "
    assert line(tmp_path, found.mistakes).startswith(told)


def test_network_that_cannot_take_the_images_is_found(look: Any, tmp_path: Path) -> None:
    write_images(tmp_path / "points.npz", 1)
    found = look("name: digits", "name: npz:points.npz")
    assert found.mistakes == (
        f"{tmp_path}/studies.yaml:4: tiny.model.name: small_cnn halves its images, which must be "
        "at least 2 × 2 pixels, got 1 × 1; choose another network or larger images",
    )


def test_last_batch_of_one_image_is_a_mistake(look: Any, tmp_path: Path) -> None:
    found = look("batch_size: 250", "batch_size: 333")
    told = "5: tiny.training.batch_size: must not leave a last batch of one of the 1000 training"
    assert line(tmp_path, found.mistakes).startswith(told)


SIZES = {
    "in a list": ("batch_size: [250, 333]", "5: tiny.training.batch_size: ", "333; write a list"),
    "in a range": (
        "batch_size: {low: 330, high: 340}",
        "5: tiny.training.batch_size: ",
        "333; write a list",
    ),
}


@pytest.mark.parametrize(("sizes", "place", "end"), SIZES.values(), ids=SIZES)
def test_a_swept_batch_size_that_leaves_one_image_is_found(
    look: Any, tmp_path: Path, sizes: str, place: str, end: str
) -> None:
    found = line(tmp_path, look("batch_size: 250", sizes).mistakes)
    assert found.startswith(f"{place}must not leave a last batch of one of the 1000 training")
    assert f"got {end} without it" in found


def test_a_batch_size_of_a_method_is_found_at_the_method(look: Any, tmp_path: Path) -> None:
    found = look("standard: {}", "standard: {training: {batch_size: 333}}")
    assert line(tmp_path, found.mistakes).startswith(
        "9: tiny.methods.standard.training.batch_size: must not leave a last batch of one"
    )


def test_a_study_that_has_to_be_launched_first_is_a_warning(look: Any, tmp_path: Path) -> None:
    found = look("  seeds:", "  start: {from: other, method: sam}\n  seeds:")
    assert line(tmp_path, found.warnings) == (
        "7: tiny.start: study other has no finished trial; study launch other first"
    )
    assert found.mistakes == ()


def test_a_file_of_weights_that_is_not_there_is_a_mistake(look: Any, tmp_path: Path) -> None:
    found = look("standard: {}", "no.1: {start: none.pt}\n    standard: {}")
    assert line(tmp_path, found.mistakes).startswith(
        "9: tiny.methods.no.1.start: must name a file that can be read (No such file or directory)"
    )
    assert found.warnings == ()


def test_weights_of_another_network_are_a_mistake(look: Any, tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.ones(3)}, tmp_path / "other.pt")
    found = look("  seeds:", "  start: other.pt\n  seeds:")
    told = line(tmp_path, found.mistakes)
    assert told.startswith("7: tiny.start: must hold the weights of this network, but lacks ")
    assert told.endswith(f"; choose its network, got {tmp_path}/other.pt")


OWN = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, image_shape, num_classes, *, width: int = 8, scale: float = 1.0):
        super().__init__()
        self.scale = scale
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 64 // width), nn.ReLU())
        self.head = nn.Linear(64 // width, num_classes)

    def forward(self, images):
        return self.head(self.body(images)) / self.scale


def fgsm(gradient_at, images, *, epsilon: float):
    moved = images + epsilon * gradient_at(images).sign()
    return moved if epsilon > 0.5 else moved.clamp(0, 1)


def descent(weights, gradients, learning_rate, *, divisor: int = 1):
    for weight, gradient in zip(weights, gradients):
        weight.sub_(learning_rate / divisor * gradient)
"""
NET = "{name: my_nets:Net, settings: "
VALUES = {
    "in a list": (
        ("{name: small_cnn, width: 2}", f"{NET}{{width: [8, 0, 4]}}}}"),
        "4: tiny.model.settings.width: at width 0: my_nets.py:9: ZeroDivisionError: ",
    ),
    "in a list of a method": (
        ("standard: {}", f"standard: {{model: {NET}{{scale: [1.0,\n 0.0]}}}}}}"),
        "10: tiny.methods.standard.model.settings.scale: at scale 0.0: my_nets.py:5: Net: "
        "returns logits that are not finite in step 1, in training mode",
    ),
    "end of a range": (
        (
            "{pgd: {norm: linf, epsilon: 0.1, steps: 1}}",
            "{my_nets:fgsm: {epsilon: {low: 0.1,\n high: 0.9}}}",
        ),
        "13: tiny.methods.sam_at.inputs.my_nets:fgsm.epsilon.high: at epsilon 0.9: my_nets.py:16: "
        "fgsm: must return finite images in [0, 1], got ",
    ),
    "of an optimiser": (
        ("schedule: cosine", "schedule: cosine, optimizer: {my_nets:descent: {divisor: [1,\n 0]}}"),
        "7: tiny.training.optimizer.my_nets:descent.divisor: at divisor 0: my_nets.py:21: "
        "descent: makes weights that are not finite",
    ),
    "of an optimiser of a method": (
        (
            "standard: {}",
            "standard: {training: {optimizer: {my_nets:descent: {divisor: {low: -1,\n high: 0}}}}}",
        ),
        "10: tiny.methods.standard.training.optimizer.my_nets:descent.divisor.high: at divisor 0: "
        "my_nets.py:21: descent: makes weights that are not finite",
    ),
    "whatever the value": (
        ("{name: small_cnn, width: 2}", f"{NET}{{width: [0, 8], scale: [1.0, 2.0]}}}}"),
        "4: tiny.model.name: my_nets.py:9: ZeroDivisionError: ",
    ),
}


@pytest.mark.parametrize(("edit", "told"), VALUES.values(), ids=VALUES)
def test_a_value_that_breaks_an_own_part_is_found_in_one_line_with_its_place(
    look: Any, tmp_path: Path, edit: tuple[str, str], told: str
) -> None:
    (tmp_path / "my_nets.py").write_text(OWN, encoding="utf-8")
    assert line(tmp_path, look(*edit).mistakes).startswith(told)


def test_at_most_twenty_further_values_of_an_own_part_are_tried(look: Any, tmp_path: Path) -> None:
    (tmp_path / "my_nets.py").write_text(OWN, encoding="utf-8")
    for last, found in ((20, 1), (21, 0)):  # the first value is not counted
        scales = [*map(float, range(1, last + 1)), 0.0]
        text = f"{NET}{{scale: {scales}}}}}"
        assert len(look("{name: small_cnn, width: 2}", text).mistakes) == found


def test_parts_on_a_broken_network_are_not_judged(tmp_path: Path, read: Any) -> None:
    (tmp_path / "my_nets.py").write_text(OWN, encoding="utf-8")
    text = read.text.replace("{name: small_cnn, width: 2}", f"{NET}{{width: 0}}}}")
    text = text.replace(
        "{pgd: {norm: linf, epsilon: 0.1, steps: 1}}", "{my_nets:fgsm: {epsilon: 0.9}}"
    )
    found = foresee([read(text=text)], tmp_path / "studies.yaml", AMPLE)
    assert line(tmp_path, found.mistakes).startswith("4: tiny.model.name: my_nets.py:9: ")


L1 = {
    "of linf": ("8/255", "0.0314", "8"),
    "the largest of a list": ("[0, 4/255, 16/255]", "0.0627", "16"),
    "the high end of a range": ("{low: 0.01, high: 0.1}", "0.1", "25.5"),
    "large enough": ("0.5", "", ""),
    "a range up to a large one": ("{low: 0.01, high: 2.0}", "", ""),
    "off": ("0", "", ""),
}


@pytest.mark.parametrize(("epsilon", "shown", "levels"), L1.values(), ids=L1)
def test_an_l1_radius_that_was_meant_for_linf_is_a_warning(
    look: Any, tmp_path: Path, epsilon: str, shown: str, levels: str
) -> None:
    found = look("norm: linf, epsilon: 0.1", f"norm: l1, epsilon: {epsilon}")
    assert found.mistakes == ()
    if not shown:
        assert found.warnings == ()
        return
    assert line(tmp_path, found.warnings) == (
        f"12: tiny.methods.sam_at.inputs.pgd.epsilon: an l1 radius of {shown} lets the attack "
        f"change one pixel by {levels} grey levels of 255, and no other; did you mean norm: linf?"
    )


def test_batch_larger_than_the_training_part_is_a_warning(look: Any, tmp_path: Path) -> None:
    found = look("batch_size: 250", "batch_size: 5000")
    assert line(tmp_path, found.warnings) == (
        "5: tiny.training.batch_size: is larger than the 1000 training images, so each batch holds "
        "all of them, got 5000; lower it"
    )
    assert found.mistakes == ()


LACKING = {
    "cpus": (
        "{cpu: 9}",
        "cpu: must not exceed the CPUs of the machine, got 9, and it has 8; ask for fewer",
    ),
    "gpus": (
        "{gpu: 1}",
        "gpu: must not exceed the GPUs of the machine, got 1, and it has 0; set gpu: 0",
    ),
}


@pytest.mark.parametrize(("declared", "told"), LACKING.values(), ids=LACKING)
def test_resources_that_the_machine_lacks_are_warnings(
    look: Any, tmp_path: Path, declared: str, told: str
) -> None:
    machine = replace(AMPLE, gpus=0)
    found = look("  search:", f"  resources: {declared}\n  search:", machine)
    assert line(tmp_path, found.warnings).startswith(f"13: tiny.resources.{told}")
    assert found.mistakes == ()


def test_cluster_to_join_is_not_judged_by_this_machine(
    look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    assert look("  search:", "  resources: {cpu: 9}\n  search:").warnings == ()


def test_nearly_full_disk_is_a_warning(look: Any, tmp_path: Path) -> None:
    found = look("tiny:", "tiny:", replace(AMPLE, free_bytes=LEAST_FREE_BYTES // 2))
    assert found.warnings == (
        f"{tmp_path}: should have at least 1.1 GB free for weights and records, got 0.5 GB; free "
        "some, or move the project to another disk",
    )


def test_published_data_is_not_downloaded_to_check_it(look: Any, tmp_path: Path) -> None:
    assert look("name: digits", "name: cifar10") == Foreseen(mistakes=(), warnings=())
    assert [path.name for path in tmp_path.iterdir()] == ["studies.yaml"]


def test_all_studies_are_looked_at_and_their_mistakes_are_told_together(
    tmp_path: Path, read: Any
) -> None:
    file = tmp_path / "studies.yaml"
    second = read.text.replace("tiny:", "second:").replace("batch_size: 250", "batch_size: 333")
    file.write_text(read.text.replace("digits", "npz:none.npz") + second, encoding="utf-8")
    found = foresee(read_studies(file).values(), file, AMPLE)
    places = [message.split(": ")[1] for message in found.mistakes]
    assert places == ["tiny.data.name", "second.training.batch_size"]
