"""HDF5's filters that pack elements into fewer bits: N-bit, and scale-offset."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from lakeservice.codecs.steps import Buffer, Context, DecodeError, Step, flat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from lakeservice.codecs.steps import Bytes1D

_BATCH = 1 << 16  # elements unpacked at a time: a byte for each bit of them


class NbitStep(Step):
    """Only the significant bits of each element, one after another, highest bit first.

    Padding bits come back as zero, as from HDF5's own filter; it is the type
    conversion after it that extends a sign.
    """

    def __init__(self, configuration: Mapping[str, Any], context: Context) -> None:
        super().__init__(configuration, context)
        options = [int(value) for value in configuration.get("options", ())]
        if len(options) < 5:
            raise DecodeError(f"an N-bit filter with {len(options)} options")
        self._count = options[2]
        self._as_it_is = bool(options[1])
        self._fields: list[_Field] = []
        self._size = options[4]
        if not self._as_it_is:
            _parse(options, 3, 0, self._fields)
        self._bits = sum(field.bits for field in self._fields)

    def encoded_size(self, size: int) -> int | None:
        """As many, where nothing is gained."""
        return size if self._as_it_is else None

    def decode(self, encoded: Buffer, size: int | None) -> Buffer:
        """Return the decoded bytes."""
        source = flat(encoded)
        if self._as_it_is:
            return source
        elements = np.zeros((self._count, self._size), np.uint8)
        for first, bits in _bit_rows(source, self._bits, self._count):
            part = elements[first : first + len(bits)]
            start = 0
            for field in self._fields:
                field.put(bits[:, start : start + field.bits], part)
                start += field.bits
        return elements.reshape(-1)


class _Field:
    """A number in an element: which of its bits are stored."""

    def __init__(self, place: int, size: int, big: bool, bits: int, shift: int) -> None:
        if not 0 < bits <= 8 * size or shift + bits > 8 * size:
            raise DecodeError(f"an N-bit filter of {bits} bits at {shift} of {size} bytes")
        self._place, self._size, self._big, self._shift = place, size, big, shift
        self.bits = bits

    def put(self, bits: NDArray[np.uint8], elements: NDArray[np.uint8]) -> None:
        """Put the bits of this number into its bytes of each element."""
        full = np.zeros((len(bits), 8 * self._size), np.uint8)
        stop = 8 * self._size - self._shift
        full[:, stop - self.bits : stop] = bits
        packed = np.packbits(full, axis=1)
        target = elements[:, self._place : self._place + self._size]
        target[...] = packed if self._big else packed[:, ::-1]


def _parse(options: Sequence[int], at: int, place: int, fields: list[_Field]) -> int:
    """Read one type from the options; return where the next one starts."""
    try:
        kind, size = options[at], options[at + 1]
        if kind == 1:  # a number: order, precision, offset
            order, bits, shift = options[at + 2 : at + 5]
            fields.append(_Field(place, size, order == 1, bits, shift))
            return at + 5
        if kind == 2:  # an array: size, then its base type
            each = options[at + 3]
            if each < 1 or size % each:
                raise DecodeError("an N-bit filter with a bad array type")
            after = at + 2
            for start in range(0, size, each):
                after = _parse(options, at + 2, place + start, fields)
            return after
        if kind == 3:  # a record: number of members, then place and type of each
            members, at = options[at + 2], at + 3
            for _ in range(members):
                at = _parse(options, at + 1, place + options[at], fields)
            return at
        if kind == 4:  # bytes as they are
            fields.extend(_Field(place + byte, 1, True, 8, 0) for byte in range(size))
            return at + 2
    except (IndexError, ValueError):
        raise DecodeError("an N-bit filter with too few options") from None
    raise DecodeError(f"an N-bit filter with an unknown type {kind}")


class ScaleOffsetStep(Step):
    """Differences from the least element in as few bits as they need; lossy for floats.

    Format: https://github.com/HDFGroup/hdf5/blob/develop/src/H5Zscaleoffset.c
    """

    def __init__(self, configuration: Mapping[str, Any], context: Context) -> None:
        super().__init__(configuration, context)
        options = [int(value) for value in configuration.get("options", ())]
        if len(options) < 8:
            raise DecodeError(f"a scale-offset filter with {len(options)} options")
        self._scaling, self._factor, self._count = options[:3]
        self._factor = self._factor - (1 << 32) if self._factor >= 1 << 31 else self._factor
        kind, size, signed, order = options[3:7]
        letter = "f" if kind == 1 else "i" if signed else "u"
        if kind not in (0, 1) or size not in (1, 2, 4, 8) or (kind == 1 and size < 4):
            raise DecodeError(f"a scale-offset filter for elements of {size} bytes")
        self._native = np.dtype(f"<{letter}{size}")
        self._dtype = self._native.newbyteorder(">" if order == 1 else "<")
        self._float = kind == 1
        self._fill = None
        if options[7]:
            raw = b"".join(struct.pack("<I", value & 0xFFFFFFFF) for value in options[8:])
            self._fill = np.frombuffer(raw.ljust(size, b"\0")[:size], self._native)[0]

    def decode(self, encoded: Buffer, size: int | None) -> Buffer:
        """Return the decoded bytes."""
        source = flat(encoded)
        if source.size < 21:
            raise DecodeError(f"{source.size} bytes are too few for scale-offset")
        bits = int.from_bytes(source[:4].tobytes(), "little")
        width = min(int(source[4]), 8)
        least = source[5 : 5 + width].tobytes().ljust(8, b"\0")
        full = 8 * self._native.itemsize
        if bits > full:
            raise DecodeError(f"its scale-offset header says {bits} bits an element")
        if bits == full:
            raw = source[21 : 21 + self._count * self._native.itemsize]
            return raw.view(self._native).astype(self._dtype).view(np.uint8)
        stored = np.zeros(self._count, np.uint64)
        if bits:
            for first, rows in _bit_rows(source[21:], bits, self._count):
                stored[first : first + len(rows)] = _numbers(rows)
        values = self._values(stored, least)
        if self._fill is not None and bits:
            values[stored == (1 << bits) - 1] = self._fill
        return values.astype(self._dtype, copy=False).view(np.uint8)

    def _values(self, stored: NDArray[np.uint64], least: bytes) -> NDArray[Any]:
        unsigned = np.dtype(f"<u{self._native.itemsize}")
        small = stored.astype(unsigned)
        first = np.frombuffer(least[: self._native.itemsize], self._native)[0]
        if not self._float:
            wrapped: NDArray[Any] = (small + first.astype(unsigned)).view(self._native)
            return wrapped
        signed = small.view(np.dtype(f"<i{self._native.itemsize}"))
        scale = self._native.type(10.0**self._factor)
        scaled: NDArray[Any] = (signed.astype(self._native) / scale + first).astype(self._native)
        return scaled


def _bit_rows(source: Bytes1D, bits: int, count: int) -> Any:
    """Yield the number of a first element, and the bits of some elements from it as rows."""
    if source.size * 8 < bits * count:
        raise DecodeError(f"{source.size} bytes are too few for {count} elements of {bits} bits")
    for first in range(0, count, _BATCH):  # a batch begins at a whole byte
        rows = min(_BATCH, count - first)
        low, high = first * bits // 8, -(-(first + rows) * bits // 8)
        yield first, np.unpackbits(source[low:high])[: rows * bits].reshape(rows, bits)


def _numbers(bits: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the number that each row of bits stands for, highest bit first."""
    numbers = np.zeros(len(bits), np.uint64)
    for column in range(bits.shape[1]):
        numbers <<= np.uint64(1)
        numbers |= bits[:, column]
    return numbers
