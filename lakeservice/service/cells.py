"""Cells: an array in boxes that fit into memory, cut where chunks meet, one read ahead."""

from __future__ import annotations

import math
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from lakeservice.codecs.engine import Engine
from lakeservice.codecs.memory import empty_apart
from lakeservice.service.lending import Lending
from schemas.selection import Axis, Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from lakeservice.storage.arrays import StoredArray

CELL_BYTES = 8 << 20
"""Elements that are decoded at a time, in bytes."""
MOST_BYTES = 64 << 20
"""What one chunk gives is not cut below this size, because it is decoded as a whole."""

AHEAD_BYTES = 48 << 20
"""What all who read cells at once decode ahead, in bytes; who comes late decodes nothing ahead."""
_AHEAD = Lending(AHEAD_BYTES, 0)

Box = tuple[tuple[int, int], ...]
"""Per axis of the array, the first element of a selection and the one after the last."""


class Cell(NamedTuple):
    """Elements of a box."""

    starts: tuple[int, ...]
    """First element of the cell along each axis, counted in the selection."""
    elements: NDArray[Any]
    """With as many axes as the array, in the byte order of this machine; valid until the
    next cell is taken."""


class Cells(Protocol):
    """A selection of an array that can be had in cells."""

    selection: Selection
    dtype: np.dtype[Any]

    def lengths(self, axis: int, start: int, stop: int) -> Iterator[int]:
        """Yield how many elements of a part of an axis are best taken together."""
        ...

    def read(self, boxes: Iterable[Box]) -> Iterator[Cell]:
        """Yield the cells of some boxes, box after box."""
        ...


class StoredCells:
    """Cells of an array that is stored in chunks."""

    def __init__(self, array: StoredArray, selection: Selection) -> None:
        self._array = array
        self.selection = selection
        self.dtype = array.dtype.newbyteorder("=")

    def lengths(self, axis: int, start: int, stop: int) -> Iterator[int]:
        """Yield how many elements of a part of an axis lie in each chunk."""
        return self._array.grid.run_lengths(axis, _part(self.selection.axes[axis], start, stop))

    def read(self, boxes: Iterable[Box]) -> Iterator[Cell]:
        """Yield the cells of some boxes; the next is decoded while one is looked at.

        Where many read at once, nothing is decoded ahead for those who come late.
        """
        cells = (cell for box in boxes for cell in self._cut(box, 0))
        first = next(cells, None)
        if first is None:
            return
        size = self._bytes(first)
        with _AHEAD.lent(size) as given:
            if given < size:
                yield from self._one_by_one(first, cells)
            else:
                yield from self._one_ahead(first, cells)

    def _one_by_one(self, first: Box, rest: Iterator[Box]) -> Iterator[Cell]:
        memory = [np.empty(0, np.uint8)]
        for cell in chain([first], rest):
            self._filling(memory, 0, cell)()
            yield self._held(memory[0], cell)

    def _held(self, memory: NDArray[np.uint8], box: Box) -> Cell:
        shape = tuple(stop - start for start, stop in box)
        held = memory[: math.prod(shape) * self.dtype.itemsize]
        return Cell(tuple(start for start, _ in box), held.view(self.dtype).reshape(shape))

    def _one_ahead(self, first: Box, rest: Iterator[Box]) -> Iterator[Cell]:
        memory = [np.empty(0, np.uint8), np.empty(0, np.uint8)]
        now: Box | None = first
        self._filling(memory, 0, first)()
        ahead: Future[None] | None = None
        turn = 0
        try:
            while now is not None:
                following = next(rest, None)
                if following is not None:
                    ahead = Engine.shared().submit(self._filling(memory, 1 - turn, following))
                yield self._held(memory[turn], now)
                if ahead is not None:
                    ahead.result()
                now, turn, ahead = following, 1 - turn, None
        finally:
            if ahead is not None and not ahead.cancel():
                ahead.exception()

    def _filling(self, memory: list[NDArray[np.uint8]], turn: int, box: Box) -> Callable[[], None]:
        size = math.prod(stop - start for start, stop in box) * self.dtype.itemsize
        if memory[turn].size < size:
            memory[turn] = empty_apart((size,), np.dtype(np.uint8))
        part = box_of(self.selection, box)
        out = memory[turn][:size].view(self.dtype).reshape(part.kept_shape)

        def fill() -> None:
            self._array.read(part, out)

        return fill

    def _bytes(self, box: Box) -> int:
        return math.prod(stop - start for start, stop in box) * self.dtype.itemsize

    def _cut(self, box: Box, axis: int) -> Iterator[Box]:
        """Cut a box where chunks meet, the first axes first, until its parts are cells."""
        size = self._bytes(box)
        if size <= CELL_BYTES:
            if size:
                yield box
            return
        if axis == len(box):
            yield from _halved(box, self.dtype.itemsize)
            return
        start, stop = box[axis]
        rows = max(1, CELL_BYTES * (stop - start) // size)
        lengths = self.lengths(axis, start, stop)
        most = rows if self._array.chain.is_plain else stop - start
        for count in gathered(lengths, rows, most):
            yield from self._cut((*box[:axis], (start, start + count), *box[axis + 1 :]), axis + 1)
            start += count


class RowCells:
    """Cells of rows that come in blocks, one after another."""

    def __init__(
        self,
        read: Callable[[Selection], Iterator[NDArray[Any]]],
        selection: Selection,
        dtype: np.dtype[Any],
    ) -> None:
        self._read = read
        self.selection = selection
        self.dtype = dtype.newbyteorder("=")

    def lengths(self, axis: int, start: int, stop: int) -> Iterator[int]:
        """Yield the length itself: rows may be cut anywhere."""
        yield stop - start

    def read(self, boxes: Iterable[Box]) -> Iterator[Cell]:
        """Yield the rows of some boxes."""
        for box in boxes:
            ((start, _),) = box
            for block in self._read(box_of(self.selection, box)):
                rows = np.ascontiguousarray(block, self.dtype).reshape(-1)
                if rows.size:
                    yield Cell((start,), rows)
                start += rows.size


def box_of(selection: Selection, box: Box) -> Selection:
    """Return the part of a selection that a box of it is."""
    pairs = zip(selection.axes, box, strict=True)
    return Selection(tuple(_part(axis, start, stop) for axis, (start, stop) in pairs))


def whole_box(selection: Selection) -> Box:
    """Return the box of all elements of a selection."""
    return tuple((0, axis.count) for axis in selection.axes)


def gathered(lengths: Iterable[int], wanted: int, most: int) -> Iterator[int]:
    """Gather lengths into sums of about ``wanted``; what is above ``most`` is cut."""
    held = 0
    for length in lengths:
        if held and held + length > wanted:
            yield held
            held = 0
        left = length
        while left > most:
            yield most
            left -= most
        held += left
    if held:
        yield held


def _part(axis: Axis, start: int, stop: int) -> Axis:
    return Axis(axis.start + start * axis.step, stop - start, axis.step, axis.drop)


def _halved(box: Box, itemsize: int) -> Iterator[Box]:
    """Cut what one chunk gives, where it is very large, along its longest axes."""
    if math.prod(stop - start for start, stop in box) * itemsize <= MOST_BYTES:
        yield box
        return
    axis = max(range(len(box)), key=lambda number: box[number][1] - box[number][0])
    start, stop = box[axis]
    middle = (start + stop) // 2
    for part in ((start, middle), (middle, stop)):
        yield from _halved((*box[:axis], part, *box[axis + 1 :]), itemsize)
