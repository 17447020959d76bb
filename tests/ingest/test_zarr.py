"""Zarr folders, against zarr-python."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.formats.zarr import ZarrFormat
from ingest.testing import FormatSuite, ScratchLake, assert_same_values, take_alone

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CUBE = np.arange(7 * 5 * 6, dtype="<i4").reshape(7, 5, 6)


def write(path: Path, array: Any, **options: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = zarr.create_array(str(path), shape=array.shape, dtype=array.dtype, **options)
        made[...] = array


class TestZarr3(FormatSuite):
    format = ZarrFormat()
    array: ClassVar[Any] = CUBE
    options: ClassVar[dict[str, Any]] = {"chunks": (3, 2, 6)}

    def sample(self, folder: Path) -> Path:
        write(folder / "a.zarr", self.array, **self.options)
        return folder / "a.zarr"

    def expected(self) -> Mapping[str, Any]:
        return {"": self.array}


class TestZarr2(TestZarr3):
    options: ClassVar[dict[str, Any]] = {"chunks": (3, 2, 6), "zarr_format": 2}


class TestZarr2InFortranOrder(TestZarr3):
    options: ClassVar[dict[str, Any]] = {"chunks": (3, 2, 4), "zarr_format": 2, "order": "F"}


class TestZarr2BigEndian(TestZarr3):
    array = CUBE.astype(">f8")
    options: ClassVar[dict[str, Any]] = {"chunks": (3, 5, 6), "zarr_format": 2, "fill_value": 7.5}


class TestZarr3Sharded(TestZarr3):
    options: ClassVar[dict[str, Any]] = {"chunks": (1, 2, 3), "shards": (4, 4, 6)}


class TestZarr3OfText(TestZarr3):
    array = np.array([["a", "längere"], ["", "zz"]])
    options: ClassVar[dict[str, Any]] = {"chunks": (1, 2)}


class TestZarr3OfDates(TestZarr3):
    array = np.array(["2024-01-01T12:00:00", "NaT"], dtype="M8[s]")
    options: ClassVar[dict[str, Any]] = {"chunks": (1,)}

    def sample(self, folder: Path) -> Path:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return super().sample(folder)


class TestZarrOfOneElement(TestZarr3):
    array = np.array(3.5)
    options: ClassVar[dict[str, Any]] = {}


class TestZarr2WithDots(TestZarr3):
    options: ClassVar[dict[str, Any]] = {
        "chunks": (2, 2, 2),
        "zarr_format": 2,
        "chunk_key_encoding": {"name": "v2", "separator": "."},
    }


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_array_reads_as_zarr_reads_it(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("zarr")
    axes = data.draw(st.integers(1, 3))
    chunks = tuple(data.draw(st.integers(1, 3)) for _ in range(axes))
    counts = tuple(data.draw(st.integers(1, 3)) for _ in range(axes))
    shape = tuple(data.draw(st.integers(1, 7)) for _ in range(axes))
    dtype = data.draw(st.sampled_from(["u1", "i2", "f4", "f8", "c8", "bool"]))
    version = data.draw(st.sampled_from([2, 3]))
    options: dict[str, Any] = {"chunks": chunks, "zarr_format": version}
    if version == 3 and data.draw(st.booleans()):
        options["shards"] = tuple(a * b for a, b in zip(chunks, counts, strict=True))
    options["fill_value"] = data.draw(st.sampled_from([0, 1]))
    made = zarr.create_array(str(folder / "a.zarr"), shape=shape, dtype=dtype, **options)
    # only some of it is written: the rest is the fill value
    part = tuple(slice(0, data.draw(st.integers(0, length))) for length in shape)
    made[part] = np.ones(tuple(p.stop for p in part), dtype) * 3
    lake = ScratchLake(folder / "lake")
    summary = lake.ingest(folder / "a.zarr")
    assert not summary.failed
    assert_same_values(lake.read("a"), made[...])


def test_groups_are_containers_with_attributes_and_dimension_names(tmp_path: Path) -> None:
    root = zarr.open_group(str(tmp_path / "run.zarr"), mode="w", attributes={"sample": "LaB6"})
    group = root.create_group("detector", attributes={"distance": 0.25, "bad": float("nan")})
    array = group.create_array(
        "frames", shape=(4, 3, 2), chunks=(1, 3, 2), dtype="u2", dimension_names=["t", "y", "x"]
    )
    array[...] = 5
    lake = ScratchLake(tmp_path / "lake")
    lake.ingest(tmp_path / "run.zarr")
    assert lake.node("run").metadata == {"sample": "LaB6"}
    inner = lake.inner("run")
    assert list(inner) == ["detector", "detector/frames"]
    assert inner["detector"].metadata == {"distance": 0.25, "bad": "nan"}
    assert inner["detector/frames"].structure.dims == ("t", "y", "x")  # type: ignore[union-attr]
    assert_same_values(lake.read("run", "detector/frames"), array[...])


def test_xarrays_names_of_axes_are_taken_from_zarr_2(tmp_path: Path) -> None:
    array = zarr.create_array(
        str(tmp_path / "a.zarr"),
        shape=(2, 3),
        dtype="f4",
        zarr_format=2,
        attributes={"_ARRAY_DIMENSIONS": ["time", "x"], "units": "K"},
    )
    array[...] = 1
    lake = ScratchLake(tmp_path / "lake")
    lake.ingest(tmp_path / "a.zarr")
    assert lake.node("a").structure.dims == ("time", "x")  # type: ignore[union-attr]
    assert lake.node("a").metadata == {"units": "K"}


def test_consolidated_metadata_are_enough(tmp_path: Path) -> None:
    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2)
    root.create_array("x", shape=(4,), chunks=(2,), dtype="i4")[...] = np.arange(4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(str(tmp_path / "a.zarr"))
    (tmp_path / "a.zarr" / "x" / ".zarray").unlink()
    lake = ScratchLake(tmp_path / "lake")
    assert not lake.ingest(tmp_path / "a.zarr").failed
    assert_same_values(lake.read("a", "x"), np.arange(4, dtype="i4"))


def test_elements_without_fixed_bytes_are_a_problem_of_that_array_only(tmp_path: Path) -> None:
    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2)
    root.create_array("x", shape=(4,), dtype="i4")[...] = np.arange(4)
    bad = tmp_path / "a.zarr" / "objects"
    bad.mkdir()
    (bad / ".zarray").write_text(
        json.dumps(
            {
                "zarr_format": 2,
                "shape": [2],
                "chunks": [2],
                "dtype": "|O",
                "compressor": None,
                "filters": [{"id": "pickle"}],
                "fill_value": None,
                "order": "C",
            }
        )
    )
    lake = ScratchLake(tmp_path / "lake")
    summary = lake.ingest(tmp_path / "a.zarr")
    assert summary.added == 1
    assert "Python objects" in summary.problems[0].reason
    assert "Python objects" in (lake.inner("a")["objects"].problem or "")
    assert_same_values(lake.read("a", "x"), np.arange(4, dtype="i4"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"zarr_format": 3}',
        '{"zarr_format": 3, "node_type": "array"}',
        '{"node_type": "array", "shape": [-1]}',
        '{"node_type": "array", "shape": 1e99}',
        '{"node_type": "array", "shape": [2], "chunk_grid": 1, "data_type": "i"}',
        "\x00" * 50,
    ],
)
def test_damaged_metadata_are_a_reason(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "a.zarr"
    folder.mkdir()
    (folder / "zarr.json").write_text(text)
    outcome = take_alone(folder, tmp_path / "lake")
    assert outcome.node is not None or outcome.reason


def test_a_damaged_shard_index_is_a_reason(tmp_path: Path) -> None:
    write(tmp_path / "a.zarr", CUBE, chunks=(1, 2, 3), shards=(4, 4, 6))
    shard = tmp_path / "a.zarr" / "c" / "0" / "0" / "0"
    payload = bytearray(shard.read_bytes())
    payload[-10] ^= 1
    shard.write_bytes(bytes(payload))
    assert "checksum" in (take_alone(tmp_path / "a.zarr", tmp_path / "lake").reason or "")


def test_a_chunk_written_later_is_noticed(tmp_path: Path) -> None:
    array = zarr.create_array(str(tmp_path / "a.zarr"), shape=(4,), chunks=(2,), dtype="i4")
    array[:2] = 1
    lake = ScratchLake(tmp_path / "lake")
    lake.ingest(tmp_path / "a.zarr")
    array[2:] = 2
    summary = lake.ingest(tmp_path / "a.zarr")
    assert summary.changed == 1
    assert_same_values(lake.read("a"), np.array([1, 1, 2, 2], "i4"))


def test_many_chunk_files_are_not_listed_in_the_entry(tmp_path: Path) -> None:
    array = np.arange(300 * 4, dtype="i4").reshape(300, 4)
    write(tmp_path / "a.zarr", array, chunks=(1, 4))
    lake = ScratchLake(tmp_path / "lake")
    lake.ingest(tmp_path / "a.zarr")
    assert len(lake.node("a").data_sources[0].assets) == 1
    assert_same_values(lake.read("a"), array)
    assert lake.ingest(tmp_path / "a.zarr").unchanged == 1
