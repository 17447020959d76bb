"""Many selections of one array: what they want of each chunk, so that it is decoded once."""

from __future__ import annotations

import heapq
import math
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from lakeservice.codecs.grid import Piece
from lakeservice.codecs.steps import whole_elements
from schemas.selection import Axis, Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from lakeservice.codecs.grid import Grid

_KEPT_BYTES = 16 << 20  # memory of this size is kept to be decoded into again
_MOST_PIECES = 1 << 14  # that are held together: each costs a kilobyte


class Gathered:
    """All that some selections want of one chunk.

    Parameters
    ----------
    piece
        The first of what is wanted; it tells which chunk this is.
    """

    __slots__ = ("piece", "wanted")

    def __init__(self, piece: Piece) -> None:
        self.piece = piece
        """One of the pieces: its position, origin and shape are those of the chunk."""
        self.wanted: list[tuple[Piece, NDArray[Any]]] = []
        """What each selection wants of the chunk, and the answer that it is a part of."""

    def fill(self, fill: Callable[[Piece, NDArray[Any]], None]) -> None:
        """Put everything that is wanted of the chunk into its place.

        Parameters
        ----------
        fill
            Decodes a piece into an answer. It is called for every piece where these are
            small and few; else once, for the whole chunk, from which they are then copied.
        """
        if len(self.wanted) == 1 or not self._worth_whole():
            for piece, out in self.wanted:
                fill(piece, out)
            return
        shape, dtype = self.piece.shape, self.wanted[0][1].dtype
        everything = tuple(slice(0, length, 1) for length in shape)
        size = math.prod(shape) * dtype.itemsize
        memory = _borrowed(size)
        whole: NDArray[Any] = memory[:size].view(dtype).reshape(shape)
        fill(Piece(self.piece.position, self.piece.origin, shape, everything, everything), whole)
        elements = whole_elements(whole)
        for piece, out in self.wanted:
            index: Any = (*piece.source, ...)
            whole_elements(piece.place_in(out))[...] = elements[index]
        if memory.size <= _KEPT_BYTES:
            _idle.append(memory)

    def _worth_whole(self) -> bool:
        """Tell whether the pieces lie in so many rows that all are as quickly decoded."""
        rows = math.prod(self.piece.shape[:-1])
        needed = 0
        for piece, _ in self.wanted:  # each has to be looked for, and checksums to be compared
            some = math.prod(part.stop - part.start for part in piece.target[:-1])
            needed += max(some, rows // 16)
        return 2 * needed >= rows


_idle: deque[NDArray[np.uint8]] = deque(maxlen=8)


def _borrowed(size: int) -> NDArray[np.uint8]:
    """Return memory, touched before where there is some: fresh pages cost more than decoding."""
    try:
        memory = _idle.pop()
    except IndexError:
        return np.empty(size, np.uint8)
    return memory if memory.size >= size else np.empty(size, np.uint8)


def gather(grid: Grid, wants: Iterable[tuple[Selection, NDArray[Any]]]) -> Iterator[Gathered]:
    """Yield what selections want of each chunk, once for each chunk.

    Where there are very many pieces, no more of them are held than one of each selection;
    of selections that go backwards a chunk may then come more than once.

    Parameters
    ----------
    grid
        The chunks of the array.
    wants
        Selections, which may overlap, and for each an array of its ``kept_shape``, which
        receives it.
    """
    wants = list(wants)
    pieces = ((piece, out) for selection, out in wants for piece in grid.pieces(selection))
    held = list(islice(pieces, _MOST_PIECES + 1))
    if len(held) > _MOST_PIECES:
        del held
        yield from _merged(grid, wants)
        return
    found: dict[tuple[int, ...], Gathered] = {}
    for piece, out in held:
        gathered = found.get(piece.position)
        if gathered is None:
            gathered = found[piece.position] = Gathered(piece)
        gathered.wanted.append((piece, out))
    yield from found.values()


def _merged(grid: Grid, wants: Iterable[tuple[Selection, NDArray[Any]]]) -> Iterator[Gathered]:
    """Yield what selections want of each chunk, in C order of the chunks."""
    found: Gathered | None = None
    for piece, out in heapq.merge(*(_pieces(grid, *want) for want in wants), key=_position):
        if found is None or found.piece.position != piece.position:
            if found is not None:
                yield found
            found = Gathered(piece)
        found.wanted.append((piece, out))
    if found is not None:
        yield found


def _pieces(
    grid: Grid, selection: Selection, out: NDArray[Any]
) -> Iterator[tuple[Piece, NDArray[Any]]]:
    for piece in grid.pieces(selection):
        yield piece, out


def _position(wanted: tuple[Piece, NDArray[Any]]) -> tuple[int, ...]:
    return wanted[0].position


def gather_rows(
    grid: Grid,
    rows: NDArray[np.int64],
    out: NDArray[Any],
    places: NDArray[np.int64] | None = None,
) -> Iterator[Gathered]:
    """Yield what rows of the first axis want of each chunk, in the order of the file.

    A chunk that very many runs of rows are wanted of comes several times, with some each.

    Parameters
    ----------
    grid
        The chunks of an array of one or more axes.
    rows
        Numbers of rows, in any order, the same ones again where wanted.
    out
        Array of ``(len(rows), *shape of a row)``, which receives them.
    places
        Row of ``out`` that each goes to; None for their order.
    """
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    if places is not None:
        order = places[order]
    chunks = grid.along_rows(ordered)
    breaks = (np.diff(ordered) != 1) | (np.diff(order) != 1) | (np.diff(chunks) != 0)
    starts = np.concatenate(([0], np.flatnonzero(breaks) + 1, [rows.size]))
    beside = list(grid.pieces(_first_row(grid.shape)))
    held: list[tuple[int, int, int]] = []  # first row, its place in the answer, how many
    chunk = int(chunks[0])
    for start in range(0, starts.size - 1, _MOST_PIECES):
        ends = starts[start : start + _MOST_PIECES + 1]
        firsts = ends[:-1]
        columns = zip(
            chunks[firsts].tolist(),
            ordered[firsts].tolist(),
            order[firsts].tolist(),
            np.diff(ends).tolist(),
            strict=True,
        )
        for number, row, place, count in columns:
            if number != chunk or len(held) == _MOST_PIECES:
                yield from _of_rows(grid, chunk, held, beside, out)
                chunk, held = number, []
            held.append((row, place, count))
    yield from _of_rows(grid, chunk, held, beside, out)


def _of_rows(
    grid: Grid,
    chunk: int,
    runs: list[tuple[int, int, int]],
    beside: list[Piece],
    out: NDArray[Any],
) -> Iterator[Gathered]:
    """Yield what runs of rows want of each chunk of one row of chunks."""
    origin, length = grid.row_bounds(chunk)
    for other in beside:
        gathered = Gathered(other)
        for row, place, count in runs:
            inside = row - origin
            piece = Piece(
                (chunk, *other.position[1:]),
                (origin, *other.origin[1:]),
                (length, *other.shape[1:]),
                (slice(inside, inside + count, 1), *other.source[1:]),
                (slice(place, place + count), *other.target[1:]),
            )
            gathered.wanted.append((piece, out))
        gathered.piece = gathered.wanted[0][0]
        yield gathered


def _first_row(shape: tuple[int, ...]) -> Selection:
    return Selection((Axis(0, 1), *(Axis(0, length) for length in shape[1:])))
