"""A reduction: what is asked about an array, checked, before anything is read."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec

from lakeservice.service.folds import result_dtype
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.selection import Axis, Selection
from schemas.structures import ArrayStructure
from schemas.ticket import STATISTICS, BinArray, ReduceArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.ticket import Statistic


@dataclass(frozen=True)
class Reduction:
    """What is asked, checked: which elements become which.

    Every axis of the array is cut into bins of some elements each, so that both ways
    to ask are one: an axis that goes is a single bin, one that stays has bins of one.
    """

    selection: Selection
    how: Statistic
    factors: tuple[int, ...]
    """Elements in a bin, for each axis of the array."""
    answer: ArrayStructure
    """The answer as an array: shape, dtype, names of its axes."""
    axes: tuple[int, ...]
    """For each axis of the answer, which one of the array it is."""
    ddof: float = 0

    @property
    def bins(self) -> tuple[int, ...]:
        """Number of bins along each axis of the array."""
        pairs = zip(self.selection.axes, self.factors, strict=True)
        return tuple(-(-axis.count // factor) for axis, factor in pairs)


def planned(
    request: ReduceArray | BinArray, structure: ArrayStructure, selection: Selection
) -> Reduction:
    """Return what a request means for an array; reads nothing.

    Raises
    ------
    InvalidRequestError
        ``bad-request``: axes or factors that do not fit, a dtype that cannot be so
        reduced, the least or largest of nothing.
    """
    if request.how not in STATISTICS:
        raise _bad(f"cannot do {request.how!r}; there are {', '.join(STATISTICS)}")
    dtype = result_dtype(request.how, structure.dtype)
    if dtype is None:
        raise _bad(
            f"{request.how} of {structure.dtype} is not defined; "
            "numbers have all of " + ", ".join(STATISTICS) + ", times have min and max"
        )
    kept = [number for number, axis in enumerate(selection.axes) if not axis.drop]
    counts = [selection.axes[number].count for number in kept]
    lengths: list[int]
    if isinstance(request, BinArray):
        sizes = _factors(request.factors, counts)
        lengths = [-(-count // size) for count, size in zip(counts, sizes, strict=True)]
        left, ddof = kept, 0.0
    else:
        gone = _axes(request.axis, len(kept))
        sizes = [max(1, n) if one in gone else 1 for one, n in enumerate(counts)]
        stay = [one for one in range(len(kept)) if request.keepdims or one not in gone]
        lengths = [(1 if one in gone else counts[one]) for one in stay]
        left, ddof = [kept[one] for one in stay], request.ddof
        if not math.isfinite(ddof):
            raise _bad(f"ddof={ddof}; it is a number, mostly 0 or 1")
    if request.how in ("min", "max") and not selection.size and 0 not in lengths:
        raise _bad(f"the selection has no elements, shape {selection.shape}: no {request.how}")
    factors: list[int] = [1] * len(selection.axes)
    for number, size in zip(kept, sizes, strict=True):
        factors[number] = size
    dims = None if structure.dims is None else tuple(structure.dims[number] for number in left)
    answer = ArrayStructure.from_numpy(tuple(lengths), dtype, dims=dims)
    return Reduction(selection, request.how, tuple(factors), answer, tuple(left), ddof)


def part_of(reduction: Reduction, inner: Selection) -> tuple[Reduction, tuple[Any, ...]]:
    """Return what makes a part of an answer, and the index that then takes exactly that part.

    Parameters
    ----------
    inner
        A selection of the answer.
    """
    axes, lengths, rest = list(reduction.selection.axes), [], []
    for number, wanted in zip(reduction.axes, inner.axes, strict=True):
        axis, factor = axes[number], reduction.factors[number]
        if not axis.count:  # the axis is of no elements, and stays so
            lengths.append(wanted.count)
            rest.append(0 if wanted.drop else slice(None))
            continue
        step, last = wanted.step, wanted.start + max(0, wanted.count - 1) * wanted.step
        low, high = min(wanted.start, last), max(wanted.start, last) + 1
        if factor == 1:
            axes[number] = Axis(
                axis.start + wanted.start * axis.step, wanted.count, axis.step * step
            )
            lengths.append(wanted.count)
            rest.append(0 if wanted.drop else slice(None))
            continue
        if not wanted.count:
            low = high = 0
        begin, end = low * factor, min(high * factor, axis.count)
        axes[number] = Axis(axis.start + begin * axis.step, end - begin, axis.step)
        lengths.append(high - low)
        rest.append(0 if wanted.drop else slice(None, None, step))
    answer = msgspec.structs.replace(
        reduction.answer, shape=tuple(lengths), chunks=tuple(max(1, n) for n in lengths)
    )
    return replace(reduction, selection=Selection(tuple(axes)), answer=answer), tuple(rest)


def _axes(asked: Sequence[int] | None, axes: int) -> set[int]:
    if asked is None:
        return set(range(axes))
    found = set()
    for axis in asked:
        if not -axes <= axis < axes:
            raise _bad(f"axis {axis} of a selection of {axes} axes; there are 0 to {axes - 1}")
        if axis % axes in found:
            raise _bad(f"axis {axis} is asked for twice")
        found.add(axis % axes)
    return found


def _factors(asked: Sequence[int], counts: Sequence[int]) -> list[int]:
    if len(asked) != len(counts):
        raise _bad(
            f"{len(asked)} factors for a selection of {len(counts)} axes; "
            "give one for each, 1 where an axis stays as it is"
        )
    for factor in asked:
        if factor < 1:
            raise _bad(f"a factor of {factor}; it is 1 or more")
    return [min(factor, max(1, count)) for factor, count in zip(asked, counts, strict=True)]


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_REQUEST, message)
