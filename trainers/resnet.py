"""torchvision's ResNet-18, with the stem that is usual for small images."""

import importlib

from torch import nn

from trainers.config import ModelConfig
from trainers.data import Dataset
from trainers.layers import NORM_LAYERS, Normalise


def resnet18(config: ModelConfig, data: Dataset) -> nn.Module:
    """Build `torchvision.models.resnet18` with a 3 × 3 stem of stride 1 and no pooling after it.

    He, Zhang, Ren and Sun (2016), Deep residual learning, with weights drawn as torchvision does,
    from torch's global generator. 11,173,962 weights for ten classes of RGB images.
    """
    importlib.import_module("trainers.vision")  # before torchvision, which may need it
    from torchvision import models

    channels, _, _ = data.image_shape
    norm = NORM_LAYERS[config.norm_layer]
    network = models.resnet18(weights=None, num_classes=len(data.classes), norm_layer=norm)
    network.conv1 = nn.Conv2d(channels, config.width, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.maxpool = nn.Identity()
    return nn.Sequential(Normalise(data), network)
