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
        blocks = _Blocks(source, self._itemsize, out.size, self._compressor)
        self._decode_blocks(blocks, 0, blocks.count, out)
        if blocks.rest is not None:
            out[blocks.whole :] = blocks.rest

    def decode_runs(self, encoded: Extent, runs: Runs, out: Bytes1D) -> bool:
        """Decode the blocks that hold these runs."""
        if self._compressor == _NONE:
            return False
        blocks = self._blocks(encoded, out.size, max(stop for _, stop in runs))
        for start, stop in runs:
            last = min(blocks.count, -(-stop // blocks.size))
            self._decode_blocks(blocks, start // blocks.size, last, out)
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
                return _Blocks(source, self._itemsize, size, self._compressor, until)
        source = flat(encoded.read(0, encoded.length))
        self._decoded_size(source, size)
        return _Blocks(source, self._itemsize, size, self._compressor, until)

    def as_blosc(self, encoded: Buffer, size: int) -> memoryview | None:
        """Return the blocks as a Blosc frame; None where an end is not compressed."""
        source = flat(encoded)
        if self._compressor == _NONE or self._itemsize > _MAX_TYPESIZE:
            return None
        stated = self._decoded_size(source, size)
        blocks = _Blocks(source, self._itemsize, stated, self._compressor)
        if not blocks.count or blocks.whole != size or blocks.alone:
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

    def _decode_blocks(self, blocks: _Blocks, first: int, last: int, out: Bytes1D) -> None:
        """Decode blocks into their places: together, but for those that Blosc does not take."""
        for number in blocks.alone:
            if first <= number < last:
                self._decode_together(blocks, first, number, out)
                self._decode_alone(blocks, number, out)
                first = number + 1
        self._decode_together(blocks, first, last, out)

    def _decode_together(self, blocks: _Blocks, first: int, last: int, out: Bytes1D) -> None:
        if first < last:
            frame = blocks.frame(first, last, _BLOSC_FLAGS[self._compressor])
            low, high = first * blocks.size, min(last * blocks.size, blocks.whole)
            _library.blosc_decode(frame, numthreads=1, out=out[low:high])

    def _decode_alone(self, blocks: _Blocks, number: int, out: Bytes1D) -> None:
        decoder = _library.lz4_decode if self._compressor == _LZ4 else _library.zstd_decode
        part = out[number * blocks.size : min((number + 1) * blocks.size, blocks.whole)]
        shuffled = np.empty(part.size, np.uint8)
        filled(decoder(blocks.stored(number), out=shuffled), shuffled)
        self._unshuffle_block(shuffled, part.size // self._itemsize, part)

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
    compressor
        Of the blocks.
    until
        Decoded byte up to which blocks are wanted; None wants all.
    """

    def __init__(
        self,
        source: Bytes1D,
        itemsize: int,
        size: int,
        compressor: int,
        until: int | None = None,
    ) -> None:
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
        self._ahead: NDArray[np.int64] | None = None
        """Bytes of LZ4 before the elements of blocks that are literal; 0 for other blocks."""
        self.alone = self._not_for_blosc(compressor)
        """Blocks that Blosc does not take, ascending."""

    def stored(self, number: int) -> Bytes1D:
        """Return the compressed bytes of a block."""
        return self._source[self._places[number] + 4 : self._places[number + 1]]

    def _not_for_blosc(self, compressor: int) -> list[int]:
        """Return the blocks that are at least as long as what they decode to, which Blosc refuses.

        LZ4 makes them of what cannot be compressed: one literal, which Blosc takes as it is.
        """
        lengths = np.diff(self._places) - 4
        if self._itemsize > _MAX_TYPESIZE:
            return list(range(lengths.size))
        sizes = np.minimum(self.size, self.whole - np.arange(lengths.size) * self.size)
        swollen = np.flatnonzero(lengths >= sizes)
        alone: list[int] = swollen.tolist()
        if not alone or compressor != _LZ4:
            return alone
        sizes, token = sizes[swollen], self._places[swollen] + 4
        ahead = 2 + (sizes - 15) // 255  # a token, and the rest of the literal's length
        literal = (lengths[swollen] == sizes + ahead) & (sizes >= 15)
        literal &= self._source[token] == 0xF0
        end = self._source.size - 1
        literal &= self._source[np.minimum(token + ahead - 1, end)] == (sizes - 15) % 255
        for place in range(1, int(ahead.max()) - 1):
            full = self._source[np.minimum(token + place, end)] == 255
            literal &= full | (place >= ahead - 1)
        self._ahead = np.zeros(lengths.size, np.int64)
        self._ahead[swollen[literal]] = ahead[literal]
        alone[:] = swollen[~literal].tolist()
        return alone

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
        frame[table:] = payload
        for byte in range(4):  # lengths from big to little endian
            frame[local + byte] = payload[local - table + 3 - byte]
        if self._ahead is not None:
            ahead = self._ahead[first:last]
            local = local + ahead
            literal = np.flatnonzero(ahead)
            sizes = np.minimum(self.size, self.whole - (literal + first) * self.size)
            for byte in range(4):
                frame[local[literal] + byte] = sizes >> 8 * byte & 0xFF
        frame[_BLOSC.size : table].view("<i4")[:] = local
        return frame


def _default_block(itemsize: int) -> int:
    """Return the elements of a block that bitshuffle chooses by itself: 8 kB, whole eights."""
    return max(128, 8192 // itemsize // 8 * 8)
