"""Arrays as Blosc frames, one after another: stored chunks go out as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

from lakeservice.codecs.engine import naming
from lakeservice.codecs.steps import flat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from lakeservice.codecs.grid import Piece
    from lakeservice.storage.arrays import EncodedChunk, StoredArray
    from schemas.selection import Selection

_library: Any = imagecodecs  # its stubs know less than it does
Frame = bytes | memoryview
WORTH = 0.5
"""Part of a selection that must be whole chunks: what is cut is decoded and encoded again."""
MAX_TYPESIZE = 255
MAX_BYTES = (1 << 31) - 1024
"""Largest chunk that fits into a frame."""


def frames(array: StoredArray, selection: Selection) -> Iterator[Frame] | None:
    """Return a selection as Blosc frames whose contents, joined, are its elements in C order.

    None where little of it lies in whole Blosc chunks in that order, and it is
    better decoded here.

    Raises
    ------
    CorruptError
        As `StoredArray.fetch`, when the frames are taken.
    """
    chain = array.chain
    if not chain.is_one_step or chain.dtype != array.dtype or array.dtype.fields:
        return None
    if chain.stored_bytes(array.storage.layout.chunk_shape) > MAX_BYTES:
        return None
    if array.grid.share_in_sequence(selection) < WORTH:
        return None
    return _frames(array, selection)


def _frames(array: StoredArray, selection: Selection) -> Iterator[Frame]:
    chunks = array.encoded(selection)
    for piece, chunk in zip(array.grid.pieces(selection), chunks, strict=True):
        with naming(chunk.position, array.path):
            yield _as_stored(array, piece, chunk) or blosc_frame(_decoded(array, piece, chunk))


def _as_stored(array: StoredArray, piece: Piece, chunk: EncodedChunk) -> Frame | None:
    if chunk.encoded is None or piece.target_shape != piece.shape:
        return None
    return array.chain.as_blosc(chunk.encoded, piece.shape, filter_mask=chunk.filter_mask)


def _decoded(array: StoredArray, piece: Piece, chunk: EncodedChunk) -> NDArray[Any]:
    if chunk.encoded is None:
        out = np.empty(piece.target_shape, array.dtype)
        array.chain.fill_into(out)
        return out
    whole = array.chain.decode(chunk.encoded, piece.shape, filter_mask=chunk.filter_mask)
    return whole[piece.source]


def blosc_frame(elements: NDArray[Any]) -> Frame:
    """Return elements as one quickly made Blosc frame."""
    payload: Any = flat(np.ascontiguousarray(elements))
    itemsize = elements.dtype.itemsize
    if 1 < itemsize <= MAX_TYPESIZE:
        payload = payload.view(f"V{itemsize}")
    frame: bytes = _library.blosc_encode(payload, level=1, compressor="lz4", numthreads=1)
    return frame
