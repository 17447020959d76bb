"""Values of a column as Python's own, and as text where Python has none of that kind."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

_LISTS = ((pa.types.is_list, pa.list_), (pa.types.is_large_list, pa.large_list))


def values_of(column: pa.Array) -> list[Any]:
    """Return the values; dates before year 1 and after 9999, which Python lacks, as Arrow's text.

    One such date within a nested value makes text of all dates in that value.
    """
    try:
        return list(column.to_pylist())
    except (OverflowError, ValueError):
        return _one_by_one(column, column.cast(_with_text(column.type)))


def times_of(column: pa.Array) -> list[Any]:
    """Return timestamps as times in UTC without a zone, in microseconds; see `values_of`."""
    plain = column.cast(pa.timestamp(column.type.unit))
    try:
        micros = plain.cast(pa.timestamp("us"), safe=column.type.unit != "ns")
        return list(micros.to_pylist())
    except (OverflowError, ValueError):
        return _one_by_one(plain, plain.cast(pa.string()))


def _one_by_one(column: pa.Array, texts: pa.Array) -> list[Any]:
    found = []
    for value, text in zip(column, texts, strict=True):
        try:
            found.append(value.as_py())
        except (OverflowError, ValueError):
            found.append(text.as_py())
    return found


def _with_text(kind: pa.DataType) -> pa.DataType:
    """Return a type with text for every time and date, however deep it lies."""
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind) or pa.types.is_time(kind):
        return pa.string()
    for is_so, made in _LISTS:
        if is_so(kind):
            return made(_with_text(kind.value_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_with_text(kind.value_type), kind.list_size)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_with_text(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_with_text(kind.key_type), _with_text(kind.item_type))
    return kind
