"""Where the chunks of an array lie: from a chunk's position to an object and a byte range."""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import accumulate
from operator import lt
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from lakeservice.storage.chunk_index import ChunkIndex
from lakeservice.storage.rewritten import Rewritten
from schemas.chunks import Contiguous, Indexed, ZarrParts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakeservice.codecs.grid import Grid, Piece
    from lakeservice.storage.objects import Objects
    from schemas.chunks import ArrayStorage, ChunkLayout


class ByteRange(NamedTuple):
    """Where one chunk is stored."""

    name: str | None
    """Object in the lake; None for bytes in an asset."""
    asset: int
    """Number of the asset; -1 for bytes in the lake."""
    offset: int
    length: int | None
    """Number of bytes; None for all to the end."""
    filter_mask: int = 0
    """Bit i: codec i was left out."""
    required: bool = False
    """Whether it is an error that the object is not there, and not the fill value."""


class Places(Protocol):
    """Finds the bytes of chunks."""

    def ranges(self, pieces: Sequence[Piece]) -> list[ByteRange | None]:
        """Return where each chunk lies; None where it is absent."""


def places_of(storage: ArrayStorage, grid: Grid, objects: Objects) -> Places | None:
    """Return what finds the chunks of an array; None where its one chunk is inline."""
    location = storage.location
    if isinstance(location, ZarrParts):
        return _InParts(location, storage.layout.chunk_shape, objects)
    if isinstance(location, Contiguous):
        return _InOnePiece(location, storage.layout, grid)
    if isinstance(location, Indexed):
        return _InIndex(location, grid, objects)
    return None


class _InParts:
    def __init__(self, location: ZarrParts, chunk_shape: tuple[int, ...], objects: Objects) -> None:
        self._parts = location.parts
        self._rewritten = location.rewritten
        self._objects = objects
        self._starts = list(accumulate((part.length for part in self._parts), initial=0))
        self._rows = chunk_shape[0] if chunk_shape else 1

    def ranges(self, pieces: Sequence[Piece]) -> list[ByteRange | None]:
        if self._rewritten is None:
            return [self._range(piece) for piece in pieces]
        written = Rewritten.of(self._objects, self._rewritten)
        names = [written.name_of(piece.position) for piece in pieces]
        return [
            self._range(piece) if name is None else ByteRange(name, -1, 0, None, required=True)
            for piece, name in zip(pieces, names, strict=True)
        ]

    def _range(self, piece: Piece) -> ByteRange | None:
        row = piece.origin[0] if piece.origin else 0
        number = bisect_right(self._starts, row) - 1
        if number >= len(self._parts):
            return None
        part = self._parts[number]
        key = f"{part.name}/c"
        if piece.position:
            first = (row - self._starts[number]) // self._rows
            place = (first, *piece.position[1:])
            if part.within is not None and not all(map(lt, place, part.within)):
                return None
            key = "/".join((key, *map(str, place)))
        return ByteRange(key, -1, 0, None, required=part.complete)


class _InOnePiece:
    def __init__(self, location: Contiguous, layout: ChunkLayout, grid: Grid) -> None:
        self._location = location
        self._itemsize = layout.data_type.itemsize
        self._full = layout.edge == "full"
        self._chunk_shape = layout.chunk_shape
        self._grid = grid

    def ranges(self, pieces: Sequence[Piece]) -> list[ByteRange | None]:
        return [self._range(piece) for piece in pieces]

    def _range(self, piece: Piece) -> ByteRange:
        if self._full:
            size = math.prod(self._chunk_shape)
            before = self._grid.linear(piece.position) * size
        else:
            size = math.prod(piece.shape)
            before, rows = 0, 1
            for axis, (origin, extent) in enumerate(zip(piece.origin, piece.shape, strict=True)):
                before += rows * origin * math.prod(self._grid.shape[axis + 1 :])
                rows *= extent
        offset = self._location.offset + before * self._itemsize
        return ByteRange(None, self._location.asset, offset, size * self._itemsize)


class _InIndex:
    def __init__(self, location: Indexed, grid: Grid, objects: Objects) -> None:
        self._location = location
        self._objects = objects
        self._grid = grid

    def ranges(self, pieces: Sequence[Piece]) -> list[ByteRange | None]:
        index = ChunkIndex.of(self._objects, self._location.index)
        linear = (self._grid.linear(piece.position) for piece in pieces)
        chunks = np.fromiter(linear, np.int64, len(pieces))
        return [
            None if row is None else ByteRange(None, *row)
            for row in index.lookup(self._location.first, self._location.count, chunks)
        ]
