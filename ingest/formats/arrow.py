"""Arrow IPC: files are read where they lie, streams are converted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from ingest.formats.parquet import key_values
from ingest.found import Found, Item
from ingest.source import unreadable
from schemas.chunks import TableStorage
from schemas.structures import TableStructure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.source import Source

_FILE_MAGIC = b"ARROW1\0\0"
_CONTINUATION = b"\xff\xff\xff\xff"
_LARGEST_SCHEMA = 64 << 20
_TRIED_BYTES = 64 << 20
"""Files up to this size are checked value by value: damage is found now, not later."""
_SCHEMA_MESSAGE = "schema"


class ArrowFormat:
    """An IPC file: one table."""

    media_type = "application/vnd.apache.arrow.file"
    suffixes = (".arrow", ".feather", ".ipc")

    def sniff(self, source: Source) -> bool:
        """Tell whether the file starts with Arrow's magic bytes."""
        return source.head.startswith(_FILE_MAGIC)

    def open(self, source: Source) -> Found:
        """Describe the table and go through its batches."""
        rows = 0
        try:
            with pa.memory_map(str(source.path)) as file:
                reader = pa.ipc.open_file(file)
                schema = reader.schema
                for number in range(reader.num_record_batches):
                    batch = reader.get_batch(number)
                    batch.validate(full=source.size_bytes <= _TRIED_BYTES)
                    rows += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise unreadable(source.name, str(error)) from None
        bare = schema.remove_metadata()
        item = Item(
            "",
            TableStructure.from_arrow(bare, rows=rows),
            location=TableStorage(format="arrow", assets=(0,)),
            read=lambda: _file_batches(source, bare),
        )
        return Found([item], key_values(schema.metadata or {}), assets=[source.asset()])


class ArrowStreamFormat:
    """An IPC stream: one table, which cannot be read but from its start."""

    media_type = "application/vnd.apache.arrow.stream"
    suffixes = (".arrows",)

    def sniff(self, source: Source) -> bool:
        """Tell whether the first message is a schema."""
        head = source.head
        if not head.startswith(_CONTINUATION) or len(head) < 16:
            return False
        length = int.from_bytes(head[4:8], "little", signed=True)
        if not 8 <= length <= min(_LARGEST_SCHEMA, source.size_bytes - 8):
            return False
        if length > len(head) - 8:
            return True
        try:
            return bool(pa.ipc.read_message(head).type == _SCHEMA_MESSAGE)
        except (pa.ArrowException, OSError, EOFError):
            return False

    def open(self, source: Source) -> Found:
        """Describe the table from its schema; the number of rows is not known."""
        try:
            with pa.OSFile(str(source.path)) as file:
                schema = pa.ipc.open_stream(file).schema
        except (pa.ArrowException, OSError) as error:
            raise unreadable(source.name, str(error)) from None
        bare = schema.remove_metadata()
        item = Item("", TableStructure.from_arrow(bare), read=lambda: _stream_batches(source, bare))
        return Found([item], key_values(schema.metadata or {}), assets=[source.asset()])


def _file_batches(source: Source, schema: pa.Schema) -> pa.RecordBatchReader:
    reader = pa.ipc.open_file(pa.memory_map(str(source.path)))
    batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
    return pa.RecordBatchReader.from_batches(schema, _checked(batches))


def _stream_batches(source: Source, schema: pa.Schema) -> pa.RecordBatchReader:
    reader = pa.ipc.open_stream(pa.OSFile(str(source.path)))
    return pa.RecordBatchReader.from_batches(schema, _checked(reader))


def _checked(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        batch.validate(full=True)
        yield batch.replace_schema_metadata(None)
