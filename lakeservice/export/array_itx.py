"""Arrays as Igor text: one wave, plane after plane."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lakeservice.export.exporter import Exporter
from lakeservice.export.ibw import TURNED
from lakeservice.export.igor import SLAB_BYTES, wave_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.export.exporter import Piece
    from lakeservice.export.igor import Wave
    from lakeservice.export.sources import ArraySource

LINES_VALUES = 1 << 14
"""Values that become text at a time."""
_FLAGS = {
    "i1": "/B", "i2": "/W", "i4": "/I", "i8": "/L",
    "u1": "/U/B", "u2": "/U/W", "u4": "/U/I", "u8": "/U/L",
    "f4": "/S", "f8": "/D", "c8": "/C/S", "c16": "/C/D",
}  # fmt: skip
_WORDS = {"nan": "NaN", "inf": "INF", "-inf": "-INF"}


def write_itx(source: ArraySource) -> Iterator[Piece]:
    """Yield Igor text, which Igor Pro loads as a wave; the metadata is its note."""
    wave = wave_of(source)
    name = f"'{wave.name}'"
    shape = ",".join(map(str, wave.shape or (1,)))
    yield f"IGOR\nWAVES{_FLAGS[wave.dtype.str[1:]]}/N=({shape})\t{name}\nBEGIN\n".encode()
    yield from _lines(wave)
    end = ["END"]
    if wave.unit:
        end.append(f'X SetScale d, 0, 0, "{wave.unit}", {name}')
    for number, dim in enumerate(wave.dims):
        end.append(f"X SetDimLabel {number}, -1, '{_label(dim)}', {name}")
    if wave.note:
        end.append(f'X Note {name}, "{_escaped(wave.note.decode())}"')
    yield ("\n".join(end) + "\n").encode()


def _lines(wave: Wave) -> Iterator[Piece]:
    """Yield a line for each row of a plane; Igor reads planes one after another."""
    if 0 in wave.shape:
        return
    plane = math.prod(wave.shape[:2]) * wave.source.dtype.itemsize
    if len(wave.shape) > 1 and plane > SLAB_BYTES:
        yield from _long_planes(wave)
        return
    for slab in wave.slabs():
        if slab.ndim < 3:
            yield from _plane(slab.reshape(slab.shape or (1,)))
            continue
        whole = slab.reshape(*slab.shape[:2], -1, order="F")
        for number in range(whole.shape[2]):
            yield from _plane(whole[:, :, number])
            yield b"\n"


def _long_planes(wave: Wave) -> Iterator[Piece]:
    """Yield lines of planes that are too large to be held, some rows at a time."""
    row_bytes = wave.shape[1] * wave.source.dtype.itemsize
    step = max(1, SLAB_BYTES // row_bytes)
    for behind in np.ndindex(*wave.shape[:1:-1]):
        for start in range(0, wave.shape[0], step):
            yield from _plane(wave.read((slice(start, start + step), slice(None), *behind[::-1])))
        if behind:
            yield b"\n"


def _plane(plane: np.ndarray[Any, Any]) -> Iterator[Piece]:
    rows = plane.reshape(len(plane), -1)
    step = max(1, LINES_VALUES // max(1, rows.shape[1]))
    for start in range(0, len(rows), step):
        lines = ["\t" + "\t".join(map(_text, row)) for row in rows[start : start + step]]
        yield ("\n".join(lines) + "\n").encode()


def _text(value: Any) -> str:
    if isinstance(value, np.complexfloating):
        return f"{_text(value.real)}\t{_text(value.imag)}"
    # NumPy's own text: as many digits as the type has.
    text = str(value)
    return _WORDS.get(text, text)


def _label(text: str) -> str:
    return text.replace("'", "_").replace("\n", " ").replace("\r", " ")


def _escaped(text: str) -> str:
    for plain, written in (("\\", "\\\\"), ('"', '\\"'), ("\r", "\\r"), ("\n", "\\n")):
        text = text.replace(plain, written)
    return text.replace("\t", "\\t")


def _check(source: ArraySource) -> None:
    wave_of(source)


ITX = Exporter(
    family="array",
    media_type="application/x-igor-itx",
    names=("itx",),
    content_type="application/x-igor-itx; charset=utf-8",
    write=write_itx,
    check=_check,
    options=(TURNED,),
)
