"""Networks that take images in [0, 1] and return logits; input normalisation is a layer inside.

Each of ours starts from the usual random weights: uniform in ±1/√fan-in for convolutions and linear
layers, ones and zeros for normalisations. Torchvision's start from the weights that it draws.
"""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from trainers.config import ModelConfig
from trainers.data.dataset import Dataset
from trainers.networks.layers import NORM_LAYERS, PRECISIONS, Conv, Normalise, set_precision
from trainers.networks.named import own_network
from trainers.networks.residual import preact_resnet18, resnet18, wide_resnet
from trainers.networks.start import read_weights, start_from
from trainers.networks.vit import vit

__all__ = [
    "PRECISIONS",
    "Conv",
    "Normalise",
    "build_model",
    "evaluation_view",
    "set_precision",
    "small_cnn",
]


def build_model(config: ModelConfig, data: Dataset, generator: torch.Generator) -> nn.Module:
    """Build a network for the images and classes of `data`, in training mode, on the CPU.

    Initial weights come from `generator` (a CPU generator) alone; the global one is not touched.
    """
    drawing = own_network if config.is_own else TORCHVISION_NETWORKS.get(config.name)
    if drawing is not None:
        with _drawing_from(generator):
            return drawing(config, data)
    with torch.random.fork_rng(devices=[]):
        model = NETWORKS[config.name](config, data)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                bound = 1 / math.sqrt(module.weight[0].numel())
                module.weight.uniform_(-bound, bound, generator=generator)
                if module.bias is not None:
                    module.bias.uniform_(-bound, bound, generator=generator)
    return model


def fits_start(config: ModelConfig, data: Dataset, content: bytes, name: str) -> str:
    """Check that a network takes the weights of a file; return what `start_from` says of them."""
    model = build_model(config, data, torch.Generator())
    return start_from(model, read_weights(content, name), name)


@contextmanager
def _drawing_from(generator: torch.Generator) -> Iterator[None]:
    """Draw from `generator` through torch's global CPU generator, which is restored afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(generator.get_state())
        yield
        generator.set_state(torch.get_rng_state())


def evaluation_view(model: nn.Module) -> nn.Module:
    """Return the same network in evaluation mode: its own modules, the same weights and buffers.

    Using the view changes nothing of `model`, and the view shows every later change of its weights.
    Weights are detached (same storage), so that no gradient with respect to them is kept. Every
    layer computes in float32, whatever the precision of the training.
    """
    shared: dict[int, Tensor] = {
        id(weight): nn.Parameter(weight.detach(), requires_grad=False)
        for weight in model.parameters()
    }
    shared |= {id(buffer): buffer for buffer in model.buffers()}
    view = copy.deepcopy(model, shared).eval()
    set_precision(view, torch.float32)
    return view


def small_cnn(config: ModelConfig, data: Dataset) -> nn.Module:
    """Build three normalised 3 × 3 convolutions, a mean over the image, and the last layer.

    Weights are stored channels last, which is faster for so few channels on a CPU.
    """
    norm = NORM_LAYERS[config.norm_layer]
    channels, _, _ = data.image_shape
    width, wide = config.width, 2 * config.width
    model = nn.Sequential(
        Normalise(data),
        *_convolution(channels, width, norm),
        *_convolution(width, wide, norm),
        nn.MaxPool2d(2),
        *_convolution(wide, wide, norm),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(wide, len(data.classes)),
    )
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _convolution(
    channels_in: int, channels_out: int, norm: Callable[[int], nn.Module]
) -> list[nn.Module]:
    convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
    return [convolution, norm(channels_out), nn.ReLU()]


NETWORKS: dict[str, Callable[[ModelConfig, Dataset], nn.Module]] = {
    "small_cnn": small_cnn,
    "preact_resnet18": preact_resnet18,
    "wide_resnet": wide_resnet,
}
TORCHVISION_NETWORKS: dict[str, Callable[[ModelConfig, Dataset], nn.Module]] = {
    "resnet18": resnet18,
    "vit": vit,
}
"""Networks that draw their weights from torch's global generator."""
