"""Answers that exist as a file before they are sent: any range of them can be had, many times."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lakeservice.export.holes import streamed
from schemas.errors import ErrorKind, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lakeservice.export.exporter import Piece
    from lakeservice.export.holes import Hole

KEPT = 32
"""Prepared answers that are kept for requests to come."""
KEPT_BYTES = 4 << 30
"""Room on the disk that these take together."""
KEPT_HOLES = 50_000
"""Holes of all of them: each knows its node, which takes memory."""


class Scratch:
    """A temporary file, gone from the disk when nobody holds it any more."""

    def __init__(self) -> None:
        self._file, name = tempfile.mkstemp(prefix="lakeservice-")
        self.path = Path(name)
        self._close = weakref.finalize(self, _forget, self._file, self.path)

    @property
    def size(self) -> int:
        """Bytes of the file, holes included."""
        return os.fstat(self._file).st_size

    @property
    def room(self) -> int:
        """Bytes that it takes on the disk."""
        return os.fstat(self._file).st_blocks * 512

    def write(self, payload: Piece) -> None:
        """Add bytes at the end of what was written."""
        view = memoryview(payload)
        while view:
            view = view[os.write(self._file, view) :]

    def read_at(self, position: int, length: int) -> bytes:
        """Return bytes from a position on; fewer at the end."""
        return os.pread(self._file, length, position)

    def close(self) -> None:
        """Remove the file now."""
        self._close()


def _forget(file: int, path: Path) -> None:
    os.close(file)
    path.unlink(missing_ok=True)


class _Reading:
    """A position in a file that others read too."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._position = 0

    def seek(self, position: int) -> int:
        self._position = position
        return position

    def read(self, length: int) -> bytes:
        piece = self._scratch.read_at(self._position, length)
        self._position += len(piece)
        return piece


@dataclass(frozen=True)
class Prepared:
    """A file with holes that are filled on the way out."""

    scratch: Scratch
    size: int
    holes: Sequence[Hole] = ()

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[Piece]:
        """Yield the bytes ``start:stop``; many readers at a time are fine."""
        yield from streamed(_Reading(self.scratch), self.size, self.holes, start, stop)


def written_out(pieces: Iterator[Piece]) -> Prepared:
    """Return an answer that was written to its end.

    Raises
    ------
    UnavailableError
        ``store-full``: the disk has no room for it.
    """
    scratch = Scratch()
    try:
        for piece in pieces:
            scratch.write(piece)
    except OSError as error:
        scratch.close()
        if error.errno != errno.ENOSPC:
            raise
        raise UnavailableError(
            ErrorKind.STORE_FULL,
            "no room for this file on the server's disk; ask for it without a range, "
            "or for some columns",
        ) from None
    except BaseException:
        scratch.close()
        raise
    return Prepared(scratch, scratch.size)


class Kept:
    """Prepared answers by their entity tags, the latest used; thread-safe.

    One that is dropped stays readable for who reads it already.
    """

    def __init__(self, count: int = KEPT, room: int = KEPT_BYTES) -> None:
        self._count = count
        self._room = room
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Prepared] = OrderedDict()
        self._under_way: dict[str, threading.Lock] = {}

    def get(self, tag: str, prepare: Callable[[], Prepared]) -> Prepared:
        """Return the answer with a tag, prepared once however many ask at the same time."""
        with self._lock:
            known = self._used(tag)
            if known is not None:
                return known
            turn = self._under_way.setdefault(tag, threading.Lock())
        with turn:
            with self._lock:
                known = self._used(tag)
                if known is not None:
                    return known
            try:
                prepared = prepare()
                with self._lock:
                    self._known[tag] = prepared
                    self._shrink()
            finally:
                with self._lock:
                    self._under_way.pop(tag, None)
            return prepared

    def _used(self, tag: str) -> Prepared | None:
        if tag in self._known:
            self._known.move_to_end(tag)
        return self._known.get(tag)

    def holds(self, tag: str) -> bool:
        """Tell whether an answer needs no preparing."""
        with self._lock:
            return tag in self._known

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._known.clear()

    def _shrink(self) -> None:
        room = sum(prepared.scratch.room for prepared in self._known.values())
        holes = sum(len(prepared.holes) for prepared in self._known.values())
        while len(self._known) > 1 and (
            len(self._known) > self._count or room > self._room or holes > KEPT_HOLES
        ):
            _, dropped = self._known.popitem(last=False)
            room -= dropped.scratch.room
            holes -= len(dropped.holes)
