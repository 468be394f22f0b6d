"""Numbers that repeat exactly on one device: the order in which cuDNN adds."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def repeatable() -> Iterator[None]:
    """Keep cuDNN to algorithms that add in a fixed order; nothing changes on a CPU.

    A context, and a decorator of a function (not of a generator, which would leave it at once).
    """
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before
