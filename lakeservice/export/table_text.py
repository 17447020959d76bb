"""Tables as text: CSV and JSON, written batch by batch."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from lakeservice.export.column_values import values_of
from lakeservice.export.exporter import Exporter, Option

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lakeservice.export.exporter import Piece
    from lakeservice.export.sources import TableSource

ROWS = 65_536
"""Rows that become text at a time."""
RECORDS = 4_096
"""Rows that become one object each at a time."""


def write_csv(rows: TableSource) -> Iterator[Piece]:
    """Yield a header line and a line for each row; nulls are empty, nested values are JSON.

    The option ``header=absent``, or the same as a parameter of the media type, leaves
    the header out.
    """
    with rows.read() as reader:
        if not _is_headless(rows.options):
            header = io.StringIO()
            csv.writer(header, lineterminator="\n").writerow(reader.schema.names)
            yield header.getvalue().encode()
        for batch in reader:
            for start in range(0, batch.num_rows, ROWS):
                yield _csv_lines(batch.slice(start, ROWS))


def _is_headless(options: Mapping[str, str]) -> bool:
    parameters = options.get("format", "").replace(" ", "").lower().split(";")[1:]
    return "header=absent" in (*parameters, f"header={options.get('header', '').lower()}")


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
    if pa.types.is_nested(kind) or pa.types.is_interval(kind):
        texts = [None if v is None else _json(v).decode() for v in values_of(column)]
        return pa.array(texts, pa.string())
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
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or _is_view(kind):
        return [_json_text(value) for value in column.to_pylist()]
    return values_of(column)


def _json_text(value: bytes | str | None) -> str | None:
    """Return bytes as text: UTF-8 where they are, else one character for each byte."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value, enc_hook=str)


def write_json_lines(rows: TableSource) -> Iterator[Piece]:
    """Yield one object a line, for each row."""
    yield from _records(rows, b"")


def write_json_seq(rows: TableSource) -> Iterator[Piece]:
    """Yield one object a record, for each row, as RFC 7464 frames them."""
    yield from _records(rows, b"\x1e")


def _records(rows: TableSource, mark: bytes) -> Iterator[Piece]:
    with rows.read() as reader:
        names = [_json(name) for name in reader.schema.names]
        for batch in reader:
            for start in range(0, batch.num_rows, RECORDS):
                part = batch.slice(start, RECORDS)
                columns = [_json_texts(column) for column in part.columns]
                lines = [
                    mark + b"{" + b",".join(map(b":".join, zip(names, row, strict=True))) + b"}\n"
                    for row in zip(*columns, strict=True)
                ]
                if lines:
                    yield b"".join(lines)


def _json_texts(column: pa.Array) -> list[bytes]:
    return [_json(value) for value in _json_values(column)]


def _csv(media_type: str, *names: str) -> Exporter:
    header = Option(name="header", kind=str, description="``absent``: no line of names.")
    return Exporter(
        family="table",
        media_type=media_type,
        names=names,
        content_type=f"{media_type}; charset=utf-8",
        write=write_csv,
        options=(header,),
    )


CSV = _csv("text/csv", "csv")
CSV_BY_OTHER_NAMES = (
    _csv("text/plain", "txt"),
    _csv("text/x-comma-separated-values"),
    _csv("application/vnd.ms-excel", "xls"),
)
JSON_SEQ = Exporter(
    family="table",
    media_type="application/json-seq",
    names=("json-seq",),
    write=write_json_seq,
)
JSON_LINES = Exporter(
    family="table",
    media_type="application/x-ndjson",
    names=("jsonl", "ndjson"),
    write=write_json_lines,
)
JSON = Exporter(family="table", media_type="application/json", names=("json",), write=write_json)
