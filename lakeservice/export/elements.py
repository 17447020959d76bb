"""Parts of an array by position in C order, so that a range of a file needs no more of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lakeservice.export.holes import Hole, cut, piece_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.export.exporter import Piece
    from lakeservice.export.sources import ArraySource, Shape

READ_BYTES = 8 << 20
"""Bytes of elements that are read at a time."""


def array_hole(source: ArraySource, offset: int, dtype: np.dtype[Any] | None = None) -> Hole:
    """Return the hole that a whole array fills, converted to ``dtype`` where one is given."""
    kind = source.dtype if dtype is None else dtype
    length = math.prod(source.shape) * kind.itemsize

    def blocks() -> Iterator[np.ndarray[Any, Any]]:
        for block in source.blocks():
            yield converted(block, kind)

    def part(start: int, stop: int) -> Iterator[Piece]:
        return byte_range(source, start, stop, kind)

    return Hole(offset, length, blocks, part)


def byte_range(
    source: ArraySource, start: int, stop: int, dtype: np.dtype[Any] | None = None
) -> Iterator[Piece]:
    """Yield the bytes ``start:stop`` of the elements in C order, as ``dtype``."""
    kind = source.dtype if dtype is None else dtype
    if not kind.itemsize:
        return
    first = start // kind.itemsize
    pieces = (
        piece_of(converted(block, kind))
        for block in elements(source, first, -(-stop // kind.itemsize))
        if block.size
    )
    skipped = first * kind.itemsize
    yield from cut(pieces, start - skipped, stop - skipped)


def elements(source: ArraySource, start: int, stop: int) -> Iterator[np.ndarray[Any, Any]]:
    """Yield the elements ``start:stop``, counted in C order, in arrays of bounded size."""
    stop = min(stop, math.prod(source.shape))
    while start < stop:
        index, count = _leading(source.shape, start, stop, source.dtype.itemsize)
        yield source.read(index)
        start += count


def converted(block: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Return a block in another type; what that type cannot hold becomes infinite or wraps."""
    with np.errstate(all="ignore"):
        return block.astype(dtype, copy=False)


def _leading(shape: Shape, start: int, stop: int, itemsize: int) -> tuple[tuple[Any, ...], int]:
    """Return the largest box that begins at an element, and the number of its elements."""
    index: list[Any] = []
    below = math.prod(shape)
    for length in shape:
        below //= length
        position, start = divmod(start, below)
        stop -= position * below
        # Whole entries of this axis from here on, when the range begins with one.
        if start == 0 and stop >= below:
            most = max(1, READ_BYTES // max(1, below * itemsize))
            rows = min(length - position, stop // below, most)
            if rows > 1 or below * itemsize <= READ_BYTES or below == 1:
                return (*index, slice(position, position + rows)), rows * below
        index.append(position)
        stop = min(stop, below)
    return tuple(index), 1
