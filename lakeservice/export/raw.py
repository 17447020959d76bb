"""Arrays as they lie in memory, and as NumPy files."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

import numpy as np

from lakeservice.export.elements import byte_range, converted
from lakeservice.export.exporter import Exporter
from lakeservice.export.holes import piece_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.export.exporter import Piece
    from lakeservice.export.sources import ArraySource


def write_raw(source: ArraySource) -> Iterator[Piece]:
    """Yield the elements as they lie in memory, in the array's own byte order."""
    for block in source.blocks():
        if block.nbytes:
            yield piece_of(converted(block, source.dtype))


def write_npy(source: ArraySource) -> Iterator[Piece]:
    """Yield a NumPy file."""
    yield _npy_header(source)
    yield from write_raw(source)


def _raw_part(source: ArraySource, start: int, stop: int) -> Iterator[Piece]:
    return byte_range(source, start, stop)


def _npy_part(source: ArraySource, start: int, stop: int) -> Iterator[Piece]:
    header = _npy_header(source)
    if start < len(header):
        yield header[start:stop]
    if stop > len(header):
        yield from byte_range(source, max(0, start - len(header)), stop - len(header))


def _npy_header(source: ArraySource) -> bytes:
    header = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(source.dtype)
    fields = {"descr": descr, "fortran_order": False, "shape": tuple(source.shape)}
    try:
        np.lib.format.write_array_header_1_0(header, fields)
    except ValueError:
        header = io.BytesIO()
        np.lib.format.write_array_header_2_0(header, fields)
    return header.getvalue()


def _raw_size(source: ArraySource) -> int:
    return math.prod(source.shape) * source.dtype.itemsize


def _npy_size(source: ArraySource) -> int:
    return len(_npy_header(source)) + _raw_size(source)


RAW = Exporter(
    family="array",
    media_type="application/octet-stream",
    names=("raw", "bin"),
    write=write_raw,
    size=_raw_size,
    part=_raw_part,
)
NPY = Exporter(
    family="array",
    media_type="application/x-npy",
    names=("npy",),
    write=write_npy,
    size=_npy_size,
    part=_npy_part,
)
