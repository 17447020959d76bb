"""Blocks of consecutive rows: how readers hand arrays on, in bounded memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

BLOCK_BYTES = 16 << 20
"""About how much a reader of rows holds at a time."""


def row_blocks(shape: tuple[int, ...], itemsize: int, *, multiple: int = 1) -> Iterator[slice]:
    """Yield slices of the first axis, of about `BLOCK_BYTES` each and cut at ``multiple``."""
    if not shape or shape[0] == 0:
        return
    row_bytes = max(1, itemsize * math.prod(shape[1:]))
    rows = max(1, BLOCK_BYTES // (row_bytes * multiple)) * multiple
    for start in range(0, shape[0], rows):
        yield slice(start, min(start + rows, shape[0]))


def mapped_rows(
    path: Path,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    offset: int,
    *,
    fortran: bool = False,
) -> Iterator[NDArray[Any]]:
    """Yield the rows of an uncompressed array in a file, in blocks."""
    if math.prod(shape) == 0:
        yield np.zeros(shape, dtype)
        return
    array = np.memmap(path, dtype, "r", offset, shape or (1,), "F" if fortran else "C")
    if not shape:
        yield np.array(array[0])
        return
    for rows in row_blocks(shape, dtype.itemsize):
        yield np.array(array[rows])
