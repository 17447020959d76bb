"""Tables to Parquet, Arrow, CSV and JSON lines, batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterable


def write_table(
    file: BinaryIO, kind: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> None:
    """Write record batches in a format named by its suffix.

    Raises
    ------
    InvalidRequestError
        ``unknown-format``: a suffix that is none of parquet, arrow, csv, json, jsonl.
    """
    if kind == "parquet":
        with pyarrow.parquet.ParquetWriter(file, schema, compression="zstd") as parquet:
            for batch in batches:
                parquet.write_batch(batch)
    elif kind in ("arrow", "feather"):
        with pa.ipc.new_file(file, schema) as arrow:
            for batch in batches:
                arrow.write_batch(batch)
    elif kind == "csv":
        with pyarrow.csv.CSVWriter(file, schema) as text:
            for batch in batches:
                text.write_batch(batch)
    elif kind in ("json", "jsonl"):
        for batch in batches:
            for row in batch.to_pylist():
                file.write(msgspec.json.encode(row) + b"\n")
    else:
        raise InvalidRequestError(
            ErrorKind.UNKNOWN_FORMAT,
            f"cannot write a table as {kind!r}; there are parquet, arrow, csv, json",
        )
