"""A faster `small_cnn` for attacks on a CPU: logits and input gradient in C, sample by sample.

A network of so few channels spends its time on moving activations through memory and on starting
operators. `narrow.c` takes each sample through the whole network in the first cache. It is compiled
at run time, once per shape and process, for the processor at hand; its numbers equal torch's to
rounding, and repeat bit for bit with the same compiler on the same kind of processor.
"""

import ctypes
import functools
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from trainers.networks.layers import Normalise

SOURCE = Path(__file__).with_name("narrow.c")
LARGEST_WIDTH = 32
"""Of the network. With vectors of eight (AVX2) a pass took 0.7 to 0.9 of torch's time at this width
and 0.9 at 64; with vectors of sixteen (AVX-512) 0.4 to 0.6, and 0.6 to 0.8."""
CONVOLUTIONS = (1, 4, 8)
"""Where they stand among the layers, each before its batch normalisation."""
COMPILERS = ("cc", "gcc", "clang")
OPTIONS = ("-std=gnu11", "-O2", "-ffp-contract=fast", "-fPIC", "-shared")
TARGETS = ("-march=native", "-mcpu=native")
"""The first that the compiler accepts is used; older ones for ARM accept only the second."""
PATIENCE_SECONDS = 60
"""For a compilation, which takes one or two seconds."""

_failures: dict[tuple[str, ...], str] = {}
"""By compiler: the notice of its last failure."""


class Shape(NamedTuple):
    """What narrow.c is compiled for; each field is a constant there, in capitals."""

    channels: int
    height: int
    width: int
    narrow: int
    """Channels after the first convolution: the network's width."""
    classes: int


class _Convolution(ctypes.Structure):
    """`struct convolution` of narrow.c."""

    _fields_ = [
        ("weight", ctypes.c_void_p),
        ("norm", ctypes.c_void_p * 4),
        ("tiny", ctypes.c_float),
    ]


class NarrowClassifier:
    """Images (B, C, H, W) in [0, 1], float32, to logits (B, K), at the weights last refreshed.

    Differentiable once, with respect to the images alone. Not to be called by two threads at once.
    """

    def __init__(self, layers: list[Any], shape: Shape, library: ctypes.CDLL) -> None:
        self._shape = shape
        self._library = library
        self._layers = layers
        """Kept, as the library reads their storage at every `refresh`."""
        normalise, linear = layers[0], layers[-1]
        self._convolutions = (_Convolution * 3)(
            *(_pointers(layers[at], layers[at + 1]) for at in CONVOLUTIONS)
        )
        self._packed = torch.zeros(library.packed_bytes() // 4)
        self._weights = (
            self._packed.data_ptr(),
            normalise.mean.data_ptr(),
            normalise.std.data_ptr(),
            ctypes.addressof(self._convolutions),
            linear.weight.data_ptr(),
            linear.bias.data_ptr(),
        )
        self._kept_bytes: int = library.kept_bytes()
        self._num_refreshed = 0
        self.refresh()

    def refresh(self) -> None:
        """Read the current weights and running statistics of the view, which are written in place.

        Logits computed before can no longer be differentiated.
        """
        self._library.pack(*self._weights)
        self._num_refreshed += 1

    def __call__(self, images: Tensor) -> Tensor:
        """Classify. Where a gradient may be needed, keep what it takes."""
        if images.requires_grad and torch.is_grad_enabled():
            logits: Tensor = _Logits.apply(images, self)  # type: ignore[no-untyped-call]
            return logits
        return self._classify(images.detach(), None)

    def pullback(self, images: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Classify without autograd. Returns logits (B, K) and a function, from the gradient with
        respect to them, (B, K), to that with respect to the images, (B, C, H, W).
        """
        kept = torch.empty(len(images), self._kept_bytes, dtype=torch.uint8)
        logits = self._classify(images.detach(), kept)
        return logits, functools.partial(self._differentiate, kept, self._num_refreshed)

    def _classify(self, images: Tensor, kept: Tensor | None) -> Tensor:
        expected = self._shape[:3]
        is_float = images.dtype == torch.float32 and images.device.type == "cpu"
        if images.shape[1:] != expected or not is_float:
            raise ValueError(
                f"images must be (B, {', '.join(map(str, expected))}) float32 on the CPU, "
                f"got {tuple(images.shape)} {images.dtype} on {images.device}"
            )
        images = images.contiguous()
        logits = torch.empty(len(images), self._shape.classes)
        self._library.classify(
            self._packed.data_ptr(),
            images.data_ptr(),
            len(images),
            logits.data_ptr(),
            None if kept is None else kept.data_ptr(),
        )
        return logits

    def _differentiate(self, kept: Tensor, num_refreshed: int, by_logits: Tensor) -> Tensor:
        if num_refreshed != self._num_refreshed:
            raise RuntimeError(
                "the weights were refreshed after these logits were computed; "
                "ask for the gradient before, or compute the logits again"
            )
        by_logits = by_logits.contiguous()
        gradient = torch.empty(len(by_logits), *self._shape[:3])
        self._library.differentiate(
            self._packed.data_ptr(),
            kept.data_ptr(),
            by_logits.data_ptr(),
            len(by_logits),
            gradient.data_ptr(),
        )
        return gradient


class _Logits(torch.autograd.Function):
    """The pass as autograd sees it."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, classifier: NarrowClassifier) -> Tensor:
        """Classify."""
        logits, ctx.pull_back = classifier.pullback(images)
        return logits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_logits: Tensor) -> tuple[Tensor, None]:
        """Differentiate with respect to the images."""
        return ctx.pull_back(by_logits), None


def narrow_classifier(view: nn.Module, image_shape: tuple[int, ...]) -> NarrowClassifier | None:
    """Return a faster form of an evaluation-mode `small_cnn` for images (C, H, W).

    Returns None for another network, dtype, memory format or device, for a shape at which it is not
    faster, and where nothing compiles (`compiler_notice` says why). The storage of the view's
    weights and buffers must stay where it is.
    """
    layers: list[Any] = list(view.children())
    channels, height, width = image_shape
    if not _is_small_cnn(view, layers) or layers[1].in_channels != channels:
        return None
    shape = Shape(channels, height, width, layers[1].out_channels, layers[-1].out_features)
    compiler = _compiler()
    if compiler is None or not is_faster(shape):
        return None
    library = _compiled(compiler, shape)
    return None if library is None else NarrowClassifier(layers, shape, library)


def is_faster(shape: Shape) -> bool:
    """Return whether the C was measured to be faster than torch on networks of this shape.

    Networks of an even width up to 16, or of one that four divides up to `LARGEST_WIDTH`.
    """
    step = 2 if shape.narrow <= 16 else 4
    is_narrow = shape.narrow % step == 0 and shape.narrow <= LARGEST_WIDTH
    return is_narrow and min(shape.height, shape.width) >= 2


def compiler_notice() -> str:
    """Return one line that says why narrow.c could not be compiled, or ''.

    A missing compiler is noticed at any time, a failed compilation once it has happened.
    """
    compiler = _compiler()
    if compiler is not None:
        return _failures.get(compiler, "")
    named = os.environ.get("CC", "")
    missing = f"CC={named} is not found" if named else f"no {', '.join(COMPILERS)} on the PATH"
    return f"{missing}: attacks on a small_cnn run through torch, several times slower"


def _pointers(convolution: Any, norm: Any) -> _Convolution:
    tensors = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    pointers = [tensor.data_ptr() for tensor in tensors]
    return _Convolution(convolution.weight.data_ptr(), (ctypes.c_void_p * 4)(*pointers), norm.eps)


def _is_small_cnn(view: nn.Module, layers: list[Any]) -> bool:
    """Return whether a network has the layers, mode and memory formats that the C assumes."""
    if not isinstance(view, nn.Sequential) or len(layers) != 14:
        return False
    convolutions, linear = [layers[at] for at in CONVOLUTIONS], layers[-1]
    if not all(type(layer) is nn.Conv2d for layer in convolutions) or type(linear) is not nn.Linear:
        return False
    channels, narrow, wide = (convolution.in_channels for convolution in convolutions)
    with torch.device("meta"):
        blocks = [_block(*sizes) for sizes in ((channels, narrow), (narrow, wide), (wide, wide))]
        tail = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(wide, linear.out_features)]
        expected = [*blocks[0], *blocks[1], nn.MaxPool2d(2), *blocks[2], *tail]
    is_same = all(
        type(layer) is type(other) and layer.extra_repr() == other.extra_repr()
        for layer, other in zip(layers[1:], expected, strict=True)
    )
    tensors = [tensor for tensor in view.state_dict().values() if tensor.is_floating_point()]
    weights = [convolution.weight for convolution in convolutions]
    return (
        type(layers[0]) is Normalise
        and is_same
        and wide == 2 * narrow
        and not any(layer.training for layer in layers)
        and all(tensor.device.type == "cpu" for tensor in tensors)
        and all(tensor.dtype == torch.float32 for tensor in tensors)
        and all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
        and linear.weight.is_contiguous()
    )


def _block(channels_in: int, channels_out: int) -> list[nn.Module]:
    convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(channels_out), nn.ReLU()]


def _compiler() -> tuple[str, ...] | None:
    """Return the command of the C compiler: CC with its arguments if set, or the first found."""
    named = shlex.split(os.environ.get("CC", ""))
    for command in [named] if named else [[name] for name in COMPILERS]:
        found = shutil.which(command[0])
        if found:
            return (found, *command[1:])
    return None


@functools.cache
def _compiled(compiler: tuple[str, ...], shape: Shape) -> ctypes.CDLL | None:
    """Compile narrow.c for a shape and load it; None, with a notice, if that fails."""
    constants = [f"-D{name.upper()}={value}" for name, value in shape._asdict().items()]
    reason = ""
    with tempfile.TemporaryDirectory(prefix="narrow-") as folder:
        target_file = Path(folder) / "narrow.so"
        for target in TARGETS:
            command = [*compiler, *OPTIONS, target, *constants, str(SOURCE), "-o", str(target_file)]
            try:
                subprocess.run(
                    [*command, "-lm"],
                    check=True,
                    capture_output=True,
                    text=True,
                    timeout=PATIENCE_SECONDS,
                )
                return _declared(ctypes.CDLL(str(target_file)))
            except subprocess.CalledProcessError as error:
                reason = reason or error.stderr.strip().partition("\n")[0]
            except (OSError, subprocess.TimeoutExpired) as error:
                reason = reason or str(error)
    _failures[compiler] = (
        f"{compiler[0]} could not compile {SOURCE.name} ({reason}): "
        "attacks on this small_cnn run through torch, several times slower"
    )
    return None


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    pointer, count = ctypes.c_void_p, ctypes.c_long
    for function in (library.packed_bytes, library.kept_bytes):
        function.restype = count
    for function in (library.pack, library.classify, library.differentiate):
        function.restype = None
    library.pack.argtypes = [pointer] * 6
    library.classify.argtypes = [pointer, pointer, count, pointer, pointer]
    library.differentiate.argtypes = [pointer, pointer, pointer, count, pointer]
    return library
