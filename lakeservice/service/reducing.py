"""Reductions: an array becomes a smaller one while it is read, in bounded memory."""

from __future__ import annotations

import math
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lakeservice.codecs.engine import Engine
from lakeservice.service.cells import gathered
from lakeservice.service.folds import Span, bin_bytes, counts_of, fold_of, place_of
from lakeservice.service.lending import LOOKING, Lending
from schemas.errors import ErrorKind, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from lakeservice.service.cells import Box, Cell, Cells
    from lakeservice.service.folds import Fold
    from lakeservice.service.reduction import Reduction

MEMORY_BYTES = 128 << 20
"""What all answers in the making may take, together, in bytes; each may take the least."""
LEAST_BYTES = 8 << 20
TILE_BYTES = 64 << 20
"""Where it costs nothing, so many bytes are read before the first part of an answer is sent."""
BLOCK_BYTES = 4 << 20
"""Answers are given in blocks of about this size."""
_BAND_BYTES = 1 << 20  # what one thread looks at, at a time: it stays in the processor's cache


def reduced(
    reduction: Reduction, cells: Cells, is_over: Callable[[], bool] = lambda: False
) -> Iterator[NDArray[Any]]:
    """Yield an answer in C order, in blocks of bounded size.

    Parameters
    ----------
    cells
        What is reduced.
    is_over
        Asked between reads: nobody waits for the answer any more.

    Yields
    ------
    numpy.ndarray
        Consecutive entries of the answer's first axis, or of one after it where they are
        large; in the answer's dtype.

    Raises
    ------
    UnavailableError
        ``busy``: nobody waits any more.
    CorruptError
        As reading raises it.
    """
    if not reduction.selection.size:
        yield from _of_nothing(reduction)
        return
    each = bin_bytes(reduction.how, cells.dtype)
    first = next(_tiles(reduction, cells, max(1, MEMORY_BYTES // each)))
    with _LENDING.lent(math.prod(stop - start for start, stop in first) * each) as most:
        begun: deque[Box] = deque()

        def boxes() -> Iterator[Box]:
            for tile in _tiles(reduction, cells, max(1, most // each)):
                begun.append(tile)
                yield _elements(reduction, tile)

        making: _Making | None = None
        for cell in cells.read(boxes()):
            if is_over():
                raise UnavailableError(ErrorKind.BUSY, "nobody waits for this answer any more")
            if making is None or not making.holds(cell):
                if making is not None:
                    yield from making.finished()
                making = None  # its memory goes before that of the next comes
                making = _Making(reduction, begun.popleft(), cells.dtype)
            making.add(cell)
        if making is not None:
            yield from making.finished()


def _of_nothing(reduction: Reduction) -> Iterator[NDArray[Any]]:
    """Yield what becomes of no elements: sums of 0, means that are no numbers."""
    shape, dtype = reduction.answer.shape, reduction.answer.dtype
    if 0 in shape:
        return
    for place in _places(shape, max(1, BLOCK_BYTES // dtype.itemsize)):
        count = math.prod(part.stop - part.start for part in place)
        yield _shaped(np.full(count, 0 if reduction.how == "sum" else np.nan, dtype), shape)


def _shaped(block: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return consecutive elements of an array as entries of the first axis that they are of."""
    for axis in range(len(shape)):
        entry = shape[axis + 1 :]
        if block.size % math.prod(entry) == 0:
            return block.reshape(-1, *entry)
    return block.reshape(shape)


class _Making:
    """A part of an answer in the making."""

    def __init__(self, reduction: Reduction, tile: Box, dtype: np.dtype[Any]) -> None:
        self._reduction = reduction
        self._box = _elements(reduction, tile)
        self._shape = tuple(stop - start for start, stop in tile)
        together = math.prod(reduction.factors)
        self._fold = fold_of(
            reduction.how, self._shape, dtype, together=together, ddof=reduction.ddof
        )

    def holds(self, cell: Cell) -> bool:
        """Tell whether the elements of a cell belong to this part."""
        pairs = zip(cell.starts, self._box, strict=True)
        return all(begin <= start < end for start, (begin, end) in pairs)

    def add(self, cell: Cell) -> None:
        """Add the elements of a cell."""
        factors = self._reduction.factors
        starts = (one - begin for one, (begin, _) in zip(cell.starts, self._box, strict=True))
        spans = [Span(*each) for each in zip(starts, cell.elements.shape, factors, strict=True)]
        _add(self._fold, cell.elements, spans)

    def finished(self) -> Iterator[NDArray[Any]]:
        """Yield this part of the answer in C order."""
        dtype = self._reduction.answer.dtype
        for place in _places(self._shape, max(1, BLOCK_BYTES // dtype.itemsize)):
            spans = [
                Span(0, min(one.stop * factor, stop - start) - one.start * factor, factor)
                for one, (start, stop), factor in zip(
                    place, self._box, self._reduction.factors, strict=True
                )
            ]
            with np.errstate(all="ignore"):
                found = self._fold.result((*place, ...), counts_of(spans)).astype(dtype)
            yield _shaped(found, self._reduction.answer.shape)


def _elements(reduction: Reduction, tile: Box) -> Box:
    """Return the elements that the bins of a tile take together."""
    return tuple(
        (start * factor, min(stop * factor, axis.count))
        for (start, stop), factor, axis in zip(
            tile, reduction.factors, reduction.selection.axes, strict=True
        )
    )


def _add(fold: Fold, block: NDArray[Any], spans: list[Span]) -> None:
    """Add a block to a fold, in bands that several threads look at."""
    axis = _band_axis(spans)
    if axis is None or block.nbytes <= _BAND_BYTES:
        with LOOKING, np.errstate(all="ignore"):
            fold.merge(place_of(spans), fold.part(block, spans))
        return
    bands = [
        (block[(slice(None),) * axis + (inside,)], [*spans[:axis], span, *spans[axis + 1 :]])
        for inside, span in _bands(spans[axis], block.nbytes)
    ]
    if spans[axis].bins > 1:

        def work(band: NDArray[Any], parts: list[Span]) -> None:
            with LOOKING, np.errstate(all="ignore"):
                fold.merge(place_of(parts), fold.part(band, parts))

        Engine.shared().run(partial(work, *band) for band in bands)
        return
    # All of it becomes the same bins: added in the order of the elements, whoever is first.
    found: list[Any] = [None] * len(bands)

    def look(number: int, band: NDArray[Any], parts: list[Span]) -> None:
        with LOOKING, np.errstate(all="ignore"):
            found[number] = fold.part(band, parts)

    Engine.shared().run(partial(look, number, *band) for number, band in enumerate(bands))
    with np.errstate(all="ignore"):
        for part in found:
            fold.merge(place_of(spans), part)


def _band_axis(spans: Sequence[Span]) -> int | None:
    """Return the axis along which a cell is cut: one whose parts are different bins, if any."""
    for axis, span in enumerate(spans):
        if span.bins >= 4:  # the slowest that will do: its parts are whole runs of memory
            return axis
    longest = max(range(len(spans)), key=lambda axis: spans[axis].bins, default=None)
    if longest is not None and spans[longest].bins > 1:
        return longest
    return next((axis for axis, span in enumerate(spans) if span.length > 1), None)


def _bands(span: Span, size: int) -> Iterator[tuple[slice, Span]]:
    """Yield parts of an axis and what they are to the bins; no two share one of several bins."""
    count = max(1, -(-size // _BAND_BYTES))
    end = span.start + span.length
    if span.bins > 1:
        step = max(1, span.bins // count) * span.factor
        edges = range(span.first * span.factor + step, end, step)
    else:
        edges = range(span.start, end, max(1, span.length // count))[1:]
    start = span.start
    for edge in (*edges, end):
        inside = slice(start - span.start, edge - span.start)
        yield inside, Span(start, edge - start, span.factor)
        start = edge


def _places(shape: tuple[int, ...], most: int) -> Iterator[tuple[slice, ...]]:
    """Yield parts of a shape in C order with at most so many elements, or one row's."""
    if not shape:
        yield ()
        return
    row = math.prod(shape[1:])
    if row > most and shape[0] > 1:
        for number in range(shape[0]):
            for rest in _places(shape[1:], most):
                yield (slice(number, number + 1), *rest)
        return
    if row > most:
        for rest in _places(shape[1:], most):
            yield (slice(0, 1), *rest)
        return
    step = max(1, most // max(1, row))
    for start in range(0, shape[0], step):
        stop = min(start + step, shape[0])
        yield (slice(start, stop), *(slice(0, length) for length in shape[1:]))


def _tiles(reduction: Reduction, cells: Cells, most: int) -> Iterator[Box]:
    """Yield boxes of bins in C order; each is folded by itself, with at most so many bins."""
    return _tiles_from(reduction, cells, most, tuple((0, n) for n in reduction.bins), 0)


def _tiles_from(
    reduction: Reduction, cells: Cells, most: int, tile: Box, axis: int
) -> Iterator[Box]:
    """Cut a tile at an axis; all axes before it have one bin in the tile."""
    if axis == len(tile):
        yield tile
        return
    start, stop = tile[axis]
    if stop - start == 1:
        yield from _tiles_from(reduction, cells, most, tile, axis + 1)
        return
    wanted = room = most // math.prod(end - begin for begin, end in tile[axis + 1 :])
    if not room:
        for number in range(start, stop):
            part = (*tile[:axis], (number, number + 1), *tile[axis + 1 :])
            yield from _tiles_from(reduction, cells, most, part, axis + 1)
        return
    box = _elements(reduction, tile)
    if all(end - begin == 1 for begin, end in box[:axis]):
        # Bins that end before others begin: smaller tiles cost nothing, and leave sooner.
        each = math.prod(end - begin for begin, end in box) * cells.dtype.itemsize
        wanted = min(room, max(1, TILE_BYTES * (stop - start) // max(1, each)))
    if wanted >= stop - start:
        yield tile
        return
    lengths = _bin_lengths(cells.lengths(axis, *box[axis]), reduction.factors[axis])
    for count in gathered(lengths, wanted, room):
        yield (*tile[:axis], (start, start + count), *tile[axis + 1 :])
        start += count


def _bin_lengths(lengths: Iterator[int], factor: int) -> Iterator[int]:
    """Yield how many bins end within each of some lengths; those at the end count too."""
    held = 0
    for length in lengths:
        held += length
        if held >= factor:
            yield held // factor
            held %= factor
    if held:
        yield 1


_LENDING = Lending(MEMORY_BYTES, LEAST_BYTES)
