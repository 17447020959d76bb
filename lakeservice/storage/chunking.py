"""The choice of chunks for arrays that we write."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from schemas.structures import ArrayStructure

_LEAST_BYTES = 1 << 20
_ALONE_BYTES = 1 << 19  # who wants one frame of this size should not have to decode another
_WANTED_BYTES = 4 << 20
_FRAME_BYTES = 32 << 20  # a frame up to this size stays in one chunk


def good_chunks(
    shape: tuple[int, ...], dtype: np.dtype[Any], dims: Sequence[str] | None = None
) -> tuple[int, ...]:
    """Return a chunk shape that suits reading by frames and by rows.

    The last two axes of three or more are a frame, and a chunk is one frame; of
    frames below 512 kB it holds as many as make about 1 MB. One or two axes are cut
    into rows of about 4 MB.
    """
    itemsize = max(1, dtype.itemsize)
    lengths = [max(1, length) for length in shape]
    frame_axes = 2 if len(shape) > 2 else 0
    chunk = [1] * len(shape)
    size = itemsize
    for axis in range(len(shape) - 1, -1, -1):
        in_frame = axis >= len(shape) - frame_axes
        several = _LEAST_BYTES if size < _ALONE_BYTES else size
        limit = _FRAME_BYTES if in_frame else several if frame_axes else _WANTED_BYTES
        chunk[axis] = max(1, min(lengths[axis], limit // size))
        if in_frame and chunk[axis] < lengths[axis]:
            chunk[axis] = max(1, min(lengths[axis], _WANTED_BYTES // size))
        size *= chunk[axis]
        if chunk[axis] < lengths[axis]:
            break
    return tuple(chunk)


def stored_chunks(structure: ArrayStructure) -> tuple[int, ...]:
    """Return the regular chunk shape that an array is stored with.

    The one asked for where that is regular; a greatest common size where
    blocks of several sizes are whole numbers of not too small chunks; else a good one.
    """
    chunks = []
    good = good_chunks(structure.shape, structure.dtype, structure.dims)
    for length, sizes, other in zip(structure.shape, structure.chunks, good, strict=True):
        if isinstance(sizes, int):
            chunks.append(min(sizes, max(1, length)))
        else:
            inner = sizes[:-1] or sizes
            regular = len(set(inner)) == 1 and sizes[-1] <= inner[0]
            chunks.append(max(1, inner[0]) if regular else math.gcd(*sizes) or other)
    return tuple(chunks)
