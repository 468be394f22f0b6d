"""Layers of the networks: normalisations, and the borders of a body of another precision."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.data.dataset import Dataset

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
MOST_GROUPS = 32
LEAST_CHANNELS = 8
"""Of a group of a group normalisation."""


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


class GroupNorm(nn.GroupNorm):
    """Normalise each group of channels of each image, in float32 even in a bfloat16 body.

    Wu and He (2018), Group normalization, equations 1 to 4 and 7.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W)."""
        exact = x.to(self.weight.dtype)
        exact = F.group_norm(exact, self.num_groups, self.weight, self.bias, self.eps)
        return exact.to(x.dtype)


def group_norm(channels: int) -> nn.Module:
    """Return a group normalisation of `num_groups(channels)` groups."""
    return GroupNorm(num_groups(channels), channels)


def num_groups(channels: int) -> int:
    """Return the largest divisor of `channels` that is ≤ 32 and leaves ≥ 8 channels to a group.

    32 is the paper's number. It alone would leave one or two channels to a group of a narrow
    network, whose last stages have one pixel for a small image: one value, normalised by itself,
    is 0, and two are ±1, whatever the image. So 64 channels have 8 groups, 256 and more have 32,
    and fewer than 16 have one.
    """
    most = max(1, min(MOST_GROUPS, channels // LEAST_CHANNELS))
    return max(count for count in range(1, most + 1) if channels % count == 0)


NORM_LAYERS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "group": group_norm,
}
"""By `ModelConfig.norm_layer`; each takes the number of channels."""


def set_precision(model: nn.Module, dtype: torch.dtype) -> None:
    """Set the body of a network, all between its stem and its last layer, to compute in `dtype`.

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
