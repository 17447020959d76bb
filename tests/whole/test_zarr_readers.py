"""zarr-python and xarray open the tree over a real socket, in both versions of the format."""

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
from schemas.structures import ArrayStructure, ContainerStructure, TableStructure
from tests.whole.conftest import KEY

if TYPE_CHECKING:
    from tests.whole.conftest import Running

SCRIPT = Path(__file__).parents[1] / "clients" / "zarr_reader.py"
RANDOM = np.random.default_rng(12)


def counts(shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
    return RANDOM.poisson(40, shape).astype(dtype)


ARRAYS: dict[str, tuple[np.ndarray[Any, Any], Any]] = {
    "frames": (counts((5, 30, 40), "<u2"), (1, 30, 40)),
    "tiles_with_edges": (counts((50, 45), "<f4"), (20, 30)),
    "big_endian": (counts((8, 9), ">i4"), (3, 4)),
    "bools": (counts((9,), "<i4") > 40, (4,)),
    "complex": ((RANDOM.normal(size=(8, 9)) * 1j).astype("<c16"), (2, 9)),
    "days": (counts((9,), "<i8").astype("<M8[s]"), (3,)),
    "words": (counts((9,), "<i8").astype("<U5"), (3,)),
    "octets": (counts((9,), "<i8").astype("S3"), (3,)),
    "scalar": (np.array(3.5), ()),
    "nothing": (np.empty((0, 4)), (1, 4)),
    "records": (np.array([(1, 2.5), (3, 4.5)], [("n", "<i4"), ("x", "<f8")]), (2,)),
    "7": (counts((4, 3), "<i2"), (2, 3)),
    "c": (counts((4, 3), "<i2"), (2, 3)),
}


@pytest.fixture(scope="module")
def truths(running: Running, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("truths")
    service = running.service
    for key, (array, chunks) in ARRAYS.items():
        structure = ArrayStructure.from_numpy(array.shape, array.dtype, chunks)
        service.write_array(Draft(key, structure, {}), [array])
        np.save(folder / f"{key}.npy", array)
    unwritten = ArrayStructure.from_numpy((5, 4), np.dtype("<f8"), (2, 4))
    service.create_empty(Draft("unwritten", unwritten, {}))
    np.save(folder / "unwritten.npy", np.zeros((5, 4)))
    service.create_empty(Draft("scene", ContainerStructure(), {"title": "a scene"}))
    (folder / "scene").mkdir()
    for key, array, dims in (
        ("image", counts((6, 4), "<u2"), ("y", "x")),
        ("y", np.linspace(0, 1, 6), ("y",)),
        ("x", np.linspace(2, 3, 4), ("x",)),
    ):
        structure = ArrayStructure.from_numpy(array.shape, array.dtype, array.shape, dims)
        service.write_array(Draft(f"scene/{key}", structure, {"units": "counts"}), [array])
        np.save(folder / "scene" / f"{key}.npy", array)
    table = pa.table({"a": np.arange(7), "b": np.linspace(0, 1, 7)})
    structure_of_table = TableStructure.from_arrow(table.schema)
    service.write_table(Draft("table", structure_of_table, {}), table.to_reader())
    (folder / "table").mkdir()
    for name in table.column_names:
        np.save(folder / "table" / f"{name}.npy", table[name].to_numpy())
    (folder / "raw" / "file").mkdir(parents=True)
    with h5py.File(folder / "file.h5", "w") as file:
        for key, options in (
            ("bitshuffle", hdf5plugin.Bitshuffle(cname="lz4")),
            ("deflate", {"compression": "gzip", "shuffle": True}),
            ("plain", {}),
        ):
            array = counts((7, 20, 24), "<u2")
            file.create_dataset(key, data=array, chunks=(2, 20, 24), **options)
            np.save(folder / "raw" / "file" / f"{key}.npy", array)
        file["whole"] = counts((7, 20), "<f4")
        np.save(folder / "raw" / "file" / "whole.npy", file["whole"][...])
    committer = ServiceCommitter(service)
    ingest([folder / "file.h5"], service.lake.uri, committer, into="raw", workers=0)
    return folder


def test_zarr_python_and_xarray_read_what_numpy_holds(
    running: Running, truths: Path, clients_python: str
) -> None:
    command = [clients_python, str(SCRIPT), running.server.url, KEY, str(truths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "arrays compared" in done.stdout


def test_stored_chunks_are_sent_as_they_are(running: Running, truths: Path) -> None:
    node = running.service.describe("frames")
    selection = running.service.selection(node, "2:3")
    (chunk,) = running.service.read_encoded(node, selection)
    headers = {"Authorization": f"Apikey {KEY}"}
    whole = bytes(chunk.encoded or b"")
    without_checksum = whole[:-4]  # version 2 has no such codec
    sent = {"v3/frames/c/2/0/0": whole, "v2/frames/2.0.0": without_checksum}
    for key, expected in sent.items():
        answer = running.http.request("GET", f"{running.server.url}/zarr/{key}", headers=headers)
        assert answer.status == 200
        assert answer.data == expected
        tagged = headers | {"If-None-Match": answer.headers["etag"]}
        again = running.http.request("GET", f"{running.server.url}/zarr/{key}", headers=tagged)
        assert again.status == 304


@pytest.mark.parametrize(
    ("key", "status"),
    [
        ("v3/frames/c/9/0/0", 404),
        ("v3/frames/c/0/0", 404),
        ("v3/nope/zarr.json", 404),
        ("v3/.zgroup", 404),
        ("v3/frames/.zarray", 404),
        ("v2/frames/.zgroup", 404),
        ("v2/.zarray", 404),
        ("v2/frames/99999999999999999.0.0", 404),
        ("v2/frames", 200),
        ("v3/frames", 200),
        ("v3/", 200),
        ("v3", 200),
        ("v2/scene", 200),
    ],
)
def test_a_key_that_is_not_there_is_not_found(
    running: Running, truths: Path, key: str, status: int
) -> None:
    url = f"{running.server.url}/zarr/{key}"
    answer = running.http.request("GET", url, headers={"Authorization": f"Apikey {KEY}"})
    assert answer.status == status, answer.data
    assert running.http.request("GET", url, headers={"Authorization": "Apikey no"}).status == 401


def test_a_listing_links_to_what_a_group_holds(running: Running, truths: Path) -> None:
    url = f"{running.server.url}/zarr/v3/scene"
    answer = running.http.request("GET", url, headers={"Authorization": f"Apikey {KEY}"})
    assert f'href="{url}/image"'.encode() in answer.data
