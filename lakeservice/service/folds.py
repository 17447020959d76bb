"""Folds: elements that are taken together become one number, block after block."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from lakeservice.codecs.memory import empty_apart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from schemas.ticket import Statistic

_BRIEF = 16  # up to this factor, adding strided views is faster than `reduceat`
_FEW = 0xFFFF  # so many 16-bit integers add up to less than 32 bits
_SQUARABLE = 46_000  # so many, and the square of their sum is below 2**63
_MANY = 1 << 31  # so many 32-bit integers add up to less than 64 bits

Place = tuple[Any, ...]
"""Where the bins of a block lie among all bins: a slice for each axis, and an Ellipsis."""


class Span(NamedTuple):
    """How one axis of a block lies in bins of ``factor`` elements."""

    start: int
    """Position of the block's first element, from where bin 0 begins."""
    length: int
    factor: int

    @property
    def first(self) -> int:
        """The bin that the first element belongs to."""
        return self.start // self.factor

    @property
    def stop(self) -> int:
        """The bin after the last one touched."""
        return -(-(self.start + self.length) // self.factor)

    @property
    def bins(self) -> int:
        """Number of bins touched."""
        return self.stop - self.first

    def counts(self) -> NDArray[np.int64]:
        """Return how many elements of the block each bin takes."""
        edges = np.arange(self.first, self.stop + 1) * self.factor
        edges[0], edges[-1] = self.start, self.start + self.length
        return np.diff(edges)


def place_of(spans: Sequence[Span]) -> Place:
    """Return where the bins of a block lie."""
    return (*(slice(span.first, span.stop) for span in spans), ...)


def counts_of(spans: Sequence[Span]) -> NDArray[np.float64]:
    """Return how many elements each bin takes, in a shape that broadcasts to that of the bins."""
    found = np.ones((1,) * len(spans))
    for axis, span in enumerate(spans):
        counts = span.counts()
        if counts.size and (counts == counts[0]).all():
            counts = counts[:1]
        shape = [1] * len(spans)
        shape[axis] = counts.size
        found = found * counts.reshape(shape)
    return found


def grouped(
    ufunc: np.ufunc, block: NDArray[Any], spans: Sequence[Span], dtype: Any = None
) -> NDArray[Any]:
    """Return what a ufunc makes of the elements of each bin of a block.

    Parameters
    ----------
    ufunc
        Of two arguments, and associative.
    dtype
        In which it is done; None for the block's own.
    """
    single = tuple(
        axis for axis, span in enumerate(spans) if span.bins == 1 and block.shape[axis] > 1
    )
    if single:
        block = ufunc.reduce(block, axis=single, dtype=dtype, keepdims=True)
    for axis, span in enumerate(spans):
        if span.bins > 1 and span.factor > 1:
            block = _along(ufunc, block, axis, span, dtype)
    return block


def _along(ufunc: np.ufunc, block: NDArray[Any], axis: int, span: Span, dtype: Any) -> NDArray[Any]:
    factor = span.factor
    rest = np.moveaxis(block, axis, 0)
    head = -span.start % factor  # elements that belong to the first, begun bin
    parts = []
    if head:
        parts.append(ufunc.reduce(rest[:head], axis=0, dtype=dtype, keepdims=True))
        rest = rest[head:]
    if factor > _BRIEF:
        parts.append(ufunc.reduceat(rest, np.arange(0, len(rest), factor), axis=0, dtype=dtype))
    else:
        found = np.moveaxis(
            np.moveaxis(rest[::factor], 0, axis).astype(dtype or block.dtype), axis, 0
        )
        for number in range(1, min(factor, len(rest))):
            part = rest[number::factor]
            ufunc(found[: len(part)], part, out=found[: len(part)])
        parts.append(found)
    joined = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return np.moveaxis(joined, 0, axis)


class Fold(Protocol):
    """What is known of all bins of one shape after some of their elements.

    `part` touches nothing that is shared: blocks can be looked at side by side.
    `merge` may be called side by side for places that do not overlap.
    """

    def part(self, block: NDArray[Any], spans: Sequence[Span]) -> Any:
        """Return what a block says of the bins that it touches."""
        ...

    def merge(self, place: Place, part: Any) -> None:
        """Add what a block said."""
        ...

    def result(self, place: Place, counts: NDArray[np.float64]) -> NDArray[Any]:
        """Return what became of some bins, each of which took ``counts`` elements."""
        ...


class _Sums:
    """Sums, in integers of 64 bits that wrap as NumPy's do, or in float64."""

    def __init__(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], together: int, *, mean: bool
    ) -> None:
        self._mean = mean
        self._brief = dtype.kind in "biu" and dtype.itemsize <= 2
        total = np.result_type(dtype, np.float64)
        exact = dtype.itemsize <= 4 and together <= _MANY
        if dtype.kind in "biu" and (exact or not mean):
            total = np.dtype(np.uint64 if dtype.kind == "u" else np.int64)
        self._total = _filled(shape, total, 0)

    def part(self, block: NDArray[Any], spans: Sequence[Span]) -> NDArray[Any]:
        dtype: Any = self._total.dtype
        together = math.prod(min(span.factor, span.length) for span in spans)
        if self._brief and together <= _FEW:
            dtype = np.uint32 if dtype.kind == "u" else np.int32
        if block.dtype.kind == "b":
            block = block.view(np.int8)
        return grouped(np.add, block, spans, dtype)

    def merge(self, place: Place, part: NDArray[Any]) -> None:
        view = self._total[place]
        np.add(view, part, out=view)

    def result(self, place: Place, counts: NDArray[np.float64]) -> NDArray[Any]:
        total = self._total[place]
        return np.true_divide(total, counts) if self._mean else total


class _Extremes:
    """The least, or the largest."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], *, largest: bool) -> None:
        self._ufunc = np.maximum if largest else np.minimum
        self._best = _filled(shape, dtype, _neutral(dtype, largest=largest))

    def part(self, block: NDArray[Any], spans: Sequence[Span]) -> NDArray[Any]:
        return grouped(self._ufunc, block, spans)

    def merge(self, place: Place, part: NDArray[Any]) -> None:
        view = self._best[place]
        self._ufunc(view, part, out=view)

    def result(self, place: Place, counts: NDArray[np.float64]) -> NDArray[Any]:
        best: NDArray[Any] = self._best[place]
        return best


class _Moments:
    """Mean and squared deviations; two parts are joined by the method of Chan et al. (1979).

    A mean is kept as a pivot, which is that of the first part, and what it is off: of
    numbers that are large and close together, no digit of their deviations is lost.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], *, ddof: float, root: bool
    ) -> None:
        self._dtype = np.result_type(dtype, np.float64)
        self._ddof, self._root = ddof, root
        self._brief = dtype.kind in "biu" and dtype.itemsize <= 2
        self._pivot = _filled(shape, self._dtype, 0)
        self._off = _filled(shape, self._dtype, 0)
        self._squares = _filled(shape, np.empty(0, self._dtype).real.dtype, 0)
        self._count = _filled(shape, np.dtype(np.float64), 0)

    def part(self, block: NDArray[Any], spans: Sequence[Span]) -> Any:
        counts = counts_of(spans)
        if self._brief and math.prod(min(one.factor, one.length) for one in spans) <= _SQUARABLE:
            return _exact_moments(block, spans, counts)
        pivot = grouped(np.add, block, spans, self._dtype) / counts
        wide = pivot
        for axis, span in enumerate(spans):
            if span.bins > 1 and span.factor > 1:
                wide = np.repeat(wide, span.counts(), axis)
        away = block - wide
        off = grouped(np.add, away, spans, self._dtype) / counts
        squares = grouped(np.add, _squared(away), spans, self._squares.dtype)
        return pivot, off, squares - counts * _squared(off), counts

    def merge(self, place: Place, part: Any) -> None:
        pivot, off, squares, counts = part
        before, pivots, offs = self._count[place], self._pivot[place], self._off[place]
        np.copyto(pivots, pivot, where=before == 0)
        after = before + counts
        away = (pivot - pivots) + (off - offs)
        offs += away * (counts / after)
        self._squares[place] += squares + _squared(away) * (before * (counts / after))
        before[...] = after

    def result(self, place: Place, counts: NDArray[np.float64]) -> NDArray[Any]:
        variance: NDArray[Any] = self._squares[place] / np.maximum(counts - self._ddof, 0)
        return np.sqrt(variance) if self._root else variance


def _exact_moments(block: NDArray[Any], spans: Sequence[Span], counts: NDArray[np.float64]) -> Any:
    """Return mean and squared deviations of small integers; all but two divisions is exact."""
    if block.dtype.kind == "b":
        block = block.view(np.int8)
    wide = np.uint32 if block.dtype.kind == "u" else np.int32
    total = grouped(np.add, block, spans, np.int64).astype(np.int64, copy=False)
    squares = grouped(np.add, np.multiply(block, block, dtype=wide), spans, np.int64)
    spread = counts.astype(np.int64) * squares.astype(np.int64, copy=False) - total * total
    return total / counts, np.zeros((1,) * counts.ndim), spread / counts, counts


def _filled(shape: tuple[int, ...], dtype: np.dtype[Any], value: Any) -> NDArray[Any]:
    """Return an array that stays until all elements were looked at."""
    found = empty_apart(shape, dtype)
    found[...] = value
    return found


def _squared(values: NDArray[Any]) -> NDArray[Any]:
    complex_ones = values.dtype.kind == "c"
    found: NDArray[Any] = values.real**2 + values.imag**2 if complex_ones else values * values
    return found


def _neutral(dtype: np.dtype[Any], *, largest: bool) -> Any:
    """Return what no element is beyond."""
    if dtype.kind == "b":
        return not largest
    if dtype.kind in "iu":
        return np.iinfo(dtype).min if largest else np.iinfo(dtype).max
    if dtype.kind in "mM":  # the least of all integers is NaT
        extremes = np.iinfo(np.int64)
        return np.int64(extremes.min + 1 if largest else extremes.max).view(dtype)
    infinite = -np.inf if largest else np.inf
    return complex(infinite, infinite) if dtype.kind == "c" else infinite


def fold_of(
    how: Statistic,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    *,
    together: int,
    ddof: float = 0,
) -> Fold:
    """Return an empty fold.

    Parameters
    ----------
    shape
        Number of bins along each axis.
    dtype
        Of the elements, in the order of this machine.
    together
        Elements in the largest bin.
    """
    match how:
        case "sum" | "mean":
            return _Sums(shape, dtype, together, mean=how == "mean")
        case "min" | "max":
            return _Extremes(shape, dtype, largest=how == "max")
        case _:
            return _Moments(shape, dtype, ddof=ddof, root=how == "std")


def result_dtype(how: Statistic, dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """Return the dtype of an answer, NumPy's rule; None where these elements cannot be so taken."""
    native = dtype.newbyteorder("=")
    if how in ("min", "max"):
        return native if dtype.kind in "biufcmM" else None
    if dtype.kind not in "biufc":
        return None
    if dtype.kind in "biu":
        whole = np.dtype(np.uint64 if dtype.kind == "u" else np.int64)
        return whole if how == "sum" else np.dtype(np.float64)
    return np.empty(0, native).real.dtype if how in ("std", "var") else native


def bin_bytes(how: Statistic, dtype: np.dtype[Any]) -> int:
    """Return how much memory a fold takes for each bin."""
    wide = np.result_type(dtype, np.float64).itemsize if dtype.kind in "biufc" else dtype.itemsize
    return {"min": dtype.itemsize, "max": dtype.itemsize, "std": 4 * wide, "var": 4 * wide}.get(
        how, wide
    )
