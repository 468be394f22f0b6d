"""Make `import torchvision` work beside a torch built for the CPU only. Import this module first.

The torchvision that PyPI serves is built for CUDA. Beside a CPU-only torch its compiled operators
cannot be loaded, and its import then fails, as it registers shapes for `torchvision::nms` and
`qnms`, which do not exist. Declaring the two by their schema, without an implementation, is enough
for `torchvision.models`, `transforms.v2` and `datasets`; calling `nms` still fails, with torch's
message. Where the operators load, nothing is declared: a second declaration would be refused.
"""

import contextlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def _has_operators() -> bool:
    """Load torchvision's compiled operators without importing torchvision; tell if that worked."""
    package = importlib.util.find_spec("torchvision")
    if package is None or package.origin is None:
        return True  # importing it will say so itself
    load: Callable[[Path], None] = torch.ops.load_library
    for library in sorted(Path(package.origin).parent.glob("_C*.*")):
        with contextlib.suppress(OSError):
            load(library)
    return hasattr(torch.ops.torchvision, "nms")


def _declare() -> Any:
    new_library: Any = torch.library.Library
    library = new_library("torchvision", "FRAGMENT")
    for schema in SCHEMAS:
        library.define(schema)
    return library


declared = None if _has_operators() else _declare()
"""The declarations live as long as this object."""
