"""Values of a table for programs that know numbers, text, flags and times of day only."""

from __future__ import annotations

import datetime
import math
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from lakeservice.export.column_values import times_of, values_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.export.sources import TableSource

ROWS = 4_096
"""Rows that become Python's values at a time."""

Cell = bool | int | float | str | datetime.datetime | datetime.date | None


def header_of(source: TableSource) -> list[str]:
    """Return the names of the columns, in order."""
    with source.read() as reader:
        return list(reader.schema.names)


def rows_of(source: TableSource) -> Iterator[tuple[Cell, ...]]:
    """Yield the rows; nested values are JSON text, a null is None, times are in UTC."""
    with source.read() as reader:
        for batch in reader:
            for start in range(0, batch.num_rows, ROWS):
                columns = [cells(column.slice(start, ROWS)) for column in batch.columns]
                yield from zip(*columns, strict=True)


def cells(column: pa.Array) -> list[Cell]:
    """Return the values of a column."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return cells(column.storage)
    if pa.types.is_timestamp(kind):
        return times_of(column)
    if pa.types.is_duration(kind):
        seconds = column.cast(pa.duration("us"), safe=False).to_pylist()
        return [None if one is None else one.total_seconds() for one in seconds]
    if pa.types.is_decimal(kind):
        return list(column.cast(pa.float64()).to_pylist())
    return [_cell(value) for value in values_of(column)]


def _cell(value: Any) -> Cell:
    if value is None or isinstance(value, bool | int | float | str | datetime.date):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, datetime.time):
        return value.isoformat()
    return msgspec.json.encode(value, enc_hook=str).decode()


def is_number(value: Cell) -> bool:
    """Tell whether a value is a number that can be written in digits."""
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
