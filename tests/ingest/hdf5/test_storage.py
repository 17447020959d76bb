"""Where the bytes of datasets lie, against what h5py reads."""

from __future__ import annotations

import ctypes
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from ingest.found import ChunkRows
from schemas.chunks import Contiguous, Inline

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.ingest.hdf5.conftest import Described

    Describe = Callable[[Path], Described]

FRAMES = np.random.default_rng(7).poisson(3, (7, 33, 20)).astype("u2")


def test_contiguous_bytes_are_named_and_not_read(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["a"] = FRAMES
    described = describe(path)
    assert isinstance(described.items["a"].location, Contiguous)
    np.testing.assert_array_equal(described.read("a"), FRAMES)
    np.testing.assert_array_equal(
        described.read("a", np.s_[5:1:-2, 3, ::7]), FRAMES[5:1:-2, 3, ::7]
    )


@pytest.mark.parametrize("libver", ["earliest", "v108", "v110", "latest"])
@pytest.mark.parametrize("user_block", [0, 512, 8192])
def test_user_blocks_shift_every_offset(
    libver: str, user_block: int, tmp_path: Path, describe: Describe
) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=libver, userblock_size=user_block) as file:
        file["plain"] = FRAMES
        file.create_dataset("chunked", data=FRAMES, chunks=(2, 10, 20), compression="gzip")
        file.create_dataset("one", data=FRAMES, chunks=FRAMES.shape)
        file.create_dataset("open", data=FRAMES, chunks=(1, 33, 20), maxshape=(None, 33, 20))
        file.create_dataset("wide", data=FRAMES, chunks=(3, 8, 8), maxshape=(None, None, 20))
    described = describe(path)
    for name in ("plain", "chunked", "one", "open", "wide"):
        assert described.is_addressable(name)
        np.testing.assert_array_equal(described.read(name), FRAMES)


FILTERS: dict[str, dict[str, Any]] = {
    "gzip": {"compression": "gzip"},
    "gzip, shuffle": {"compression": "gzip", "shuffle": True},
    "shuffle": {"shuffle": True},
    "lzf": {"compression": "lzf", "shuffle": True},
    "fletcher32": {"fletcher32": True},
    "gzip, fletcher32": {"compression": "gzip", "fletcher32": True},
    "szip nn": {"compression": "szip", "compression_opts": ("nn", 8)},
    "szip ec": {"compression": "szip", "compression_opts": ("ec", 16)},
    "scaleoffset": {"scaleoffset": 0},
    "bitshuffle lz4": hdf5plugin.Bitshuffle(),
    "bitshuffle zstd": hdf5plugin.Bitshuffle(cname="zstd"),
    "bitshuffle": hdf5plugin.Bitshuffle(cname="none"),
    "blosc lz4": hdf5plugin.Blosc(cname="lz4", shuffle=hdf5plugin.Blosc.BITSHUFFLE),
    "blosc zstd": hdf5plugin.Blosc(cname="zstd"),
    "blosc2": hdf5plugin.Blosc2(),
    "lz4": hdf5plugin.LZ4(),
    "zstd": hdf5plugin.Zstd(),
    "bzip2": hdf5plugin.BZip2(),
    "zfp": hdf5plugin.Zfp(reversible=True),
    "sz": hdf5plugin.SZ(absolute=0.1),
    "sz3": hdf5plugin.SZ3(absolute=0.1),
    "fcidecomp": hdf5plugin.FciDecomp(),
    "sperr": hdf5plugin.Sperr(rate=16),
    "htj2k": hdf5plugin.Htj2k(),
}
FLOATS = {"zfp", "sz", "sz3", "sperr"}


@pytest.mark.parametrize("filters", FILTERS)
def test_every_filter_reads_as_h5py_does(filters: str, tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    values = FRAMES.astype("f4") if filters in FLOATS else FRAMES
    with h5py.File(path, "w") as file:
        options = dict(FILTERS[filters])
        chunks = (1, 33, 20) if filters in ("fcidecomp", "htj2k") else (3, 33, 20)
        file.create_dataset("a", data=values, chunks=chunks, **options)
        expected = file["a"][...]
    described = describe(path)
    np.testing.assert_array_equal(described.read("a"), expected)
    np.testing.assert_array_equal(described.read("a", np.s_[2, 5:9]), expected[2, 5:9])


def test_an_unknown_filter_is_a_problem_of_its_array_alone(
    tmp_path: Path, describe: Describe
) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["good"] = FRAMES
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk((7, 33, 20))
        creation.set_filter(305, h5py.h5z.FLAG_OPTIONAL, (1, 2))
        space = h5py.h5s.create_simple(FRAMES.shape)
        h5py.h5d.create(file.id, b"bad", h5py.h5t.STD_U16LE, space, creation)
        file["bad"].id.write_direct_chunk((0, 0, 0), b"xyz")
    described = describe(path)
    assert described.items["bad"].problem == "no decoder for HDF5 filter 305 is installed"
    np.testing.assert_array_equal(described.read("good"), FRAMES)


def test_chunks_over_the_edge_and_absent_chunks(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        stack = file.create_dataset(
            "a", (10, 10), "i4", chunks=(4, 3), fillvalue=-7, compression="gzip"
        )
        stack[4:9, 4:] = np.arange(30).reshape(5, 6)
        expected = stack[...]
        big = file.create_dataset("big", (3,), "f8", chunks=(1000,), maxshape=(None,))
        big[...] = [1, 2, 3]
        file.create_dataset("none", (5, 6), "f4", chunks=(2, 2), fillvalue=np.nan)
        file.create_dataset("never", (5, 6), "f4", fillvalue=3)
        file.create_dataset("zero", (0, 6), "f4", chunks=(1, 6), maxshape=(None, 6))
    described = describe(path)
    np.testing.assert_array_equal(described.read("a"), expected)
    assert described.array("a").chunks == (4, 3)
    np.testing.assert_array_equal(described.read("big"), [1, 2, 3])
    assert np.isnan(described.read("none")).all()
    assert (described.read("never") == 3).all()
    assert described.read("zero").shape == (0, 6)
    rows = described.items["a"].location
    assert isinstance(rows, ChunkRows)
    assert len(rows) == 6


@pytest.mark.parametrize("when", ["early", "late", "incr"])
@pytest.mark.parametrize("chunks", [None, (2, 5)])
def test_space_that_is_allocated_but_not_written(
    when: str, chunks: tuple[int, ...] | None, tmp_path: Path, describe: Describe
) -> None:
    if when == "incr" and chunks is None:
        pytest.skip("HDF5 allocates contiguous space at once")
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        if chunks:
            creation.set_chunk(chunks)
        creation.set_alloc_time(getattr(h5py.h5d, f"ALLOC_TIME_{when.upper()}"))
        creation.set_fill_value(np.array(9, "i4"))
        space = h5py.h5s.create_simple((7, 5))
        h5py.h5d.create(file.id, b"a", h5py.h5t.STD_I32BE, space, creation)
    described = describe(path)
    np.testing.assert_array_equal(described.read("a"), np.full((7, 5), 9))


def test_an_array_that_was_shrunk_ends_where_it_was_cut(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        stack = file.create_dataset("a", data=FRAMES, chunks=(2, 7, 7), maxshape=(None,) * 3)
        stack.resize((3, 20, 9))
    np.testing.assert_array_equal(describe(path).read("a"), FRAMES[:3, :20, :9])


def test_chunks_that_skipped_some_filters(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    values = np.arange(40, dtype="<u4").reshape(4, 10)
    shuffled = np.ascontiguousarray(values[1].view("u1").reshape(10, 4).T).tobytes()
    with h5py.File(path, "w") as file:
        stack = file.create_dataset(
            "a", (4, 10), "<u4", chunks=(1, 10), shuffle=True, compression="gzip"
        )
        stack.id.write_direct_chunk((0, 0), values[0].tobytes(), filter_mask=3)
        stack.id.write_direct_chunk((1, 0), shuffled, filter_mask=2)
        stack.id.write_direct_chunk((2, 0), zlib.compress(values[2].tobytes()), filter_mask=1)
        stack[3] = values[3]
    described = describe(path)
    assert described.is_addressable("a")
    np.testing.assert_array_equal(described.read("a"), values)


@pytest.mark.parametrize("filters", [{"shuffle": True}, {"compression": "gzip"}])
def test_edges_stored_without_filters_are_recognised(
    filters: dict[str, Any], tmp_path: Path, describe: Describe
) -> None:
    library = next(
        (
            name
            for name in sorted(_loaded_libraries())
            if Path(name).name.startswith("libhdf5-") and "h5py" in name
        ),
        None,
    )
    if library is None:
        pytest.skip("HDF5 is not a library of its own here")
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk((4, 4))
        if "shuffle" in filters:
            creation.set_shuffle()
        else:
            creation.set_deflate(4)
        hdf5 = ctypes.CDLL(library)
        assert hdf5.H5Pset_chunk_opts(ctypes.c_int64(creation.id), ctypes.c_uint(2)) == 0
        space = h5py.h5s.create_simple((10, 10))
        h5py.h5d.create(file.id, b"a", h5py.h5t.STD_I32LE, space, creation)
        file["a"][...] = np.arange(100).reshape(10, 10)
    described = describe(path)
    np.testing.assert_array_equal(described.read("a"), np.arange(100).reshape(10, 10))


def _loaded_libraries() -> set[str]:
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return set()
    return {line.split()[-1] for line in maps.read_text().splitlines() if ".so" in line}


def test_compact_and_single_values_lie_in_the_description(
    tmp_path: Path, describe: Describe
) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((5,))
        h5py.h5d.create(file.id, b"compact", h5py.h5t.STD_I16BE, space, creation)
        file["compact"][...] = np.arange(5)
        file["scalar"] = 2.5
        file.create_dataset("one", data=[7], chunks=(1,), **hdf5plugin.Bitshuffle())
    described = describe(path)
    for name in ("compact", "scalar", "one"):
        assert isinstance(described.items[name].location, Inline)
    np.testing.assert_array_equal(described.read("compact"), np.arange(5))
    assert described.read("scalar") == 2.5
    assert described.array("scalar").shape == ()
    assert described.metadata == {"scalar": 2.5, "one": 7}


def test_raw_files_beside_are_assets(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    values = np.arange(60, dtype=">f4").reshape(6, 10)
    (tmp_path / "one.raw").write_bytes(b"head" + values[:4].tobytes())
    (tmp_path / "two.raw").write_bytes(values[4:].tobytes() + b"tail")
    (tmp_path / "all.raw").write_bytes(values.tobytes())
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "two", (6, 10), ">f4", external=[("one.raw", 4, 160), ("two.raw", 0, 80)]
        )
        file.create_dataset("all", (6, 10), ">f4", external=[("all.raw", 0, h5py.h5f.UNLIMITED)])
        file.create_dataset("gone", (6, 10), ">f4", external=[("gone.raw", 0, 240)])
        file.create_dataset("short", (6, 10), ">f4", external=[("two.raw", 0, 240)])
    described = describe(path)
    np.testing.assert_array_equal(described.read("two"), values)
    np.testing.assert_array_equal(described.read("all"), values)
    assert described.items["gone"].problem == "file 'gone.raw' is not there"
    assert described.items["short"].problem == "raw file 'two.raw' is too short"
    names = [asset.data_uri.rpartition("/")[2] for asset in described.found.assets]
    assert names == ["a.h5", "all.raw", "two.raw", "one.raw"] or set(names) == {
        "a.h5",
        "all.raw",
        "one.raw",
        "two.raw",
    }


def test_many_chunks_are_indexed_once_for_all_names(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    payload = zlib.compress(bytes(32))
    with h5py.File(path, "w", libver="latest") as file:
        stack = file.create_dataset("a", (2000, 4, 4), "u2", chunks=(1, 4, 4), compression="gzip")
        for frame in range(0, 2000, 2):
            stack.id.write_direct_chunk((frame, 0, 0), payload)
        file["group/b"] = stack
        file["soft"] = h5py.SoftLink("/a")
    described = describe(path)
    rows = described.items["a"].location
    assert isinstance(rows, ChunkRows)
    assert rows is described.items["group/b"].location
    assert rows is described.items["soft"].location
    np.testing.assert_array_equal(rows.chunk, np.arange(0, 2000, 2))
