"""HDF5's Blosc2 filter: one Blosc2 frame a chunk, perhaps cut into small blocks of axes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import imagecodecs
import msgspec
import numpy as np

from lakeservice.codecs.steps import Buffer, Context, DecodeError, Step, flat, sized

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lakeservice.codecs.steps import Bytes1D

_library: Any = imagecodecs  # its stubs know less than it does
_MAGIC = b"\x9e\xa8b2frame\0"
_LEAST = 87  # bytes of the fixed part of a frame's header
_CHUNK_HEADER = 32
_ZEROS, _NANS, _UNINITIALISED = 1, 2, 4


class Blosc2Step(Step):
    """A contiguous Blosc2 frame of one chunk.

    Format: https://github.com/Blosc/c-blosc2/blob/main/README_CFRAME_FORMAT.rst
    """

    def __init__(self, configuration: Mapping[str, Any], context: Context) -> None:
        super().__init__(configuration, context)
        self._dtype = context.dtype
        self.limit = context.size << len(context.chunk_shape)  # padded on each axis

    def decode(self, encoded: Buffer, size: int | None) -> Buffer:
        """Return the decoded bytes."""
        source = flat(encoded)
        if source.size < _LEAST or source[: len(_MAGIC)].tobytes() != _MAGIC:
            raise DecodeError("it does not start like a Blosc2 frame")
        head = int.from_bytes(source[11:15].tobytes(), "big")
        decoded = int.from_bytes(source[30:38].tobytes(), "big")
        stored = int.from_bytes(source[39:47].tobytes(), "big")
        if not _LEAST <= head <= source.size or not 0 <= stored <= source.size - head:
            raise DecodeError("its Blosc2 frame is cut")
        if decoded > self.limit or (size is not None and decoded < size):
            raise DecodeError(f"its Blosc2 frame says {decoded} bytes instead of {size}")
        if stored:
            chunk = source[head : head + stored]
            if chunk.size < _CHUNK_HEADER or int(chunk[4:8].view("<i4")[0]) != decoded:
                raise DecodeError("its Blosc2 frame holds more than one chunk")
            out = np.empty(decoded, np.uint8)
            _library.blosc2_decode(chunk, numthreads=1, out=out)
        else:
            out = self._special(source[head:], decoded)
        blocks = _grid(source[_LEAST:head].tobytes())
        return out if blocks is None else _in_order(out, blocks, self._dtype.itemsize)

    def _special(self, index: Bytes1D, size: int) -> Bytes1D:
        """Return a chunk that is not stored, because all its elements are the same."""
        place = np.frombuffer(bytes(_library.blosc2_decode(index, numthreads=1)), "<i8")
        kind = int(place[0]) >> 56 & 0x7F if place.size == 1 and place[0] < 0 else 0
        if kind in (_ZEROS, _UNINITIALISED):
            return np.zeros(size, np.uint8)
        if kind == _NANS and self._dtype.kind == "f":
            count = size // self._dtype.itemsize
            return np.full(count, np.nan, self._dtype).view(np.uint8)
        raise DecodeError("its Blosc2 frame has no chunk")


def _grid(header: bytes) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return shape of chunk and block from the metalayer ``b2nd``; None where there is none."""
    name = header.find(b"\xa4b2nd\xd2")
    if name < 0:
        return None
    start = header.find(b"\xc6\0\0", name)
    if start < 0:
        raise DecodeError("its Blosc2 frame has a bad metalayer")
    length = int.from_bytes(header[start + 1 : start + 5], "big")
    content = header[start + 5 : start + 5 + length]
    try:
        # version, axes, shape, chunk shape, block shape, and the type of the elements
        fields = msgspec.msgpack.decode(content)
        chunk, block = tuple(map(int, fields[3])), tuple(map(int, fields[4]))
    except (msgspec.MsgspecError, IndexError, KeyError, TypeError, ValueError):
        raise DecodeError("its Blosc2 frame has a bad metalayer") from None
    if len(chunk) != len(block) or any(size < 1 for size in (*chunk, *block)):
        raise DecodeError("its Blosc2 frame has a bad metalayer")
    return chunk, block


def _in_order(
    stored: Bytes1D, blocks: tuple[tuple[int, ...], tuple[int, ...]], itemsize: int
) -> Bytes1D:
    """Return elements in C order of the chunk; they were in C order of blocks, padded to whole."""
    chunk, block = blocks
    if chunk == block:
        return stored
    counts = tuple(-(-size // part) for size, part in zip(chunk, block, strict=True))
    axes = len(chunk)
    sized(stored, itemsize * math.prod(counts) * math.prod(block))
    elements = stored.reshape(*counts, *block, itemsize)
    order = [axis for pair in zip(range(axes), range(axes, 2 * axes), strict=True) for axis in pair]
    padded = tuple(count * part for count, part in zip(counts, block, strict=True))
    whole = elements.transpose(*order, 2 * axes).reshape(*padded, itemsize)
    return flat(np.ascontiguousarray(whole[tuple(slice(0, size) for size in chunk)]))
