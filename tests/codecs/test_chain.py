"""Chunks of Zarr version 3, whole and in part, against zarr-python and NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr.codecs
from hypothesis import given
from hypothesis import strategies as st
from zarr.storage import MemoryStore

from lakeservice.codecs import Chain
from lakeservice.codecs.extent import Held
from lakeservice.testing import indexes, random_array
from schemas.chunks import ChunkLayout, Codec
from schemas.errors import CorruptError, ErrorKind, InvalidRequestError
from schemas.selection import select
from schemas.structures import DataType

if TYPE_CHECKING:
    from numpy.typing import NDArray

LITTLE = Codec("bytes", {"endian": "little"})
COMPRESSORS = {
    "blosc-lz4": Codec("blosc", {"cname": "lz4", "clevel": 5, "shuffle": "bitshuffle"}),
    "blosc-zstd": Codec("blosc", {"cname": "zstd", "clevel": 1, "shuffle": "shuffle"}),
    "blosc-zlib": Codec("blosc", {"cname": "zlib", "clevel": 1, "shuffle": "noshuffle"}),
    "zstd": Codec("zstd", {"level": 1, "checksum": False}),
    "gzip": Codec("gzip", {"level": 1}),
}


def layout(dtype: str, shape: tuple[int, ...], *codecs: Codec, **more: Any) -> ChunkLayout:
    data_type = DataType.from_numpy(np.dtype(dtype))
    return ChunkLayout(data_type=data_type, chunk_shape=shape, codecs=codecs, **more)


def smooth(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Return numbers that compress, as those of detectors do."""
    steps = np.random.default_rng(3).integers(-2, 3, shape)
    return np.asarray(100 + np.cumsum(steps, axis=-1), dtype)


def zarr_chunk(array: NDArray[Any], **options: Any) -> bytes:
    """Return the one chunk that zarr-python stores an array as."""
    stored: dict[str, Any] = {}
    created = zarr.create_array(
        MemoryStore(stored), shape=array.shape, chunks=array.shape, dtype=array.dtype, **options
    )
    created[...] = array
    (name,) = (name for name in stored if name.startswith("c"))
    chunk: bytes = stored[name].to_bytes()
    return chunk


@pytest.mark.parametrize(
    "compressor",
    [
        zarr.codecs.BloscCodec(cname="lz4", shuffle="bitshuffle"),
        zarr.codecs.BloscCodec(cname="zstd", shuffle="shuffle"),
        zarr.codecs.BloscCodec(cname="blosclz", shuffle="noshuffle"),
        zarr.codecs.BloscCodec(cname="lz4hc", shuffle="bitshuffle", blocksize=4096),
        zarr.codecs.ZstdCodec(level=3, checksum=True),
        zarr.codecs.GzipCodec(level=5),
        None,
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["<u2", "<f8", "|u1"])
def test_what_zarr_python_wrote_is_decoded(compressor: Any, dtype: str) -> None:
    array = smooth((37, 411), dtype)
    encoded = zarr_chunk(array, compressors=compressor)
    named = {"blosc": "blosc", "zstd": "zstd", "gzip": "gzip"}
    codecs = [LITTLE]
    if compressor is not None:
        document = compressor.to_dict()
        codecs.append(Codec(named[document["name"]], dict(document["configuration"])))
    decoded = Chain(layout(dtype, array.shape, *codecs)).decode(encoded, array.shape)
    assert np.array_equal(decoded, array)
    assert decoded.dtype == array.dtype


def test_transposed_big_endian_and_checked_chunks_of_zarr_python_are_decoded() -> None:
    array = smooth((5, 7, 11), "<i4")
    encoded = zarr_chunk(
        array,
        filters=zarr.codecs.TransposeCodec(order=(2, 0, 1)),
        serializer=zarr.codecs.BytesCodec(endian="big"),
        compressors=[zarr.codecs.GzipCodec(level=1), zarr.codecs.Crc32cCodec()],
    )
    chain = Chain(
        layout(
            "<i4",
            array.shape,
            Codec("transpose", {"order": [2, 0, 1]}),
            Codec("bytes", {"endian": "big"}),
            Codec("gzip", {"level": 1}),
            Codec("crc32c"),
        )
    )
    assert np.array_equal(chain.decode(encoded, array.shape), array)
    part = np.empty((2, 7, 3), "<i4")
    source = (slice(4, 0, -2), slice(0, 7, 1), slice(1, 10, 4))
    chain.decode_part(Held(encoded), array.shape, source, part)
    assert np.array_equal(part, array[source])


def test_two_transposes_are_undone_in_turn() -> None:
    array = smooth((3, 4, 5), "<u2")
    orders = (Codec("transpose", {"order": [1, 2, 0]}), Codec("transpose", {"order": [0, 2, 1]}))
    stored = array.transpose(1, 2, 0).transpose(0, 2, 1).tobytes()
    chain = Chain(layout("<u2", array.shape, *orders, LITTLE))
    assert np.array_equal(chain.decode(stored, array.shape), array)
    assert chain.encode(array) == stored


@pytest.mark.parametrize("name", COMPRESSORS)
@pytest.mark.parametrize("dtype", ["<u2", ">i4", "<f4", "<c16", "|S3", "<M8[ns]"])
def test_what_is_encoded_is_decoded(name: str, dtype: str) -> None:
    array = random_array((23, 57), np.dtype(dtype), 5)
    order = Codec("bytes", {"endian": "big" if dtype[0] == ">" else "little"})
    chain = Chain(layout(dtype, array.shape, order, COMPRESSORS[name]))
    assert chain.decode(chain.encode(array), array.shape).tobytes() == array.tobytes()


@given(st.data())
def test_a_part_of_a_chunk_is_what_numpy_cuts_out(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from([(1, 211, 331), (40, 61, 37), (70000,), (3, 9, 4001)]))
    dtype = data.draw(st.sampled_from(["|u1", "<u2", "<f4", "<f8"]))
    name = data.draw(st.sampled_from([None, *COMPRESSORS]))
    block = data.draw(st.sampled_from([0, 4096, 16384]))
    codecs = [LITTLE]
    if name is not None:
        settings = dict(COMPRESSORS[name].configuration)
        if "cname" in settings:
            settings["blocksize"] = block
        codecs.append(Codec(COMPRESSORS[name].name, settings))
    array = smooth(shape, dtype)
    chain = Chain(layout(dtype, shape, *codecs))
    encoded = chain.encode(array)
    index = data.draw(indexes(shape))
    selection = select(index, shape)
    if not selection.size:
        return
    part = np.zeros(selection.kept_shape, dtype)
    source = tuple(
        slice(axis.start, _stop(axis.start + axis.count * axis.step), axis.step)
        for axis in selection.axes
    )
    chain.decode_part(Held(encoded), shape, source, part)
    assert np.array_equal(part.reshape(selection.shape), array[index])


def _stop(stop: int) -> int | None:
    return stop if stop >= 0 else None


def test_a_chunk_over_the_end_is_cut_or_stored_cut() -> None:
    whole = smooth((4, 6), "<u2")
    full = Chain(layout("<u2", (4, 6), LITTLE))
    assert np.array_equal(full.decode(whole.tobytes(), (3, 5)), whole[:3, :5])
    clipped = Chain(layout("<u2", (4, 6), LITTLE, edge="clipped"))
    cut = np.ascontiguousarray(whole[:3, :5])
    assert np.array_equal(clipped.decode(cut.tobytes(), (3, 5)), cut)


def test_a_chunk_over_the_end_is_padded_with_the_fill_value() -> None:
    fill = np.array(7, "<u2")
    chain = Chain(layout("<u2", (2, 3), LITTLE, fill_value=fill.tobytes()))
    encoded = chain.encode(np.array([[1, 2]], "<u2"))
    assert np.frombuffer(encoded, "<u2").tolist() == [1, 2, 7, 7, 7, 7]


def test_elements_are_converted_to_the_order_of_the_target() -> None:
    array = smooth((5, 6), ">u2")
    chain = Chain(layout(">u2", array.shape, COMPRESSORS["zstd"]))
    out = np.empty(array.shape, "<u2")
    assert chain.decode(chain.encode(array), array.shape, out=out) is out
    assert np.array_equal(out, array)


def test_a_whole_chunk_is_decoded_into_the_memory_that_is_given() -> None:
    array = smooth((3, 50), "<u2")
    chain = Chain(layout("<u2", (1, 50), LITTLE, COMPRESSORS["blosc-lz4"]))
    out = np.zeros((3, 50), "<u2")
    chain.decode(chain.encode(array[1:2]), (1, 50), out=out[1:2])
    assert np.array_equal(out, array * np.array([[0], [1], [0]], "<u2"))


@pytest.mark.parametrize("name", COMPRESSORS)
def test_a_chunk_that_is_cut_short_is_corrupt(name: str) -> None:
    array = smooth((50, 400), "<u2")
    chain = Chain(layout("<u2", array.shape, LITTLE, COMPRESSORS[name]))
    encoded = chain.encode(array)
    for length in (0, 1, 7, 20, len(encoded) // 2, len(encoded) - 1):
        with pytest.raises(CorruptError) as caught:
            chain.decode(encoded[:length], array.shape)
        assert caught.value.kind is ErrorKind.CORRUPT_CHUNK


@pytest.mark.parametrize("name", [None, *COMPRESSORS])
def test_a_chunk_of_another_size_is_corrupt_and_never_padded(name: str | None) -> None:
    codecs = (LITTLE,) if name is None else (LITTLE, COMPRESSORS[name])
    small = Chain(layout("<u2", (50, 40), *codecs)).encode(smooth((50, 40), "<u2"))
    for shape in ((50, 41), (50, 39), (100, 40)):
        chain = Chain(layout("<u2", shape, *codecs))
        with pytest.raises(CorruptError) as caught:
            chain.decode(small, shape)
        assert caught.value.kind is ErrorKind.CORRUPT_CHUNK


def test_a_checksum_that_does_not_match_is_corrupt() -> None:
    chain = Chain(layout("<u2", (8,), LITTLE, Codec("crc32c")))
    encoded = bytearray(chain.encode(np.arange(8, dtype="<u2")))
    encoded[3] ^= 1
    with pytest.raises(CorruptError, match="CRC-32C"):
        chain.decode(bytes(encoded), (8,))


@pytest.mark.parametrize("name", [None, *COMPRESSORS])
@pytest.mark.parametrize("index", [np.s_[...], np.s_[3:5, 20:900:7]])
def test_no_bit_of_a_checked_chunk_can_turn_unseen(name: str | None, index: Any) -> None:
    array = smooth((60, 1000), "<u2")
    codecs = (LITTLE, *([COMPRESSORS[name]] if name else []), Codec("crc32c"))
    chain = Chain(layout("<u2", array.shape, *codecs))
    encoded = chain.encode(array)
    selection = select(index, array.shape)
    part = np.empty(selection.kept_shape, "<u2")
    source = tuple(axis.as_slice() for axis in selection.axes)
    chain.decode_part(Held(encoded), array.shape, source, part)
    assert np.array_equal(part, array[index])
    for bit in np.random.default_rng(1).integers(0, 8 * len(encoded), 40).tolist():
        broken = bytearray(encoded)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptError, match="CRC-32C"):
            chain.decode_part(Held(bytes(broken)), array.shape, source, part)


def test_a_checked_blosc_chunk_is_a_frame_and_four_bytes() -> None:
    array = smooth((60, 1000), "<u2")
    plain = Chain(layout("<u2", array.shape, LITTLE, COMPRESSORS["blosc-lz4"]))
    checked = Chain(layout("<u2", array.shape, LITTLE, COMPRESSORS["blosc-lz4"], Codec("crc32c")))
    frame, encoded = plain.encode(array), checked.encode(array)
    assert checked.is_one_step
    assert bytes(checked.as_blosc(encoded, array.shape) or b"") == frame == encoded[:-4]
    assert bytes(checked.unsealed(encoded)) == frame
    broken = encoded[:100] + bytes([encoded[100] ^ 1]) + encoded[101:]
    for read in (checked.unsealed, lambda found: checked.as_blosc(found, array.shape)):
        with pytest.raises(CorruptError, match="CRC-32C"):
            read(broken)


def test_blosc_headers_are_not_believed() -> None:
    array = smooth((64, 64), "<u2")
    chain = Chain(layout("<u2", array.shape, LITTLE, COMPRESSORS["blosc-lz4"]))
    encoded = chain.encode(array)
    for place, size in ((4, 1 << 30), (8, 0), (8, 1 << 30), (12, 1 << 30), (12, 3)):
        broken = bytearray(encoded)
        broken[place : place + 4] = size.to_bytes(4, "little")
        with pytest.raises(CorruptError, match="Blosc header"):
            chain.decode(bytes(broken), array.shape)


def test_an_unknown_codec_is_named() -> None:
    codecs = (LITTLE, Codec("secret"))
    assert Chain.supported(codecs) == "the codec 'secret' is not one that we can decode"
    assert Chain.supported((LITTLE, *COMPRESSORS.values())) is None
    with pytest.raises(InvalidRequestError, match="'secret'") as caught:
        Chain(layout("<u2", (1,), *codecs))
    assert caught.value.kind is ErrorKind.UNREADABLE_FILE


def test_a_chain_is_made_once_for_a_layout() -> None:
    first = layout("<u2", (3, 4), LITTLE, COMPRESSORS["zstd"])
    again = layout("<u2", (3, 4), LITTLE, COMPRESSORS["zstd"])
    other = layout("<u2", (3, 5), LITTLE, COMPRESSORS["zstd"])
    assert Chain.of(first) is Chain.of(again)
    assert Chain.of(first) is not Chain.of(other)
