"""Tables as text: CSV and JSON, written batch by batch."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from lakeservice.export.exporter import Exporter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.export.exporter import Piece
    from lakeservice.export.sources import TableSource

ROWS = 65_536
"""Rows that become text at a time."""


def write_csv(rows: TableSource) -> Iterator[Piece]:
    """Yield a header line and a line for each row; nulls are empty, nested values are JSON."""
    with rows.read() as reader:
        header = io.StringIO()
        csv.writer(header, lineterminator="\n").writerow(reader.schema.names)
        yield header.getvalue().encode()
        for batch in reader:
            for start in range(0, batch.num_rows, ROWS):
                yield _csv_lines(batch.slice(start, ROWS))


def _csv_lines(batch: pa.RecordBatch) -> bytes:
    columns = [_csv_column(column) for column in batch.columns]
    # Names may repeat, and are written already.
    table = pa.table(columns, names=[str(number) for number in range(len(columns))])
    # Quotes only where a value needs them: programs that read columns of numbers and plain
    # names do not know quotes.
    for style in ("none", "needed"):
        out = io.BytesIO()
        try:
            options = pyarrow.csv.WriteOptions(include_header=False, quoting_style=style)
            pyarrow.csv.write_csv(table, out, options)
        except pa.ArrowInvalid:
            if style == "needed":
                raise
            continue
        return out.getvalue()
    return b""


def _csv_column(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _csv_column(column.dictionary_decode())
    if pa.types.is_nested(kind):
        return pa.array([None if v is None else _json(v).decode() for v in column.to_pylist()])
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or _is_view(kind):
        texts = [_decoded(value) for value in column.to_pylist()]
        return pa.array(texts, pa.string())
    if isinstance(kind, pa.BaseExtensionType):
        return _csv_column(column.storage)
    return column


def _is_view(kind: pa.DataType) -> bool:
    return kind in (pa.string_view(), pa.binary_view()) or pa.types.is_fixed_size_binary(kind)


def _decoded(value: bytes | str | None) -> str | None:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def write_json(rows: TableSource) -> Iterator[Piece]:
    """Yield one object of lists, a list for each column, in the order of the columns.

    The rows are read once for each column, so that no more than a batch is in memory.
    """
    with rows.read() as reader:
        names = tuple(reader.schema.names)
    yield b"{"
    for number, name in enumerate(names):
        yield (b"," if number else b"") + _json(name) + b":["
        empty = True
        with rows.read((name,)) as reader:
            for batch in reader:
                for start in range(0, batch.num_rows, ROWS):
                    values = _json_values(batch.column(0).slice(start, ROWS))
                    yield (b"" if empty else b",") + _json(values)[1:-1]
                    empty = False
        yield b"]"
    yield b"}"


def _json_values(column: pa.Array) -> list[Any]:
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return _json_values(column.storage)
    if pa.types.is_dictionary(kind):
        return _json_values(column.dictionary_decode())
    if pa.types.is_timestamp(kind):
        texts = pc.replace_substring(column.cast(pa.string()), " ", "T", max_replacements=1)
        return list(texts.to_pylist())
    if pa.types.is_duration(kind):
        return list(column.cast(pa.int64()).to_pylist())
    return list(column.to_pylist())


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value, enc_hook=str)


CSV = Exporter(
    family="table",
    media_type="text/csv",
    names=("csv",),
    content_type="text/csv; charset=utf-8",
    write=write_csv,
)
JSON = Exporter(family="table", media_type="application/json", names=("json",), write=write_json)
