"""Networks that take images in [0, 1] and return logits; input normalisation is a layer inside.

Each is built with random weights of the usual kind: uniform in ±1/√fan-in for convolutions and
linear layers, ones and zeros for batch normalisation.
"""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.config import ModelConfig
from trainers.data import Dataset

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def build_model(config: ModelConfig, data: Dataset, generator: torch.Generator) -> nn.Module:
    """Build a network for the images and classes of `data`, in training mode, on the CPU.

    Initial weights come from `generator` (a CPU generator) alone; the global one is not touched.
    """
    with torch.random.fork_rng(devices=[]):
        model = MODELS[config.name](config.width, data)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                bound = 1 / math.sqrt(module.weight[0].numel())
                module.weight.uniform_(-bound, bound, generator=generator)
                if module.bias is not None:
                    module.bias.uniform_(-bound, bound, generator=generator)
    return model


def evaluation_view(model: nn.Module) -> nn.Module:
    """Return the same network in evaluation mode: its own modules, the same weights and buffers.

    Nothing of `model` is touched by using the view, and every later change of its weights shows.
    Weights are detached (same storage), so that no gradient with respect to them is kept; every
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


def set_precision(model: nn.Module, dtype: torch.dtype) -> None:
    """Let the body of a network, all between its stem and its last layer, compute in `dtype`.

    Its weights stay float32; so do input, normalisation, stem, last layer and logits: the rounding
    of a normalised input to bfloat16 would be half as large as a small perturbation of it.
    """
    for module in model.modules():
        if isinstance(module, ToBody):
            module.dtype = dtype


class ToBody(nn.Module):
    """The border between the float32 stem and the body of a network."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.dtype = torch.float32

    def forward(self, x: Tensor) -> Tensor:
        """Round to the body's precision."""
        return x.to(self.dtype)


class FromBody(nn.Module):
    """The border between the body of a network and its float32 head."""

    def forward(self, x: Tensor) -> Tensor:
        """Return to float32."""
        return x.to(torch.float32)


class Conv(nn.Conv2d):
    """A convolution in the precision of its input; its weights are kept in float32."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W)."""
        return F.conv2d(x, self.weight.to(x.dtype), None, self.stride, self.padding)


class Normalise(nn.Module):
    """Subtract the mean and divide by the standard deviation, per channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, data: Dataset) -> None:
        nn.Module.__init__(self)
        self.register_buffer("mean", torch.tensor(data.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(data.std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """images: (B, C, H, W) in [0, 1]."""
        return (images - self.mean) / self.std


def small_cnn(width: int, data: Dataset) -> nn.Module:
    """Three 3 × 3 convolutions with batch normalisation, averaged before the last layer.

    Weights lie channels last, which is faster for so few channels on a CPU.
    """
    channels, _, _ = data.image_shape
    wide = 2 * width
    model = nn.Sequential(
        Normalise(data),
        *_convolution(channels, width),
        *_convolution(width, wide),
        nn.MaxPool2d(2),
        *_convolution(wide, wide),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(wide, len(data.classes)),
    )
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _convolution(channels_in: int, channels_out: int) -> list[nn.Module]:
    convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(channels_out), nn.ReLU()]


class PreActBlock(nn.Module):
    """Two 3 × 3 convolutions, each after batch normalisation and ReLU, around a shortcut.

    He, Zhang, Ren and Sun (2016), Identity mappings in deep residual networks, figure 4 (e).
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        nn.Module.__init__(self)
        self.norm1 = nn.BatchNorm2d(channels_in)
        self.conv1 = Conv(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.conv2 = Conv(channels_out, channels_out, 3, padding=1, bias=False)
        changes = stride != 1 or channels_in != channels_out
        self.shortcut = Conv(channels_in, channels_out, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, channels_in, H, W); returns (B, channels_out, H / stride, W / stride)."""
        activated = F.relu(self.norm1(x))
        skipped = x if self.shortcut is None else self.shortcut(activated)
        out: Tensor = self.conv1(activated)
        out = self.conv2(F.relu(self.norm2(out)))
        return out + skipped


def preact_resnet18(width: int, data: Dataset) -> nn.Module:
    """PreActResNet-18 for small images: four stages of two blocks, width … 8 · width channels.

    The form used in published adversarial training: a 3 × 3 stem without pooling, and a last batch
    normalisation and ReLU before the average over the image. 11,172,170 weights at width 64 for ten
    classes of RGB images.
    """
    channels, _, _ = data.image_shape
    stages: list[nn.Module] = []
    before = width
    for stage in range(4):
        after = width * 2**stage
        stages += [PreActBlock(before, after, 1 if stage == 0 else 2), PreActBlock(after, after, 1)]
        before = after
    return nn.Sequential(
        Normalise(data),
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        ToBody(),
        *stages,
        nn.BatchNorm2d(before),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        FromBody(),
        nn.Linear(before, len(data.classes)),
    )


MODELS = {"small_cnn": small_cnn, "preact_resnet18": preact_resnet18}
