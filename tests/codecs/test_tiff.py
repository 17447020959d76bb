"""TIFF's compressions: strips and tiles that tifffile wrote, against what tifffile reads."""

from __future__ import annotations

import io
import itertools
from typing import Any

import numpy as np
import pytest
import tifffile

from lakeservice.codecs import Chain
from schemas.chunks import ChunkLayout, Codec
from schemas.errors import CorruptError, ErrorKind
from schemas.structures import DataType

COMPRESSIONS = {
    "packbits": "tiff.packbits",
    "zlib": "tiff.deflate",
    "zstd": "tiff.zstd",
    "lzma": "tiff.lzma",
}
SEGMENTS: dict[str, dict[str, Any]] = {
    "strips": {"rowsperstrip": 16},
    "tiles": {"tile": (32, 48)},
}


def layout_of(page: tifffile.TiffPage, name: str) -> ChunkLayout:
    codecs = [Codec(name)]
    if page.predictor != 1:
        settings = {"predictor": int(page.predictor), "samples": page.samplesperpixel}
        codecs.insert(0, Codec("tiff.predictor", settings))
    stored = np.dtype(page.dtype).newbyteorder(page.parent.byteorder)
    return ChunkLayout(
        data_type=DataType.from_numpy(stored),
        chunk_shape=page.chunks,
        codecs=tuple(codecs),
        edge="full" if page.is_tiled else "clipped",
    )


@pytest.mark.parametrize("dtype", ["|u1", "<u2", ">u2", ">i4", "<f4", ">f4", "<f8"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("segments", SEGMENTS.values(), ids=SEGMENTS.keys())
def test_strips_and_tiles_are_what_tifffile_reads(
    dtype: str, compression: str, segments: dict[str, Any]
) -> None:
    steps = np.random.default_rng(4).integers(-3, 4, (70, 90, 3))
    for shape, photometric in (((70, 90), "minisblack"), ((70, 90, 3), "rgb")):
        values = np.cumsum(steps, axis=1).reshape(70, 90, 3)[..., : len(shape) * 2 - 3]
        values = values.reshape(shape).astype(dtype)
        for predictor in (False, True):
            if predictor and compression == "packbits":
                continue
            file = io.BytesIO()
            tifffile.imwrite(
                file,
                values,
                compression=compression,
                predictor=predictor,
                photometric=photometric,
                byteorder=dtype[0].replace("|", "<"),
                **segments,
            )
            check_all_segments(file, COMPRESSIONS[compression])


def check_all_segments(file: io.BytesIO, name: str) -> None:
    content = file.getvalue()
    with tifffile.TiffFile(io.BytesIO(file.getvalue())) as opened:
        page = opened.pages.first
        truth = page.asarray()
        chain = Chain(layout_of(page, name))
        grid = itertools.product(*(range(count) for count in page.chunked))
        for number, position in enumerate(grid):
            start = page.dataoffsets[number]
            encoded = content[start : start + page.databytecounts[number]]
            origins = [at * size for at, size in zip(position, page.chunks, strict=True)]
            index = tuple(
                slice(origin, origin + size)
                for origin, size in zip(origins, page.chunks, strict=True)
            )
            decoded = chain.decode(encoded, truth[index].shape)
            assert np.array_equal(decoded, truth[index])


@pytest.mark.parametrize("name", COMPRESSIONS.values())
def test_bytes_after_the_last_pixel_are_left_out_but_missing_pixels_are_corrupt(name: str) -> None:
    values = np.arange(60, dtype="<u2").reshape(6, 10)
    compression = next(key for key, value in COMPRESSIONS.items() if value == name)
    file = io.BytesIO()
    tifffile.imwrite(file, values, compression=compression, rowsperstrip=6)
    with tifffile.TiffFile(io.BytesIO(file.getvalue())) as opened:
        page = opened.pages.first
        encoded = file.getvalue()[page.dataoffsets[0] :][: page.databytecounts[0]]
    data_type = DataType.from_numpy(values.dtype)
    fewer = Chain(ChunkLayout(data_type=data_type, chunk_shape=(4, 10), codecs=(Codec(name),)))
    assert np.array_equal(fewer.decode(encoded, (4, 10)), values[:4])
    more = Chain(ChunkLayout(data_type=data_type, chunk_shape=(8, 10), codecs=(Codec(name),)))
    with pytest.raises(CorruptError) as caught:
        more.decode(encoded, (8, 10))
    assert caught.value.kind is ErrorKind.CORRUPT_CHUNK


def test_lzw_is_left_to_conversion() -> None:
    assert "tiff.lzw" in str(Chain.supported([Codec("tiff.lzw")]))
