"""Columns of a table as HDF5 has them: what is found in a first pass, and how they are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakeservice.export.column_values import values_of
from lakeservice.export.hdf5_types import Stored, stored_type, text_type, time_attributes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakeservice.export.sources import TableSource

Array = np.ndarray[Any, Any]
ROWS = 65_536
"""Rows that are converted at a time."""
WASTE = 4
"""Text of fixed length may take this many times the room of its characters."""


@dataclass
class Found:
    """What one pass over a column found."""

    rows: int = 0
    nulls: int = 0
    longest: int = 0
    """Bytes of the longest text, or elements of the longest list."""
    shortest: int | None = None
    total: int = 0


@dataclass(frozen=True)
class Column:
    """One column, ready to be written."""

    name: str
    rows: int
    stored: Stored
    shape: tuple[int, ...] = ()
    """Shape of one value; empty for a scalar."""
    loose: bool = False
    """Text of such different lengths that each value has its own."""

    def arrays(self, source: TableSource) -> Iterator[Array]:
        """Yield all values in order, as they lie in the file."""
        for piece in pieces_of(source, self.name):
            yield self.stored.convert(piece).reshape(len(piece), *self.shape)

    def texts(self, source: TableSource) -> Iterator[list[str]]:
        """Yield all values in order, as text."""
        for piece in pieces_of(source, self.name):
            yield [value or "" for value in _texts(piece).to_pylist()]


def columns_of(source: TableSource) -> list[Column]:
    """Return the columns of a table; text and whole numbers are read once for it.

    Of two columns with one name, the first is taken.
    """
    with source.read() as reader:
        schema = reader.schema
    names = list(dict.fromkeys(schema.names))
    wanted = [name for name in names if _needs_pass(_plain_type(_field(schema, name).type))]
    found = _passed(source, wanted or names[:1])
    rows = next(iter(found.values())).rows if found else 0
    return [_column(_field(schema, name), rows, found.get(name)) for name in names]


def pieces_of(source: TableSource, name: str) -> Iterator[pa.Array]:
    """Yield the values of one column, a bounded number at a time, without dictionaries."""
    with source.read((name,)) as reader:
        for batch in reader:
            for start in range(0, batch.num_rows, ROWS):
                yield _plain(batch.column(0).slice(start, ROWS))


def _field(schema: pa.Schema, name: str) -> pa.Field:
    return schema.field(schema.get_all_field_indices(name)[0])


def _passed(source: TableSource, names: Sequence[str]) -> dict[str, Found]:
    found = {name: Found() for name in names}
    with source.read(tuple(names)) as reader:
        for batch in reader:
            for start in range(0, batch.num_rows, ROWS):
                rows = batch.slice(start, ROWS)
                for name, column in zip(names, rows.columns, strict=True):
                    _look(_plain(column), found[name])
    return found


def _look(column: pa.Array, found: Found) -> None:
    found.rows += len(column)
    found.nulls += column.null_count
    kind = column.type
    if _is_number_list(kind):
        lengths = pc.list_value_length(column)
        values = column.flatten()
        found.nulls += values.null_count
    elif _is_text(kind):
        lengths = pc.binary_length(_texts(column))
    else:
        return
    longest, shortest = pc.max(lengths).as_py(), pc.min(lengths).as_py()
    found.total += pc.sum(lengths).as_py() or 0
    found.longest = max(found.longest, longest or 0)
    if shortest is not None:
        found.shortest = shortest if found.shortest is None else min(found.shortest, shortest)


def _column(field: pa.Field, rows: int, found: Found | None) -> Column:
    kind = _plain_type(field.type)
    if _is_number_list(kind):
        found = found or Found()
        if not found.nulls and found.shortest == found.longest:
            base = stored_type(np.dtype(kind.value_type.to_pandas_dtype()))
            stored = Stored(base.dtype, lambda piece: base.convert(_numbers(piece.flatten())))
            return Column(field.name, rows, stored, (found.longest,))
        # The lengths of JSON texts are not known without making them.
        return Column(field.name, rows, _loose_text(), loose=True)
    if _is_text(kind):
        found = found or Found()
        length = max(1, found.longest)
        if rows * length > WASTE * found.total + (1 << 20) or _is_json(kind):
            return Column(field.name, rows, _loose_text(), loose=True)
        return Column(field.name, rows, text_type(length, _encoded))
    nulls = found.nulls if found else 0
    return Column(field.name, rows, _number_type(kind, nulls))


def _number_type(kind: pa.DataType, nulls: int) -> Stored:
    if pa.types.is_timestamp(kind):
        return _time_type("M", kind.unit, kind)
    if pa.types.is_duration(kind):
        return _time_type("m", kind.unit, kind)
    if pa.types.is_date(kind):
        unit = "D" if pa.types.is_date32(kind) else "ms"
        return _time_type("M", unit, kind)
    if pa.types.is_time(kind):
        return _time_type("m", kind.unit, kind)
    whole = pa.types.is_integer(kind) or pa.types.is_boolean(kind)
    if pa.types.is_decimal(kind) or pa.types.is_null(kind) or (whole and nulls):
        return Stored(np.dtype("<f8"), _as_doubles)
    return Stored(np.dtype(kind.to_pandas_dtype()), _numbers)


def _time_type(kind: str, unit: str, arrow: pa.DataType) -> Stored:
    bits = pa.int32() if arrow.bit_width == 32 else pa.int64()
    missing = np.iinfo(np.int64).min

    def convert(piece: pa.Array) -> Array:
        return _numbers(pc.fill_null(piece.view(bits).cast(pa.int64()), missing))

    return Stored(np.dtype("<i8"), convert, time_attributes(kind, unit))


def _loose_text() -> Stored:
    import h5py  # slow to import, and only needed once a file is written

    return Stored(h5py.string_dtype("utf-8"), lambda piece: piece)


def _as_doubles(piece: pa.Array) -> Array:
    if pa.types.is_boolean(piece.type):
        piece = piece.cast(pa.int8())
    return _numbers(piece.cast(pa.float64()))


def _numbers(piece: pa.Array) -> Array:
    if piece.null_count and pa.types.is_floating(piece.type):
        # A null carries no number in its bytes.
        piece = pc.fill_null(piece, pa.scalar(float("nan")).cast(piece.type))
    return np.asarray(piece.to_numpy(zero_copy_only=False))


def _encoded(piece: pa.Array) -> Array:
    texts = _texts(piece).to_pylist()
    return np.array([(text or "").encode() for text in texts], dtype="S")


def _texts(piece: pa.Array) -> pa.Array:
    """Return values as text; what is no text is JSON."""
    kind = piece.type
    if pa.types.is_string(kind):
        return piece
    if pa.types.is_large_string(kind) or kind == pa.string_view():
        return piece.cast(pa.string())
    values = values_of(piece)
    if _is_json(kind):
        return pa.array([None if v is None else _json(v) for v in values], pa.string())
    return pa.array([None if v is None else v.decode("utf-8", "replace") for v in values])


def _json(value: Any) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()


def _needs_pass(kind: pa.DataType) -> bool:
    whole = pa.types.is_integer(kind) or pa.types.is_boolean(kind)
    return whole or (_is_text(kind) and not _is_json(kind)) or _is_number_list(kind)


def _is_text(kind: pa.DataType) -> bool:
    numeric = (
        pa.types.is_primitive(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_null(kind)
        or pa.types.is_temporal(kind)
    )
    if pa.types.is_interval(kind):
        return True
    return not numeric and not _is_number_list(kind)


def _is_json(kind: pa.DataType) -> bool:
    return bool(pa.types.is_nested(kind) or pa.types.is_interval(kind) or pa.types.is_union(kind))


def _is_number_list(kind: pa.DataType) -> bool:
    lists = (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )
    if not lists:
        return False
    value = kind.value_type
    return bool(pa.types.is_integer(value) or pa.types.is_floating(value))


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        return _plain_type(kind.storage_type)
    return _plain_type(kind.value_type) if pa.types.is_dictionary(kind) else kind


def _plain(column: pa.Array) -> pa.Array:
    if isinstance(column.type, pa.BaseExtensionType):
        return _plain(column.storage)
    if pa.types.is_dictionary(column.type):
        return _plain(column.dictionary_decode())
    return column
