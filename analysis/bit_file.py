"""Bit file: the correctness bits of a table's rows, from an `.npz` file.

One array (1 + R, n) of booleans, or of 0 and 1, for each row: first without an attack, then at each
radius, rising; n test samples in one order throughout. An array is named by the row's cell in the
column `bits`; without that column by the row's number, from 1, below the header. The array
`sample_hash`, a text, names the test samples, so that studies can be compared.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from analysis.results import Array, Bits, accuracies
from analysis.rows import Problems, Row, TableError

AGREEMENT = 1e-3
"""A table's accuracy may differ from that of its bits by this much: tables are rounded."""


@dataclass(frozen=True, kw_only=True)
class BitFile:
    """The arrays of a file, by name."""

    path: Path
    arrays: Mapping[str, Any]
    sample_hash: str
    """As the file gives it; else made of the file's content, equal to that of no other file."""
    num_samples: int
    """n, of the first array."""


def read_bit_file(path: Path) -> BitFile:
    """Read a file of bits; raises `TableError` if it is none."""
    try:
        content = path.read_bytes()
        stored = np.load(BytesIO(content), allow_pickle=False)
        arrays = {name: stored[name] for name in getattr(stored, "files", ())}
    except IsADirectoryError as error:
        raise TableError(f"{path}: is a folder; name an .npz file") from error
    except (ValueError, KeyError, EOFError, BadZipFile) as error:
        raise TableError(
            f"{path}: is no .npz file of plain arrays; write it with numpy.savez"
        ) from error
    except OSError as error:
        raise TableError(f"{path}: cannot be read: {error.strerror or error}") from error
    named = arrays.pop("sample_hash", None)
    sizes = [array.shape[1] for array in arrays.values() if array.ndim == 2 and array.size]
    if not sizes:
        raise TableError(f"{path}: holds no array of shape (1 + radii, images); add one for a row")
    own = f"unnamed-{hashlib.sha256(content).hexdigest()[:12]}"
    return BitFile(
        path=path,
        arrays=arrays,
        sample_hash=own if named is None else str(named),
        num_samples=sizes[0],
    )


def bits_of(
    file: BitFile, row: Row, row_number: int, given: Array, problems: Problems
) -> Bits | None:
    """Give a row's bits (1 + R, n), if they fit its accuracies `given` (1 + R,)."""
    name = str(row.cells.get("bits", row_number))
    if name not in file.arrays:
        text = f"{file.path} has no array {name}; add it, or name the row's array here"
        problems.add(row.place, text, "bits")
        return None
    array, shape = file.arrays[name], (len(given), file.num_samples)
    if array.shape != shape or not np.isin(array, (0, 1)).all():
        text = f"array {name} must hold 0 and 1 in shape {shape}, got {array.dtype} {array.shape}"
        problems.add(
            row.place, f"{text}; one row without an attack, then one for each radius", "bits"
        )
        return None
    bits: Bits = array.astype(np.bool_)
    counted = accuracies(bits)
    if np.abs(counted - given).max() > AGREEMENT:
        shown = ", ".join(f"{value:.4f}" for value in counted)
        text = f"array {name} has the accuracies {shown}, the row others; are they of this row?"
        problems.add(row.place, text, "bits")
        return None
    return bits
