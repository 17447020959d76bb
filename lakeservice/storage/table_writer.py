"""Writing tables: record batches in, one Parquet object out, row group by row group."""

from __future__ import annotations

import io
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from lakeservice.codecs.parquet_rows import footer_bytes, footer_checksum
from schemas.chunks import Part, TableStorage
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from types import TracebackType

    from lakeservice.storage.objects import Objects

GROUP_ROWS = 122_880
"""Most rows of a row group."""
GROUP_BYTES = 16 << 20
"""Size in memory at which a row group is written, whatever its rows."""
_ENCODINGS = {
    "FLOAT": "BYTE_STREAM_SPLIT",
    "DOUBLE": "BYTE_STREAM_SPLIT",
    "INT32": "DELTA_BINARY_PACKED",
    "INT64": "DELTA_BINARY_PACKED",
}


class TableWriter:
    """Writes one table as one object; as a context manager it leaves nothing after an error.

    Parameters
    ----------
    objects
        The lake's objects.
    name
        Object name, ``data/<id>/<part>.parquet``.
    schema
        Columns of every batch. A type that Parquet cannot hold (unions) makes
        it an Arrow file instead.
    """

    def __init__(self, objects: Objects, name: str, schema: pa.Schema) -> None:
        self.schema = schema
        self._objects = objects
        self._name = name
        self._parquet = _parquet_options(schema)
        self._stack = ExitStack()
        self._file = self._stack.enter_context(objects.open_output(name))
        self._sink: Any = self._stack.enter_context(self._open())
        self._held: list[pa.RecordBatch] = []
        self._held_rows = 0
        self._held_bytes = 0
        self.rows = 0
        """Rows written so far."""

    def _open(self) -> Any:
        if self._parquet is not None:
            return pq.ParquetWriter(self._file, self.schema, **self._parquet)
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        return pa.ipc.new_file(self._file, self.schema, options=options)

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._stack.__exit__(kind, error, trace)
        else:
            self._stack.close()

    def write(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Add rows.

        Raises
        ------
        InvalidRequestError
            ``bad-body``: other columns or types than the table's.
        """
        if not batch.schema.equals(self.schema):
            batch = self._as_declared(batch)
        for part in batch.to_batches() if isinstance(batch, pa.Table) else [batch]:
            row_bytes = part.nbytes // max(1, part.num_rows)
            most = max(1, min(GROUP_ROWS, GROUP_BYTES // max(1, row_bytes)))
            start = 0
            while start < part.num_rows:
                count = min(most, GROUP_ROWS - self._held_rows)
                self._add(part.slice(start, count))
                start += count

    def _as_declared(self, batch: pa.RecordBatch | pa.Table) -> pa.RecordBatch | pa.Table:
        if batch.schema.names == self.schema.names and batch.schema.types == self.schema.types:
            return batch.cast(self.schema)
        given = ", ".join(f"{field.name}: {field.type}" for field in batch.schema)
        wanted = ", ".join(f"{field.name}: {field.type}" for field in self.schema)
        raise InvalidRequestError(
            ErrorKind.BAD_BODY, f"rows with columns ({given}) for a table with ({wanted})"
        )

    def _add(self, batch: pa.RecordBatch) -> None:
        self._held.append(batch)
        self._held_rows += batch.num_rows
        self._held_bytes += batch.nbytes
        if self._held_rows >= GROUP_ROWS or self._held_bytes >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._held_rows:
            return
        group = pa.Table.from_batches(self._held, self.schema).combine_chunks()
        try:
            if self._parquet:
                self._sink.write_table(group, row_group_size=GROUP_ROWS)
            else:
                self._sink.write_table(group)
        except pa.ArrowInvalid as error:
            raise InvalidRequestError(
                ErrorKind.BAD_BODY, f"rows that cannot be stored: {error}"
            ) from None
        self.rows += group.num_rows
        self._held, self._held_rows, self._held_bytes = [], 0, 0

    def finish(self) -> tuple[TableStorage, int]:
        """Make the table durable; return where it lies, and its number of rows."""
        self._flush()
        self._stack.close()
        size_bytes = self._objects.size(self._name) or 0
        part = Part(
            name=self._name,
            length=self.rows,
            size_bytes=size_bytes,
            checksum=None if self._parquet is None else self._footer_checksum(size_bytes),
            complete=True,
        )
        return TableStorage(
            format="arrow" if self._parquet is None else "parquet", parts=(part,)
        ), self.rows

    def _footer_checksum(self, size_bytes: int) -> str:
        """Return the checksum of what Parquet itself keeps none of: the end of the file."""
        tail = self._objects.get_range(self._name, size_bytes - 8, 8)
        length = footer_bytes(bytes(tail))
        footer = self._objects.get_range(self._name, size_bytes - length, length)
        return footer_checksum(bytes(footer))


def _parquet_options(schema: pa.Schema) -> dict[str, Any] | None:
    """Return how a table is written as Parquet; None where Parquet cannot hold it.

    Dictionaries, Arrow's default, only cost where values hardly repeat. Floats are
    split into streams of their bytes, and whole numbers and times are stored as
    differences: both compress better and decode in half the time.
    """
    empty = io.BytesIO()
    try:
        with pq.ParquetWriter(empty, schema):
            pass
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return None
    leaves = pq.ParquetFile(empty).schema
    columns = [leaves.column(number) for number in range(len(leaves))]
    counts = Counter(one.path for one in columns)
    encodings = {
        one.path: _ENCODINGS[one.physical_type]
        for one in columns
        if one.physical_type in _ENCODINGS and counts[one.path] == 1  # "a.b", and b of a struct a
    }
    return {
        "compression": "zstd",
        "write_page_checksum": True,
        "use_dictionary": [one.path for one in columns if one.path not in encodings],
        "column_encoding": encodings,
    }
