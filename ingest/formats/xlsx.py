"""XLSX: a workbook, each sheet a table, converted when it is registered."""

from __future__ import annotations

import datetime
import zipfile
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ingest.found import Found, Item
from ingest.source import unreadable
from schemas.structures import TableStructure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ingest.source import Source

_MAGIC = b"PK\x03\x04"
_BOOK = "xl/workbook.xml"
_MOST_BYTES = 1 << 30
"""Largest workbook, uncompressed."""
_BATCH_ROWS = 10_000


class XlsxFormat:
    """One entry per workbook; a sheet's first row names its columns."""

    media_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    suffixes = (".xlsx", ".xlsm")

    def sniff(self, source: Source) -> bool:
        """Tell whether the file is a ZIP archive with a workbook in it."""
        if source.is_directory or not source.head.startswith(_MAGIC):
            return False
        try:
            with zipfile.ZipFile(source.path) as archive:
                return _BOOK in archive.namelist()
        except (zipfile.BadZipFile, OSError):
            return False

    def open(self, source: Source) -> Found:
        """Go through all sheets once, to learn the types and lengths of their columns."""
        with zipfile.ZipFile(source.path) as archive:
            if sum(one.file_size for one in archive.infolist()) > _MOST_BYTES:
                raise unreadable(source.name, f"more than {_MOST_BYTES} bytes when unpacked")
        items = [_sheet(source, name) for name in _names(source)]
        return Found([item for item in items if item is not None], assets=[source.asset()])


def _names(source: Source) -> list[str]:
    import openpyxl  # 0.2 s; only workbooks need it

    book = openpyxl.load_workbook(source.path, read_only=True)
    try:
        return [sheet.title for sheet in book.worksheets]
    finally:
        book.close()


def _rows(source: Source, name: str) -> Iterator[tuple[Any, ...]]:
    import openpyxl  # 0.2 s; only workbooks need it

    book = openpyxl.load_workbook(source.path, read_only=True, data_only=True)
    try:
        yield from book[name].iter_rows(values_only=True)
    finally:
        book.close()


def _sheet(source: Source, name: str) -> Item | None:
    rows = _rows(source, name)
    header = next(rows, None)
    if header is None:
        return None
    columns = _columns(header)
    types: list[pa.DataType] = [pa.null()] * len(columns)
    count = 0
    for row in rows:
        count += 1
        types = [
            _wider(known, value) for known, value in zip(types, _padded(row, columns), strict=True)
        ]
    schema = pa.schema(
        [
            (column, pa.string() if pa.types.is_null(kind) else kind)
            for column, kind in zip(columns, types, strict=True)
        ]
    )
    structure = TableStructure.from_arrow(schema, rows=count)
    path = name.replace("/", "_")
    return Item(path, structure, read=lambda: _reader(source, name, schema))


def _reader(source: Source, name: str, schema: pa.Schema) -> pa.RecordBatchReader:
    def batches() -> Iterator[pa.RecordBatch]:
        rows = islice(_rows(source, name), 1, None)
        while some := list(islice(rows, _BATCH_ROWS)):
            padded = [_padded(row, schema.names) for row in some]
            yield pa.record_batch(
                [
                    pa.array([_as(row[number], kind) for row in padded], kind)
                    for number, kind in enumerate(schema.types)
                ],
                schema=schema,
            )

    return pa.RecordBatchReader.from_batches(schema, batches())


def _columns(header: Sequence[Any]) -> list[str]:
    """Return names of the columns: unnamed ones by their number, equal ones numbered."""
    names: dict[str, None] = {}
    for number, cell in enumerate(header):
        base = name = f"column_{number}" if cell is None else str(cell)
        counted = 0
        while name in names:
            counted += 1
            name = f"{base}.{counted}"
        names[name] = None
    return list(names)


def _padded(row: Sequence[Any], columns: Sequence[str]) -> list[Any]:
    return [*row[: len(columns)], *[None] * (len(columns) - len(row))]


def _wider(known: pa.DataType, value: Any) -> pa.DataType:
    """Return the type that holds what a column has had so far, and this value."""
    found = _type_of(value)
    if known == found or pa.types.is_null(found):
        return known
    if pa.types.is_null(known):
        return found
    numbers = (pa.int64(), pa.float64())
    return pa.float64() if known in numbers and found in numbers else pa.string()


def _type_of(value: Any) -> pa.DataType:
    if value is None:
        return pa.null()
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        return pa.int64()
    if isinstance(value, int | float):
        return pa.float64()
    return pa.timestamp("us") if isinstance(value, datetime.datetime) else pa.string()


def _as(value: Any, kind: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_string(kind):
        return str(value)
    return float(value) if pa.types.is_floating(kind) else value
