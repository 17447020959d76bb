"""Virtual datasets: chunks of their sources where grids fit, never zeros for what is missing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from ingest.found import ChunkRows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from tests.ingest.hdf5.conftest import Described

    Describe = Callable[[Path], Described]

FRAMES = np.random.default_rng(3).poisson(2, (12, 10, 8)).astype("u2")
GZIP: dict[str, Any] = {"chunks": (1, 10, 8), "shuffle": True, "compression": "gzip"}


def write_parts(folder: Path, sizes: list[int], **options: Any) -> list[tuple[str, int, int]]:
    parts, start = [], 0
    for number, size in enumerate(sizes):
        name = f"part{number}.h5"
        with h5py.File(folder / name, "w") as file:
            file.create_dataset("d", data=FRAMES[start : start + size], **options)
        parts.append((name, start, size))
        start += size
    return parts


def write_stack(path: Path, parts: list[tuple[str, int, int]], **options: Any) -> NDArray[Any]:
    layout = h5py.VirtualLayout(FRAMES.shape, "u2")
    for name, start, size in parts:
        source = h5py.VirtualSource(name, "d", (size, 10, 8))
        layout[start : start + size] = source
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("data", layout, **options)
    with h5py.File(path) as file:
        return np.asarray(file["data"][...])


@pytest.mark.parametrize("options", [GZIP, {**GZIP, **hdf5plugin.Bitshuffle()}, {}])
def test_stacked_files_are_read_from_their_own_chunks(
    options: dict[str, Any], tmp_path: Path, describe: Describe
) -> None:
    path = tmp_path / "v.h5"
    if "compression_opts" in options:
        options = {key: value for key, value in options.items() if key != "shuffle"}
    expected = write_stack(path, write_parts(tmp_path, [5, 4, 3], **options))
    np.testing.assert_array_equal(expected, FRAMES)
    described = describe(path)
    assert isinstance(described.items["data"].location, ChunkRows)
    assert described.array("data").chunks == (1, 10, 8)
    np.testing.assert_array_equal(described.read("data"), FRAMES)
    np.testing.assert_array_equal(described.read("data", np.s_[3:11:3, 2]), FRAMES[3:11:3, 2])
    assert len(described.found.assets) == 4


def test_a_missing_source_is_a_problem_and_never_zeros(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "v.h5"
    parts = write_parts(tmp_path, [5, 4, 3], **GZIP)
    write_stack(path, parts)
    (tmp_path / "part1.h5").unlink()
    with h5py.File(path) as file:
        assert not file["data"][5:9].any()  # what HDF5 would have us believe
    item = describe(path).items["data"]
    assert item.problem == "source 'part1.h5:d' is missing: file 'part1.h5' is not there"
    assert item.location is None
    with h5py.File(tmp_path / "part1.h5", "w") as file:
        file["other"] = 1
    assert "nothing at 'd'" in (describe(path).items["data"].problem or "")


def test_a_source_with_fewer_frames_than_mapped_is_a_problem(
    tmp_path: Path, describe: Describe
) -> None:
    path = tmp_path / "v.h5"
    parts = write_parts(tmp_path, [5, 4, 3], **GZIP)
    write_stack(path, parts)
    with h5py.File(tmp_path / "part2.h5", "w") as file:
        file.create_dataset("d", data=FRAMES[:2], **GZIP)
    problem = describe(path).items["data"].problem
    assert problem == "source 'part2.h5:d' has shape (2, 10, 8), less than is taken from it"


def test_modules_side_by_side_with_gaps(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "v.h5"
    modules = FRAMES.reshape(3, 4, 10, 8)
    for number in range(3):
        with h5py.File(tmp_path / f"m{number}.h5", "w") as file:
            file.create_dataset("d", data=modules[number], **GZIP)
    layout = h5py.VirtualLayout((4, 4, 10, 8), "u2")
    wide = h5py.VirtualLayout((4, 10, 32), "u2")
    for number in range(3):
        source = h5py.VirtualSource(f"m{number}.h5", "d", (4, 10, 8))
        layout[:, number] = source
        wide[:, :, number * 12 : number * 12 + 8] = source
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("modules", layout, fillvalue=9)
        file.create_virtual_dataset("wide", wide, fillvalue=9)
    with h5py.File(path) as file:
        expected = {name: file[name][...] for name in file}
    described = describe(path)
    assert described.array("modules").chunks == (1, 1, 10, 8)
    for name, values in expected.items():
        np.testing.assert_array_equal(described.read(name), values)
    assert described.is_addressable("modules")
    assert not described.is_addressable("wide")  # 12 is no multiple of a chunk of 8


@pytest.mark.parametrize("block", [1, 2])
def test_frames_that_writers_took_in_turn(block: int, tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "v.h5"
    blocks = FRAMES.reshape(-1, block, 10, 8)
    layout = h5py.VirtualLayout(FRAMES.shape, "u2")
    for number in range(3):
        values = blocks[number::3].reshape(-1, 10, 8)
        with h5py.File(tmp_path / f"w{number}.h5", "w") as file:
            file.create_dataset("d", data=values, **{**GZIP, "chunks": (block, 10, 8)})
        target = h5py.h5s.create_simple(FRAMES.shape)
        target.select_hyperslab(
            (number * block, 0, 0), (4 // block, 1, 1), (3 * block, 1, 1), (block, 10, 8)
        )
        source = h5py.h5s.create_simple(values.shape)
        layout.dcpl.set_virtual(target, f"w{number}.h5".encode(), b"d", source)
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("data", layout)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["data"][...], FRAMES)
    described = describe(path)
    assert described.is_addressable("data")
    np.testing.assert_array_equal(described.read("data"), FRAMES)


def test_slices_of_sources_follow_the_chunks_or_are_converted(
    tmp_path: Path, describe: Describe
) -> None:
    path = tmp_path / "v.h5"
    options = {**GZIP, "chunks": (2, 10, 8)}
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file.create_dataset("d", data=FRAMES, **options)
        file.create_dataset("plain", data=FRAMES)
    source = h5py.VirtualSource(tmp_path / "s.h5", "d", FRAMES.shape, "u2")
    plain = h5py.VirtualSource(tmp_path / "s.h5", "plain", FRAMES.shape, "u2")
    selections: dict[str, tuple[Any, Any, tuple[int, ...]]] = {
        "fits": (source, np.s_[2:8], (6, 10, 8)),
        "across": (source, np.s_[1:7], (6, 10, 8)),
        "ends within": (source, np.s_[0:3], (3, 10, 8)),
        "one frame": (source, np.s_[4], (10, 8)),
        "every second": (source, np.s_[::2], (6, 10, 8)),
        "part of frames": (source, np.s_[:, 2:5], (12, 3, 8)),
        "plain": (plain, np.s_[3:9], (6, 10, 8)),
        "plain part": (plain, np.s_[:, 2:5], (12, 3, 8)),
        "plain frame": (plain, np.s_[5], (10, 8)),
    }
    with h5py.File(path, "w") as file:
        for name, (origin, index, shape) in selections.items():
            layout = h5py.VirtualLayout(shape, "u2")
            layout[...] = origin[index]
            file.create_virtual_dataset(name, layout)
    described = describe(path)
    for name, (_, index, _) in selections.items():
        np.testing.assert_array_equal(described.read(name), FRAMES[index], err_msg=name)
    addressable = {name for name in selections if described.is_addressable(name)}
    assert {"fits", "ends within", "plain"} <= addressable
    assert not addressable & {"across", "every second", "part of frames", "plain part"}


def test_sources_that_do_not_agree_are_converted(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "v.h5"
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file.create_dataset("gzip", data=FRAMES, **GZIP)
        file.create_dataset("lzf", data=FRAMES, chunks=(1, 10, 8), compression="lzf")
        file.create_dataset("wide", data=FRAMES.astype("u4"), **GZIP)
        file.create_dataset("big", data=FRAMES, dtype=">u2", **GZIP)
        file.create_dataset("holes", (12, 10, 8), "u2", fillvalue=5, **GZIP)
        file["holes"][3:7] = FRAMES[3:7]
    with h5py.File(path, "w") as file:
        for name, both in {
            "mixed": ("gzip", "lzf"),
            "widened": ("wide", "wide"),
            "orders": ("gzip", "big"),
            "big": ("big", "big"),
            "holes": ("holes", "holes"),
        }.items():
            layout = h5py.VirtualLayout((2, 12, 10, 8), "u2")
            for row, source in enumerate(both):
                layout[row] = h5py.VirtualSource("s.h5", source, FRAMES.shape)
            file.create_virtual_dataset(name, layout)
    with h5py.File(path) as file:
        expected = {name: file[name][...] for name in file}
    described = describe(path)
    for name, values in expected.items():
        np.testing.assert_array_equal(described.read(name), values, err_msg=name)
    assert {name for name in expected if described.is_addressable(name)} == {"big"}


def test_virtual_datasets_of_virtual_datasets(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "outer.h5"
    write_stack(tmp_path / "v.h5", write_parts(tmp_path, [5, 4, 3], **GZIP))
    with h5py.File(path, "w") as file:
        layout = h5py.VirtualLayout((4, 10, 8), "u2")
        layout[:] = h5py.VirtualSource("v.h5", "data", FRAMES.shape)[4:8]
        file.create_virtual_dataset("outer", layout)
    described = describe(path)
    assert described.is_addressable("outer")
    np.testing.assert_array_equal(described.read("outer"), FRAMES[4:8])
    (tmp_path / "part1.h5").unlink()
    assert "part1.h5" in (describe(path).items["outer"].problem or "")


def test_a_dataset_that_is_a_view_of_its_own_file(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("raw", data=FRAMES, **GZIP)
        layout = h5py.VirtualLayout((2, 6, 10, 8), "u2")
        layout[0] = h5py.VirtualSource(file["raw"])[:6]
        layout[1] = h5py.VirtualSource(file["raw"])[6:]
        file.create_virtual_dataset("halves", layout)
    described = describe(path)
    assert described.is_addressable("halves")
    np.testing.assert_array_equal(described.read("halves"), FRAMES.reshape(2, 6, 10, 8))
    assert len(described.found.assets) == 1


def test_unlimited_mappings_end_where_the_source_ends(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "v.h5"
    with h5py.File(tmp_path / "s.h5", "w", libver="latest") as file:
        file.create_dataset("d", data=FRAMES[:7], maxshape=(None, 10, 8), **GZIP)
    with h5py.File(path, "w", libver="latest") as file:
        layout = h5py.VirtualLayout((1, 10, 8), "u2", maxshape=(None, 10, 8))
        source = h5py.VirtualSource("s.h5", "d", (1, 10, 8), maxshape=(None, 10, 8))
        layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
        file.create_virtual_dataset("data", layout)
    with h5py.File(path) as file:
        assert file["data"].shape == (7, 10, 8)
    described = describe(path)
    np.testing.assert_array_equal(described.read("data"), FRAMES[:7])
    assert described.is_addressable("data")


def test_sources_named_by_number(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "v.h5"
    write_parts(tmp_path, [4, 4, 4], **GZIP)
    with h5py.File(path, "w", libver="latest") as file:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        unlimited = h5py.h5s.UNLIMITED
        target = h5py.h5s.create_simple((12, 10, 8), (unlimited, 10, 8))
        target.select_hyperslab((0, 0, 0), (unlimited, 1, 1), (4, 1, 1), (4, 10, 8))
        source = h5py.h5s.create_simple((4, 10, 8))
        creation.set_virtual(target, b"part%b.h5", b"d", source)
        h5py.h5d.create(file.id, b"data", h5py.h5t.STD_U16LE, target, creation)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["data"][...], FRAMES)
    described = describe(path)
    np.testing.assert_array_equal(described.read("data"), FRAMES)
    assert described.is_addressable("data")


def test_points_and_texts_are_converted_when_all_sources_are_there(
    tmp_path: Path, describe: Describe
) -> None:
    path = tmp_path / "v.h5"
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["d"] = np.arange(10)
        file.create_dataset("t", data=["a", "bc"], dtype=h5py.string_dtype())
    with h5py.File(path, "w") as file:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        target, source = h5py.h5s.create_simple((3,)), h5py.h5s.create_simple((10,))
        source.select_hyperslab((1,), (1,))
        source.select_hyperslab((4,), (2,), op=h5py.h5s.SELECT_OR)
        creation.set_virtual(target, b"s.h5", b"d", source)
        h5py.h5d.create(file.id, b"points", h5py.h5t.STD_I64LE, target, creation)
        layout = h5py.VirtualLayout((2,), h5py.string_dtype())
        layout[:] = h5py.VirtualSource("s.h5", "t", (2,), h5py.string_dtype())
        file.create_virtual_dataset("texts", layout)
    described = describe(path)
    np.testing.assert_array_equal(described.read("points"), [1, 4, 5])
    assert described.read("texts").tolist() == ["a", "bc"]
    os.remove(tmp_path / "s.h5")
    items = describe(path).items
    assert "s.h5" in (items["points"].problem or "")
    assert "s.h5" in (items["texts"].problem or "")


def test_a_thousand_mappings_to_one_source(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "v.h5"
    count = 1000
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file.create_dataset("d", data=np.arange(count * 4).reshape(count, 4), chunks=(1, 4))
    layout = h5py.VirtualLayout((count, 4), "i8")
    source = h5py.VirtualSource(tmp_path / "s.h5", "d", (count, 4), "i8")
    for row in range(count):
        layout[row] = source[count - 1 - row]
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("reversed", layout)
    described = describe(path)
    assert described.is_addressable("reversed")
    np.testing.assert_array_equal(
        described.read("reversed"), np.arange(count * 4).reshape(count, 4)[::-1]
    )


@pytest.mark.parametrize("index", [np.s_[2:8], np.s_[1:7]])
def test_a_folder_that_was_moved_with_its_absolute_names(
    index: slice, tmp_path: Path, describe: Describe
) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    with h5py.File(before / "s.h5", "w") as file:
        file.create_dataset("d", data=FRAMES, **{**GZIP, "chunks": (2, 10, 8)})
    with h5py.File(before / "v.h5", "w") as file:
        layout = h5py.VirtualLayout((6, 10, 8), "u2")
        layout[:] = h5py.VirtualSource(before / "s.h5", "d", FRAMES.shape, "u2")[index]
        file.create_virtual_dataset("data", layout)
    before.rename(after)
    (tmp_path / "link.h5").symlink_to(after / "v.h5")
    for path in (after / "v.h5", tmp_path / "link.h5"):
        np.testing.assert_array_equal(describe(path).read("data"), FRAMES[index])


def test_pieces_of_no_common_length_are_converted(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "v.h5"
    sizes = {"few": [100, 57, 43], "many": [20_001, 9_998, 20_001]}
    with h5py.File(tmp_path / "s.h5", "w") as file:
        for name, lengths in sizes.items():
            for number, length in enumerate(lengths):
                file[f"{name}{number}"] = np.arange(length) + 1000 * number
    with h5py.File(path, "w") as file:
        for name, lengths in sizes.items():
            layout, start = h5py.VirtualLayout((sum(lengths),), "i8"), 0
            for number, length in enumerate(lengths):
                source = h5py.VirtualSource("s.h5", f"{name}{number}", (length,))
                layout[start : start + length] = source
                start += length
            file.create_virtual_dataset(name, layout)
    described = describe(path)
    for name, lengths in sizes.items():
        expected = np.concatenate([np.arange(n) + 1000 * k for k, n in enumerate(lengths)])
        np.testing.assert_array_equal(described.read(name), expected)
    assert described.is_addressable("few")
    assert not described.is_addressable("many")
