"""Zarr version 2's codecs: what numcodecs encoded, decoded by us."""

from __future__ import annotations

from typing import Any

import numcodecs
import numpy as np
import pytest

from lakeservice.codecs import Chain
from schemas.chunks import ChunkLayout, Codec
from schemas.errors import CorruptError
from schemas.structures import DataType

COMPRESSORS: list[Any] = [
    numcodecs.Zlib(),
    numcodecs.LZ4(),
    numcodecs.BZ2(),
    numcodecs.LZMA(),
    numcodecs.LZMA(format=3, filters=[{"id": 0x21, "preset": 1}]),
    numcodecs.Zstd(),
    numcodecs.GZip(),
    numcodecs.Blosc(),
    numcodecs.Blosc(cname="zstd", shuffle=numcodecs.Blosc.BITSHUFFLE),
]
FILTERS: list[Any] = [
    numcodecs.Shuffle(4),
    numcodecs.Delta("<i4"),
    numcodecs.Delta("<i4", astype="<i8"),
    numcodecs.AsType(encode_dtype="<i8", decode_dtype="<i4"),
    numcodecs.CRC32(),
    numcodecs.Adler32(),
    numcodecs.Fletcher32(),
    numcodecs.JenkinsLookup3(),
]
FLOATING: list[Any] = [
    numcodecs.FixedScaleOffset(offset=100, scale=10, dtype="<f4", astype="<i4"),
    numcodecs.Quantize(2, "<f4"),
    numcodecs.BitRound(9),
]


def codec_of(codec: Any) -> Codec:
    settings = dict(codec.get_config())
    return Codec(settings.pop("id"), settings)


def check(values: np.ndarray[Any, Any], *chain: Any) -> None:
    """Encode with numcodecs as Zarr 2 does, and compare what both decode."""
    encoded: Any = values
    for codec in chain:
        encoded = codec.encode(encoded)
    payload = np.frombuffer(bytes(np.ascontiguousarray(encoded).data), "u1")
    truth: Any = payload
    for codec in reversed(chain):
        truth = codec.decode(truth)
    truth = np.frombuffer(bytes(np.ascontiguousarray(truth).data), values.dtype)
    layout = ChunkLayout(
        data_type=DataType.from_numpy(values.dtype),
        chunk_shape=values.shape,
        codecs=(Codec("bytes"), *(codec_of(codec) for codec in chain)),
    )
    assert Chain.supported(layout.codecs) is None
    decoded = Chain(layout).decode(payload, values.shape)
    assert decoded.tobytes() == truth.tobytes()


def numbers(dtype: str) -> np.ndarray[Any, Any]:
    steps = np.random.default_rng(8).integers(-3, 4, (37, 211))
    return np.asarray(200 + np.cumsum(steps, axis=1), dtype)


@pytest.mark.parametrize("compressor", COMPRESSORS, ids=str)
def test_compressors_alone_and_after_each_filter(compressor: Any) -> None:
    check(numbers("<i4"), compressor)
    for each in FILTERS:
        check(numbers("<i4"), each, compressor)


@pytest.mark.parametrize("each", FILTERS, ids=str)
def test_filters_alone(each: Any) -> None:
    check(numbers("<i4"), each)


@pytest.mark.parametrize("each", FLOATING, ids=str)
def test_filters_that_lose_digits(each: Any) -> None:
    check(numbers("<f4") / 7, each)
    check(numbers("<f4") / 7, each, numcodecs.LZ4())


def test_packed_bits() -> None:
    check(numbers("<i4") % 3 == 0, numcodecs.PackBits(), numcodecs.Zlib())


@pytest.mark.parametrize("compressor", COMPRESSORS, ids=str)
def test_a_stream_that_is_cut_is_corrupt(compressor: Any) -> None:
    values = numbers("<i4")
    layout = ChunkLayout(
        data_type=DataType.from_numpy(values.dtype),
        chunk_shape=values.shape,
        codecs=(codec_of(compressor),),
    )
    encoded = bytes(compressor.encode(values))
    for length in (0, 3, 12, len(encoded) // 2):
        with pytest.raises(CorruptError):
            Chain(layout).decode(encoded[:length], values.shape)
