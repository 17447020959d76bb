"""What can be asked about an array instead of its elements: reductions, bins, histograms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lakeservice.service import histograms
from lakeservice.service.cells import RowCells, StoredCells
from lakeservice.service.reducing import reduced
from lakeservice.service.reduction import planned
from schemas.selection import parse_selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from lakeservice.service.cells import Cells
    from lakeservice.service.reading import Reader
    from lakeservice.service.reduction import Reduction
    from schemas.entry import Node
    from schemas.selection import Selection
    from schemas.ticket import BinArray, HistogramArray, ReduceArray

HISTOGRAM_SCHEMA = pa.schema(
    [
        pa.field("low", pa.float64(), nullable=False),
        pa.field("high", pa.float64(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),
    ]
)
"""A histogram as a table: one row for each interval."""


class Reductions:
    """Answers about the arrays that a reader opens; thread-safe.

    Parameters
    ----------
    reader
        Opens the arrays.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def plan(self, node: Node, request: ReduceArray | BinArray) -> Reduction:
        """Return what a request means for a node; reads nothing.

        Raises
        ------
        InvalidRequestError
            ``wrong-family``, ``bad-slice``; ``bad-request`` as `planned` has it.
        """
        structure = self._reader.structure(node)
        return planned(request, structure, parse_selection(request.selection, structure.shape))

    def read(
        self, node: Node, reduction: Reduction, is_over: Callable[[], bool] = lambda: False
    ) -> Iterator[NDArray[Any]]:
        """Yield the elements of an answer in C order; see `reduced`."""
        yield from reduced(reduction, self._cells(node, reduction.selection), is_over)

    def check_histogram(self, node: Node, request: HistogramArray) -> None:
        """Refuse what is no histogram of a node; reads nothing.

        Raises
        ------
        InvalidRequestError
            ``wrong-family``, ``bad-slice``; ``bad-request`` as `histograms.check` has it.
        """
        structure = self._reader.structure(node)
        parse_selection(request.selection, structure.shape)
        histograms.check(request, structure.dtype)

    def histogram(
        self, node: Node, request: HistogramArray, is_over: Callable[[], bool] = lambda: False
    ) -> pa.RecordBatch:
        """Return a histogram as rows of `HISTOGRAM_SCHEMA`; see `histograms.counted`."""
        self.check_histogram(node, request)
        shape = self._reader.structure(node).shape
        cells = self._cells(node, parse_selection(request.selection, shape))
        counts, edges = histograms.counted(request, cells, is_over)
        columns = [pa.array(edges[:-1]), pa.array(edges[1:]), pa.array(counts)]
        return pa.RecordBatch.from_arrays(columns, schema=HISTOGRAM_SCHEMA)

    def _cells(self, node: Node, selection: Selection) -> Cells:
        if node.data_sources and "column" in node.data_sources[0].parameters:
            dtype = self._reader.structure(node).dtype
            return RowCells(lambda part: self._reader.read_array(node, part), selection, dtype)
        return StoredCells(self._reader.array(node), selection)
