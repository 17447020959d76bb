"""HDF5's filters: raw chunks as h5py gives them, decoded by us, against what h5py reads."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t, h5z

from lakeservice.codecs import Chain
from lakeservice.codecs.extent import Held
from schemas.chunks import ChunkLayout, Codec
from schemas.errors import CorruptError, ErrorKind
from schemas.structures import DataType

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAMES = {
    1: "deflate",
    2: "shuffle",
    3: "fletcher32",
    4: "szip",
    5: "nbit",
    6: "scaleoffset",
    307: "bzip2",
    32000: "lzf",
    32001: "blosc",
    32004: "lz4",
    32008: "bitshuffle",
    32013: "zfp",
    32015: "zstd",
    32017: "sz",
    32018: "fcidecomp",
    32024: "sz3",
    32026: "blosc2",
    32028: "sperr",
    32033: "htj2k",
}
LOSSLESS: dict[str, dict[str, Any]] = {
    "none": {},
    "deflate": {"compression": "gzip"},
    "shuffle, deflate, fletcher32": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "fletcher32": {"fletcher32": True},
    "shuffle, lzf": {"compression": "lzf", "shuffle": True},
    "szip nn": {"compression": "szip"},
    "szip ec": {"compression": "szip", "compression_opts": ("ec", 16)},
    "bitshuffle-lz4": hdf5plugin.Bitshuffle(),
    "bitshuffle-lz4, blocks of 64": hdf5plugin.Bitshuffle(nelems=64),
    "bitshuffle-zstd": hdf5plugin.Bitshuffle(cname="zstd"),
    "bitshuffle": hdf5plugin.Bitshuffle(cname="none"),
    "lz4": hdf5plugin.LZ4(),
    "lz4, blocks of 1000": hdf5plugin.LZ4(nbytes=1000),
    "zstd": hdf5plugin.Zstd(),
    "bzip2": hdf5plugin.BZip2(),
    "blosc-lz4": hdf5plugin.Blosc(),
    "blosc-zstd": hdf5plugin.Blosc(cname="zstd", shuffle=hdf5plugin.Blosc.BITSHUFFLE),
    "blosc2": hdf5plugin.Blosc2(),
    "blosc2-zstd": hdf5plugin.Blosc2(cname="zstd", filters=hdf5plugin.Blosc2.BITSHUFFLE),
}
INTEGERS: dict[str, dict[str, Any]] = {
    "scaleoffset": {"scaleoffset": 0},
    "scaleoffset of 12 bits": {"scaleoffset": 12},
    "deflate after scaleoffset": {"scaleoffset": 0, "compression": "gzip", "shuffle": True},
}
FLOATS: dict[str, dict[str, Any]] = {
    "scaleoffset of 2 digits": {"scaleoffset": 2},
    "zfp accuracy": hdf5plugin.Zfp(accuracy=0.01),
    "zfp rate": hdf5plugin.Zfp(rate=9),
    "zfp precision": hdf5plugin.Zfp(precision=14),
    "zfp reversible": hdf5plugin.Zfp(reversible=True),
    "zfp expert": hdf5plugin.Zfp(minbits=10, maxbits=300, maxprec=20, minexp=-20),
}
SHAPES = {
    "one chunk": ((40, 50), (40, 50)),
    "chunks over the end": ((61, 1033), (20, 500)),
    "three axes": ((3, 90, 70), (2, 90, 64)),
}


def numbers(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    steps = np.random.default_rng(11).integers(-3, 4, shape)
    return np.asarray(300 + np.cumsum(steps, axis=-1), dtype)


def chain_of(dataset: h5d.DatasetID, dtype: np.dtype[Any], chunks: tuple[int, ...]) -> Chain:
    creation = dataset.get_create_plist()
    filters = [creation.get_filter(number) for number in range(creation.get_nfilters())]
    codecs = tuple(
        Codec(f"hdf5.{NAMES[number]}", {"options": list(options)})
        for number, _, options, _ in filters
    )
    return Chain(
        ChunkLayout(data_type=DataType.from_numpy(dtype), chunk_shape=chunks, codecs=codecs)
    )


def check_all_chunks(dataset: h5py.Dataset) -> int:
    """Compare each chunk, whole and in part, with what h5py reads; return their number."""
    chain = chain_of(dataset.id, dataset.dtype, dataset.chunks)
    steps = zip(dataset.shape, dataset.chunks, strict=True)
    count = 0
    for place in itertools.product(*(range(0, length, size) for length, size in steps)):
        mask, encoded = dataset.id.read_direct_chunk(place)
        ends = zip(place, dataset.chunks, dataset.shape, strict=True)
        index = tuple(slice(start, min(start + size, end)) for start, size, end in ends)
        truth = dataset[index]
        decoded = chain.decode(encoded, truth.shape, filter_mask=mask)
        assert decoded.tobytes() == truth.tobytes()
        source = tuple(slice(length - 1, length // 2 - 1 or None, -2) for length in truth.shape)
        part = np.empty(truth[source].shape, truth.dtype)
        chain.decode_part(Held(encoded), truth.shape, source, part, filter_mask=mask)
        assert part.tobytes() == truth[source].tobytes()
        count += 1
    return count


@pytest.fixture
def file() -> Any:
    with h5py.File.in_memory() as opened:
        yield opened


@pytest.mark.parametrize("dtype", ["|u1", "<u2", "<u4", "<f8"])
@pytest.mark.parametrize("noisy", [0.01, 0.5, 1.0])
@pytest.mark.parametrize(
    "filters",
    [
        hdf5plugin.Bitshuffle(),
        hdf5plugin.Bitshuffle(nelems=64),
        hdf5plugin.Bitshuffle(nelems=8),
        hdf5plugin.Bitshuffle(cname="zstd"),
    ],
    ids=["lz4", "lz4 of 64", "lz4 of 8", "zstd"],
)
def test_blocks_that_cannot_be_compressed_give_what_h5py_gives(
    file: h5py.File, filters: Any, noisy: float, dtype: str
) -> None:
    random = np.random.default_rng(5)
    values = numbers((3, 90, 431), dtype)
    noise = random.integers(0, 256, values.nbytes, np.uint8).view(dtype).reshape(values.shape)
    rows = random.random(values.shape[:2]) < noisy
    values[rows] = noise[rows]
    dataset = file.create_dataset("x", data=values, chunks=(1, 90, 431), **filters)
    assert check_all_chunks(dataset) == 3


@pytest.mark.parametrize("filters", LOSSLESS.values(), ids=LOSSLESS.keys())
@pytest.mark.parametrize("dtype", ["|u1", "<u2", ">i4", "<u8", "<f4", ">f8"])
def test_every_lossless_filter_gives_what_h5py_gives(
    file: h5py.File, filters: dict[str, Any], dtype: str
) -> None:
    for name, (shape, chunks) in SHAPES.items():
        values = numbers(shape, dtype)
        dataset = file.create_dataset(name, data=values, chunks=chunks, **filters)
        assert np.array_equal(dataset[...], values)
        assert check_all_chunks(dataset) > 0


@pytest.mark.parametrize("filters", INTEGERS.values(), ids=INTEGERS.keys())
@pytest.mark.parametrize("dtype", ["|i1", "<u2", ">i4", "<u8"])
def test_packed_integers_are_what_h5py_gives(
    file: h5py.File, filters: dict[str, Any], dtype: str
) -> None:
    for name, (shape, chunks) in SHAPES.items():
        dataset = file.create_dataset(
            name, data=numbers(shape, "<i8").astype(dtype), chunks=chunks, **filters
        )
        check_all_chunks(dataset)


@pytest.mark.parametrize("filters", FLOATS.values(), ids=FLOATS.keys())
@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_lossy_floats_are_what_h5py_gives(
    file: h5py.File, filters: dict[str, Any], dtype: str
) -> None:
    for name, (shape, chunks) in SHAPES.items():
        dataset = file.create_dataset(name, data=numbers(shape, dtype), chunks=chunks, **filters)
        check_all_chunks(dataset)


@pytest.mark.parametrize("dtype", ["<i4", "<u8"])
def test_zfp_of_integers_is_what_h5py_gives(file: h5py.File, dtype: str) -> None:
    filters = hdf5plugin.Zfp(reversible=True)
    values = numbers((40, 50), dtype).astype(dtype.replace("u", "i"))
    check_all_chunks(file.create_dataset("x", data=values, chunks=(20, 50), **filters))


@pytest.mark.parametrize("name", ["bitshuffle-lz4", "bitshuffle-zstd", "lz4", "shuffle, lzf"])
def test_noise_that_no_filter_makes_smaller_is_read(file: h5py.File, name: str) -> None:
    noise = np.random.default_rng(1).integers(0, 1 << 32, (100, 900), "u4")
    check_all_chunks(file.create_dataset("x", data=noise, chunks=(50, 300), **LOSSLESS[name]))


@pytest.mark.parametrize("name", ["bitshuffle-lz4", "bitshuffle-zstd"])
@pytest.mark.parametrize("noisy", [slice(0, 100), slice(250, 333)], ids=["first", "last"])
def test_rows_of_a_chunk_that_is_nowhere_alike_are_read(
    file: h5py.File, name: str, noisy: slice
) -> None:
    values = np.zeros((333, 700), "<u2")
    values[noisy] = np.random.default_rng(1).integers(0, 4000, values[noisy].shape)
    dataset = file.create_dataset("x", data=values, chunks=values.shape, **LOSSLESS[name])
    chain = chain_of(dataset.id, values.dtype, values.shape)
    _, encoded = dataset.id.read_direct_chunk((0, 0))
    for start in range(0, 333, 9):
        rows = (slice(start, start + 4, 1), slice(5, 90, 1))
        part = np.empty(values[rows].shape, values.dtype)
        chain.decode_part(Held(encoded), values.shape, rows, part)
        assert np.array_equal(part, values[rows])


@pytest.mark.parametrize("name", ["blosc2", "bitshuffle-lz4", "shuffle, lzf", "deflate"])
def test_chunks_of_one_value_are_read(file: h5py.File, name: str) -> None:
    for key, value in (("zero", 0.0), ("one", 1.0), ("nan", np.nan)):
        values = np.full((100, 100), value, "<f4")
        check_all_chunks(file.create_dataset(key, data=values, chunks=(50, 50), **LOSSLESS[name]))


def test_a_scale_offset_dataset_with_a_fill_value_is_read(file: h5py.File) -> None:
    values = numbers((30, 40), "<i4")
    values[3:7] = -1
    filters: dict[str, Any] = {"scaleoffset": 0, "fillvalue": -1}
    check_all_chunks(file.create_dataset("i", data=values, chunks=(30, 40), **filters))
    floats = values.astype("<f8")
    filters = {"scaleoffset": 3, "fillvalue": -1.0}
    check_all_chunks(file.create_dataset("f", data=floats, chunks=(30, 40), **filters))


def test_filters_that_were_left_out_of_a_chunk_are_left_out(file: h5py.File) -> None:
    values = numbers((4, 6), "<u2")
    dataset = file.create_dataset(
        "x", (4, 6), "<u2", chunks=(2, 6), compression="gzip", shuffle=True, fletcher32=True
    )
    for row in (0, 2):
        mask = {0: 0b111, 2: 0b110}[row]
        payload = values[row : row + 2].tobytes()
        if row:
            payload = np.frombuffer(payload, "u1").reshape(-1, 2).T.tobytes()
        dataset.id.write_direct_chunk((row, 0), payload, filter_mask=mask)
    assert np.array_equal(dataset[...], values)
    assert check_all_chunks(dataset) == 2


@pytest.mark.parametrize(
    ("base", "dtype", "bits"),
    [
        (h5t.STD_U8LE, "|u1", 3),
        (h5t.STD_U16LE, "<u2", 12),
        (h5t.STD_U32BE, ">u4", 21),
        (h5t.STD_I64LE, "<i8", 40),
    ],
)
def test_n_bit_integers_are_what_h5py_gives(
    file: h5py.File, base: h5t.TypeIntegerID, dtype: str, bits: int
) -> None:
    stored = base.copy()
    stored.set_precision(bits)
    shape = (70, 37)
    values = np.asarray(np.random.default_rng(2).integers(0, 1 << (bits - 1), shape), dtype)
    dataset = nbit_dataset(file, stored, shape)
    dataset.write(h5s.ALL, h5s.ALL, values)
    check_nbit(dataset, values)


def test_n_bit_records_and_arrays_are_what_h5py_gives(file: h5py.File) -> None:
    dtype = np.dtype([("a", "<u2"), ("b", "<f4"), ("c", "<u4", (2, 3))])
    small = h5t.STD_U16LE.copy()
    small.set_precision(11)
    inner = h5t.STD_U32LE.copy()
    inner.set_precision(5)
    stored = h5t.create(h5t.COMPOUND, dtype.itemsize)
    stored.insert(b"a", 0, small)
    stored.insert(b"b", 2, h5t.IEEE_F32LE)
    stored.insert(b"c", 6, h5t.array_create(inner, (2, 3)))
    values = np.zeros((50,), dtype)
    rng = np.random.default_rng(2)
    values["a"] = rng.integers(0, 1 << 11, 50)
    values["b"] = rng.normal(size=50)
    values["c"] = rng.integers(0, 1 << 5, (50, 2, 3))
    dataset = nbit_dataset(file, stored, values.shape)
    dataset.write(h5s.ALL, h5s.ALL, values)
    check_nbit(dataset, values)


def nbit_dataset(file: h5py.File, stored: h5t.TypeID, shape: tuple[int, ...]) -> h5d.DatasetID:
    creation = h5p.create(h5p.DATASET_CREATE)
    creation.set_chunk(shape)
    creation.set_filter(h5z.FILTER_NBIT, 0)
    return h5d.create(file.id, b"x", stored, h5s.create_simple(shape), creation)


def check_nbit(dataset: h5d.DatasetID, values: NDArray[Any]) -> None:
    mask, encoded = dataset.read_direct_chunk((0,) * values.ndim)
    assert len(encoded) < values.nbytes
    chain = chain_of(dataset, values.dtype, values.shape)
    decoded = chain.decode(encoded, values.shape, filter_mask=mask)
    truth = np.empty_like(values)
    dataset.read(h5s.ALL, h5s.ALL, truth)
    assert decoded.tobytes() == truth.tobytes() == values.tobytes()


@pytest.mark.parametrize(
    "filters",
    [
        hdf5plugin.SZ(absolute=0.1),
        hdf5plugin.SZ3(absolute=0.1),
        hdf5plugin.Sperr(rate=16),
    ],
    ids=["sz", "sz3", "sperr"],
)
def test_filters_that_are_not_safe_to_decode_are_said_not_to_be_known(
    file: h5py.File, filters: dict[str, Any]
) -> None:
    dataset = file.create_dataset("x", data=numbers((40, 50), "<f4"), chunks=(40, 50), **filters)
    number = dataset.id.get_create_plist().get_filter(0)[0]
    remark = Chain.supported([Codec(f"hdf5.{NAMES[number]}")])
    assert remark is not None
    assert NAMES[number] in remark


@pytest.mark.parametrize(
    "name",
    [name for name in LOSSLESS if name not in ("none",)],
)
def test_a_chunk_that_is_cut_short_is_corrupt(file: h5py.File, name: str) -> None:
    values = numbers((60, 70), "<u2")
    dataset = file.create_dataset("x", data=values, chunks=(60, 70), **LOSSLESS[name])
    chain = chain_of(dataset.id, values.dtype, values.shape)
    _, encoded = dataset.id.read_direct_chunk((0, 0))
    for length in (0, 3, 11, 30, len(encoded) // 2, len(encoded) * 9 // 10):
        with pytest.raises(CorruptError) as caught:
            chain.decode(encoded[:length], values.shape)
        assert caught.value.kind is ErrorKind.CORRUPT_CHUNK


def test_fletchers_checksum_is_checked(file: h5py.File) -> None:
    values = numbers((6, 7), "<u2")
    dataset = file.create_dataset("x", data=values, chunks=(6, 7), fletcher32=True)
    chain = chain_of(dataset.id, values.dtype, values.shape)
    encoded = bytearray(dataset.id.read_direct_chunk((0, 0))[1])
    encoded[5] ^= 64
    with pytest.raises(CorruptError, match="Fletcher-32"):
        chain.decode(bytes(encoded), values.shape)


@pytest.mark.corpus
@pytest.mark.parametrize("count", [16])
def test_raw_chunks_of_an_eiger_are_decoded(corpus: Any, count: int) -> None:
    seen = 0
    for path in sorted((corpus / "eiger_hdf5").glob("*bslz4_data*.h5")):
        with h5py.File(path) as opened:
            dataset = opened["entry/data/data"]
            mask, encoded = dataset.id.read_direct_chunk((0, 0, 0))
            chain = chain_of(dataset.id, dataset.dtype, dataset.chunks)
            decoded = chain.decode(encoded, dataset.chunks, filter_mask=mask)
            assert np.array_equal(decoded, dataset[:1])
            region = np.empty((1, count, count), dataset.dtype)
            source = (slice(0, 1, 1), slice(100, 100 + count, 1), slice(200, 200 + count, 1))
            chain.decode_part(Held(encoded), dataset.chunks, source, region)
            assert np.array_equal(region, dataset[source])
            seen += 1
    assert seen
