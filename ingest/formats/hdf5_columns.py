"""Arrays of one length in a group, as the columns of a table."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

from ingest.formats.hdf5_records import arrow_of
from ingest.found import Item
from schemas.structures import TableStructure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from ingest.found import ReadRows
    from schemas.structures import ArrayStructure

ROWS = 65_536
"""Rows of a batch."""


def column_table(path: str, columns: Mapping[str, Item]) -> Item | None:
    """Return a table of arrays of one axis and one length; None where there are no columns."""
    if not columns:
        return None
    schema = pa.schema([(name, _arrow_type(_array(item))) for name, item in columns.items()])
    rows = _array(next(iter(columns.values()))).shape[0]
    readers = [cast("ReadRows", item.read) for item in columns.values()]
    return Item(
        path,
        TableStructure.from_arrow(schema, rows=rows),
        metadata={"columns_of": path.removesuffix("@table")},
        read=partial(_reader, schema, readers, rows),
    )


def _array(item: Item) -> ArrayStructure:
    return cast("ArrayStructure", item.structure)


def _arrow_type(structure: ArrayStructure) -> pa.DataType:
    return arrow_of(np.empty(0, structure.dtype), None).type


def _reader(schema: pa.Schema, readers: list[ReadRows], rows: int) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(schema, _batches(schema, readers, rows))


def _batches(schema: pa.Schema, readers: list[ReadRows], rows: int) -> Iterator[pa.RecordBatch]:
    columns = [_Column(read) for read in readers]
    for start in range(0, rows, ROWS):
        count = min(ROWS, rows - start)
        arrays = [arrow_of(column.take(count), None) for column in columns]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


class _Column:
    """Takes any number of values at a time from blocks of any size."""

    def __init__(self, read: ReadRows) -> None:
        self._blocks = read()
        self._rest: NDArray[Any] | None = None

    def take(self, count: int) -> NDArray[Any]:
        pieces, missing = [], count
        while missing:
            block = next(self._blocks) if self._rest is None else self._rest
            pieces.append(block[:missing])
            self._rest = block[missing:] if len(block) > missing else None
            missing -= len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
