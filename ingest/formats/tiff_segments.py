"""Strips and tiles of one TIFF page, as chunks with a codec chain."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

from lakeservice.codecs.chain import Chain
from schemas.chunks import ChunkLayout, Codec
from schemas.structures import DataType

if TYPE_CHECKING:
    import tifffile

    from ingest.found import ChunkRows

_UNCOMPRESSED = 1
_COMPRESSIONS = {
    5: "tiff.lzw",
    8: "tiff.deflate",
    32946: "tiff.deflate",
    32773: "tiff.packbits",
    34925: "tiff.lzma",
    50000: "tiff.zstd",
    34926: "tiff.zstd",
}
_YCBCR = 6


@dataclasses.dataclass(frozen=True)
class Segments:
    """How the segments of each page become chunks."""

    layout: ChunkLayout
    count: int
    """Segments of a page."""
    size_bytes: int | None
    """Bytes of the one segment of an uncompressed page that lies in one piece; else None."""
    rows: ChunkRows | None = None

    def under(self, axes: int) -> Segments:
        """Return the same for pages below that many more axes."""
        chunk_shape = (1,) * axes + self.layout.chunk_shape
        layout = ChunkLayout(
            data_type=self.layout.data_type,
            chunk_shape=chunk_shape,
            codecs=self.layout.codecs,
            fill_value=self.layout.fill_value,
            edge=self.layout.edge,
        )
        return dataclasses.replace(self, layout=layout)


def segments_of(page: tifffile.TiffPage) -> Segments | None:
    """Return how a page's segments are decoded; None where only tifffile can do it."""
    dtype = page.dtype
    if (
        dtype is None
        or page.fillorder != 1
        or page.bitspersample != dtype.itemsize * 8
        or page.imagedepth != 1
        or page.tiledepth > 1
        or page.photometric == _YCBCR
    ):
        return None
    stored = np.dtype(dtype).newbyteorder(page.parent.byteorder)
    data_type = DataType.from_numpy(stored)
    fill = np.asarray(page.nodata or 0)
    fill_value = fill.astype(stored).tobytes() if fill.any() else b""
    if page.compression == _UNCOMPRESSED and page.predictor == 1 and page.is_contiguous:
        layout = ChunkLayout(
            data_type=data_type,
            chunk_shape=page.shape,
            codecs=(Codec("bytes"),),
            fill_value=fill_value,
            edge="clipped",
        )
        return None if len(page.dataoffsets) != 1 else Segments(layout, 1, page.nbytes)
    codecs = [Codec("bytes")]
    if page.predictor in (2, 3):
        samples = page.samplesperpixel if page.planarconfig == 1 else 1
        codecs.append(Codec("tiff.predictor", {"predictor": page.predictor, "samples": samples}))
    elif page.predictor != 1:
        return None
    if page.compression != _UNCOMPRESSED:
        name = _COMPRESSIONS.get(page.compression)
        if name is None:
            return None
        codecs.append(Codec(name))
    if Chain.supported(codecs) is not None or len(page.chunks) != len(page.shape):
        return None
    layout = ChunkLayout(
        data_type=data_type,
        chunk_shape=tuple(int(size) for size in page.chunks),
        codecs=tuple(codecs),
        fill_value=fill_value,
        edge="full" if page.is_tiled else "clipped",
    )
    return Segments(layout, math.prod(page.chunked), None)
