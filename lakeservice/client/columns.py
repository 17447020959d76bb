"""Tables in whatever form a program has them, as Arrow batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.errors import ErrorKind, InvalidRequestError

BATCH_ROWS = 131_072
BATCH_BYTES = 8 << 20
"""Record batches of tables hold at most so many rows, and about so many bytes."""


@dataclass(frozen=True)
class Stream:
    """Rows to send: their schema, and batches that can be run through."""

    schema: pa.Schema
    batches: Callable[[], Iterator[pa.RecordBatch]]
    repeatable: bool = True
    size_bytes: int | None = None


def stream_of(rows: Any) -> Stream:
    """Return a table as batches of bounded size.

    Parameters
    ----------
    rows
        An Arrow table, batch or reader; a pandas or Polars data frame; a dict of
        columns; a list of dicts; a structured NumPy array; anything that speaks Arrow's
        C stream interface; or an iterable of Arrow batches or tables.

    Raises
    ------
    InvalidRequestError
        ``bad-body``: none of these, or columns that Arrow cannot hold.
    """
    if isinstance(rows, pa.RecordBatchReader):
        return Stream(rows.schema, lambda: _cut(rows), repeatable=False)
    table = _table(rows)
    if table is not None:
        return Stream(table.schema, lambda: _cut(table.to_batches()), size_bytes=table.nbytes)
    if isinstance(rows, Iterable) and not isinstance(rows, str | bytes):
        return _of_iterable(rows)
    raise _bad(
        f"a {type(rows).__name__} is no table; send Arrow, pandas, Polars or a dict of columns"
    )


def cast_stream(stream: Stream, schema: pa.Schema) -> Stream:
    """Return a stream with the columns of another schema, in its order and with its types.

    Raises
    ------
    InvalidRequestError
        ``bad-body``: other column names, or values that do not fit the types.
    """
    if stream.schema.equals(schema, check_metadata=False):
        return stream
    if sorted(stream.schema.names) != sorted(schema.names):
        raise _bad(f"the rows have columns {stream.schema.names}, but the table has {schema.names}")

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in stream.batches():
            try:
                table = pa.Table.from_batches([batch]).select(schema.names).cast(schema)
            except (pa.ArrowException, ValueError) as error:
                raise _bad(f"the rows do not fit the table's columns: {error}") from None
            yield from table.to_batches()

    return Stream(schema, batches, stream.repeatable, stream.size_bytes)


def _table(rows: Any) -> pa.Table | None:
    try:
        if isinstance(rows, pa.Table):
            return rows
        if isinstance(rows, pa.RecordBatch):
            return pa.Table.from_batches([rows])
        if isinstance(rows, Mapping):
            return pa.table({str(name): _column(name, rows[name]) for name in rows})
        if isinstance(rows, np.ndarray) and rows.dtype.names:
            return pa.table({name: _column(name, rows[name]) for name in rows.dtype.names})
        kind = f"{type(rows).__module__.partition('.')[0]}.{type(rows).__name__}"
        if kind == "pandas.DataFrame":
            return pa.Table.from_pandas(rows)
        if kind == "polars.DataFrame":
            return rows.to_arrow()
        if kind == "polars.LazyFrame":
            return rows.collect().to_arrow()
        if hasattr(rows, "__arrow_c_stream__"):
            return pa.table(rows)
        if isinstance(rows, list) and rows and all(isinstance(row, Mapping) for row in rows):
            return pa.Table.from_pylist(rows)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise _bad(f"these rows are no table: {error}") from None
    return None


def _column(name: Any, values: Any) -> Any:
    """Return values as an Arrow column; more than one axis becomes lists of fixed length."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    array = np.asarray(values) if isinstance(values, np.ndarray | np.generic) else values
    if not isinstance(array, np.ndarray):
        return pa.array(values)
    if array.ndim == 0:
        raise _bad(f"column {name!r} is a single value; a column is a sequence")
    if array.dtype.byteorder not in "=|<":
        array = array.astype(array.dtype.newbyteorder("="))
    column = pa.array(np.ascontiguousarray(array).reshape(-1))
    for length in reversed(array.shape[1:]):
        column = pa.FixedSizeListArray.from_arrays(column, length)
    return column


def _of_iterable(rows: Iterable[Any]) -> Stream:
    iterator = iter(rows)
    repeatable = iterator is not rows
    first = next(iterator, None)
    if first is None:
        raise _bad("no batches came; send an empty Arrow table to write a table without rows")
    head = stream_of(first)

    def batches() -> Iterator[pa.RecordBatch]:
        items = chain((first,), iterator) if not repeatable else iter(rows)
        for item in items:
            part = cast_stream(stream_of(item), head.schema)
            yield from part.batches()

    return Stream(head.schema, batches, repeatable=repeatable)


def _cut(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield batches of bounded size, without a copy."""
    for batch in batches:
        rows = batch.num_rows
        if not rows:
            continue
        per_row = max(1, batch.nbytes // rows)
        step = max(1, min(BATCH_ROWS, BATCH_BYTES // per_row))
        for start in range(0, rows, step):
            yield batch.slice(start, step)


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_BODY, message)
