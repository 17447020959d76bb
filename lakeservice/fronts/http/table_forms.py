"""Tables as bytes: Arrow, Parquet, CSV, JSON; each written batch by batch."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from lakeservice.fronts.http.negotiation import Form

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lakeservice.fronts.http.call import Piece

ROWS = 65_536
"""Rows that become text at a time."""
ARROW_FILE = "application/vnd.apache.arrow.file"
ARROW_STREAM = "application/vnd.apache.arrow.stream"
PARQUET = "application/x-parquet"
CSV = "text/csv"


class Rows(Protocol):
    """Rows that can be read more than once, with all or with some of their columns."""

    def read(self, columns: tuple[str, ...] | None = None) -> pa.RecordBatchReader:
        """Return a fresh reader."""
        ...


@dataclass(frozen=True)
class TableForm(Form):
    """A form of tables, and how it is written."""

    write: Callable[[Rows], Iterator[Piece]] = lambda _: iter(())


class Sink(io.RawIOBase):
    """A file that is written to, and emptied between two writes."""

    def __init__(self) -> None:
        super().__init__()
        self._written: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, payload: Any) -> int:
        """Keep a copy of some bytes."""
        piece = bytes(payload)
        self._written.append(piece)
        self._position += len(piece)
        return len(piece)

    def tell(self) -> int:
        """Return how many bytes were written in all."""
        return self._position

    def take(self) -> bytes:
        """Return what was written since the last time."""
        taken = b"".join(self._written)
        self._written.clear()
        return taken


def write_arrow_file(rows: Rows) -> Iterator[Piece]:
    """Yield an Arrow IPC file."""
    sink = Sink()
    with rows.read() as reader:
        with pa.ipc.new_file(pa.PythonFile(sink, mode="w"), reader.schema) as writer:
            yield from _written(sink, writer, reader)
        yield sink.take()


def write_arrow_stream(rows: Rows) -> Iterator[Piece]:
    """Yield an Arrow IPC stream."""
    sink = Sink()
    with rows.read() as reader:
        with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), reader.schema) as writer:
            yield from _written(sink, writer, reader)
        yield sink.take()


def write_parquet(rows: Rows) -> Iterator[Piece]:
    """Yield a Parquet file, one row group for each batch."""
    sink = Sink()
    with rows.read() as reader:
        file = pa.PythonFile(sink, mode="w")
        with pyarrow.parquet.ParquetWriter(file, reader.schema, compression="zstd") as writer:
            yield from _written(sink, writer, reader)
        yield sink.take()


def _written(sink: Sink, writer: Any, reader: pa.RecordBatchReader) -> Iterator[Piece]:
    for batch in reader:
        writer.write_batch(batch)
        if piece := sink.take():
            yield piece


def write_csv(rows: Rows) -> Iterator[Piece]:
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


def write_json(rows: Rows) -> Iterator[Piece]:
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


TABLE_FORMS = (
    TableForm(ARROW_FILE, ("arrow", "feather"), write=write_arrow_file),
    TableForm(ARROW_STREAM, ("arrows",), write=write_arrow_stream),
    TableForm(PARQUET, ("parquet",), write=write_parquet),
    TableForm(CSV, ("csv",), "text/csv; charset=utf-8", write=write_csv),
    TableForm("application/json", ("json",), write=write_json),
)
"""Forms of tables; the first is the one for who does not ask."""
