"""Tables as text: CSV and columns of numbers, converted when they are registered."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import csv

from ingest.formats.text_dialect import COMMENTS, Dialect, dialect_of, is_all_comments
from ingest.found import Found, Item
from ingest.source import unreadable
from schemas.structures import TableStructure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.source import Source

_HEADER_BYTES = 1 << 20
_BLOCK_BYTES = 8 << 20
_LONGEST_LINE = 64 << 20
_COMMENT = re.compile(rb"(?m)^[ \t]*(?:#|%|!|//).*$")
_MARKS = tuple(mark.encode() for mark in COMMENTS)
_NO_VALUE = ["", "NA", "N/A", "null", "NULL", "None"]


class TextFormat:
    """One table; columns get the narrowest type that holds all of their values."""

    media_type = "text/csv"
    suffixes = (".csv", ".tsv", ".txt", ".dat", ".asc", ".xy", ".xye", ".chi")

    def sniff(self, source: Source) -> bool:
        """Tell whether the first lines are a table, or comments that one may follow."""
        head = source.head
        if len(head) < source.size_bytes and is_all_comments(head):
            return True
        return _dialect(source, head) is not None

    def open(self, source: Source) -> Found:
        """Go through the table once, to learn its types and number of rows."""
        with source.path.open("rb") as file:
            dialect = _dialect(source, file.read(_HEADER_BYTES)) or _dialect(source, source.head)
        if dialect is None:
            raise unreadable(source.name, "its first lines are no table")
        types: list[pa.DataType] = [pa.null()] * len(dialect.names)
        rows = 0
        try:
            for table in _tables(source, dialect, None):
                rows += table.num_rows
                types = [
                    _wider(known, found)
                    for known, found in zip(types, table.schema.types, strict=True)
                ]
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise unreadable(source.name, _reason(error)) from None
        schema = pa.schema(
            [
                (name, pa.string() if pa.types.is_null(found) else found)
                for name, found in zip(dialect.names, types, strict=True)
            ]
        )
        item = Item(
            "",
            TableStructure.from_arrow(schema, rows=rows),
            read=lambda: _batches(source, dialect, schema),
        )
        return Found([item], dialect.metadata, assets=[source.asset()])


def _dialect(source: Source, head: bytes) -> Dialect | None:
    whole = len(head) >= source.size_bytes
    return dialect_of(head, source.path.suffix.lower(), is_whole=whole)


def _batches(source: Source, dialect: Dialect, schema: pa.Schema) -> pa.RecordBatchReader:
    def batches() -> Iterator[pa.RecordBatch]:
        for table in _tables(source, dialect, schema):
            yield from table.cast(schema).to_batches()

    return pa.RecordBatchReader.from_batches(schema, batches())


def _tables(source: Source, dialect: Dialect, schema: pa.Schema | None) -> Iterator[pa.Table]:
    parse = csv.ParseOptions(
        delimiter=dialect.separator or " ", quote_char='"' if dialect.separator else False
    )
    read = csv.ReadOptions(column_names=list(dialect.names), block_size=2 * _BLOCK_BYTES)
    convert = csv.ConvertOptions(
        column_types=schema,
        null_values=_NO_VALUE,
        decimal_point="," if dialect.decimal_comma else ".",
    )
    for block in _blocks(source, dialect):
        yield csv.read_csv(
            pa.BufferReader(block), read_options=read, parse_options=parse, convert_options=convert
        )


def _blocks(source: Source, dialect: Dialect) -> Iterator[bytes]:
    """Yield the rows as UTF-8 in blocks of whole lines, without comments and outer blanks."""
    encoding = "utf-16-le" if dialect.encoding == "utf-16" else dialect.encoding
    newline, unit = "\n".encode(encoding), len("\n".encode(encoding))
    with source.path.open("rb") as file:
        if dialect.encoding == "utf-16" and file.read(2) == b"\xfe\xff":
            encoding, newline = "utf-16-be", "\n".encode("utf-16-be")
        kept, skip = b"", dialect.skip_lines
        while True:
            more = file.read(_BLOCK_BYTES)
            kept += more
            cut = _last(kept, newline, unit) if more else len(kept)
            if not more and not kept:
                return
            if cut == 0:
                if len(kept) > _LONGEST_LINE:
                    raise unreadable(source.name, f"a line of more than {_LONGEST_LINE} bytes")
                continue
            block, kept = kept[:cut], kept[cut:]
            if encoding != "utf-8":
                block = block.decode(encoding).encode()
            block = block.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
            if b"\r" in block:
                block = block.replace(b"\r", b"\n")
            while skip and block:
                _, _, block = block.partition(b"\n")
                skip -= 1
            block = _cleaned(block, in_columns=dialect.separator is None)
            if block.strip():
                yield block


def _cleaned(block: bytes, *, in_columns: bool) -> bytes:
    """Drop comments and outer blanks; of a table in columns, make each run of blanks one."""
    if any(mark in block for mark in _MARKS):
        block = _COMMENT.sub(b"", block)
    if in_columns:
        block = block.replace(b"\t", b" ")
        while b"  " in block:
            block = block.replace(b"  ", b" ")
    for outer in (b"\n ", b" \n"):
        while outer in block:
            block = block.replace(outer, b"\n")
    return block.strip(b" ")


def _last(kept: bytes, newline: bytes, unit: int) -> int:
    """Return where the last whole line ends; 0 if there is none."""
    at = kept.rfind(newline)
    while at >= 0 and at % unit:
        at = kept.rfind(newline, 0, at + unit - 1)
    return at + unit if at >= 0 else 0


def _wider(known: pa.DataType, found: pa.DataType) -> pa.DataType:
    """Return the type that holds the values of both."""
    if known == found or pa.types.is_null(found):
        return known
    if pa.types.is_null(known):
        return found
    numbers = (pa.int64(), pa.float64())
    return pa.float64() if known in numbers and found in numbers else pa.string()


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text.removeprefix("CSV parse error: ")[:300]
