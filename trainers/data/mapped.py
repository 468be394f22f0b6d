"""Images that stay in a file: what is not asked for is never read.

A data set that is larger than `most_in_memory` is decoded once, into one file of uint8 images, and
from then on mapped. Its parts are `Mapped`: a file and an order, which pickle in a few bytes.
"""

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_IN_MEMORY = 2 * 1024**3
"""Bytes of decoded images that are kept in memory, on a machine with enough of it. Each worker has
a copy of its own, beside the one that they share."""
SHARE_OF_MEMORY = 8
"""At most one part in so many of the machine's memory is used, so a small machine maps earlier.
That changes no number: mapped or not, a training sees the same bytes in the same order."""
CHUNK_BYTES = 16 * 1024**2


def most_in_memory() -> int:
    """Return the bytes above which images stay in a file."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(MOST_IN_MEMORY, memory // SHARE_OF_MEMORY)


class Mapped:
    """Images of a file, in an order. Indexing chooses among them; `numpy.asarray` reads them.

    It stands where an array (N, C, H, W) of uint8 would. An index by a slice, by positions or by
    booleans gives another `Mapped`; one by a number reads that image.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, path: Path, rows: NDArray[np.int64]) -> None:
        self.path = path
        self.rows = rows
        """Positions in the file."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the place of the images: another process maps the file itself."""
        return Mapped, (self.path, self.rows)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.rows)

    @cached_property
    def stored(self) -> NDArray[np.uint8]:
        """Return all images of the file, mapped. Raises `OSError` with the way out."""
        try:
            images: NDArray[np.uint8] = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            raise OSError(
                f"{self.path}: decoded images cannot be read ({reason}); on a cluster, every node "
                "needs this folder; elsewhere, delete the file, and they are decoded again"
            ) from error
        return images

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (N, C, H, W)."""
        return (len(self.rows), *self.stored.shape[1:])

    @property
    def nbytes(self) -> int:
        """Return the bytes held in memory: those of the positions."""
        return self.rows.nbytes

    @property
    def read_bytes(self) -> int:
        """Return the bytes that the images would take in memory."""
        return int(np.prod(self.shape))

    def __getitem__(self, index: Any) -> Any:
        """Choose images by their positions here, or read a single one, (C, H, W)."""
        if isinstance(index, int | np.integer):
            return np.array(self.stored[self.rows[index]])
        return Mapped(self.path, self.rows[index])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.uint8]:
        """Read the images into memory."""
        return np.take(np.asarray(self.stored), self.rows, axis=0)


Images = NDArray[np.uint8] | Mapped
"""(N, C, H, W) uint8, in memory or in a file."""


def chunks(images: Images) -> Iterator[NDArray[np.uint8]]:
    """Read images a few at a time, in order."""
    count = max(1, CHUNK_BYTES // max(1, int(np.prod(images.shape[1:]))))
    for start in range(0, len(images), count):
        yield np.asarray(images[start : start + count])


def in_memory_if_small(images: Images) -> Images:
    """Read mapped images if memory is large enough for them, such as a subset of a large file."""
    if isinstance(images, Mapped) and images.read_bytes <= most_in_memory():
        return np.asarray(images)
    return images
