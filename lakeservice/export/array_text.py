"""Arrays as text: JSON and CSV, written from blocks in C order, one at a time."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from lakeservice.export.exporter import Exporter
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from lakeservice.export.exporter import Piece
    from lakeservice.export.sources import ArraySource, Shape

Blocks = Iterator[np.ndarray[Any, Any]]
TEXT_ELEMENTS = 1 << 16
"""Elements that become text at a time."""


def write_json(source: ArraySource) -> Iterator[Piece]:
    """Yield nested lists; what is not finite is null, a complex number is a pair."""
    blocks, shape = source.blocks(), source.shape
    if 0 in shape:
        yield _JSON.encode(np.empty(shape, np.uint8).tolist())
        return
    if not shape:
        yield from (_JSON.encode(_plain(block.reshape(1)).tolist()[0]) for block in blocks)
        return
    seen = 0
    for piece in _pieces(blocks, shape):
        # The piece holds consecutive entries of one axis: of what lies above, brackets open
        # where it begins a list, and close where it ends one.
        level = len(shape) - piece.ndim
        length = math.prod(shape[level:])
        unit = math.prod(shape[level + 1 :])
        opened = _boundaries(seen, shape[: level + 1], unit)
        seen += piece.shape[0] * unit
        closed = _boundaries(seen, shape[: level + 1], unit) if seen % length == 0 else 0
        comma = b"," if seen > piece.shape[0] * unit else b""
        text = _JSON.encode(_plain(piece).tolist())[1:-1]
        yield comma + b"[" * opened + text + b"]" * closed


def _boundaries(seen: int, shape: Shape, unit: int) -> int:
    """Return how many lists begin (or end) at an element, counted from the innermost axis."""
    number, length = 0, unit
    for axis_length in reversed(shape):
        length *= axis_length
        if seen % length:
            break
        number += 1
    return number


def write_csv(source: ArraySource) -> Iterator[Piece]:
    """Yield one line for each row of a table of numbers; one value a line for fewer axes."""
    blocks, shape, dtype = source.blocks(), source.shape, source.dtype
    if dtype.names:
        yield _csv_line([dtype.names])
    width = shape[1] if len(shape) == 2 else 1
    column = 0
    for piece in _pieces(blocks, shape):
        if piece.ndim == len(shape) and piece.ndim < 3:
            rows = piece.reshape(-1, width) if width else piece.reshape(len(piece), 0)
            yield _csv_line(_text(rows))
            continue
        # A single row that is longer than a block comes in parts.
        column += piece.size
        ends = column % width == 0
        yield _csv_line(_text(piece.reshape(1, -1)))[:-1] + (b"\n" if ends else b",")


def _text(rows: np.ndarray[Any, Any]) -> list[list[Any]]:
    if rows.dtype.names:
        return [list(record) for row in rows.tolist() for record in row]
    if rows.dtype.kind == "S":
        rows = np.char.decode(rows, "utf-8", "replace")
    if rows.dtype.kind in "biuU" or rows.dtype == np.float64:
        return list(rows.tolist())
    # NumPy's own text: as many digits as the type has, where Python would show a double's.
    return [[str(value) for value in row] for row in rows]


def _csv_line(rows: Any) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()


def check_csv(source: ArraySource) -> None:
    """Refuse what has no lines and columns."""
    shape, dtype = source.shape, source.dtype
    nested = dtype.names and any(dtype[name].subdtype or dtype[name].names for name in dtype.names)
    if len(shape) > (1 if dtype.names else 2) or nested:
        raise InvalidRequestError(
            ErrorKind.UNKNOWN_FORMAT,
            f"CSV has lines and columns only; {shape} of {dtype} does not fit: "
            "choose indices with slice=, or another format",
        )


def _pieces(blocks: Blocks, shape: Shape) -> Blocks:
    """Cut blocks along their first axis into pieces that are cheap to hold as text."""
    for block in blocks:
        if not block.ndim:
            yield block.reshape(1)
            continue
        step = max(1, TEXT_ELEMENTS // max(1, math.prod(block.shape[1:])))
        for start in range(0, len(block), step):
            yield block[start : start + step]


def _plain(block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return elements that JSON can say."""
    kind = block.dtype.kind
    if kind == "c":
        return np.stack([block.real, block.imag], axis=-1)
    if kind == "S":
        return np.char.decode(block, "utf-8", "replace")
    if kind in "mM":
        return np.datetime_as_string(block) if kind == "M" else block.astype("i8")
    return block


def _json_value(value: Any) -> Any:
    """Return what JSON can say of a value inside a record."""
    if isinstance(value, complex):
        return [value.real, value.imag]
    if isinstance(value, np.ndarray):
        return value.tolist()
    return float(value) if isinstance(value, np.floating) else str(value)


_JSON = msgspec.json.Encoder(enc_hook=_json_value)


JSON = Exporter(family="array", media_type="application/json", names=("json",), write=write_json)
CSV = Exporter(
    family="array",
    media_type="text/csv",
    names=("csv",),
    content_type="text/csv; charset=utf-8",
    write=write_csv,
    check=check_csv,
)
PLAIN = replace(
    CSV, media_type="text/plain", names=("txt", "text"), content_type="text/plain; charset=utf-8"
)
"""The same lines; browsers show them."""
COMMA_SEPARATED = replace(
    CSV, media_type="text/x-comma-separated-values", names=(), content_type=""
)
EXCEL = replace(CSV, media_type="application/vnd.ms-excel", names=("xls",), content_type="")
"""The same lines; browsers open them in a spreadsheet."""
EXPORTERS = (JSON, CSV, PLAIN, COMMA_SEPARATED, EXCEL)
