"""HDF5's bitshuffle filter, alone or with LZ4 or Zstandard: what Eiger detectors write."""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

from lakeservice.codecs.steps import Buffer, Bytes1D, Context, DecodeError, Runs, Step, filled, flat

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lakeservice.codecs.extent import Extent

_library: Any = imagecodecs  # its stubs know less than it does
_HEADER = struct.Struct(">QI")  # decoded bytes, bytes of a block
_LENGTH = struct.Struct(">I")
_BLOSC = struct.Struct("<BBBBIII")
_BLOSC_FLAGS = {2: 0x34, 3: 0x94}  # bitshuffle, no split, and LZ4 or Zstandard
_NONE, _LZ4, _ZSTD = 0, 2, 3
_MAX_TYPESIZE = 255
_MORE_BYTES = 16 << 10  # read beyond where a block probably ends


class BitshuffleStep(Step):
    """Blocks of bit-transposed elements, each compressed on its own.

    But for the byte order of lengths these are the blocks of a Blosc frame, and
    Blosc decodes them in one call and fast. The filter's header:
    https://github.com/kiyo-masui/bitshuffle/blob/master/src/bshuf_h5filter.c
    """

    def __init__(self, configuration: Mapping[str, Any], context: Context) -> None:
        super().__init__(configuration, context)
        options = [int(value) for value in configuration.get("options", ())]
        self._itemsize = options[2] if len(options) > 2 and options[2] else context.dtype.itemsize
        self._block = options[3] if len(options) > 3 else 0
        self._compressor = options[4] if len(options) > 4 else _NONE
        if self._compressor not in (_NONE, _LZ4, _ZSTD):
            raise DecodeError(f"compressor {self._compressor} after bitshuffle is not known")

    def encoded_size(self, size: int) -> int | None:
        """As many, where nothing is compressed."""
        return size if self._compressor == _NONE else None

    def decode(self, encoded: Buffer, size: int | None) -> Buffer:
        """Return the decoded bytes."""
        source = flat(encoded)
        out = np.empty(self._decoded_size(source, size), np.uint8)
        self.decode_into(source, out)
        return out

    def decode_into(self, encoded: Buffer, out: Bytes1D) -> None:
        """Decode into memory of exactly the decoded size."""
        source = flat(encoded)
        self._decoded_size(source, out.size)
        if self._compressor == _NONE:
            self._unshuffle(source, out)
            return
        blocks = _Blocks(source, self._itemsize, out.size)
        if self._itemsize > _MAX_TYPESIZE or blocks.has_stored(0, blocks.count):
            self._one_by_one(blocks, out)
        elif blocks.count:
            frame = blocks.frame(0, blocks.count, _BLOSC_FLAGS[self._compressor])
            _library.blosc_decode(frame, numthreads=1, out=out[: blocks.whole])
        if blocks.rest is not None:
            out[blocks.whole :] = blocks.rest

    def decode_runs(self, encoded: Extent, runs: Runs, out: Bytes1D) -> bool:
        """Decode the blocks that hold these runs."""
        if self._compressor == _NONE or self._itemsize > _MAX_TYPESIZE:
            return False
        blocks = self._blocks(encoded, out.size, max(stop for _, stop in runs))
        spans = [
            (start // blocks.size, min(blocks.count, -(-stop // blocks.size)))
            for start, stop in runs
        ]
        if any(blocks.has_stored(first, last) for first, last in spans):
            return False
        for first, last in spans:
            if first < last:
                frame = blocks.frame(first, last, _BLOSC_FLAGS[self._compressor])
                low, high = first * blocks.size, min(last * blocks.size, blocks.whole)
                _library.blosc_decode(frame, numthreads=1, out=out[low:high])
        if blocks.rest is not None:
            out[blocks.whole :] = blocks.rest
        return True

    def _blocks(self, encoded: Extent, size: int, until: int) -> _Blocks:
        """Return the blocks up to a decoded byte; no more is read than probably holds them."""
        likely = encoded.length * until // max(1, size)
        likely += likely // 4 + _MORE_BYTES
        if likely < encoded.length:
            source = flat(encoded.read(0, likely))
            self._decoded_size(source, size)
            with contextlib.suppress(DecodeError):  # they are longer than others
                return _Blocks(source, self._itemsize, size, until)
        source = flat(encoded.read(0, encoded.length))
        self._decoded_size(source, size)
        return _Blocks(source, self._itemsize, size, until)

    def as_blosc(self, encoded: Buffer, size: int) -> memoryview | None:
        """Return the blocks as a Blosc frame; None where an end is not compressed."""
        source = flat(encoded)
        if self._compressor == _NONE or self._itemsize > _MAX_TYPESIZE:
            return None
        blocks = _Blocks(source, self._itemsize, self._decoded_size(source, size))
        if not blocks.count or blocks.whole != size or blocks.has_stored(0, blocks.count):
            return None
        return blocks.frame(0, blocks.count, _BLOSC_FLAGS[self._compressor]).data

    def _decoded_size(self, source: Bytes1D, size: int | None) -> int:
        if self._compressor == _NONE:
            stated = source.size
        elif source.size < _HEADER.size:
            raise DecodeError(f"{source.size} bytes are too few for bitshuffle")
        else:
            stated = _HEADER.unpack(source[: _HEADER.size].data)[0]
        return self.expect(int(stated), size)

    def _unshuffle(self, source: Bytes1D, out: Bytes1D) -> None:
        # elements beyond a multiple of eight are not shuffled
        whole = source.size - source.size % (8 * self._itemsize)
        if whole:
            block = self._block or _default_block(self._itemsize)
            self._unshuffle_block(source[:whole], block, out[:whole])
        out[whole:] = source[whole:]

    def _one_by_one(self, blocks: _Blocks, out: Bytes1D) -> None:
        decoder = _library.lz4_decode if self._compressor == _LZ4 else _library.zstd_decode
        for number in range(blocks.count):
            part = out[number * blocks.size : min((number + 1) * blocks.size, blocks.whole)]
            shuffled = np.empty(part.size, np.uint8)
            filled(decoder(blocks.stored(number), out=shuffled), shuffled)
            elements = part.size // self._itemsize
            self._unshuffle_block(shuffled, elements, part)

    def _unshuffle_block(self, shuffled: Bytes1D, elements: int, out: Bytes1D) -> None:
        # of an array the library would take the size of elements from its dtype
        _library.bitshuffle_decode(
            shuffled.data, itemsize=self._itemsize, blocksize=elements, out=out.data
        )


class _Blocks:
    """The blocks of one chunk, found by the lengths in front of them.

    Parameters
    ----------
    source
        The chunk as stored; where not all blocks are wanted, at least its beginning.
    itemsize, size
        Bytes of an element, and of the chunk, decoded.
    until
        Decoded byte up to which blocks are wanted; None wants all.
    """

    def __init__(self, source: Bytes1D, itemsize: int, size: int, until: int | None = None) -> None:
        self.size = _HEADER.unpack(source[: _HEADER.size].data)[1]
        """Decoded bytes of a block."""
        unit = 8 * itemsize
        if not self.size or self.size % unit:
            raise DecodeError(f"its bitshuffle header says blocks of {self.size} bytes")
        self.whole = size - size % unit
        """Decoded bytes in blocks; the rest is stored as it is."""
        self.count = -(-self.whole // self.size)
        self._itemsize = itemsize
        self._source = source
        view = source.data
        places, place = [], _HEADER.size
        wanted = self.count
        if until is not None and until <= self.whole:
            wanted = min(wanted, -(-until // self.size))
        try:
            for _ in range(wanted):
                places.append(place)
                place += 4 + _LENGTH.unpack_from(view, place)[0]
        except struct.error:
            raise DecodeError("its bitshuffle blocks are cut") from None
        rest = size - self.whole if wanted == self.count else 0
        if place + rest > source.size:
            raise DecodeError("its bitshuffle blocks are cut")
        self.rest = source[place : place + rest] if wanted == self.count else None
        """What is not in blocks; None where it was not looked for."""
        self._places: NDArray[np.int64] = np.array([*places, place], np.int64)

    def stored(self, number: int) -> Bytes1D:
        """Return the compressed bytes of a block."""
        return self._source[self._places[number] + 4 : self._places[number + 1]]

    def has_stored(self, first: int, last: int) -> bool:
        """Tell whether a block is as long as it decodes to, which Blosc takes for a plain copy."""
        lengths = np.diff(self._places[first : last + 1]) - 4
        return bool((lengths >= min(self.size, self.whole)).any()) or bool(
            last == self.count and lengths.size and lengths[-1] >= (self.whole - 1) % self.size + 1
        )

    def frame(self, first: int, last: int, flags: int) -> Bytes1D:
        """Return a Blosc frame of these blocks."""
        starts = self._places[first:last]
        payload = self._source[starts[0] : self._places[last]]
        table = _BLOSC.size + 4 * starts.size
        frame = np.empty(table + payload.size, np.uint8)
        size = min(last * self.size, self.whole) - first * self.size
        frame[: _BLOSC.size] = np.frombuffer(
            _BLOSC.pack(2, 1, flags, self._itemsize, size, min(self.size, size), frame.size),
            np.uint8,
        )
        local = starts - starts[0] + table
        frame[_BLOSC.size : table].view("<i4")[:] = local
        frame[table:] = payload
        for byte in range(4):  # lengths from big to little endian
            frame[local + byte] = payload[local - table + 3 - byte]
        return frame


def _default_block(itemsize: int) -> int:
    """Return the elements of a block that bitshuffle chooses by itself: 8 kB, whole eights."""
    return max(128, 8192 // itemsize // 8 * 8)
