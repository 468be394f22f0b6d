"""Which data a training reads: the sets known by name, and the configuration of one."""

from dataclasses import dataclass
from typing import Literal

from trainers.config.checks import check, check_choice, check_count, check_number
from trainers.config.own import NO_SETTINGS, Own

AUGMENTATIONS = ("auto", "none", "crop", "crop_flip", "random_resized_crop")


@dataclass(frozen=True, kw_only=True)
class TorchvisionSet:
    """A data set that `torchvision.datasets` downloads and reads."""

    class_name: str
    """In `torchvision.datasets`: CIFAR10, SVHN, MNIST, or one with archives of the same form, such
    as KMNIST. EMNIST and QMNIST are derived from MNIST, but have other archives."""
    md5s: tuple[str, ...]
    """Of its archives, so that its content is known before a download. A test compares them with
    torchvision's."""
    augmentation: str = "none"
    """What `auto` means for it: a mirrored digit is none."""


TORCHVISION_SETS = {
    "cifar10": TorchvisionSet(
        class_name="CIFAR10",
        md5s=("c58f30108f718f92721af3b95e74349a",),
        augmentation="crop_flip",
    ),
    "cifar100": TorchvisionSet(
        class_name="CIFAR100",
        md5s=("eb9058c3a382ffc7106e4002c42a8d85",),
        augmentation="crop_flip",
    ),
    "svhn": TorchvisionSet(
        class_name="SVHN",
        md5s=("e26dedcc434d2e4c54c9b2d4a06d8373", "eb5a983be6a315427106f1b164d9cef3"),
    ),
    "mnist": TorchvisionSet(
        class_name="MNIST",
        md5s=(
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
    ),
    "fashion_mnist": TorchvisionSet(
        class_name="FashionMNIST",
        md5s=(
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
}
"""By the name that a study declares. A new entry needs no other change."""


@dataclass(frozen=True, kw_only=True)
class ExtraData:
    """Labelled images that join the training batches alone, such as generated ones."""

    name: str
    """`npz:PATH`, of a file with `train_x` and `train_y`, or with `image` and `label`."""
    share: float
    """Of each batch, in (0, 1), rounded to whole images; Wang et al. (2023), Better diffusion
    models further improve adversarial training, have 0.7. An epoch is as long as without."""

    def __post_init__(self) -> None:
        """Check the name's form and the share."""
        kind, _, path = self.name.partition(":")
        check(kind == "npz" and bool(path), "name", "must be npz:PATH", self.name)
        rule = "must lie in (0, 1), a share of each batch"
        check_number(self.share, "share", rule, lambda share: 0 < share < 1)

    def count(self, batch_size: int) -> int:
        """Return how many of a batch's images are extra ones."""
        return round(self.share * batch_size)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """A data set, or a part of it."""

    name: str
    """`digits`, a name of `TORCHVISION_SETS`, `folder:PATH`, `npz:PATH`, or that of an own part,
    such as `my_data:Pets`."""
    samples: int | Literal["all"] = "all"
    """Training images to keep, balanced over the classes; validation images come on top."""
    test_samples: int | Literal["all"] = "all"
    """Test images to keep, balanced over the classes."""
    augmentation: str = "auto"
    """Of training images: none; `crop` after padding by an eighth; `crop_flip`, also mirrored at
    random; `random_resized_crop`, a rectangle of 8 to 100 % of the area, scaled to the image's
    size and mirrored at random; `auto`, the usual one of the set, for your own sets crop_flip at
    32 × 32 RGB."""
    resize: int | Literal["none"] = "none"
    """Pixels of the shorter side to which each image of a folder or of own data is scaled,
    antialiased, before the square in its middle is cut out; none takes images as they are, which
    must have one size."""
    center_crop: int | Literal["none"] = "none"
    """Pixels of that square's side, at most those of `resize`; none cuts it as large as that."""
    settings: Own = NO_SETTINGS
    """Of own data, which every other name has none of."""
    transform: Own = NO_SETTINGS
    """An own part that changes each batch of training images, after the augmentation."""
    extra: ExtraData | Literal["none"] = "none"
    """Images that join the training batches; nothing is validated or tested on them."""

    def __post_init__(self) -> None:
        """Check the name's form and the counts."""
        kind, _, path = self.name.partition(":")
        known = self.name in ("digits", *TORCHVISION_SETS) or (kind in ("folder", "npz") and path)
        names = ", ".join(("digits", *TORCHVISION_SETS))
        rule = f"must be {names}, folder:PATH, npz:PATH or your own, such as my_data:Pets"
        check(bool(known) or self.is_own, "name", rule, self.name)
        for field in ("samples", "test_samples"):
            if (count := getattr(self, field)) != "all":
                check_count(count, field, 1)
        check_choice(self.augmentation, "augmentation", AUGMENTATIONS)
        self._check_size(may_resize=kind == "folder" or self.is_own)

    @property
    def is_own(self) -> bool:
        """Return whether the data is an own part."""
        return type(self.settings) is not Own

    def _check_size(self, *, may_resize: bool) -> None:
        """Check that images can be brought to a size, and that the square lies within them."""
        if self.resize != "none":
            check_count(self.resize, "resize", 1)
            check(
                may_resize,
                "resize",
                "is for folders of images and for your own data; remove it",
                self.resize,
            )
        if self.center_crop != "none":
            check_count(self.center_crop, "center_crop", 1)
            is_within = self.resize != "none" and self.center_crop <= self.resize
            rule = "needs resize, and must be at most as large"
            check(is_within, "center_crop", rule, self.center_crop)
