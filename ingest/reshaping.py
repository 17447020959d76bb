"""Which chunks of another shape are the very chunks that an array is stored in."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def cut_of(
    shape: tuple[int, ...], chunks: tuple[int, ...], wanted: tuple[int, ...]
) -> tuple[int, ...] | None:
    """Return the chunk shape that cuts ``wanted`` into the chunks that ``shape`` is stored in.

    Both have as many elements, in C order. None where no regular grid does: then
    chunks of one are no chunks of the other, or not in the same order.
    """
    cut: list[int] = []
    for axes, targets in _groups(shape, wanted):
        own = [shape[axis] for axis in axes]
        sizes = [chunks[axis] for axis in axes]
        made = [wanted[axis] for axis in targets]
        if own == made:
            cut += sizes
            continue
        found = _recut(own, sizes, made)
        if found is None:
            return None
        cut += found
    return tuple(cut)


def _groups(shape: tuple[int, ...], wanted: tuple[int, ...]) -> list[tuple[range, range]]:
    """Pair the shortest runs of axes that have as many elements in both shapes."""
    groups = []
    left = right = 0
    while left < len(shape) or right < len(wanted):
        start, begin = left, right
        one = other = 1
        if left < len(shape):
            one, left = shape[left], left + 1
        if right < len(wanted):
            other, right = wanted[right], right + 1
        while one != other:
            if (one < other or right >= len(wanted)) and left < len(shape):
                one, left = one * shape[left], left + 1
            elif right < len(wanted):
                other, right = other * wanted[right], right + 1
            else:
                break
        groups.append((range(start, left), range(begin, right)))
    return groups


def _recut(shape: Sequence[int], chunks: Sequence[int], wanted: Sequence[int]) -> list[int] | None:
    total = math.prod(shape)
    if total == 0:
        return [max(1, length) for length in wanted]
    run = run_of(shape, chunks)
    if run is None:
        return None
    rest, cut = min(run, total), []
    for number in range(len(wanted) - 1, -1, -1):
        length = wanted[number]
        if rest >= length:
            if rest % length:
                return None
            cut.append(length)
            rest //= length
            continue
        ahead = math.prod(wanted[:number])
        if length % rest and ahead > 1:
            return None
        cut.append(rest)
        rest = 1
    return cut[::-1] if rest == 1 else None


def run_of(shape: Sequence[int], chunks: Sequence[int]) -> int | None:
    """Return how many elements in a row make a chunk; None where chunks are no such runs."""
    run, number = 1, len(shape) - 1
    while number >= 0 and chunks[number] >= shape[number]:
        run *= shape[number] if number else chunks[number]
        number -= 1
    if number < 0:
        return run
    if any(min(chunk, length) != 1 for chunk, length in zip(chunks[:number], shape, strict=False)):
        return None
    if math.prod(shape[:number]) > 1 and shape[number] % chunks[number]:
        return None
    return run * chunks[number]
