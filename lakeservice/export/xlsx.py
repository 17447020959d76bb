"""Tables as workbooks (Office Open XML), written row by row.

A sheet holds 1 048 576 rows: longer tables go on in the next one, under the same
header. More columns than a sheet has are refused.
"""

from __future__ import annotations

import datetime
import itertools
import re
import zipfile
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from lakeservice.export.arrow import Sink
from lakeservice.export.exporter import Exporter
from lakeservice.export.table_cells import header_of, is_number, rows_of
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakeservice.export.exporter import Piece
    from lakeservice.export.sources import TableSource
    from lakeservice.export.table_cells import Cell

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
SHEET_ROWS = 1_048_576
SHEET_COLUMNS = 16_384
CELL_CHARS = 32_767
"""Longest text of a cell; what is longer is cut."""
LARGEST_EXACT = 1 << 53
"""Whole numbers above it are text: a workbook holds doubles."""
PIECE_CHARS = 64 << 10

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_NOT_IN_TITLES = re.compile(r"[\[\]:*?/\\']")
_DAY_ONE = (1980, 1, 1, 0, 0, 0)
_EPOCH = datetime.datetime(1899, 12, 30)  # noqa: DTZ001  a workbook knows no time zones


def write(source: TableSource) -> Iterator[Piece]:
    """Yield a workbook; numbers, flags and times keep their kind, other values are text."""
    names = header_of(source)
    rows = rows_of(source)
    title = _NOT_IN_TITLES.sub("_", source.name or "table")[:24]
    sink = Sink()
    sheets = 0
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        following = list(itertools.islice(rows, 1))
        while sheets == 0 or following:
            sheets += 1
            some = itertools.islice(itertools.chain(following, rows), SHEET_ROWS - 1)
            yield from _file(archive, sink, f"xl/worksheets/sheet{sheets}.xml", _sheet(names, some))
            following = list(itertools.islice(rows, 1))
        for name, text in _rest(title, sheets).items():
            yield from _file(archive, sink, name, iter((_XML + text,)))
    if rest := sink.take():
        yield rest


def check(source: TableSource) -> None:
    """Refuse what has more columns than a sheet.

    Raises
    ------
    InvalidRequestError
        ``unknown-format``.
    """
    columns = len(header_of(source))
    if columns > SHEET_COLUMNS:
        raise InvalidRequestError(
            ErrorKind.UNKNOWN_FORMAT,
            f"{columns} columns, and a sheet has {SHEET_COLUMNS}: choose some with column=",
        )


def _file(archive: zipfile.ZipFile, sink: Sink, name: str, texts: Iterator[str]) -> Iterator[bytes]:
    entry = zipfile.ZipInfo(name, _DAY_ONE)
    entry.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(entry, "w", force_zip64=True) as file:
        for text in texts:
            file.write(text.encode())
            if made := sink.take():
                yield made
    if made := sink.take():
        yield made


def _sheet(names: Sequence[str], rows: Iterator[tuple[Cell, ...]]) -> Iterator[str]:
    frozen = '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/>'
    yield (
        f'{_XML}<worksheet xmlns="{_MAIN}"><sheetViews><sheetView workbookViewId="0">{frozen}'
        "</sheetView></sheetViews><sheetData>"
    )
    text: list[str] = []
    size = 0
    for row in itertools.chain((names,), rows):
        line = "<row>" + "".join(map(_cell, row)) + "</row>"
        text.append(line)
        size += len(line)
        if size > PIECE_CHARS:
            yield "".join(text)
            text.clear()
            size = 0
    yield "".join(text) + "</sheetData></worksheet>"


def _cell(value: Cell) -> str:
    if value is None or value == "" or value != value:
        return "<c/>"
    if isinstance(value, bool):
        return f'<c t="b"><v>{int(value)}</v></c>'
    if is_number(value) and not (isinstance(value, int) and abs(value) > LARGEST_EXACT):
        return f"<c><v>{value!r}</v></c>"
    if isinstance(value, datetime.date) and value.year >= 1900:
        return _time_cell(value)
    text = escape(_FORBIDDEN.sub("\ufffd", str(value)[:CELL_CHARS]))
    return f'<c t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'


def _time_cell(value: datetime.date) -> str:
    style = 2
    if not isinstance(value, datetime.datetime):
        value, style = datetime.datetime.combine(value, datetime.time()), 1
    days = (value - _EPOCH) / datetime.timedelta(days=1)
    return f'<c s="{style}"><v>{days!r}</v></c>'


def _rest(title: str, sheets: int) -> dict[str, str]:
    """Return the small files of a workbook, by name."""
    numbers = range(1, sheets + 1)
    titles = [title] + [f"{title} {number}" for number in numbers[1:]]
    entries = "".join(
        f'<sheet name={quoteattr(_FORBIDDEN.sub("_", name))} sheetId="{number}" r:id="r{number}"/>'
        for number, name in zip(numbers, titles, strict=True)
    )
    kind = f"{_OFFICE}/worksheet"
    related = "".join(
        f'<Relationship Id="r{number}" Type="{kind}" Target="worksheets/sheet{number}.xml"/>'
        for number in numbers
    )
    parts = "".join(
        f'<Override PartName="/xl/worksheets/sheet{number}.xml" '
        f'ContentType="{_TYPE}.worksheet+xml"/>'
        for number in numbers
    )
    return {
        "[Content_Types].xml": (
            f'<Types xmlns="{_PACKAGE}/content-types">'
            '<Default Extension="rels" '
            'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            '<Default Extension="xml" ContentType="application/xml"/>'
            f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPE}.sheet.main+xml"/>'
            f'<Override PartName="/xl/styles.xml" ContentType="{_TYPE}.styles+xml"/>'
            f"{parts}</Types>"
        ),
        "_rels/.rels": (
            f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="r1" '
            f'Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>'
        ),
        "xl/workbook.xml": (
            f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>{entries}</sheets></workbook>'
        ),
        "xl/_rels/workbook.xml.rels": (
            f'<Relationships xmlns="{_PACKAGE}/relationships">{related}'
            f'<Relationship Id="s" Type="{_OFFICE}/styles" Target="styles.xml"/></Relationships>'
        ),
        "xl/styles.xml": (
            f'<styleSheet xmlns="{_MAIN}"><numFmts count="1">'
            '<numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd\\ hh:mm:ss.000"/></numFmts>'
            '<fonts count="1"><font><sz val="11"/><name val="Calibri"/></font></fonts>'
            '<fills count="1"><fill><patternFill patternType="none"/></fill></fills>'
            '<borders count="1"><border/></borders>'
            '<cellStyleXfs count="1"><xf/></cellStyleXfs>'
            '<cellXfs count="3"><xf/><xf numFmtId="14" applyNumberFormat="1"/>'
            '<xf numFmtId="164" applyNumberFormat="1"/></cellXfs>'
            '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles>'
            "</styleSheet>"
        ),
    }


TABLE = Exporter(family="table", media_type=XLSX, names=("xlsx",), write=write, check=check)
