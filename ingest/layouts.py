"""Chunk grids over bytes that lie in a file in one piece."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from schemas.chunks import ChunkLayout, Codec
from schemas.structures import ArrayStructure, DataType

if TYPE_CHECKING:
    import numpy as np

TARGET_BYTES = 4 << 20
"""Chunks of one piece are cut to about this size: whole frames, or whole rows of one."""


def contiguous_chunks(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Return a chunk shape whose chunks follow one another in C order.

    All axes before one are cut to 1, all after it are whole.
    """
    chunks = [max(1, length) for length in shape]
    for axis, length in enumerate(chunks):
        row_bytes = max(1, itemsize) * math.prod(chunks[axis + 1 :])
        if row_bytes * length <= TARGET_BYTES:
            break
        if row_bytes <= TARGET_BYTES:
            chunks[axis] = TARGET_BYTES // row_bytes
            break
        chunks[axis] = 1
    return tuple(chunks)


def contiguous_array(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    *,
    fortran: bool = False,
    dims: tuple[str, ...] | None = None,
) -> tuple[ArrayStructure, ChunkLayout]:
    """Return structure and layout of an array that lies uncompressed in one piece.

    The structure is in native byte order, the layout in the file's.
    In Fortran order the last axis is the slowest: chunks are cut along it, and a
    transpose brings each into C order.
    """
    codecs: tuple[Codec, ...] = (Codec("bytes"),)
    if fortran and len(shape) > 1:
        chunks = contiguous_chunks(shape[::-1], dtype.itemsize)[::-1]
        order = list(range(len(shape)))[::-1]
        codecs = (Codec("transpose", {"order": order}), *codecs)
    else:
        chunks = contiguous_chunks(shape, dtype.itemsize)
    structure = ArrayStructure.from_numpy(shape, dtype.newbyteorder("="), chunks, dims)
    layout = ChunkLayout(
        data_type=DataType.from_numpy(dtype), chunk_shape=chunks, codecs=codecs, edge="clipped"
    )
    return structure, layout
