"""Splitting a selection into parts that are read side by side."""

from __future__ import annotations

import math
from bisect import bisect_right
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import TYPE_CHECKING

from schemas.selection import Axis, Selection, select

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from schemas.structures import ArrayStructure

Part = tuple[Selection, slice | None]
"""A selection, and the rows of the whole answer that it fills; None where it fills all."""


class _Regular:
    """Chunks of one size along an axis."""

    def __init__(self, size: int, length: int) -> None:
        self._size = size
        self._length = length

    def first(self, number: int) -> int:
        return min(number * self._size, self._length)

    def holding(self, element: int) -> int:
        return element // self._size


class _Irregular:
    """Chunks of any sizes along an axis."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self._firsts = list(accumulate(sizes, initial=0))

    def first(self, number: int) -> int:
        return self._firsts[number]

    def holding(self, element: int) -> int:
        return bisect_right(self._firsts, element) - 1


def _axis_chunks(structure: ArrayStructure, number: int) -> _Regular | _Irregular:
    sizes = structure.chunks[number]
    if isinstance(sizes, int):
        return _Regular(sizes, structure.shape[number])
    return _Irregular(sizes)


def split(selection: Selection, structure: ArrayStructure, target_bytes: int) -> list[Part]:
    """Cut a selection along its first kept axis, where chunks meet.

    Parameters
    ----------
    target_bytes
        Parts are about this large, decoded; larger where a chunk is.
    """
    number = next((n for n, axis in enumerate(selection.axes) if not axis.drop), None)
    total = selection.size * structure.data_type.itemsize
    if number is None or total <= target_bytes:
        return [(selection, None)]
    axis = selection.axes[number]
    rows = max(1, axis.count * target_bytes // total)
    chunks = _axis_chunks(structure, number)
    parts: list[Part] = []
    begin = 0
    while begin < axis.count:
        end = _chunk_end(axis, begin + rows, chunks)
        cut = Axis(axis.start + begin * axis.step, end - begin, axis.step)
        whole = Selection((*selection.axes[:number], cut, *selection.axes[number + 1 :]))
        parts.append((select(whole.as_index(), structure.shape), slice(begin, end)))
        begin = end
    return parts


def _chunk_end(axis: Axis, row: int, chunks: _Regular | _Irregular) -> int:
    """Return the first row, not before ``row``, that lies in another chunk than the one before."""
    if row >= axis.count:
        return axis.count
    chunk = chunks.holding(axis.start + (row - 1) * axis.step)
    if axis.step > 0:
        beyond = chunks.first(chunk + 1) - axis.start
    else:
        beyond = axis.start - chunks.first(chunk) + 1
    return min(axis.count, math.ceil(beyond / abs(axis.step)))


def use_of_chunks(selection: Selection, structure: ArrayStructure) -> float:
    """Return which fraction of the elements of the chunks it touches a selection uses."""
    fraction = 1.0
    for number, axis in enumerate(selection.axes):
        if not axis.count:
            return 1.0
        chunks = _axis_chunks(structure, number)
        first, last = sorted((axis.start, axis.start + (axis.count - 1) * axis.step))
        low, high = chunks.holding(first), chunks.holding(last)
        held = chunks.first(high + 1) - chunks.first(low)
        touched = min(high - low + 1, axis.count)
        fraction *= axis.count / (held * touched / (high - low + 1))
    return fraction


def chunk_bytes(structure: ArrayStructure) -> int:
    """Return the size of the largest stored chunk, decoded."""
    size = structure.data_type.itemsize
    for sizes, length in zip(structure.chunks, structure.shape, strict=True):
        size *= min(sizes, length) if isinstance(sizes, int) else max(sizes, default=1)
    return size


def side_by_side(
    read: Callable[[Selection, slice | None, int], None], parts: Sequence[Part], lanes: int
) -> None:
    """Call ``read(selection, rows, lane)`` for every part, on several lanes at once.

    After a failure no further part is started, and the first failure is raised.
    """
    lanes = min(lanes, len(parts))
    if lanes == 1:
        for selection, rows in parts:
            read(selection, rows, 0)
        return
    waiting = list(reversed(parts))
    failures: list[BaseException] = []

    def work(lane: int) -> None:
        while waiting and not failures:
            try:
                selection, rows = waiting.pop()
            except IndexError:  # another lane was faster
                return
            try:
                read(selection, rows, lane)
            except BaseException as error:  # raised below, in the caller's thread
                failures.append(error)

    with ThreadPoolExecutor(lanes, thread_name_prefix="lake-read") as pool:
        try:
            list(pool.map(work, range(lanes)))
        except BaseException as error:  # an interrupt: the lanes stop at their next part
            failures.append(error)
    if failures:
        raise failures[0]
