"""Residual networks for small images.

Two kinds normalise before each convolution: PreActResNet-18 and wide networks. The third is
torchvision's ResNet-18, with the stem that is usual for small images.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from trainers.config import ModelConfig
from trainers.data.dataset import Dataset
from trainers.data.torchvision_import import torchvision_module
from trainers.networks.layers import NORM_LAYERS, Conv, FromBody, Normalise, ToBody


def resnet18(config: ModelConfig, data: Dataset) -> nn.Module:
    """Build `torchvision.models.resnet18` with a 3 × 3 stem of stride 1 and no pooling after it.

    He, Zhang, Ren and Sun (2016), Deep residual learning, with weights drawn as torchvision does,
    from torch's global generator. 11,173,962 weights for ten classes of RGB images.
    """
    models = torchvision_module("models")
    channels, _, _ = data.image_shape
    norm = NORM_LAYERS[config.norm_layer]
    network = models.resnet18(weights=None, num_classes=len(data.classes), norm_layer=norm)
    network.conv1 = nn.Conv2d(channels, config.width, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.maxpool = nn.Identity()
    return nn.Sequential(Normalise(data), network)


WIDE_STEM = 16
"""Channels before the first stage of a wide residual network, whatever its width."""


def preact_resnet18(config: ModelConfig, data: Dataset) -> nn.Module:
    """Build PreActResNet-18: four stages of two blocks, of width … 8 · width channels.

    The form used in published adversarial training: a 3 × 3 stem without pooling, and a last
    normalisation and ReLU before the average over the image. 11,172,170 weights at width 64 for ten
    classes of RGB images.
    """
    stages = [config.width * 2**stage for stage in range(4)]
    return _preactivated(config, data, stem=config.width, stages=stages, blocks=2)


def wide_resnet(config: ModelConfig, data: Dataset) -> nn.Module:
    """Build WRN-depth-width: three stages of (depth − 4) / 6 blocks, of 16, 32 and 64 · width.

    Zagoruyko and Komodakis (2016), Wide residual networks, table 1, without dropout; the form that
    TRADES and RobustBench train. 36,479,194 weights at depth 28 and width 10, 46,160,474 at depth
    34, for ten classes of RGB images. Theirs starts from He's normal weights, ours as
    `trainers.networks.build` says.
    """
    stages = [16 * config.width * 2**stage for stage in range(3)]
    return _preactivated(config, data, WIDE_STEM, stages, blocks=(config.depth - 4) // 6)


def _preactivated(
    config: ModelConfig, data: Dataset, stem: int, stages: list[int], blocks: int
) -> nn.Module:
    """Build a network of stages, each of `blocks` blocks; all but the first halve the image.

    stem, stages: numbers of channels.
    """
    norm = NORM_LAYERS[config.norm_layer]
    channels, _, _ = data.image_shape
    body: list[nn.Module] = []
    before = stem
    for number, after in enumerate(stages):
        body.append(PreActBlock(before, after, 1 if number == 0 else 2, norm))
        body += [PreActBlock(after, after, 1, norm) for _ in range(blocks - 1)]
        before = after
    return nn.Sequential(
        Normalise(data),
        nn.Conv2d(channels, stem, 3, padding=1, bias=False),
        ToBody(),
        *body,
        norm(before),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        FromBody(),
        nn.Linear(before, len(data.classes)),
    )


class PreActBlock(nn.Module):
    """Two 3 × 3 convolutions, each after normalisation and ReLU, around a shortcut.

    He, Zhang, Ren and Sun (2016), Identity mappings in deep residual networks, figure 4 (e).
    """

    def __init__(
        self, channels_in: int, channels_out: int, stride: int, norm: Callable[[int], nn.Module]
    ) -> None:
        nn.Module.__init__(self)
        self.norm1 = norm(channels_in)
        self.conv1 = Conv(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.norm2 = norm(channels_out)
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
