"""Tables as a page for a browser, written row by row."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from lakeservice.export.exporter import Exporter
from lakeservice.export.table_cells import header_of, is_number, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.export.exporter import Piece
    from lakeservice.export.sources import TableSource
    from lakeservice.export.table_cells import Cell

PIECE_CHARS = 64 << 10
_STYLE = (
    "body{font:14px sans-serif}table{border-collapse:collapse}"
    "th,td{border:1px solid #ccc;padding:2px 8px;text-align:left}"
    "th{position:sticky;top:0;background:#eee}td.n{text-align:right}"
)


def write(source: TableSource) -> Iterator[Piece]:
    """Yield one HTML page with all rows."""
    title = html.escape(source.name or "table")
    text = [
        '<!DOCTYPE html>\n<html><head><meta charset="utf-8">',
        f"<title>{title}</title><style>{_STYLE}</style></head><body>\n<table>\n<thead><tr>",
        *(f"<th>{html.escape(name)}</th>" for name in header_of(source)),
        "</tr></thead>\n<tbody>\n",
    ]
    size = 0
    for row in rows_of(source):
        line = "<tr>" + "".join(map(_cell, row)) + "</tr>\n"
        text.append(line)
        size += len(line)
        if size > PIECE_CHARS:
            yield "".join(text).encode("utf-8", "replace")
            text.clear()
            size = 0
    text.append("</tbody>\n</table>\n</body></html>\n")
    yield "".join(text).encode("utf-8", "replace")


def _cell(value: Cell) -> str:
    if value is None:
        return "<td></td>"
    style = ' class="n"' if is_number(value) else ""
    return f"<td{style}>{html.escape(str(value))}</td>"


HTML = Exporter(
    family="table",
    media_type="text/html",
    names=("html", "htm"),
    content_type="text/html; charset=utf-8",
    write=write,
)
