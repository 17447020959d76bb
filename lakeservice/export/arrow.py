"""Tables as Arrow and Parquet, written batch by batch."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet

from lakeservice.export.exporter import Exporter
from lakeservice.export.prepared import written_out
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.export.exporter import Piece
    from lakeservice.export.sources import TableSource

ARROW_FILE = "application/vnd.apache.arrow.file"
ARROW_STREAM = "application/vnd.apache.arrow.stream"
PARQUET = "application/x-parquet"

LONG_WRITE = 512 << 10
"""Bytes from which on a write is a piece of its own."""


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

    def pieces(self) -> Iterator[bytes]:
        """Yield what was written since the last time; long writes are not copied again."""
        written, self._written = self._written, []
        short: list[bytes] = []
        for one in written:
            if len(one) < LONG_WRITE:
                short.append(one)
                continue
            if short:
                yield b"".join(short)
                short.clear()
            yield one
        if short:
            yield b"".join(short)


def write_arrow_file(rows: TableSource) -> Iterator[Piece]:
    """Yield an Arrow IPC file."""
    sink = Sink()
    with rows.read() as reader:
        with pa.ipc.new_file(pa.PythonFile(sink, mode="w"), reader.schema) as writer:
            yield from _written(sink, writer, reader)
        yield sink.take()


def write_arrow_stream(rows: TableSource) -> Iterator[Piece]:
    """Yield an Arrow IPC stream."""
    sink = Sink()
    with rows.read() as reader:
        with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), reader.schema) as writer:
            yield from _written(sink, writer, reader)
        yield sink.take()


def write_parquet(rows: TableSource) -> Iterator[Piece]:
    """Yield a Parquet file, one row group for each batch."""
    sink = Sink()
    with rows.read() as reader:
        file = pa.PythonFile(sink, mode="w")
        try:
            opened = pyarrow.parquet.ParquetWriter(file, reader.schema, compression="zstd")
        except pa.ArrowNotImplementedError as error:
            raise InvalidRequestError(
                ErrorKind.UNKNOWN_FORMAT, f"Parquet cannot hold this table ({error}); choose Arrow"
            ) from None
        with opened as writer:
            yield from _written(sink, writer, reader)
        yield sink.take()


def _written(sink: Sink, writer: Any, reader: pa.RecordBatchReader) -> Iterator[Piece]:
    for batch in reader:
        writer.write_batch(batch)
        yield from sink.pieces()


EXPORTERS = (
    Exporter(
        family="table",
        media_type=ARROW_FILE,
        names=("arrow", "feather"),
        write=write_arrow_file,
        prepare=lambda rows: written_out(write_arrow_file(rows)),
        quick=False,
    ),
    Exporter(family="table", media_type=ARROW_STREAM, names=("arrows",), write=write_arrow_stream),
    Exporter(
        family="table",
        media_type=PARQUET,
        names=("parquet",),
        write=write_parquet,
        prepare=lambda rows: written_out(write_parquet(rows)),
        quick=False,
    ),
)
