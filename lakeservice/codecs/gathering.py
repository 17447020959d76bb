"""Many selections of one array: what they want of each chunk, so that it is decoded once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lakeservice.codecs.grid import Piece

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from lakeservice.codecs.grid import Grid
    from schemas.selection import Selection


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
        shape = self.piece.shape
        everything = tuple(slice(0, length, 1) for length in shape)
        whole = np.empty(shape, self.wanted[0][1].dtype)
        fill(Piece(self.piece.position, self.piece.origin, shape, everything, everything), whole)
        for piece, out in self.wanted:
            index: Any = (*piece.source, ...)
            piece.place_in(out)[...] = whole[index]

    def _worth_whole(self) -> bool:
        """Tell whether the pieces lie in so many rows that all are as quickly decoded."""
        *axes, _ = self.piece.shape or (1,)
        rows = math.prod(axes)
        needed = 0
        for piece, _ in self.wanted:
            needed += math.prod(part.stop - part.start for part in piece.target[:-1])
        return 2 * needed >= rows


def gather(
    grid: Grid, selections: Iterable[Selection], outs: Iterable[NDArray[Any]]
) -> list[Gathered]:
    """Return what selections want of each chunk, in the order in which chunks are first touched.

    Parameters
    ----------
    grid
        The chunks of the array.
    selections
        What is wanted; they may overlap.
    outs
        For each selection an array of its ``kept_shape``, which receives it.
    """
    found: dict[tuple[int, ...], Gathered] = {}
    for selection, out in zip(selections, outs, strict=True):
        for piece in grid.pieces(selection):
            gathered = found.get(piece.position)
            if gathered is None:
                gathered = found[piece.position] = Gathered(piece)
            gathered.wanted.append((piece, out))
    return list(found.values())
