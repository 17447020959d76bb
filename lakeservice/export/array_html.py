"""Arrays as pages for a browser: a picture where there is one, and numbers in a table."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lakeservice.export.exporter import Exporter
from lakeservice.export.png import PNG, check_png, picture_url
from schemas.errors import LakeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.export.exporter import Piece
    from lakeservice.export.sources import ArraySource

SHOWN_PICTURE = 1024
"""Longest side of the picture, in pixels."""
ROWS, COLUMNS = 200, 50
"""Lines and columns of the table; of a longer array, the first."""
PICTURE = 8
"""An image with both sides at least as long is shown as a picture."""

_STYLE = (
    "body{font-family:sans-serif;margin:2em}img{max-width:100%;image-rendering:pixelated}"
    "table{border-collapse:collapse;font:0.8em monospace}td,th{padding:0 .6em;text-align:right}"
    "th{color:#888}"
)


def write_html(source: ArraySource) -> Iterator[Piece]:
    """Yield a page: what the array is, its picture, its first numbers."""
    name = html.escape(source.name or "array")
    shape = " × ".join(map(str, source.shape)) or "one value"
    title = f"<h1>{name}</h1><p>{shape}, {html.escape(str(source.dtype))}</p>"
    yield (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        f"<style>{_STYLE}</style></head><body>{title}"
    ).encode()
    if _has_picture(source):
        url = picture_url(source, SHOWN_PICTURE)
        yield f'<p><img alt="{name}" src="{url}"></p>'.encode()
    yield from _table(source)
    yield b"</body></html>\n"


def _has_picture(source: ArraySource) -> bool:
    if len(source.shape) < 2 or min(source.shape[-2:]) < PICTURE:
        return False
    try:
        check_png(source, SHOWN_PICTURE)
    except LakeError:
        return False
    return True


def _table(source: ArraySource) -> Iterator[Piece]:
    """Yield the first image of an array, or its beginning, as lines and columns."""
    shape = tuple(source.shape)
    if 0 in shape:
        return
    above = max(0, len(shape) - 2)
    index = (*[0] * above, *(slice(0, most) for most in (ROWS, COLUMNS)[: len(shape) - above]))
    part = source.read(index)
    rows: Any = part.reshape(1, 1) if part.ndim == 0 else part.reshape(len(part), -1)
    names = part.dtype.names
    if names:
        rows = [[record[name] for name in names] for record in part.reshape(-1)]
    yield b"<table>" + (_line([], ["", *names]) if names else b"")
    for number, row in enumerate(rows):
        yield _line(row, [str(number)])
    yield b"</table>"
    shown = math.prod(part.shape)
    if shown < math.prod(shape):
        yield f"<p>The first {shown} of {math.prod(shape)} values.</p>".encode()


def _line(cells: Any, heads: list[str]) -> bytes:
    titles = "".join(f"<th>{html.escape(head)}</th>" for head in heads)
    values = "".join(f"<td>{html.escape(_text(cell))}</td>" for cell in cells)
    return f"<tr>{titles}{values}</tr>\n".encode()


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return np.array2string(value, threshold=20) if isinstance(value, np.ndarray) else str(value)


HTML = Exporter(
    family="array",
    media_type="text/html",
    names=("html", "htm"),
    content_type="text/html; charset=utf-8",
    write=write_html,
    options=PNG.options,
)
