"""Arrays for Dask: a task reads a block of the lake, on whichever worker it runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import dask.array as da

if TYPE_CHECKING:
    from lakeservice.client.array import Array
    from schemas.structures import ArrayStructure

BLOCK_BYTES = 16 << 20
"""Stored chunks are gathered into blocks of about this size, decoded."""


def block_chunks(structure: ArrayStructure) -> tuple[tuple[int, ...], ...]:
    """Return blocks of whole stored chunks, every size on every axis.

    Chunks are gathered from the last axis on, so that a block is read in long runs.
    """
    sizes = list(structure.explicit_chunks())
    itemsize = max(1, structure.data_type.itemsize)
    block = math.prod(max(lengths, default=1) for lengths in sizes) * itemsize
    for axis in reversed(range(len(sizes))):
        longest = max(sizes[axis], default=0)
        if block >= BLOCK_BYTES or not longest:
            break
        sizes[axis] = _gathered(sizes[axis], longest * (BLOCK_BYTES // block))
        block = block // longest * max(sizes[axis])
    return tuple(sizes)


def _gathered(sizes: tuple[int, ...], limit: int) -> tuple[int, ...]:
    blocks: list[int] = []
    for size in sizes:
        if blocks and blocks[-1] + size <= limit:
            blocks[-1] += size
        else:
            blocks.append(size)
    return tuple(blocks)


def dask_array(array: Array, chunks: Any = None) -> da.Array:
    """Return a Dask array over an array of the lake; reads nothing."""
    wanted = block_chunks(array.structure) if chunks is None else chunks
    return da.from_array(array, chunks=wanted, asarray=False)
