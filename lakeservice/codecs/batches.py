"""Record batches: cut to a range of rows, to those that match, to a schema, to a number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.codecs.row_filters import Condition

BATCH_ROWS = 122_880
"""Most rows of a batch."""
BATCH_BYTES = 16 << 20
"""About the most bytes of a batch."""
Span = tuple[int, int]
"""First row and the row after the last."""


def within(batch: pa.RecordBatch, start: int, span: Span) -> Iterator[pa.RecordBatch]:
    """Yield what of a batch, whose first row is ``start``, lies in a range of rows."""
    low, high = max(0, span[0] - start), min(batch.num_rows, span[1] - start)
    if low < high:
        yield batch if high - low == batch.num_rows else batch.slice(low, high - low)


def matching(rows: Any, condition: Condition | None) -> Any:
    """Return the rows of a batch or table for which a condition holds; None is all."""
    return rows if condition is None else rows.filter(condition.expression)


def shaped(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return the columns of a schema, in its order and with its types and metadata."""
    if batch.schema.equals(schema, check_metadata=True):
        return batch
    arrays = [_cast(batch.column(field.name), field.type) for field in schema]
    if not arrays:
        return without_columns(batch.num_rows, schema)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def without_columns(rows: int, schema: pa.Schema | None = None) -> pa.RecordBatch:
    """Return a batch that has a number of rows and nothing else."""
    counted = pa.RecordBatch.from_arrays([pa.nulls(rows)], names=[""]).select([])
    return counted if schema is None else counted.replace_schema_metadata(schema.metadata)


def width_of(dtype: pa.DataType) -> float | None:
    """Return the bytes of an element; None where elements differ or have parts."""
    if pa.types.is_primitive(dtype) or pa.types.is_fixed_size_binary(dtype):
        width: float = dtype.bit_width / 8
        return width
    return None


def first(batches: Iterator[pa.RecordBatch], limit: int) -> Iterator[pa.RecordBatch]:
    """Yield the first rows of a stream, at most so many."""
    left = limit
    while left > 0:
        batch = next(batches, None)
        if batch is None:
            return
        yield batch.slice(0, left)
        left -= batch.num_rows


def _cast(column: pa.Array, dtype: pa.DataType) -> pa.Array:
    if column.type.equals(dtype):
        return column
    if pa.types.is_dictionary(dtype) and not pa.types.is_dictionary(column.type):
        # Parquet keeps dictionaries of text only.
        column = column.dictionary_encode()
        indices = column.indices.cast(dtype.index_type)
        values = column.dictionary.cast(dtype.value_type)
        return pa.DictionaryArray.from_arrays(indices, values, ordered=dtype.ordered)
    return column.cast(dtype)
