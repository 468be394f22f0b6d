"""`torchvision`, imported beside a torch that was built for the CPU only.

The torchvision that PyPI serves is built for CUDA. Beside a CPU-only torch its compiled operators
cannot be loaded, and its import then fails, as it registers shapes for `torchvision::nms` and
`qnms`, which do not exist. Declaring the two by their schema, without an implementation, is enough
for `torchvision.models`, `transforms.v2` and `datasets`; calling `nms` still fails, with torch's
message. Where the operators load, nothing is declared: a second declaration would be refused.
torch is imported here at the first call only: naming a data set must not take that second.
"""

import contextlib
import importlib
import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def torchvision_module(name: str) -> Any:
    """Import `torchvision.NAME`, such as `models`, and return it.

    Raises `ImportError` if torchvision is not installed.
    """
    _declared()
    return importlib.import_module(f"torchvision.{name}")


@cache
def _declared() -> object:
    """Declare the operators if they are missing. The declarations live as long as the result."""
    return None if _has_operators() else _declare()


def _has_operators() -> bool:
    """Load torchvision's compiled operators without importing it. Return whether that worked."""
    import torch  # as said above

    package = importlib.util.find_spec("torchvision")
    if package is None or package.origin is None:
        return True  # importing it will raise the error itself
    load: Callable[[Path], None] = torch.ops.load_library
    for library in sorted(Path(package.origin).parent.glob("_C*.*")):
        with contextlib.suppress(OSError):
            load(library)
    return hasattr(torch.ops.torchvision, "nms")


def _declare() -> object:
    """Declare the operators by their schemas alone."""
    import torch  # as said above

    new_library: Callable[..., Any] = torch.library.Library
    library = new_library("torchvision", "FRAGMENT")
    for schema in SCHEMAS:
        library.define(schema)
    return library
