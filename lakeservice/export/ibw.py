"""Arrays as Igor binary waves, version 5 (WaveMetrics, Igor Technical Note 003)."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

import numpy as np

from lakeservice.export.exporter import Exporter, Option
from lakeservice.export.igor import IMAGE, MOST_AXES, NAME_BYTES, wave_of
from schemas.errors import ErrorKind, TooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.export.exporter import Piece
    from lakeservice.export.igor import Wave
    from lakeservice.export.sources import ArraySource

MOST_BYTES = (1 << 31) - (1 << 16)
"""Sizes in the file are 32-bit integers."""
_BIN = struct.Struct("<hhiiii4i4iihhi")
_WAVE = struct.Struct("<4xIIih2x3x3bh32s8x4i4d4d4s16s4x16x40x2xbb88x")
_LABEL_BYTES = NAME_BYTES + 1
_UTF8 = 1
_TYPES = {
    "f4": 2, "f8": 4, "c8": 3, "c16": 5,
    "i1": 0x08, "i2": 0x10, "i4": 0x20, "i8": 0x80,
    "u1": 0x48, "u2": 0x50, "u4": 0x60, "u8": 0xC0,
}  # fmt: skip


def write_ibw(source: ArraySource) -> Iterator[Piece]:
    """Yield an Igor binary wave, the metadata as its note."""
    wave = wave_of(source)
    yield _header(wave)
    for slab in wave.slabs():
        if slab.size:
            yield np.ascontiguousarray(slab.T).reshape(-1).view(np.uint8).data
    if trailer := wave.note + _labels(wave):
        yield trailer


def _header(wave: Wave) -> bytes:
    labels = [_LABEL_BYTES if wave.dims else 0] * len(wave.shape) + [0] * MOST_AXES
    shape = ((wave.shape or (1,)) if 0 not in wave.shape else ()) + (0,) * MOST_AXES
    head = _WAVE.pack(
        0,
        0,
        math.prod(wave.shape),
        _TYPES[wave.dtype.str[1:]],
        *[_UTF8] * 3,
        1,
        wave.name.encode(),
        *shape[:MOST_AXES],
        *[1.0] * MOST_AXES,
        *[0.0] * MOST_AXES,
        wave.unit.encode(),
        b"",
        _UTF8,
        _UTF8,
    )
    size = _WAVE.size + _data_bytes(wave)
    fields = (size, 0, len(wave.note), 0, 0, 0, 0, 0, *labels[:MOST_AXES], 0, 0, 0, 0)
    # The sum of the first 384 bytes as 16-bit integers is zero.
    total = sum(struct.unpack("<192h", _BIN.pack(5, 0, *fields) + head))
    checksum = (-total + 0x8000) % 0x10000 - 0x8000
    return _BIN.pack(5, checksum, *fields) + head


def _labels(wave: Wave) -> bytes:
    names = [name.encode()[:NAME_BYTES].decode("utf-8", "ignore") for name in wave.dims]
    return b"".join(name.encode().ljust(_LABEL_BYTES, b"\0") for name in names)


def _data_bytes(wave: Wave) -> int:
    return math.prod(wave.shape) * wave.dtype.itemsize


def _size(source: ArraySource) -> int:
    wave = wave_of(source)
    return _BIN.size + _WAVE.size + _data_bytes(wave) + len(wave.note) + len(_labels(wave))


def check_ibw(source: ArraySource) -> None:
    """Refuse what no wave can hold.

    Raises
    ------
    InvalidRequestError
        ``unknown-format``; ``bad-request``: an option.
    TooLargeError
        ``too-large``: more than 2 GB.
    """
    if _data_bytes(wave_of(source)) > MOST_BYTES:
        raise TooLargeError(
            ErrorKind.TOO_LARGE, "an Igor binary wave holds 2 GB at most; choose a part with slice="
        )


TURNED = Option(
    name=IMAGE,
    kind=bool,
    description="Turn the axes around, so that an image stands upright in Igor.",
)
IBW = Exporter(
    family="array",
    media_type="application/x-igor-ibw",
    names=("ibw",),
    write=write_ibw,
    size=_size,
    check=check_ibw,
    options=(TURNED,),
)
