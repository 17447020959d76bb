"""Histograms: how many elements have which values, counted while they are read."""

from __future__ import annotations

import math
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lakeservice.codecs.engine import Engine
from lakeservice.service.cells import whole_box
from lakeservice.service.lending import LOOKING
from schemas.errors import ErrorKind, InvalidRequestError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from lakeservice.service.cells import Cells
    from schemas.ticket import HistogramArray

MOST_BINS = 1 << 20
"""A histogram has no more intervals."""
_BAND_ELEMENTS = 1 << 18


def check(request: HistogramArray, dtype: np.dtype[Any]) -> None:
    """Refuse what is no histogram, before anything is read.

    Raises
    ------
    InvalidRequestError
        ``bad-request``: elements that are no real numbers, no intervals or too many, edges
        that do not ascend, a range that is none.
    """
    if dtype.kind not in "biuf":
        raise _bad(f"a histogram of {dtype} is not defined; it is one of real numbers")
    if isinstance(request.bins, int):
        count = request.bins
    else:
        count = len(request.bins) - 1
        pairs = zip(request.bins, request.bins[1:], strict=False)
        if not all(low <= high for low, high in pairs):
            raise _bad("the edges of bins do not ascend")
    if not 1 <= count <= MOST_BINS:
        raise _bad(f"{count} bins; there can be 1 to {MOST_BINS}, and one edge more than bins")
    if request.range is not None:
        low, high = request.range
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise _bad(f"range {low:g} to {high:g}; write two numbers, the lower first")


def counted(
    request: HistogramArray, cells: Cells, is_over: Callable[[], bool] = lambda: False
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return how many elements lie in each interval, and the edges, as NumPy has them.

    Integers of up to 16 bits are read once. Of others, where no range and no edges
    are given, everything is read twice: the range is that of the values.

    Raises
    ------
    InvalidRequestError
        ``bad-request``: the range is that of the values, and some are not finite.
    UnavailableError
        ``busy``: nobody waits any more.
    """
    bins: Any = request.bins if isinstance(request.bins, int) else np.asarray(request.bins, float)
    limits: Any = request.range
    if cells.dtype.kind in "biu" and cells.dtype.itemsize <= 2:
        values, weights = _values(cells, is_over)
        counts, edges = _histogram(values, bins, limits, weights)
        return counts.astype(np.int64), edges.astype(np.float64)
    if isinstance(request.bins, int) and limits is None and cells.selection.size:
        limits = _limits(cells, is_over)
    found, edges = _histogram(np.empty(0, cells.dtype), bins, limits)

    counts = found.astype(np.int64)
    _look(
        lambda band: _histogram(band, bins, limits)[0],
        lambda part: np.add(counts, part, out=counts),
        cells,
        is_over,
        least=counts.size,
    )
    return counts, edges.astype(np.float64)


def _histogram(
    values: NDArray[Any], bins: Any, limits: Any, weights: NDArray[Any] | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return NumPy's histogram, and its objections as ours."""
    try:
        with np.errstate(all="ignore"):
            return np.histogram(values, bins, limits, weights=weights)
    except (ValueError, OverflowError, IndexError) as error:
        raise _bad(f"there is no such histogram: {error}") from None


def _values(cells: Cells, is_over: Callable[[], bool]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return every value that small integers have, and how often."""
    dtype = np.dtype(np.uint8) if cells.dtype.kind == "b" else cells.dtype
    bits = np.dtype(f"u{dtype.itemsize}")
    many = 1 << 8 * dtype.itemsize

    counts = np.zeros(many, np.int64)
    _look(
        lambda band: np.bincount(band.view(bits), minlength=many),
        lambda part: np.add(counts, part, out=counts),
        cells,
        is_over,
    )
    values = np.arange(many, dtype=bits).view(dtype)
    there = counts > 0
    return values[there], counts[there]


def _limits(cells: Cells, is_over: Callable[[], bool]) -> tuple[Any, Any]:
    """Return the least and the largest value."""
    ends: list[Any] = []

    def add(part: tuple[Any, Any]) -> None:
        low, high = ends or part
        ends[:] = np.minimum(low, part[0]), np.maximum(high, part[1])

    _look(lambda band: (band.min(), band.max()), add, cells, is_over)
    low, high = ends
    if not (np.isfinite(low) and np.isfinite(high)):
        raise _bad("some values are not finite; give the histogram a range")
    return low, high


def _look(
    look: Callable[[NDArray[Any]], Any],
    add: Callable[[Any], object],
    cells: Cells,
    is_over: Callable[[], bool],
    least: int = 0,
) -> None:
    """Look at bands of all elements in several threads, and add what is found, one at a time.

    Parameters
    ----------
    least
        Elements of a band: fewer would cost more than what they are counted into.
    """
    lock = threading.Lock()
    step = max(_BAND_ELEMENTS, least)

    def work(band: NDArray[Any]) -> None:
        with LOOKING:
            found = look(band)
            with lock:
                add(found)

    for cell in cells.read([whole_box(cells.selection)]):
        if is_over():
            raise UnavailableError(ErrorKind.BUSY, "nobody waits for this answer any more")
        flat = cell.elements.reshape(-1)
        bands = (flat[n : n + step] for n in range(0, flat.size, step))
        Engine.shared().run(partial(work, band) for band in bands)


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_REQUEST, message)
