"""Some rows of nested data out of their buffers, and rows one after another into buffers."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from schemas.errors import CorruptError, ErrorKind, TooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO

    from numpy.typing import NDArray

    from lakeservice.storage.forms import Form

WINDOW_ROWS = 65_536
"""Most rows that are taken at a time."""
WINDOW_BYTES = 8 << 20
"""Rows of about this size are taken at a time."""
ROW_BYTES = 64 << 20
"""Largest single row that is taken apart; a larger one is sent as its buffers only."""

Window = dict[str, "NDArray[Any]"]
"""Buffers of some rows, by name; offsets begin at 0."""


class Buffers(Protocol):
    """Buffers that can be read in parts."""

    def read(self, name: str, dtype: np.dtype[Any], start: int, stop: int) -> NDArray[Any]:
        """Return elements of a buffer; fewer are an error."""
        ...


def windows(
    form: Form, length: int, buffers: Buffers, start: int = 0
) -> Iterator[tuple[int, Window]]:
    """Yield all rows from ``start`` on, as pairs of a number of rows and their buffers.

    Raises
    ------
    CorruptError
        ``corrupt-object``: offsets that lead nowhere.
    TooLargeError
        ``too-large``: a single row above `ROW_BYTES`.
    """
    position, most = start, WINDOW_ROWS
    while position < length:
        rows = min(most, length - position)
        rows, taken = _fitting(form, position, rows, buffers)
        yield rows, taken
        position += rows
        most = min(WINDOW_ROWS, rows * 2)


def _fitting(form: Form, position: int, rows: int, buffers: Buffers) -> tuple[int, Window]:
    while True:
        limit = WINDOW_BYTES if rows > 1 else ROW_BYTES
        if _stored_bytes(form, position, position + rows, buffers) <= limit:
            taken: Window = {}
            _take(form, position, position + rows, buffers, taken)
            if float(_costs(form, rows, taken).sum()) <= limit:
                return rows, taken
        if rows == 1:
            raise TooLargeError(
                ErrorKind.TOO_LARGE,
                f"row {position} takes more than {ROW_BYTES} bytes; fetch the buffers as "
                "application/zip, which has no such limit",
            )
        rows //= 2


def _stored_bytes(form: Form, start: int, stop: int, buffers: Buffers) -> int:
    """Return the bytes that some rows refer to."""
    count = stop - start
    match form.kind:
        case "Numpy":
            return count * form.row * form.dtype.itemsize
        case "ListOffset":
            if not count:
                return 0
            (low,) = buffers.read(form.buffers[0], form.dtype, start, start + 1)
            (high,) = buffers.read(form.buffers[0], form.dtype, stop, stop + 1)
            below = _stored_bytes(form.contents[0], int(low), int(high), buffers)
        case "Regular":
            below = _stored_bytes(form.contents[0], start * form.size, stop * form.size, buffers)
        case "List" | "Indexed" | "IndexedOption" | "Union":
            below = sum(
                _stored_bytes(content, low, high, buffers)
                for content, (low, high) in zip(
                    form.contents, _reach(form, start, stop, buffers), strict=True
                )
            )
        case _:
            below = sum(_stored_bytes(part, start, stop, buffers) for part in form.contents)
    return below + count * form.dtype.itemsize


def _reach(form: Form, start: int, stop: int, buffers: Buffers) -> list[tuple[int, int]]:
    """Return the first element of each content that is referred to, and the one after the last."""
    if form.kind == "List":
        starts, stops = (buffers.read(name, form.dtype, start, stop) for name in form.buffers)
        filled = stops > starts
        if not filled.any():
            return [(0, 0)]
        return [(int(starts[filled].min()), int(stops[filled].max()))]
    index = buffers.read(form.buffers[-1], form.dtype, start, stop)
    if form.kind != "Union":
        return [_range(index[index >= 0])]
    tags = buffers.read(form.buffers[0], np.dtype("i1"), start, stop)
    return [_range(index[tags == number]) for number in range(len(form.contents))]


def _range(index: NDArray[Any]) -> tuple[int, int]:
    return (int(index.min()), int(index.max()) + 1) if index.size else (0, 0)


def _take(form: Form, start: int, stop: int, buffers: Buffers, out: Window) -> None:
    """Copy rows ``start`` to ``stop`` of a node, and what they refer to."""
    match form.kind:
        case "Numpy":
            row = form.row
            out[form.buffers[0]] = buffers.read(
                form.buffers[0], form.dtype, start * row, stop * row
            )
            return
        case "ListOffset":
            name = form.buffers[0]
            if start == stop:
                offsets = np.zeros(1, form.dtype)
            else:
                offsets = buffers.read(name, form.dtype, start, stop + 1)
            low, high = int(offsets[0]), int(offsets[-1])
            if low < 0 or (np.diff(offsets.astype(np.int64)) < 0).any():
                raise _corrupt(name)
            out[name] = offsets - offsets[0]
            _take(form.contents[0], low, high, buffers, out)
            return
        case "Regular":
            _take(form.contents[0], start * form.size, stop * form.size, buffers, out)
            return
        case "List" | "Indexed" | "IndexedOption" | "Union":
            _take_reached(form, start, stop, buffers, out)
            return
        case "ByteMasked":
            name = form.buffers[0]
            out[name] = buffers.read(name, np.dtype("i1"), start, stop)
        case "BitMasked":
            out[form.buffers[0]] = _packed(form, _bits(form, start, stop, buffers))
    for content in form.contents:
        _take(content, start, stop, buffers, out)


def _take_reached(form: Form, start: int, stop: int, buffers: Buffers, out: Window) -> None:
    reached = _reach(form, start, stop, buffers)
    if any(low < 0 for low, _ in reached):
        raise _corrupt(form.buffers[-1])
    if form.kind == "List":
        (low, _) = reached[0]
        starts, stops = (buffers.read(name, form.dtype, start, stop) for name in form.buffers)
        if (starts > stops).any():
            raise _corrupt(form.buffers[0])
        filled = stops > starts
        out[form.buffers[0]] = np.where(filled, starts - form.dtype.type(low), 0).astype(form.dtype)
        out[form.buffers[1]] = np.where(filled, stops - form.dtype.type(low), 0).astype(form.dtype)
    elif form.kind == "Union":
        tags = buffers.read(form.buffers[0], np.dtype("i1"), start, stop)
        if ((tags < 0) | (tags >= len(form.contents))).any():
            raise _corrupt(form.buffers[0])
        index = buffers.read(form.buffers[1], form.dtype, start, stop)
        lows = np.array([low for low, _ in reached], np.int64)
        out[form.buffers[0]] = tags
        out[form.buffers[1]] = (index - lows[tags]).astype(form.dtype)
    else:
        index = buffers.read(form.buffers[0], form.dtype, start, stop).astype(np.int64)
        if form.kind == "Indexed" and (index < 0).any():
            raise _corrupt(form.buffers[0])
        out[form.buffers[0]] = np.where(index < 0, -1, index - reached[0][0]).astype(form.dtype)
    for content, (low, high) in zip(form.contents, reached, strict=True):
        _take(content, low, high, buffers, out)


def _bits(form: Form, start: int, stop: int, buffers: Buffers) -> NDArray[Any]:
    order: Any = "little" if form.least_first else "big"
    packed = buffers.read(form.buffers[0], np.dtype("u1"), start // 8, -(-stop // 8))
    return np.unpackbits(packed, bitorder=order)[start % 8 : start % 8 + stop - start]


def _packed(form: Form, bits: NDArray[Any]) -> NDArray[Any]:
    return np.packbits(bits, bitorder="little" if form.least_first else "big")


def _costs(form: Form, length: int, taken: Window) -> NDArray[Any]:
    """Return for each element what it takes when it is written out, in bytes.

    Lists and indexes may refer to one element many times, so that a little data stand
    for very much.
    """
    own: NDArray[Any] = np.full(length, float(max(1, form.dtype.itemsize)))
    match form.kind:
        case "Numpy":
            own *= max(1, form.row)
        case "ListOffset" | "List":
            if form.kind == "List":
                starts, stops = (taken[name] for name in form.buffers)
            else:
                offsets = taken[form.buffers[0]]
                starts, stops = offsets[:-1][:length], offsets[1:][:length]
            inner = int(stops.max()) if stops.size else 0
            summed = np.concatenate([[0.0], np.cumsum(_costs(form.contents[0], inner, taken))])
            own += summed[stops] - summed[starts]
        case "Regular":
            below = _costs(form.contents[0], length * form.size, taken)
            own += below.reshape(length, form.size).sum(axis=1)
        case "Indexed" | "IndexedOption":
            index = taken[form.buffers[0]][:length]
            inner = int(index.max(initial=-1)) + 1
            below = np.concatenate([_costs(form.contents[0], inner, taken), [0.0]])
            own += below[index]
        case "Union":
            tags, index = (taken[name][:length] for name in form.buffers)
            for number, content in enumerate(form.contents):
                chosen = tags == number
                inner = int(index[chosen].max(initial=-1)) + 1
                own[chosen] += _costs(content, inner, taken)[index[chosen]]
        case _:
            for content in form.contents:
                own += _costs(content, length, taken)
    return own


class Merger:
    """Joins windows into one set of buffers, kept in a file.

    Parameters
    ----------
    file
        Where the elements are kept, seekable; at its end.
    """

    def __init__(self, form: Form, file: BinaryIO) -> None:
        self._form = form
        self._file = file
        self._end = file.seek(0, 2)
        self._extents: dict[str, list[tuple[int, int]]] = {name: [] for name in form.names()}
        self._inner: dict[tuple[str, int], int] = {}
        self._bits: dict[str, NDArray[Any]] = {}
        self.sizes: dict[str, int] = dict.fromkeys(self._extents, 0)
        """Bytes of each buffer."""
        self.checksums: dict[str, int] = dict.fromkeys(self._extents, 0)
        """CRC-32 of each buffer."""
        self.length = 0
        """Rows so far."""

    def add(self, rows: int, window: Mapping[str, NDArray[Any]]) -> None:
        """Append rows."""
        self._add(self._form, rows, window)
        self.length += rows

    def finish(self) -> None:
        """Write what was held back; nothing is added afterwards."""
        for node in self._form.nodes():
            if node.kind == "BitMasked" and (held := self._bits.pop(node.key, None)) is not None:
                self._write(node.buffers[0], _packed(node, held))
            elif node.kind == "ListOffset" and not self.sizes[node.buffers[0]]:
                self._write(node.buffers[0], np.zeros(1, node.dtype))

    def pieces(self, name: str, size: int = 1 << 20) -> Iterator[bytes]:
        """Yield a buffer in pieces."""
        for start, length in self._extents[name]:
            for offset in range(0, length, size):
                self._file.seek(start + offset)
                yield self._file.read(min(size, length - offset))

    def _add(self, form: Form, length: int, window: Mapping[str, NDArray[Any]]) -> None:
        own = [window[name] for name in form.buffers]
        match form.kind:
            case "Numpy":
                self._write(form.buffers[0], own[0][: length * form.row])
            case "ListOffset":
                offsets = own[0][: length + 1]
                inner = int(offsets[-1]) if offsets.size else 0
                begun = self.sizes[form.buffers[0]] > 0
                moved = self._moved(form, 0, offsets[1:] if begun else offsets, inner)
                self._write(form.buffers[0], moved)
                self._add(form.contents[0], inner, window)
            case "List":
                starts, stops = own[0][:length], own[1][:length]
                inner = int(stops.max(initial=0))
                before = self._inner.get((form.key, 0), 0)
                self._write(form.buffers[0], (starts + before).astype(form.dtype))
                self._write(form.buffers[1], self._moved(form, 0, stops, inner))
                self._add(form.contents[0], inner, window)
            case "Regular":
                self._add(form.contents[0], length * form.size, window)
            case "Indexed" | "IndexedOption":
                index = own[0][:length]
                inner = int(index.max(initial=-1)) + 1
                moved = self._moved(form, 0, index, inner)
                self._write(form.buffers[0], np.where(index < 0, -1, moved).astype(form.dtype))
                self._add(form.contents[0], inner, window)
            case "Union":
                self._add_union(form, own[0][:length], own[1][:length], window)
            case "BitMasked":
                order: Any = "little" if form.least_first else "big"
                bits = np.unpackbits(own[0].view(np.uint8), bitorder=order)[:length]
                held = np.concatenate([self._bits.get(form.key, bits[:0]), bits])
                whole = held.size // 8 * 8
                self._write(form.buffers[0], _packed(form, held[:whole]))
                self._bits[form.key] = held[whole:]
                self._add(form.contents[0], length, window)
            case _:
                if form.kind == "ByteMasked":
                    self._write(form.buffers[0], own[0][:length])
                for content in form.contents:
                    self._add(content, length, window)

    def _add_union(
        self,
        form: Form,
        tags: NDArray[Any],
        index: NDArray[Any],
        window: Mapping[str, NDArray[Any]],
    ) -> None:
        moved = index.copy()
        for number, content in enumerate(form.contents):
            chosen = tags == number
            inner = int(index[chosen].max(initial=-1)) + 1
            moved[chosen] = self._moved(form, number, index[chosen], inner)
            self._add(content, inner, window)
        self._write(form.buffers[0], tags)
        self._write(form.buffers[1], moved)

    def _moved(self, form: Form, content: int, index: NDArray[Any], inner: int) -> NDArray[Any]:
        """Return positions counted from the beginning of all rows, and count ``inner`` more."""
        before = self._inner.get((form.key, content), 0)
        if before + inner > np.iinfo(form.dtype).max:
            raise TooLargeError(
                ErrorKind.TOO_LARGE,
                f"more than {np.iinfo(form.dtype).max} elements below node {form.key!r}, "
                f"whose positions are {form.dtype}",
            )
        self._inner[form.key, content] = before + inner
        moved: NDArray[Any] = index + form.dtype.type(before)
        return moved

    def _write(self, name: str, elements: NDArray[Any]) -> None:
        payload = np.ascontiguousarray(elements).reshape(-1).view(np.uint8).data
        if not len(payload):
            return
        self._file.seek(self._end)
        self._file.write(payload)
        extents = self._extents[name]
        if extents and sum(extents[-1]) == self._end:
            extents[-1] = (extents[-1][0], extents[-1][1] + len(payload))
        else:
            extents.append((self._end, len(payload)))
        self._end += len(payload)
        self.sizes[name] += len(payload)
        self.checksums[name] = zlib.crc32(payload, self.checksums[name])


def _corrupt(name: str) -> CorruptError:
    return CorruptError(
        ErrorKind.CORRUPT_OBJECT, f"buffer {name!r} holds positions that lead nowhere"
    )
