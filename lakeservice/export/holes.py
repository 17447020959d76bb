"""Files whose layout is known before their data: a sparse file, its holes filled on the way out.

A library writes everything but the elements into a temporary file, where they
would lie it leaves holes that take no room on the disk. What is sent is that
file, with the elements read from the lake when their turn comes: the first bytes
leave at once, the length is known, and nothing is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from schemas.errors import CorruptError, ErrorKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lakeservice.export.exporter import Piece

COPIED_BYTES = 1 << 20
"""Bytes of the file itself that are sent at a time."""


class Readable(Protocol):
    """A file that can be read anywhere."""

    def seek(self, position: int, /) -> int:
        """Go to a position, counted from the beginning."""
        ...

    def read(self, length: int, /) -> bytes:
        """Return so many bytes, or fewer at the end."""
        ...


@dataclass(frozen=True)
class Hole:
    """A range of a file that is filled with elements."""

    offset: int
    length: int
    blocks: Callable[[], Iterator[np.ndarray[Any, Any]]]
    """All elements in the order of the file, in its own type; in all ``length`` bytes."""
    part: Callable[[int, int], Iterator[Piece]] | None = None
    """The bytes ``start:stop`` of this hole, where they can be had without those before."""


def streamed(
    file: Readable, size: int, holes: Sequence[Hole], start: int = 0, stop: int | None = None
) -> Iterator[Piece]:
    """Yield a file, or the bytes ``start:stop`` of it, with its holes filled.

    Parameters
    ----------
    size
        Bytes of the whole; the file may be shorter where it ends with holes.
    holes
        In any order; they do not overlap.

    Raises
    ------
    CorruptError
        ``corrupt-object``: a source gives more or fewer bytes than its hole takes.
    """
    end = size if stop is None else min(stop, size)
    position = start
    for hole in sorted(holes, key=lambda one: one.offset):
        if hole.offset + hole.length <= position or not hole.length:
            continue
        if hole.offset >= end:
            break
        yield from _copied(file, position, hole.offset)
        position = max(position, hole.offset)
        first, last = position - hole.offset, min(end - hole.offset, hole.length)
        yield from _filled(hole, first, last)
        position = hole.offset + last
    yield from _copied(file, position, end)


def piece_of(block: np.ndarray[Any, Any]) -> memoryview:
    """Return the bytes of an array as they lie in memory, in C order."""
    return np.ascontiguousarray(block).reshape(-1).view(np.uint8).data


def cut(pieces: Iterator[Piece], start: int, stop: int) -> Iterator[Piece]:
    """Yield the bytes ``start:stop`` of pieces; none is empty, and none after them is made."""
    position = 0
    for piece in pieces:
        if position >= stop:
            return
        inside = memoryview(piece)[max(0, start - position) : stop - position]
        position += len(piece)
        if len(inside):
            yield inside


def _filled(hole: Hole, start: int, stop: int) -> Iterator[Piece]:
    whole = (start, stop) == (0, hole.length)
    if hole.part is not None and not whole:
        pieces = hole.part(start, stop)
    else:
        pieces = cut(_elements(hole), start, stop)
    seen = 0
    for piece in pieces:
        seen += len(piece)
        if seen > stop - start:
            break
        yield piece
    if seen != stop - start:
        raise _wrong_length(hole)


def _elements(hole: Hole) -> Iterator[Piece]:
    seen = 0
    for block in hole.blocks():
        if block.nbytes:
            seen += block.nbytes
            if seen > hole.length:
                raise _wrong_length(hole)
            yield piece_of(block)


def _wrong_length(hole: Hole) -> CorruptError:
    return CorruptError(
        ErrorKind.CORRUPT_OBJECT,
        f"the data are not the {hole.length} bytes that their description tells of",
    )


def _copied(file: Readable, start: int, stop: int) -> Iterator[Piece]:
    while start < stop:
        file.seek(start)
        piece = file.read(min(COPIED_BYTES, stop - start))
        # Behind the end of the file lie the last bytes of padding, which nobody wrote.
        piece = piece or bytes(min(COPIED_BYTES, stop - start))
        start += len(piece)
        yield piece
