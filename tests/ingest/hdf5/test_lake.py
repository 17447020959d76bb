"""HDF5 files in a lake: every name of an array is there, its bytes once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5py
import hdf5plugin
import numpy as np
import pytest

from ingest.testing import ScratchLake
from schemas.chunks import ArrayStorage, Indexed, TableStorage

if TYPE_CHECKING:
    from pathlib import Path

    from ingest.job import Mode

FRAMES = np.random.default_rng(5).poisson(2, (6, 64, 64)).astype("u2")


def write_scan(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry")
        entry["title"] = "a scan"
        detector = entry.create_group("detector")
        detector.create_dataset("data", data=FRAMES, chunks=(1, 64, 64), **hdf5plugin.Bitshuffle())
        plot = entry.create_group("plot")
        plot.attrs["NX_class"], plot.attrs["signal"] = "NXdata", "data"
        plot.attrs["axes"] = ["t", "y", "x"]
        plot["data"] = detector["data"]
        plot["t"] = np.arange(6.0)
        plot["sum"] = FRAMES.sum((1, 2))
        entry["again"] = h5py.SoftLink("/entry/detector/data")
    return path


@pytest.mark.parametrize("mode", ["register", "convert"])
def test_an_array_with_several_names_is_stored_once(mode: Mode, tmp_path: Path) -> None:
    lake = ScratchLake(tmp_path / "lake")
    summary = lake.ingest(write_scan(tmp_path / "scan.h5"), mode=mode)
    assert summary.added == 1
    inner = lake.inner("scan")
    names = ["entry/detector/data", "entry/plot/data", "entry/again"]
    for name in names:
        np.testing.assert_array_equal(lake.read("scan", name), FRAMES)
    storages = [inner[name].storage for name in names]
    assert storages[0] == storages[1] == storages[2]
    storage = storages[0]
    assert isinstance(storage, ArrayStorage)
    assert isinstance(storage.location, Indexed) == (mode == "register")
    dims = [getattr(inner[name].structure, "dims", None) for name in names]
    assert dims == [None, ("t", "y", "x"), None]


@pytest.mark.parametrize("mode", ["register", "convert"])
def test_a_table_reads_the_bytes_of_its_columns(mode: Mode, tmp_path: Path) -> None:
    lake = ScratchLake(tmp_path / "lake")
    lake.ingest(write_scan(tmp_path / "scan.h5"), mode=mode)
    node = lake.inner("scan")["entry/plot@table"]
    assert isinstance(node.storage, TableStorage)
    assert not node.storage.parts
    rows = lake.read("scan", "entry/plot@table")
    assert rows.column_names == ["sum", "t"]
    np.testing.assert_array_equal(rows["t"], np.arange(6.0))
    np.testing.assert_array_equal(rows["sum"], FRAMES.sum((1, 2)))


def test_registering_writes_a_tree_and_an_index_and_no_values(tmp_path: Path) -> None:
    lake = ScratchLake(tmp_path / "lake")
    lake.ingest(write_scan(tmp_path / "scan.h5"))
    names = [name.rpartition("/")[2] for name, _ in lake.lake.objects.list("data")]
    assert sorted(names) == ["chunks.parquet", "tree"]
    entry = lake.node("scan")
    assert entry.metadata["entry"]["title"] == "a scan"
    assert entry.metadata["default_plot"]["signal"] == "entry/plot/data"
