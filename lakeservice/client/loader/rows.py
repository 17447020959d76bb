"""Samples of tables: rows, read in blocks of which a window's worth is kept."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

from lakeservice.client.loader.column import one_array, refuse_missing, taken
from schemas.errors import CorruptError, ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from lakeservice.client.table import Table

BLOCK_ROWS = 122_880
"""Most rows that are read at once: as many as a batch on the wire has."""
WINDOW_BLOCKS = 4
"""A window of a table has at least so many blocks."""


class Rows:
    """Tables whose chosen columns have the same types.

    Parameters
    ----------
    nodes
        Tables as they were described.
    columns
        Names of the columns; None for all.
    block_rows
        Rows that are read at once.
    kept_rows
        Rows that are kept, beside one block; None for all.

    Raises
    ------
    InvalidRequestError
        ``unknown-column``; ``bad-structure``: the first node whose columns differ.
    """

    def __init__(
        self,
        nodes: Sequence[Table],
        columns: Sequence[str] | None,
        *,
        block_rows: int,
        kept_rows: int | None,
    ) -> None:
        self.nodes = nodes
        self.columns = tuple(nodes[0].columns if columns is None else columns)
        expected = _types(nodes[0], self.columns)
        for node in nodes:
            present = _types(node, self.columns)
            for name in self.columns:
                if present[name] != expected[name]:
                    raise InvalidRequestError(
                        ErrorKind.BAD_STRUCTURE,
                        f"column {name!r} of {node.path!r} is {present[name]}; {expected[name]} "
                        f"is expected, as of {nodes[0].path!r}",
                    )
        self.lengths = np.array([len(node) for node in nodes], np.int64)
        self.block_rows = np.full(len(nodes), block_rows, np.int64)
        self._kept_rows = kept_rows
        self._blocks: OrderedDict[tuple[int, int], dict[str, pa.Array]] = OrderedDict()
        self._rows = 0
        self.most_rows = 0
        """Most rows that were kept at a time so far."""
        self._lock = threading.Lock()

    def read(self, indices: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Return the values of each column; shape (n, …).

        Parameters
        ----------
        indices
            Node and row of each; shape (n, 2).
        """
        size = int(self.block_rows[0])
        blocks = indices[:, 1] // size
        order = np.lexsort((blocks, indices[:, 0]))
        nodes, blocks, rows = indices[order, 0], blocks[order], indices[order, 1] % size
        cuts = np.flatnonzero((nodes[1:] != nodes[:-1]) | (blocks[1:] != blocks[:-1])) + 1
        found: dict[str, NDArray[Any]] = {}
        for part in np.split(np.arange(len(order)), cuts):
            # Without samples the first block still tells the dtypes.
            number, block = (int(nodes[part[0]]), int(blocks[part[0]])) if part.size else (0, 0)
            for name, column in self._block(number, block).items():
                values = taken(column, rows[part])
                if name not in found:
                    found[name] = np.empty((len(order), *values.shape[1:]), values.dtype)
                found[name][order[part]] = values
        return found

    def _block(self, number: int, block: int) -> dict[str, pa.Array]:
        with self._lock:
            found = self._blocks.get((number, block))
            if found is not None:
                self._blocks.move_to_end((number, block))
                return found
            found = self._fetched(number, block)
            self._blocks[number, block] = found
            self._rows += self._size(number, block)
            self.most_rows = max(self.most_rows, self._rows)
            while self._kept_rows is not None and self._rows > self._kept_rows:
                gone, _ = self._blocks.popitem(last=False)
                self._rows -= self._size(*gone)
            return found

    def _fetched(self, number: int, block: int) -> dict[str, pa.Array]:
        node, start = self.nodes[number], block * int(self.block_rows[number])
        stop = start + self._size(number, block)
        table = node.to_arrow(self.columns, rows=(start, stop))
        if table.num_rows != stop - start:
            raise CorruptError(
                ErrorKind.CORRUPT_OBJECT,
                f"{table.num_rows} rows came of rows {start} to {stop} of {node.path!r}",
            )
        found = {name: one_array(table.column(name)) for name in self.columns}
        for name, column in found.items():
            refuse_missing(column, f"column {name!r} of {node.path!r}")
        return found

    def _size(self, number: int, block: int) -> int:
        size = int(self.block_rows[number])
        return min(size, int(self.lengths[number]) - block * size)


def _types(node: Table, columns: Sequence[str]) -> dict[str, pa.DataType]:
    schema = node.schema
    for name in columns:
        if name not in schema.names:
            raise InvalidRequestError(
                ErrorKind.UNKNOWN_COLUMN,
                f"{node.path!r} has no column {name!r}; there are {', '.join(schema.names[:20])}",
            )
    return {name: schema.field(name).type for name in columns}
