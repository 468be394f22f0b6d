"""Networks that are not ours: own parts, and those that torchvision and timm have by name.

Each gets images in [0, 1], so our input normalisation stands before it, unless an own part declares
by an attribute `normalises = True` that it does that itself.
"""

import difflib
import importlib
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from trainers.config import ModelConfig
from trainers.config.parts import loaded
from trainers.config.sources import PartError
from trainers.data.dataset import Dataset
from trainers.data.torchvision_import import torchvision_module
from trainers.networks.layers import Normalise

Shape = tuple[int, int, int]
Library = Callable[[str, Shape, int], nn.Module]


def own_network(config: ModelConfig, data: Dataset) -> nn.Module:
    """Build a network of one's own, which may draw from torch's global generator.

    Raises `PartError` if it cannot be built, or is no `nn.Module`.
    """
    part = config.settings.part
    network = config.settings.ready()(image_shape=data.image_shape, num_classes=len(data.classes))
    if not isinstance(network, nn.Module):
        rule = f"must return a torch.nn.Module, got {type(network).__name__}"
        raise PartError(f"{loaded(part).place}: {part.attribute}: {rule}; return the network")
    if loaded(part).declared("normalises", False):
        return network
    return nn.Sequential(Normalise(data), network)


def torchvision_network(name: str, image_shape: Shape, num_classes: int) -> nn.Module:
    """Build `torchvision.models.NAME` for images of this shape, without trained weights."""
    models = torchvision_module("models")
    known = models.list_models(module=models)
    _check_name("torchvision", name, known)
    options: dict[str, Any] = {"weights": None, "num_classes": num_classes}
    if name.startswith("vit_"):
        options["image_size"] = image_shape[1]
    if name in ("googlenet", "inception_v3"):
        options["aux_logits"] = False
    network: nn.Module = models.get_model(name, **options)
    _take_channels(network, image_shape[0])
    return network


def timm_network(name: str, image_shape: Shape, num_classes: int) -> nn.Module:
    """Build `timm.create_model(NAME)` for images of this shape, without trained weights."""
    timm = importlib.import_module("timm")  # an extra, and slow to import

    _check_name("timm", name, timm.list_models())
    channels, *size = image_shape
    options = {"pretrained": False, "num_classes": num_classes, "in_chans": channels}
    try:
        network: nn.Module = timm.create_model(name, img_size=tuple(size), **options)
    except TypeError:  # of a network that takes images of any size
        network = timm.create_model(name, **options)
    return network


LIBRARIES: Mapping[str, Library] = {"torchvision": torchvision_network, "timm": timm_network}


def _check_name(library: str, name: str, known: list[str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        way_out = f"did you mean {near[0]}?" if near else f"see {library}'s list of models"
        raise PartError(f"{library}:{name}: {library} has no network of this name; {way_out}")


def _take_channels(network: nn.Module, channels: int) -> None:
    """Replace the first convolution by one for images that are not RGB."""
    if channels == 3:
        return
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == 3:
            above, _, last = name.rpartition(".")
            stem = nn.Conv2d(
                channels,
                module.out_channels,
                module.kernel_size,  # type: ignore[arg-type]
                module.stride,  # type: ignore[arg-type]
                module.padding,  # type: ignore[arg-type]
                bias=module.bias is not None,
            )
            setattr(network.get_submodule(above), last, stem)
            return
