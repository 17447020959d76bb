"""The grid of chunks over an array: which chunk holds which elements, as pure geometry."""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import accumulate, product
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from schemas.selection import Axis, Selection
    from schemas.structures import ArrayStructure, Chunks


class Piece(msgspec.Struct, frozen=True, gc=False):
    """What one chunk gives to the answer of a selection."""

    position: tuple[int, ...]
    """Position of the chunk in the grid."""
    origin: tuple[int, ...]
    """Position in the array of the chunk's first element."""
    shape: tuple[int, ...]
    """Extent of the chunk, cut at the array's end."""
    source: tuple[slice, ...]
    """Where the elements lie in the chunk; steps may be negative."""
    target: tuple[slice, ...]
    """Where they go in an array of the selection's ``kept_shape``; step 1."""

    def place_in(self, out: NDArray[Any]) -> NDArray[Any]:
        """Return the view of an answer that this piece fills, also where there are no axes."""
        index: Any = (*self.target, ...)
        view: NDArray[Any] = out[index]
        return view

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Shape of the elements, in the chunk's number of axes."""
        return tuple(part.stop - part.start for part in self.target)

    def is_whole(self) -> bool:
        """Tell whether every element of the chunk is wanted, in order."""
        return all(
            part.step == 1 and part.start == 0 and part.stop == length
            for part, length in zip(self.source, self.shape, strict=True)
        )


_Cut = tuple[int, int, int, slice, slice]  # chunk number, origin, length, source, target


class _RegularAxis:
    """Chunks of one size along an axis, the last one cut at the end."""

    def __init__(self, length: int, size: int) -> None:
        self._length = length
        self._size = size
        self.count = max(1, -(-length // size))
        self.is_single = size == 1

    def bounds(self, number: int) -> tuple[int, int]:
        start = number * self._size
        return start, max(0, min(self._size, self._length - start))

    def number_of(self, element: int) -> int:
        return element // self._size

    def numbers_of(self, elements: NDArray[np.int64]) -> NDArray[np.int64]:
        return elements // self._size


class _IrregularAxis:
    """Chunks of any sizes along an axis; empty ones hold nothing."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self._sizes = sizes or (0,)
        self._starts = list(accumulate(self._sizes, initial=0))
        self.count = len(self._sizes)
        self.is_single = all(size == 1 for size in self._sizes)

    def bounds(self, number: int) -> tuple[int, int]:
        return self._starts[number], self._sizes[number]

    def number_of(self, element: int) -> int:
        return bisect_right(self._starts, element) - 1

    def numbers_of(self, elements: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.searchsorted(self._starts, elements, side="right") - 1


class Grid:
    """The chunks of an array of some shape.

    Parameters
    ----------
    shape
        Shape of the array; an axis of length 0 has one chunk of length 0.
    chunks
        Per axis one size, or every size.
    """

    def __init__(self, shape: tuple[int, ...], chunks: Chunks) -> None:
        self.shape = shape
        self._axes = tuple(
            _RegularAxis(length, sizes) if isinstance(sizes, int) else _IrregularAxis(sizes)
            for length, sizes in zip(shape, chunks, strict=True)
        )
        self.counts = tuple(axis.count for axis in self._axes)
        """Number of chunks along each axis."""
        self.size = math.prod(self.counts)
        """Number of chunks."""

    @classmethod
    def of(cls, structure: ArrayStructure) -> Grid:
        """Return the grid of an array structure."""
        return cls(structure.shape, structure.chunks)

    def position(self, linear: int) -> tuple[int, ...]:
        """Return the position of the chunk that is ``linear``-th in C order."""
        position = []
        for count in reversed(self.counts):
            linear, rest = divmod(linear, count)
            position.append(rest)
        return tuple(reversed(position))

    def linear(self, position: tuple[int, ...]) -> int:
        """Return the number in C order of the chunk at a position."""
        number = 0
        for index, count in zip(position, self.counts, strict=True):
            number = number * count + index
        return number

    def holding(self, element: tuple[int, ...]) -> tuple[int, ...]:
        """Return the position of the chunk that holds an element."""
        return tuple(axis.number_of(index) for axis, index in zip(self._axes, element, strict=True))

    def along_rows(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return in which row of chunks, along the first axis, each row of elements lies."""
        return self._axes[0].numbers_of(rows)

    def row_bounds(self, number: int) -> tuple[int, int]:
        """Return the first row of elements of a row of chunks, and how many there are."""
        return self._axes[0].bounds(number)

    def bounds(self, position: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the first element of a chunk, and its extent cut at the array's end."""
        pairs = [axis.bounds(index) for axis, index in zip(self._axes, position, strict=True)]
        return tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)

    def contains(self, position: tuple[int, ...]) -> bool:
        """Tell whether there is a chunk at this position."""
        return len(position) == len(self.counts) and all(
            0 <= index < count for index, count in zip(position, self.counts, strict=True)
        )

    def run_lengths(self, axis: int, part: Axis) -> Iterator[int]:
        """Yield how many elements of one axis of a selection lie in each chunk that has some."""
        for *_, target in _cuts(self._axes[axis], part):
            yield target.stop - target.start

    def run_end(self, axis: int, part: Axis, row: int) -> int:
        """Return the first row of a selection, not before ``row``, where a chunk begins.

        Rows are counted along one axis of the selection; its end counts as a chunk's.
        """
        if row >= part.count:
            return part.count
        element = part.start + (row - 1) * part.step
        cut = self._axes[axis]
        origin, length = cut.bounds(cut.number_of(element))
        inside = element - origin
        room = (length - 1 - inside) // part.step if part.step > 0 else inside // -part.step
        return min(part.count, row + room)

    def touched(self, selection: Selection) -> int:
        """Return about how many elements the chunks have that a selection touches."""
        size = 1
        for axis, part in zip(self._axes, selection.axes, strict=True):
            if not part.count:
                return 0
            ends = part.start, part.start + (part.count - 1) * part.step
            low, high = (axis.number_of(element) for element in sorted(ends))
            held = sum(axis.bounds(high)) - axis.bounds(low)[0]
            chunks = high - low + 1
            size *= -(-held * min(chunks, part.count) // chunks)
        return size

    def share_in_sequence(self, selection: Selection) -> float:
        """Return which part of a selection is whole chunks, where chunks follow one another.

        They do where what each chunk gives is one run of the answer in C order:
        the pieces, one after another, are the answer. 0 where they are not, and
        for a selection of no elements; 1 where every chunk is taken whole.
        """
        if not selection.size:
            return 0.0
        share, several = 1.0, False
        for axis, part in zip(self._axes, selection.axes, strict=True):
            if several:
                origin, length = axis.bounds(axis.number_of(part.start))
                if (part.start, part.count, part.step) != (origin, length, 1):
                    return 0.0
                continue
            if part.count > 1 and part.step != 1 and not axis.is_single:
                return 0.0
            whole = sum(
                target.stop - target.start
                for _, _, length, _, target in ([] if axis.is_single else _cuts(axis, part))
                if target.stop - target.start == length
            )
            several = not axis.is_single and part.count > 1
            share *= 1.0 if axis.is_single else whole / part.count
        return share

    def pieces(self, selection: Selection) -> Iterator[Piece]:
        """Yield what each chunk gives to a selection, in C order of the answer.

        A chunk that the selection does not touch (between two steps, say) is
        not there. A selection of no elements has no pieces.
        """
        if not selection.size:
            return
        if not self._axes:
            yield Piece((), (), (), (), ())
            return
        first, *others = (
            _cuts(axis, part) for axis, part in zip(self._axes, selection.axes, strict=True)
        )
        rest = [list(cuts) for cuts in others]
        for cut in first:
            for cuts in product((cut,), *rest):
                yield Piece(*zip(*cuts, strict=True))


def _cuts(axis: _RegularAxis | _IrregularAxis, part: Axis) -> Iterator[_Cut]:
    """Cut the elements of one axis of a selection at the chunks that hold them."""
    start, step, done = part.start, part.step, 0
    while done < part.count:
        element = start + done * step
        number = axis.number_of(element)
        origin, length = axis.bounds(number)
        inside = element - origin
        room = (length - 1 - inside) // step if step > 0 else inside // -step
        count = min(room + 1, part.count - done)
        stop = inside + (count - 1) * step + (1 if step > 0 else -1)
        source = slice(inside, stop if stop >= 0 else None, step)
        yield number, origin, length, source, slice(done, done + count)
        done += count
