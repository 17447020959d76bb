"""Blosc, version 1: the codec of detector integers, decoded whole or by blocks."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

from lakeservice.codecs.steps import Buffer, Bytes1D, Context, DecodeError, Runs, Step, flat

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lakeservice.codecs.extent import Extent

_library: Any = imagecodecs  # its stubs know less than it does
_HEADER = struct.Struct(
    "<BBBBIII"
)  # version, versionlz, flags, typesize, nbytes, blocksize, cbytes
_HEADER_BYTES = 16
_FIRST_READ = 4096  # the header and where 1020 blocks start
_FEW_BLOCKS = 64  # found one by one; more of them by NumPy
_MEMCPYED = 0x02
_DONT_SPLIT = 0x10
_SNAPPY = 2  # number of a compressor that newer Blosc libraries do not have
_SHUFFLES = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}


class BloscStep(Step):
    """A Blosc frame; the header says all that decoding needs.

    Format: https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst
    """

    def __init__(self, configuration: Mapping[str, Any], context: Context) -> None:
        super().__init__(configuration, context)
        shuffle = configuration.get("shuffle", 1)
        if shuffle == -1:
            shuffle = 2 if context.dtype.itemsize == 1 else 1
        self._shuffle = _SHUFFLES.get(shuffle, shuffle)
        self._compressor = configuration.get("cname", "lz4")
        self._level = configuration.get("clevel", 5)
        self._typesize = configuration.get("typesize") or context.dtype.itemsize
        self._blocksize = configuration.get("blocksize", 0)

    def decode(self, encoded: Buffer, size: int | None) -> Buffer:
        """Return the decoded bytes."""
        source = flat(encoded)
        out = np.empty(self.expect(_header(source, source.size, size)[4], size), np.uint8)
        _library.blosc_decode(source, numthreads=1, out=out)
        return out

    def decode_into(self, encoded: Buffer, out: Bytes1D) -> None:
        """Decode into memory of exactly the decoded size."""
        source = flat(encoded)
        _header(source, source.size, out.size)
        _library.blosc_decode(source, numthreads=1, out=out)

    def decode_runs(self, encoded: Extent, runs: Runs, out: Bytes1D) -> bool:
        """Decode the blocks that hold these runs."""
        head = flat(encoded.read(0, min(_FIRST_READ, encoded.length)))
        fields = _header(head, encoded.length, out.size)
        flags, nbytes, blocksize, cbytes = fields[2], *fields[4:]
        if flags & _MEMCPYED:
            for start, stop in runs:
                encoded.read_into(_HEADER_BYTES + start, out[start:stop])
            return True
        count = -(-nbytes // blocksize)
        if count == 1:
            return False
        table = _HEADER_BYTES + 4 * count
        if table > head.size:
            head = flat(encoded.read(0, table))
        for first, last in _block_runs(runs, blocksize):
            frame = _short_frame(encoded, fields, head, first, last)
            if frame is None:
                starts, stops = _places(head[_HEADER_BYTES:table], cbytes)
                frame = _frame(encoded, fields, starts[first:last], stops[first:last], first, last)
            low, high = first * blocksize, min(last * blocksize, nbytes)
            _library.blosc_decode(frame, numthreads=1, out=out[low:high])
        return True

    def as_blosc(self, encoded: Buffer, size: int) -> memoryview | None:
        """Return the frame, without what may be stored behind it."""
        source = flat(encoded)
        fields = _header(source, source.size, size)
        if fields[2] >> 5 == _SNAPPY:
            return None
        return source[: fields[6]].data

    def encode(self, decoded: Buffer) -> Buffer:
        """Return a Blosc frame."""
        payload: Any = flat(decoded)
        if self._typesize > 1 and payload.size % self._typesize == 0:
            # the library takes the element size from the buffer, not from its argument
            payload = payload.view(f"V{self._typesize}")
        frame: Buffer = _library.blosc_encode(
            payload,
            level=self._level,
            compressor=self._compressor,
            shuffle=self._shuffle,
            blocksize=self._blocksize,
            numthreads=1,
        )
        return frame


def _header(head: Bytes1D, length: int, size: int | None) -> tuple[int, ...]:
    """Return the fields of the header, checked before any decoder sees the bytes."""
    if length < _HEADER_BYTES:
        raise DecodeError(f"{length} bytes are too few for a Blosc frame")
    fields = _HEADER.unpack(head[:_HEADER_BYTES].data)
    version, nbytes, blocksize, cbytes = fields[0], *fields[4:]
    if not 1 <= version <= 2:
        raise DecodeError("it does not start like a Blosc frame")
    if size is not None and nbytes != size:
        raise DecodeError(f"its Blosc header says {nbytes} bytes instead of {size}")
    if cbytes > length or cbytes < _HEADER_BYTES:
        raise DecodeError(f"its Blosc header says {cbytes} stored bytes, but {length} are there")
    if nbytes and not 0 < blocksize <= nbytes:
        raise DecodeError(f"its Blosc header says blocks of {blocksize} bytes")
    return fields


def _block_runs(runs: Runs, blocksize: int) -> list[tuple[int, int]]:
    """Return the runs of consecutive blocks that hold runs of bytes."""
    blocks: list[tuple[int, int]] = []
    for start, stop in runs:
        first, last = start // blocksize, -(-stop // blocksize)
        if blocks and first <= blocks[-1][1]:
            blocks[-1] = (blocks[-1][0], max(last, blocks[-1][1]))
        else:
            blocks.append((first, last))
    return blocks


def _places(table: Bytes1D, cbytes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each block begins and ends in the frame."""
    starts = table.view("<i4").astype(np.int64)
    # blocks lie in any order: threads write each as it gets ready
    ordered = np.append(np.sort(starts), cbytes)
    return starts, ordered[np.searchsorted(ordered, starts, side="right")]


def _short_frame(
    encoded: Extent, fields: tuple[int, ...], head: Bytes1D, first: int, last: int
) -> bytes | None:
    """Return a Blosc frame of a few blocks that lie one after another; None where they do not."""
    nbytes, blocksize, cbytes = fields[4:]
    count = -(-nbytes // blocksize)
    if last - first > _FEW_BLOCKS:
        return None
    known = min(last + 1, count) - first
    places = struct.unpack_from(f"<{known}i", head.data, _HEADER_BYTES + 4 * first)
    if last == count:
        places = (*places, cbytes)
    begin, end = places[0], places[-1]
    if begin < _HEADER_BYTES + 4 * count or end > cbytes:
        return None
    if any(place >= after for place, after in pairwise(places)):
        return None
    table = _HEADER_BYTES + 4 * (last - first)
    local = [place - begin + table for place in places[:-1]]
    starts = struct.pack(f"<{last - first}i", *local)
    payload: Any = encoded.read(begin, end - begin)
    return b"".join((_short_header(fields, first, last, table + end - begin), starts, payload))


def _short_header(fields: tuple[int, ...], first: int, last: int, total: int) -> bytes:
    """Return the header of a frame of some blocks, of so many bytes in all."""
    version, versionlz, flags, typesize, nbytes, blocksize, _ = fields
    size = min(last * blocksize, nbytes) - first * blocksize
    if size < blocksize:
        # the cut last block alone: never split into streams, as in the whole frame
        blocksize, flags = size, flags | _DONT_SPLIT
    return _HEADER.pack(version, versionlz, flags, typesize, size, blocksize, total)


def _frame(
    encoded: Extent,
    fields: tuple[int, ...],
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    first: int,
    last: int,
) -> bytes:
    """Return a Blosc frame of only some blocks of a larger one."""
    nbytes, blocksize, cbytes = fields[4:]
    table = _HEADER_BYTES + 4 * ((nbytes + blocksize - 1) // blocksize)
    if starts.min() < table or stops.max() > cbytes:
        raise DecodeError("its Blosc blocks lie outside the frame")
    lengths = stops - starts
    if (starts[1:] == stops[:-1]).all():
        payload: list[Any] = [encoded.read(int(starts[0]), int(stops[-1] - starts[0]))]
    else:
        payload = [
            encoded.read(int(start), int(length))
            for start, length in zip(starts, lengths, strict=True)
        ]
    table = _HEADER_BYTES + 4 * starts.size
    places = np.full(starts.size, table, "<i4")
    places[1:] += np.cumsum(lengths[:-1]).astype("<i4")
    total = table + int(lengths.sum())
    head = _short_header(fields, first, last, total)
    return b"".join((head, places.tobytes(), *payload))


STEPS = {"blosc": BloscStep}
