"""Parquet: a table that is read where it lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.found import Found, Item
from ingest.metadata import json_object, text_of
from ingest.source import unreadable
from schemas.chunks import TableStorage
from schemas.structures import TableStructure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest.source import Source

_MAGIC = b"PAR1"
_TRIED_BYTES = 8 << 20
"""Files up to this size are read through once: damage in the pages is found now, not later."""
_BATCH_ROWS = 65_536
_OF_WRITERS = frozenset({b"ARROW:schema", b"pandas", b"org.apache.spark.version"})


class ParquetFormat:
    """One table; the entry itself."""

    media_type = "application/x-parquet"
    suffixes = (".parquet", ".pq")

    def sniff(self, source: Source) -> bool:
        """Tell whether the file starts with Parquet's magic bytes."""
        return source.head.startswith(_MAGIC)

    def open(self, source: Source) -> Found:
        """Describe the table from the footer."""
        try:
            with pq.ParquetFile(source.path) as file:
                footer, schema = file.metadata, file.schema_arrow
                _check_places(footer, source)
                if source.size_bytes <= _TRIED_BYTES:
                    for _ in file.iter_batches(_BATCH_ROWS):
                        pass
        except (pa.ArrowException, OSError) as error:
            raise unreadable(source.name, str(error)) from None
        structure = TableStructure.from_arrow(schema.remove_metadata(), rows=footer.num_rows)
        item = Item(
            "",
            structure,
            location=TableStorage(format="parquet", assets=(0,)),
            read=lambda: _batches(source, schema.remove_metadata()),
        )
        metadata = key_values(footer.metadata or {}, without=_OF_WRITERS)
        return Found([item], metadata, assets=[source.asset()])


def _check_places(footer: pq.FileMetaData, source: Source) -> None:
    for group in range(footer.num_row_groups):
        columns = footer.row_group(group)
        for number in range(columns.num_columns):
            column = columns.column(number)
            start = column.dictionary_page_offset or column.data_page_offset
            if start < 0 or start + column.total_compressed_size > source.size_bytes:
                raise unreadable(
                    source.name, f"column {column.path_in_schema!r} lies beyond the end of the file"
                )


def _batches(source: Source, schema: pa.Schema) -> pa.RecordBatchReader:
    file = pq.ParquetFile(source.path)
    batches = (batch.replace_schema_metadata(None) for batch in file.iter_batches(_BATCH_ROWS))
    return pa.RecordBatchReader.from_batches(schema, batches)


def key_values(
    pairs: Mapping[bytes, bytes], *, without: frozenset[bytes] = frozenset()
) -> dict[str, Any]:
    """Return the key-value metadata of a file, JSON documents taken apart."""
    values: dict[str, Any] = {}
    for key, value in pairs.items():
        if key in without:
            continue
        values[text_of(key)] = value
        if value[:1] in (b"{", b"["):
            try:
                values[text_of(key)] = msgspec.json.decode(value)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
    return json_object(values)
