"""Tests that a training whose images stay in a file equals one whose images are in memory."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.parts import own
from tests.waits import is_gone, wait_until
from trainers.config import Method, Pgd, TrainConfig
from trainers.config.sources import PartError
from trainers.data.dataset import Dataset
from trainers.data.doubts import doubts
from trainers.data.loader import LoaderError, gathered
from trainers.data.mapped import Mapped
from trainers.data.subset import Split, sample_hash
from trainers.engine.feed import fed, feed_for
from trainers.evaluation.evaluate import evaluate
from trainers.step.batches import Draw, on_device
from trainers.train import new_state, train

CPU = torch.device("cpu")
BATCHES = np.split(np.arange(22), range(2, 22, 2))
MakeConfig = Callable[..., TrainConfig]


def mapped(data: Dataset, folder: Path) -> Dataset:
    """Move the images of a data set into one file, in another order than its own."""
    parts = {name: getattr(data, name) for name in ("train", "validation", "test")}
    whole = np.concatenate([np.asarray(part.images)[::-1] for part in parts.values()])
    path = folder / "images.npy"
    np.save(path, whole)
    start, found = 0, {}
    for name, part in parts.items():
        rows = np.arange(start, start + len(part.labels))[::-1]
        found[name] = Split(images=Mapped(path, rows), labels=part.labels)
        start += len(rows)
    return replace(data, **found)


@pytest.fixture
def both(make_images: Callable[..., Dataset], tmp_path: Path) -> tuple[Dataset, Dataset]:
    """A data set in memory, and the same one in a file."""
    data = make_images((3, 8, 8), classes=3, count=22)
    return data, mapped(data, tmp_path)


@pytest.mark.parametrize("augmentation", ["none", "crop_flip", "random_resized_crop"])
def test_training_from_a_file_equals_training_from_memory(
    both: tuple[Dataset, Dataset], make_config: MakeConfig, augmentation: str
) -> None:
    method = Method(inputs=Pgd(epsilon=0.1, norm="linf", steps=1))
    config = make_config(method, width=2, batch_size=8, epochs=2)
    states = []
    for data in both:
        augmented = replace(data, augmentation=augmentation)
        state = new_state(config, augmented, CPU)
        list(train(config, augmented, CPU, state))
        states.append(state)
    in_memory, in_file = (state.model.state_dict() for state in states)
    for name, tensor in in_memory.items():
        assert torch.equal(tensor, in_file[name]), name
    before, after = (state.metrics[-1].train_loss for state in states)
    assert before == after
    found = [
        evaluate(s.model, d.test, 255, config.evaluation, 0, CPU).bits
        for s, d in zip(states, both, strict=True)
    ]
    np.testing.assert_array_equal(*found)


def test_a_file_has_the_hash_and_the_doubts_of_its_images(both: tuple[Dataset, Dataset]) -> None:
    in_memory, in_file = both
    assert sample_hash(in_file.test) == sample_hash(in_memory.test)
    assert doubts(in_file) == doubts(in_memory)


def test_a_training_resumed_from_a_file_is_the_same(
    both: tuple[Dataset, Dataset], make_config: MakeConfig
) -> None:
    data, config = both[1], make_config(width=2, batch_size=8, epochs=2)
    whole, parts = new_state(config, data, CPU), new_state(config, data, CPU)
    list(train(config, data, CPU, whole))
    next(train(config, data, CPU, parts))
    list(train(config, data, CPU, parts))
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, parts.model.state_dict()[name]), name


def children() -> set[int]:
    """List the processes that this one has started and that still run."""
    own = Path(f"/proc/{os.getpid()}/task")
    return {int(pid) for task in own.iterdir() for pid in (task / "children").read_text().split()}


def test_workers_end_when_an_epoch_is_left_early(both: tuple[Dataset, Dataset]) -> None:
    images = both[1].train.images
    assert isinstance(images, Mapped)
    before = children()
    # contextlib hides no error of a block, so a signal ends the workers, too.
    with suppress(KeyboardInterrupt), gathered(images, BATCHES, 2) as stored:
        next(stored)
        assert len(children() - before) == 2
        raise KeyboardInterrupt
    assert children() == before


def test_a_lost_worker_is_one_line_and_no_hang(both: tuple[Dataset, Dataset]) -> None:
    images = both[1].train.images
    assert isinstance(images, Mapped)
    before = children()

    def lose_one() -> None:
        with gathered(images, BATCHES, 1) as stored:
            next(stored)
            (worker,) = children() - before
            os.kill(worker, signal.SIGKILL)
            list(stored)

    with pytest.raises(LoaderError, match="ended with code -9") as caught:
        lose_one()
    assert "\n" not in str(caught.value)
    assert children() == before


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from trainers.data.loader import gathered
from trainers.data.mapped import Mapped
images = Mapped(Path(sys.argv[1]), np.arange(22))
with gathered(images, np.split(np.arange(22), range(2, 22, 2)), 1) as stored:
    next(stored)
    print(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_end_with_a_trainer_that_is_killed(both: tuple[Dataset, Dataset]) -> None:
    images = both[1].train.images
    assert isinstance(images, Mapped)
    command = [sys.executable, "-c", KILLED, str(images.path)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    assert ended.returncode == -signal.SIGKILL
    (worker,) = ended.stdout.split()
    wait_until(lambda: is_gone(int(worker)))


TRANSFORMS = """
import torch


def same(images):
    return images


def tint(images, generator, strength: float = 0.5):
    shift = torch.rand((len(images), 3, 1, 1), generator=generator, device=images.device) - 0.5
    return (images + strength * shift).clamp(0, 1)


def cut(images):
    return images[:, :, 1:]


def bright(images):
    return images + 1


def numpy(images):
    return images.numpy()
"""


def changing(config: TrainConfig, folder: Path, name: str, **settings: object) -> TrainConfig:
    (folder / "my_changes.py").write_text(TRANSFORMS)
    transform = own(folder, "transforms", f"my_changes:{name}", **settings)
    return replace(config, data=replace(config.data, transform=transform))


def trained(config: TrainConfig, data: Dataset, *epochs: int) -> dict[str, torch.Tensor]:
    """Train in one go, or in parts of so many epochs; return the weights."""
    state = new_state(config, data, CPU)
    for count in epochs or (config.training.epochs,):
        for _ in zip(range(count), train(config, data, CPU, state), strict=False):
            pass
    return state.model.state_dict()


def are_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("augmentation", ["none", "crop_flip"])
def test_a_transform_draws_alike_from_memory_from_a_file_and_on_resuming(
    both: tuple[Dataset, Dataset], make_config: MakeConfig, tmp_path: Path, augmentation: str
) -> None:
    plain = make_config(width=2, batch_size=8, epochs=2)
    config = changing(plain, tmp_path, "tint")
    in_memory, in_file = (replace(data, augmentation=augmentation) for data in both)
    expected = trained(config, in_memory)
    assert are_equal(expected, trained(config, in_file))
    assert are_equal(expected, trained(config, in_memory, 1, 1))
    assert not are_equal(expected, trained(plain, in_memory))
    assert not are_equal(
        expected, trained(changing(plain, tmp_path, "tint", strength=0.4), in_file)
    )


def test_a_transform_that_changes_nothing_changes_no_number(
    both: tuple[Dataset, Dataset], make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config(width=2, batch_size=8, epochs=1)
    changed = trained(changing(config, tmp_path, "same"), both[0])
    assert are_equal(trained(config, both[0]), changed)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("cut", r"must return images of shape 8 × 3 × 8 × 8, got 8 × 3 × 7 × 8"),
        ("bright", r"must return images in \[0, 1\], .* got 1 to 2; clamp them"),
        ("numpy", "must return a tensor, got ndarray"),
    ],
)
def test_a_transform_that_breaks_the_contract_is_one_line(
    both: tuple[Dataset, Dataset], make_config: MakeConfig, tmp_path: Path, name: str, says: str
) -> None:
    config = changing(make_config(width=2, batch_size=8), tmp_path, name)
    with pytest.raises(PartError, match=rf"my_changes\.py:\d+: {name}: {says}") as caught:
        trained(config, both[0])
    assert "\n" not in str(caught.value)


def test_a_transform_draws_anew_for_each_epoch_and_batch(
    both: tuple[Dataset, Dataset], make_config: MakeConfig, tmp_path: Path
) -> None:
    config = changing(make_config(width=2, batch_size=8), tmp_path, "tint")
    feed = feed_for(config, both[0], CPU, lambda: on_device(both[0], CPU))
    first = Draw(torch.arange(8), *[torch.empty(0)] * 3)  # the same images in every batch
    found = []
    for epoch in (0, 1, 0):
        with fed(config, both[0], feed, epoch, torch.arange(22), iter([first] * 2)) as draws:
            found += [feed.source.images[draw.samples].clone() for draw in draws]
    assert torch.equal(found[0], found[4])
    assert torch.equal(found[1], found[5])
    assert not any(torch.equal(found[0], other) for other in found[1:4])
