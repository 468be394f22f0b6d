"""`study check` finds every breach of the contract of an own part, each as one line."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.parts import own, write_parts
from trainers.config import Method, ModelConfig, TrainConfig, own_settings
from trainers.data.dataset import Dataset
from trainers.evaluation.contract import breaches

HEAD = "import torch\nfrom torch import nn\nfrom torch.nn import functional as F\n\n"
NET = """
class part(nn.Module):
    def __init__(self, image_shape, num_classes):
        super().__init__()
        self.last = nn.Linear(64, num_classes)
        self.other = nn.Linear(64, 64)
        self.register_buffer("count", torch.zeros(1))

    def forward(self, images):
        return {forward}
"""
WEIGHTS = "def part(gradient_at, weights, *, rho: float = 0.1):\n    here = gradient_at(weights)\n"
INPUTS = "def part(gradient_at, images, *, epsilon: float = 0.1):\n"
OPTIMIZER = (
    "def part(weights, gradients, learning_rate):\n    for w, g in zip(weights, gradients):\n"
)
ATTACK = "def part(classify, images, labels, radius):\n"
FLAT = "images.flatten(1)"
BROKEN: dict[str, tuple[str, str, str]] = {
    "wrong number of classes": (
        *("networks", NET.format(forward=f"self.other({FLAT})")),
        r"must return logits of shape \(8, 10\) for 8 images, got \(8, 64\)",
    ),
    "logits of another type": (
        *("networks", NET.format(forward=f"self.last(self.other({FLAT})).double()")),
        r"must return logits of torch.float32, got torch.float64; convert them",
    ),
    "an unused weight": (
        *("networks", NET.format(forward=f"self.last({FLAT})")),
        "no gradient reaches other.weight; use it in forward",
    ),
    "an error in forward": (
        *("networks", NET.format(forward="self.last(images)")),
        r"^part.py:14: RuntimeError: .*; correct the line$",
    ),
    "no gradient to the images": (
        *("networks", NET.format(forward=f"self.last(self.other({FLAT}.detach()))")),
        "no gradient reaches the images; use it in forward, without detach",
    ),
    "not finite": (
        *("networks", NET.format(forward=f"self.last(self.other({FLAT})) / 0")),
        "returns logits that are not finite in step 1",
    ),
    "random in evaluation mode": (
        *("networks", NET.format(forward=f"self.last(F.dropout(self.other({FLAT})))")),
        "two passes of one batch differ in evaluation mode",
    ),
    "statistics of the batch": (
        *("networks", NET.format(forward=f"self.last(self.other({FLAT} - images.mean()))")),
        "an image's logits depend on its batch in evaluation mode",
    ),
    "a buffer written in evaluation": (
        *(
            "networks",
            NET.format(forward=f"self.last(self.other({FLAT})) + 0 * self.count.add_(1).sum()"),
        ),
        "writes its weights or buffers in evaluation mode",
    ),
    "weights from elsewhere": (
        *(
            "networks",
            "import random\ndef part(image_shape, num_classes):\n    net = nn.Sequential("
            "nn.Flatten(), nn.Linear(64, num_classes))\n    with torch.no_grad():\n        "
            "net[1].weight.fill_(random.random())\n    return net\n",
        ),
        "draws other weights each time; draw them from torch's global generator",
    ),
    "no copy": (
        *(
            "networks",
            "import threading\ndef part(image_shape, num_classes):\n    net = nn.Sequential("
            "nn.Flatten(), nn.Linear(64, num_classes))\n    net.lock = threading.Lock()\n"
            "    return net\n",
        ),
        "cannot be copied .*lock.*; hold modules and tensors",
    ),
    "no module": (
        *("networks", "def part(image_shape, num_classes):\n    return 3\n"),
        "part.py:5: part: must return a torch.nn.Module, got int",
    ),
    "a frozen weight": (
        *(
            "networks",
            "def part(image_shape, num_classes):\n    return nn.Sequential(nn.Flatten(), "
            "nn.Linear(64, num_classes).requires_grad_(False))\n",
        ),
        "every weight is trained, but 1.weight requires no gradient; make it a buffer",
    ),
    "a gradient of another shape": (
        *("weights", WEIGHTS + "    return here[:-1]\n"),
        "must return a gradient of each weight's shape",
    ),
    "more gradients than declared": (
        *("weights", WEIGHTS + "    gradient_at(here)\n    return gradient_at(weights + here)\n"),
        "ValueError",
    ),
    "no gradients": (
        *("weights", WEIGHTS + "    return None\n"),
        "must return a list with a gradient for each weight, got NoneType",
    ),
    "one gradient": (
        *("weights", WEIGHTS + "    return here\n"),
        "takes 1 gradient a step, but counts as 2; write below it: part.gradients = 1",
    ),
    "three gradients": (
        *(
            "weights",
            WEIGHTS + "    moved = [w + rho * g for w, g in zip(weights, here)]\n"
            "    gradient_at(moved)\n    return gradient_at(moved)\n",
        ),
        "takes 3 gradients a step, but counts as 2; write below it: part.gradients = 3",
    ),
    "radius 0 is not standard": (
        *("weights", WEIGHTS + "    return gradient_at([w + 0.1 for w in weights])\n"),
        "at rho 0 the gradient must be that of standard training",
    ),
    "no images": (
        *("inputs", INPUTS + "    return None\n"),
        "must return images as a tensor, got NoneType",
    ),
    "images of another type": (
        *("inputs", INPUTS + "    return images.double()\n"),
        r"must return images of torch.float32, got torch.float64",
    ),
    "images out of range": (
        *("inputs", INPUTS + "    return images + epsilon * gradient_at(images).sign()\n"),
        r"must return finite images in \[0, 1\], got .*; clamp them",
    ),
    "images moved at radius 0": (
        *("inputs", INPUTS + "    gradient_at(images)\n    return (images + 0.1).clamp(0, 1)\n"),
        "at epsilon 0 the images must be returned as they are",
    ),
    "a loss per sample": (
        *(
            "losses",
            "def part(logits, labels):\n    return F.cross_entropy(logits, labels, "
            "reduction='none')\n",
        ),
        r"must return one number, a 0-d tensor, got \(8,\); take the mean",
    ),
    "a loss without a gradient": (
        *(
            "losses",
            "def part(logits, labels):\n    return F.cross_entropy(logits.detach(), labels)\n",
        ),
        "no gradient flows from the loss to the logits",
    ),
    "an optimiser that does nothing": (
        *("optimizers", OPTIMIZER + "        w = w - learning_rate * g\n"),
        "leaves the weights as they are; update them in place",
    ),
    "an optimiser without its learning rate": (
        *("optimizers", OPTIMIZER + "        w.sub_(0.1 * g)\n"),
        "moves the weights at learning rate 0",
    ),
    "a transform that draws by itself": (
        *("transforms", "def part(images):\n    return torch.rand_like(images)\n"),
        "must be decided by images and generator alone",
    ),
    "a transform that writes what it is given": (
        *("transforms", "def part(images):\n    return images.mul_(1).sub_(images)\n"),
        "must leave the images it is given as they are",
    ),
    "a transform that leaves the range": (
        *("transforms", "def part(images):\n    return images + 1\n"),
        r"must return images in \[0, 1\]",
    ),
    "an attack that returns nothing": (
        *("attacks", ATTACK + "    return None\n"),
        "must return images as a tensor, got NoneType",
    ),
    "an attack that leaves its ball in place": (
        *("attacks", ATTACK + "    return images.add_(2 * radius).clamp_(0, 1)\n"),
        "must stay in the linf ball of radius 0.1 and in",
    ),
    "an attack that leaves its ball": (
        *("attacks", ATTACK + "    return (images + 2 * radius).clamp(0, 1)\n"),
        "must stay in the linf ball of radius 0.1 and in",
    ),
    "an attack that is never the same": (
        *(
            "attacks",
            "import random\n" + ATTACK + "    return (images - radius * random.random()).abs()\n",
        ),
        "must stay in the linf|two runs from one state differ",
    ),
}


def with_part(config: TrainConfig, kind: str, part: Any) -> TrainConfig:
    match kind:
        case "networks":
            return replace(config, model=ModelConfig(name="p", width=0, settings=part))
        case "optimizers":
            return replace(config, training=replace(config.training, optimizer=part))
        case "transforms":
            return replace(config, data=replace(config.data, transform=part))
        case "attacks":
            return replace(config, evaluation=replace(config.evaluation, attack=part))
        case _:
            side = "loss" if kind == "losses" else kind
            return replace(config, method=Method(**{side: part}))


@pytest.mark.parametrize("case", BROKEN)
def test_breach_is_found(
    case: str, tmp_path: Path, few_digits: Dataset, make_config: Callable[..., TrainConfig]
) -> None:
    kind, text, expected = BROKEN[case]
    write_parts(tmp_path, part=HEAD + text)
    part = own(tmp_path, kind, "part:part")  # type: ignore[arg-type]
    config = with_part(make_config(), kind, part)
    before = torch.get_rng_state()
    lines = [line for _, line in breaches(config, few_digits, own_settings(config))]
    assert torch.equal(torch.get_rng_state(), before)
    assert [line for line in lines if re.search(expected, line)], lines
    assert all(line.startswith("part.py:") and "\n" not in line for line in lines)


def test_gradients_of_another_shape_are_one_line(
    tmp_path: Path, few_digits: Dataset, make_config: Callable[..., TrainConfig]
) -> None:
    write_parts(tmp_path, part=HEAD + WEIGHTS + "    return here[:-1]\n")
    config = with_part(make_config(), "weights", own(tmp_path, "weights", "part:part"))
    assert len(list(breaches(config, few_digits, own_settings(config)))) == 1


def test_parts_that_keep_their_contract_breach_nothing(
    tmp_path: Path, few_digits: Dataset, make_config: Callable[..., TrainConfig]
) -> None:
    write_parts(tmp_path)
    parts = {
        "networks": own(tmp_path, "networks", "my_parts:Net", dropout=0.3),
        "optimizers": own(tmp_path, "optimizers", "my_parts:heavy_ball"),
        "attacks": own(tmp_path, "attacks", "my_parts:push", steps=2),
        "weights": own(tmp_path, "weights", "my_parts:Mine", rho=0.1),
        "inputs": own(tmp_path, "inputs", "my_parts:fgsm", epsilon=0.1),
        "losses": own(tmp_path, "losses", "my_parts:quadratic"),
    }
    config = make_config()
    for kind, part in parts.items():
        config = with_part(config, kind, part)
        assert list(breaches(config, few_digits, [part])) == []
