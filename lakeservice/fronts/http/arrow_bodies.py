"""Arrow streams that clients send, looked at before anything in them is decompressed.

A few bytes of a compressed buffer may stand for any amount of memory, and Arrow
believes what the buffer says of itself. The sizes are in the messages' headers
(the flatbuffers ``Message.fbs`` of the Arrow columnar format, "Serialization and
IPC"), so they are added up first.
"""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

from schemas.errors import ErrorKind, InvalidRequestError, TooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BATCH_BYTES = 1 << 30
"""Most bytes that the compressed buffers of one record batch may stand for."""
MAX_HEADER_BYTES = 16 << 20
"""Longest header of a message."""
_CONTINUED = 0xFFFFFFFF
_PIECE = 1 << 20
_DICTIONARY, _BATCH = 2, 3


class CheckedMessages(io.RawIOBase):
    """An Arrow stream whose messages are handed on one by one, each looked at before.

    Parameters
    ----------
    stream
        A binary file that is read forwards.
    """

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self._stream = stream
        self._pieces = self._messages()
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """Return ``size`` bytes, fewer only at the end; all for None or negative."""
        wanted = -1 if size is None else size
        taken: list[memoryview] = []
        gathered = 0
        while wanted < 0 or gathered < wanted:
            if not self._left:
                self._left = memoryview(next(self._pieces, b""))
                if not self._left:
                    break
            part = self._left if wanted < 0 else self._left[: wanted - gathered]
            self._left = self._left[len(part) :]
            taken.append(part)
            gathered += len(part)
        return bytes(taken[0]) if len(taken) == 1 else b"".join(taken)

    def _messages(self) -> Iterator[bytes]:
        while True:
            prefix = self._stream.read(4)
            if len(prefix) == 4 and struct.unpack("<I", prefix)[0] == _CONTINUED:
                prefix += self._stream.read(4)
            yield prefix
            length = struct.unpack("<i", prefix[-4:])[0] if len(prefix) in (4, 8) else 0
            if not length:
                return
            if not 0 < length <= MAX_HEADER_BYTES:
                raise _bad(f"a message with a header of {length} bytes")
            header = self._stream.read(length)
            yield header
            try:
                size, buffers = _described(header)
            except (struct.error, IndexError):
                raise _bad("a message whose header cannot be read") from None
            if size < 0:
                raise _bad(f"a message with a body of {size} bytes")
            yield from self._body(size, buffers)

    def _body(self, size: int, buffers: list[tuple[int, int]] | None) -> Iterator[bytes]:
        if buffers is None:
            for start in range(0, size, _PIECE):
                piece = self._stream.read(min(_PIECE, size - start))
                if not piece:  # it is shorter than its header says
                    break
                yield piece
            return
        if size > MAX_BATCH_BYTES:
            raise _too_large(size)
        body = self._stream.read(size)
        decoded = sum(_decoded_size(body, offset, length) for offset, length in buffers)
        if decoded > MAX_BATCH_BYTES:
            raise _too_large(decoded)
        if body:
            yield body


def _decoded_size(body: bytes, offset: int, length: int) -> int:
    if length < 8 or not 0 <= offset <= len(body) - 8:
        return 0
    (size,) = struct.unpack_from("<q", body, offset)
    return int(size) if size >= 0 else length


def _described(header: bytes) -> tuple[int, list[tuple[int, int]] | None]:
    """Return the size of a message's body and, where it is compressed, its buffers."""
    message = _Table(header, struct.unpack_from("<I", header)[0])
    size = message.number(3, "<q")
    kind = message.number(1, "<B")
    if kind not in (_DICTIONARY, _BATCH):
        return size, None
    batch = message.table(2)
    if batch is not None and kind == _DICTIONARY:
        batch = batch.table(1)
    if batch is None or batch.table(3) is None:
        return size, None
    return size, batch.pairs(2)


class _Table:
    """A table of a flatbuffer: fields by number, absent ones are zero or None."""

    def __init__(self, buffer: bytes, position: int) -> None:
        self._buffer = buffer
        self._position = position
        self._fields = position - struct.unpack_from("<i", buffer, position)[0]
        if self._fields < 0:
            raise IndexError

    def _place(self, number: int) -> int | None:
        entry = 4 + 2 * number
        if entry >= struct.unpack_from("<H", self._buffer, self._fields)[0]:
            return None
        offset: int = struct.unpack_from("<H", self._buffer, self._fields + entry)[0]
        return self._position + offset if offset else None

    def number(self, field: int, form: str) -> int:
        place = self._place(field)
        return 0 if place is None else int(struct.unpack_from(form, self._buffer, place)[0])

    def table(self, field: int) -> _Table | None:
        place = self._place(field)
        if place is None:
            return None
        return _Table(self._buffer, place + struct.unpack_from("<I", self._buffer, place)[0])

    def pairs(self, field: int) -> list[tuple[int, int]]:
        place = self._place(field)
        if place is None:
            return []
        start = place + struct.unpack_from("<I", self._buffer, place)[0]
        (count,) = struct.unpack_from("<I", self._buffer, start)
        if 16 * count > len(self._buffer):
            raise IndexError
        flat = struct.unpack_from(f"<{2 * count}q", self._buffer, start + 4)
        return list(zip(flat[::2], flat[1::2], strict=True))


def _too_large(size: int) -> TooLargeError:
    return TooLargeError(
        ErrorKind.TOO_LARGE,
        f"a record batch that is {size} bytes when it is decompressed; at most "
        f"{MAX_BATCH_BYTES} are accepted: send it in several batches",
    )


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(
        ErrorKind.BAD_BODY, f"the body cannot be read as Arrow: {message}; it may be cut or damaged"
    )
