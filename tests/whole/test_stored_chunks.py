"""Stored chunks that go out as they are, through Tiled's own client, against NumPy."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin
import numpy as np
import pyarrow as pa
import pytest

from ingest.ingest import ingest
from lakeservice.commands.ingest import ServiceCommitter
from lakeservice.service.writing import Draft
from schemas.structures import ArrayStructure, TableStructure
from tests.whole.conftest import KEY

if TYPE_CHECKING:
    from tests.whole.conftest import Running

SCRIPT = Path(__file__).parents[1] / "clients" / "stored_chunks.py"
RANDOM = np.random.default_rng(11)


def counts(shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
    return RANDOM.poisson(40, shape).astype(dtype)


ARRAYS: dict[str, tuple[np.ndarray[Any, Any], tuple[int, ...]]] = {
    "blosc frames": (counts((9, 64, 70), "<u2"), (1, 64, 70)),
    "blosc several frames a chunk": (counts((16, 40, 50), "<u4"), (4, 40, 50)),
    "blosc with an edge": (counts((11, 40, 50), "<u4"), (4, 40, 50)),
    "blosc one chunk": (counts((5, 30, 31), "<i8"), (5, 30, 31)),
    "blosc line": (RANDOM.normal(size=9_000), (1_000,)),
    "blosc bytes": (counts((8, 40, 50), "|u1"), (2, 40, 50)),
    "blosc big endian": (counts((8, 40, 50), ">i4"), (2, 40, 50)),
    "blosc complex": ((RANDOM.normal(size=(8, 40, 9)) * 1j).astype("<c16"), (2, 40, 9)),
    "blosc days": (counts((9, 900), "<i8").astype("<M8[s]"), (3, 900)),
    "blosc words": (counts((9, 900), "<i8").astype("<U5"), (3, 900)),
    "tiles": (counts((6, 64, 70), "<u2"), (1, 32, 32)),
    "tiles with edges": (counts((90, 95), "<f4"), (20, 30)),
    "short": (counts((6, 10), "<u2"), (2, 10)),
}
FILTERS: dict[str, Any] = {
    "blosc bitshuffle lz4": hdf5plugin.Bitshuffle(cname="lz4"),
    "blosc bitshuffle zstd": hdf5plugin.Bitshuffle(cname="zstd"),
    "blosc of hdf5": hdf5plugin.Blosc(cname="lz4", shuffle=2),
    "blosc zlib of hdf5": hdf5plugin.Blosc(cname="zlib", shuffle=1),
    "blosc blosclz of hdf5": hdf5plugin.Blosc(cname="blosclz", shuffle=1),
    "blosc2 of hdf5": hdf5plugin.Blosc2(cname="lz4"),
    "deflate": {"compression": "gzip"},
    "plain": {},
}


@pytest.fixture(scope="module")
def truths(running: Running, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("truths")
    for key, (array, chunks) in ARRAYS.items():
        structure = ArrayStructure.from_numpy(array.shape, array.dtype, chunks)
        running.service.write_array(Draft(key, structure, {}), [array])
        np.save(folder / f"{key}.npy", array)
    rows = np.arange(200_000) % 100
    table = pa.table({"n": rows, "x": rows / 7, "t": [f"row {n % 9}" for n in range(len(rows))]})
    structure_of_table = TableStructure.from_arrow(table.schema)
    running.service.write_table(Draft("a table", structure_of_table, {}), table.to_reader())
    inside = folder / "raw" / "filters"
    inside.mkdir(parents=True)
    with h5py.File(folder / "filters.h5", "w") as file:
        for key, options in FILTERS.items():
            array = counts((7, 64, 72), "<u2")
            file.create_dataset(key, data=array, chunks=(1, 64, 72), **options)
            np.save(inside / f"{key}.npy", array)
        ragged_end = counts((7, 9, 11), "<u2")
        odd = hdf5plugin.Bitshuffle(cname="lz4")
        file.create_dataset("odd bitshuffle", data=ragged_end, chunks=(1, 9, 11), **odd)
        np.save(inside / "odd bitshuffle.npy", ragged_end)
    committer = ServiceCommitter(running.service)
    ingest([folder / "filters.h5"], running.service.lake.uri, committer, into="raw", workers=0)
    return folder


def test_the_stock_client_gets_what_numpy_holds(
    running: Running, truths: Path, clients_python: str
) -> None:
    command = [clients_python, str(SCRIPT), f"{running.server.url}/api/v1", KEY, str(truths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "answers compared" in done.stdout
