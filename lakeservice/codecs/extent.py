"""Encoded bytes that may lie in memory or in a file, of which a part can be read."""

from __future__ import annotations

import os
from typing import Protocol

from lakeservice.codecs.steps import Buffer, Bytes1D, DecodeError, flat
from schemas.errors import ErrorKind, UnavailableError


class Extent(Protocol):
    """A run of encoded bytes: one chunk as it is stored."""

    length: int
    """Number of bytes."""

    def read(self, offset: int, length: int) -> Buffer:
        """Return these bytes, exactly as many as asked for."""

    def read_into(self, offset: int, out: Bytes1D) -> None:
        """Fill ``out`` with the bytes from ``offset``."""


class Held:
    """Encoded bytes in memory."""

    def __init__(self, buffer: Buffer) -> None:
        self._bytes = flat(buffer)
        self.length = self._bytes.size

    def read(self, offset: int, length: int) -> Buffer:
        """Return a view of these bytes."""
        if not 0 <= offset <= offset + length <= self.length:
            raise DecodeError(f"{self.length} bytes are stored, fewer than their header says")
        return self._bytes[offset : offset + length].data

    def read_into(self, offset: int, out: Bytes1D) -> None:
        """Copy the bytes from ``offset``."""
        out[:] = flat(self.read(offset, out.size))


class OpenFile:
    """Encoded bytes in a file that is open; the descriptor belongs to somebody else.

    Where the disk fails, reading raises `UnavailableError` (``store-unavailable``).
    """

    def __init__(self, descriptor: int, offset: int, length: int) -> None:
        self.descriptor = descriptor
        self.offset = offset
        self.length = length

    def read(self, offset: int, length: int) -> Buffer:
        """Read these bytes."""
        if not 0 <= offset <= offset + length <= self.length:
            raise DecodeError(f"{self.length} bytes are stored, fewer than their header says")
        try:
            found = os.pread(self.descriptor, length, self.offset + offset)
        except OSError as error:
            raise _refused(error) from None
        if len(found) != length:
            raise DecodeError(f"the file ends {length - len(found)} bytes before the chunk does")
        return found

    def read_into(self, offset: int, out: Bytes1D) -> None:
        """Read the bytes from ``offset`` straight into memory."""
        if offset < 0 or offset + out.size > self.length:
            raise DecodeError(f"{self.length} bytes are stored, {out.size} expected")
        done = 0
        while done < out.size:
            try:
                count = os.preadv(self.descriptor, [out[done:].data], self.offset + offset + done)
            except OSError as error:
                raise _refused(error) from None
            if not count:
                raise DecodeError(f"the file ends {out.size - done} bytes before the chunk does")
            done += count


def _refused(error: OSError) -> UnavailableError:
    reason = os.strerror(error.errno).lower() if error.errno else "input/output error"
    return UnavailableError(ErrorKind.STORE_UNAVAILABLE, f"the disk refuses: {reason}")
