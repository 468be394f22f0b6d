"""Studies of SAM and adversarial training: `study.open("digits")` is the way in from Python.

What a name needs, such as pydantic, NumPy or torch, is imported when the name is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from study.notebook.handle import Study, from_dict, load
    from study.notebook.handle import open_study as open

__all__ = ["Study", "from_dict", "load", "open"]

_NAMES = {name: name for name in __all__} | {"open": "open_study"}


def __getattr__(name: str) -> Any:
    """Import a name of `__all__` when it is first asked for."""
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("study.notebook.handle"), _NAMES[name])
