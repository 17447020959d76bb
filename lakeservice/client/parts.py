"""Which chunks a selection touches, and how much of them it uses."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schemas.selection import Selection
    from schemas.structures import ArrayStructure


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
