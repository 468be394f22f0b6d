"""A vision transformer for small images, from torchvision's parts."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.config import ModelConfig
from trainers.data.dataset import Dataset
from trainers.data.torchvision_import import torchvision_module
from trainers.networks.layers import Normalise

HEAD_WIDTH = 64
"""Values of a token that one attention head sees."""
PATCHES = 8
"""Along the longer side of an image, at most."""


def vit(config: ModelConfig, data: Dataset) -> nn.Module:
    """Build a `transformer` for patches of an eighth of the image's longer side, rounded up.

    So the patch has 1 pixel for images of 8 × 8, 4 for 28 × 28 and 32 × 32, 8 for 64 × 64, and
    there are at most 64 of them. An image that patches do not fill, or that is not square, is
    padded on all sides by the training images' mean.
    """
    channels, height, width = data.image_shape
    patch = math.ceil(max(height, width) / PATCHES)
    side = patch * math.ceil(max(height, width) / patch)
    network = transformer(
        channels=channels,
        side=side,
        patch=patch,
        width=config.width,
        depth=config.depth,
        classes=len(data.classes),
    )
    pad = nn.ZeroPad2d((*_halves(side - width), *_halves(side - height)))
    is_padded = (height, width) != (side, side)
    return nn.Sequential(Normalise(data), *([pad] if is_padded else []), network)


def _halves(count: int) -> tuple[int, int]:
    return count // 2, count - count // 2


def transformer(
    *, channels: int, side: int, patch: int, width: int, depth: int, classes: int
) -> nn.Module:
    """Build `torchvision.models.VisionTransformer`, of heads of 64 values, without dropout.

    Dosovitskiy et al. (2021), An image is worth 16 × 16 words, equations 1 to 4, with hidden layers
    four times as wide as a token; weights are drawn as torchvision does, from torch's global
    generator. The last layer starts at zero, so that the first step moves it alone, and an attack
    before that step has no gradient to follow. At side 224, patch 16, width 192, depth 12 and 1000
    classes it is DeiT-Ti (Touvron et al. 2021), of 5,717,416 weights.
    side: of the square image in pixels, a multiple of `patch`; width: of a token, a multiple of 64.
    """
    network: nn.Module = torchvision_module("models").VisionTransformer(
        image_size=side,
        patch_size=patch,
        num_layers=depth,
        num_heads=width // HEAD_WIDTH,
        hidden_dim=width,
        mlp_dim=4 * width,
        num_classes=classes,
    )
    if channels != 3:  # torchvision's is for RGB; drawn as it does
        network.conv_proj = nn.Conv2d(channels, width, patch, patch)
        nn.init.trunc_normal_(network.conv_proj.weight, std=1 / math.sqrt(channels * patch**2))
        nn.init.zeros_(network.conv_proj.bias)  # type: ignore[arg-type]
    for block in network.encoder.layers:  # type: ignore[union-attr]
        block.self_attention = SelfAttention(block.self_attention)
    return network


class SelfAttention(nn.Module):
    """`nn.MultiheadAttention` of a sequence to itself, written out; weights under the same names.

    torch's takes another path where no gradient is needed, so that the logits of an attack and of
    an evaluation would differ, and its fused backward pass adds in no fixed order on a GPU.
    Vaswani et al. (2017), Attention is all you need, equation 1 and section 3.2.2.
    """

    def __init__(self, drawn: nn.MultiheadAttention) -> None:
        """drawn: whose weights are taken over."""
        nn.Module.__init__(self)
        self.num_heads = drawn.num_heads
        self.in_proj_weight = drawn.in_proj_weight
        self.in_proj_bias = drawn.in_proj_bias
        self.out_proj = drawn.out_proj

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool
    ) -> tuple[Tensor, None]:
        """query: (B, T, width); key and value must be the same. No attention weights come back."""
        assert query is key is value
        assert not need_weights
        batch, tokens, width = query.shape
        by_head = batch, tokens, 3, self.num_heads, width // self.num_heads
        projected = F.linear(query, self.in_proj_weight, self.in_proj_bias).reshape(by_head)
        q, k, v = projected.permute(2, 0, 3, 1, 4).unbind()  # each (B, heads, T, width / heads)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
        mixed = torch.softmax(scores, dim=-1) @ v
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), None
