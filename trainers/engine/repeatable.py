"""Numbers that repeat exactly on one device: the order in which cuDNN adds.

Separate streams of random numbers: what one draws never moves another.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def generator(seed: int, *names: object, device: torch.device) -> torch.Generator:
    """Return a fresh generator on `device`, decided by the seed and the stream's names alone."""
    text = "/".join(str(part) for part in (seed, *names))
    digest = hashlib.sha256(text.encode()).digest()
    fresh = torch.Generator(device=device)
    fresh.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return fresh


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
