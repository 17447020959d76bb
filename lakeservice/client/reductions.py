"""Reductions on the server: a mean, a sum, a histogram of an array travels, not the array."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from lakeservice.client import tensors
from lakeservice.client.node import LakeNode
from schemas.errors import CorruptError, ErrorKind, InvalidRequestError
from schemas.selection import Selection, parse_selection, select
from schemas.ticket import STATISTICS, BinArray, HistogramArray, ReduceArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike, NDArray

    from schemas.ticket import Statistic


class Reductions(LakeNode):
    """What an array can be asked for instead of its elements.

    Shapes and dtypes of answers are NumPy's: sums of integers are of 64 bits and wrap,
    means of integers are ``float64``. Floating-point numbers of 16 and 32 bits are added
    in ``float64`` and answered in their own dtype, which is more exact than NumPy.
    ``numpy.mean(node, axis=0)`` and the like come here too. NaN is as in NumPy.
    """

    def mean(
        self,
        axis: int | Sequence[int] | None = None,
        dtype: DTypeLike | None = None,
        out: NDArray[Any] | None = None,
        keepdims: bool = False,
        *,
        selection: Any = None,
    ) -> Any:
        """Return the mean, calculated on the server.

        Parameters
        ----------
        axis
            Axes of the selection over which it goes; None for all of them.
        dtype
            What the answer is converted to, at its end; None leaves it.
        out
            Array of the answer's shape that receives it.
        keepdims
            Leave those axes in the answer, with length 1.
        selection
            Part of the array, as `Array.read` takes it; only its chunks are read.

        Returns
        -------
        numpy.ndarray or a NumPy scalar
            Of shape ``selection.shape`` without the axes; ``float64`` for integers, else
            of the array's dtype. Of no elements it is NaN.

        Raises
        ------
        InvalidRequestError
            ``bad-request``: no such axis, or elements that are no numbers; ``bad-slice``.
        CorruptError
            As in `Array.read`.
        """
        return self._reduced("mean", axis, dtype, out, keepdims, selection)

    def sum(
        self,
        axis: int | Sequence[int] | None = None,
        dtype: DTypeLike | None = None,
        out: NDArray[Any] | None = None,
        keepdims: bool = False,
        *,
        selection: Any = None,
    ) -> Any:
        """Return the sum: ``int64`` or ``uint64`` for integers; else as `mean`."""
        return self._reduced("sum", axis, dtype, out, keepdims, selection)

    def min(
        self,
        axis: int | Sequence[int] | None = None,
        out: NDArray[Any] | None = None,
        keepdims: bool = False,
        *,
        selection: Any = None,
    ) -> Any:
        """Return the least element, in the array's dtype, also of times; else as `mean`.

        Of no elements there is none: ``bad-request``.
        """
        return self._reduced("min", axis, None, out, keepdims, selection)

    def max(
        self,
        axis: int | Sequence[int] | None = None,
        out: NDArray[Any] | None = None,
        keepdims: bool = False,
        *,
        selection: Any = None,
    ) -> Any:
        """Return the largest element; else as `min`."""
        return self._reduced("max", axis, None, out, keepdims, selection)

    def std(
        self,
        axis: int | Sequence[int] | None = None,
        dtype: DTypeLike | None = None,
        out: NDArray[Any] | None = None,
        ddof: float = 0,
        keepdims: bool = False,
        *,
        selection: Any = None,
    ) -> Any:
        """Return the standard deviation, the square root of `var`."""
        return self._reduced("std", axis, dtype, out, keepdims, selection, ddof)

    def var(
        self,
        axis: int | Sequence[int] | None = None,
        dtype: DTypeLike | None = None,
        out: NDArray[Any] | None = None,
        ddof: float = 0,
        keepdims: bool = False,
        *,
        selection: Any = None,
    ) -> Any:
        """Return the variance: squared deviations, divided by their number less ``ddof``.

        Deviations are those from the mean of a part, and parts are joined in ``float64``:
        a large mean costs no digits. Of complex numbers it is real. Else as `mean`.
        """
        return self._reduced("var", axis, dtype, out, keepdims, selection, ddof)

    def bin(
        self, factors: int | Sequence[int], how: Statistic = "mean", *, selection: Any = None
    ) -> NDArray[Any]:
        """Return a coarser array, calculated on the server: neighbours become one element.

        Parameters
        ----------
        factors
            How many elements along each axis of the selection become one; a single number
            is for every axis, 1 leaves an axis as it is.
        how
            ``mean``, ``sum``, ``min``, ``max``, ``std`` or ``var`` of each block.
        selection
            Part of the array, as `Array.read` takes it.

        Returns
        -------
        numpy.ndarray
            Of ``ceil(length / factor)`` elements along each axis: where a factor does not
            divide the length, the last block is smaller, and its mean is that of what is
            there. Dtypes as in `mean`, `sum` and `min`.

        Raises
        ------
        InvalidRequestError
            ``bad-request``: factors that do not fit; otherwise as in `mean`.
        """
        chosen = self._chosen(selection)
        each = _integers(factors)
        if hasattr(factors, "__index__"):
            each *= len(chosen.shape)
        request = BinArray(
            path=self._path,
            factors=each,
            how=_known(how),
            selection=chosen.to_text(),
        )
        return self._remote.read(request, _received)

    def histogram(
        self,
        bins: int | Sequence[float] = 10,
        range: tuple[float, float] | None = None,
        *,
        selection: Any = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return how many elements have which values, as `numpy.histogram` does.

        Parameters
        ----------
        bins
            How many intervals of one width, or all edges, ascending.
        range
            Where the first interval begins and the last ends; elements outside are not
            counted. None takes the least and the largest: without ``range``, arrays of
            more than 16 bits are read twice.
        selection
            Part of the array, as `Array.read` takes it.

        Returns
        -------
        counts, edges
            One count for each interval, and one edge more than that. All intervals but
            the last are half-open.

        Raises
        ------
        InvalidRequestError
            ``bad-request``: elements that are no real numbers, edges that do not ascend,
            or values that are not finite, without a range.
        """
        request = HistogramArray(
            path=self._path,
            bins=_bins(bins),
            range=None if range is None else (float(range[0]), float(range[1])),
            selection=self._chosen(selection).to_text(),
        )
        table = self._remote.read(request, lambda reader: reader.read_all())
        if not table.num_rows:
            raise CorruptError(ErrorKind.CORRUPT_OBJECT, "the stream held no histogram")
        low, high, count = (table.column(name).to_numpy() for name in ("low", "high", "count"))
        return count, np.append(low, high[-1])

    def _reduced(
        self,
        how: Statistic,
        axis: int | Sequence[int] | None,
        dtype: DTypeLike | None,
        out: NDArray[Any] | None,
        keepdims: bool,
        selection: Any,
        ddof: float = 0,
    ) -> Any:
        request = ReduceArray(
            path=self._path,
            how=how,
            axis=None if axis is None else _integers(axis),
            selection=self._chosen(selection).to_text(),
            ddof=ddof,
            keepdims=bool(keepdims),
        )
        found = self._remote.read(request, _received)
        if dtype is not None:
            found = found.astype(dtype)
        if out is None:
            return found[()]
        if out.shape != found.shape or not np.can_cast(found.dtype, out.dtype, "same_kind"):
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST,
                f"out is {out.dtype} of shape {out.shape}; the answer is {found.dtype} "
                f"of shape {found.shape}",
            )
        out[...] = found
        return out

    def _chosen(self, selection: Any) -> Selection:
        structure: Any = self._node.structure
        if isinstance(selection, str):
            return parse_selection(selection, structure.shape)
        if isinstance(selection, Selection):
            selection = selection.as_index()
        return select(selection, structure.shape)


def _received(reader: Any) -> NDArray[Any]:
    out = np.empty(*tensors.described(reader.schema))
    tensors.receive(reader, out)
    return out


def _integers(given: int | Sequence[int]) -> tuple[int, ...]:
    if hasattr(given, "__index__"):
        return (operator.index(given),)
    return tuple(operator.index(one) for one in given)


def _bins(given: int | Sequence[float]) -> int | tuple[float, ...]:
    if hasattr(given, "__index__") and not np.ndim(given):
        return operator.index(given)
    return tuple(float(edge) for edge in given)  # type: ignore[union-attr]


def _known(how: Statistic) -> Statistic:
    if how not in STATISTICS:
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST, f"how={how!r}; there are {', '.join(STATISTICS)}"
        )
    return how
