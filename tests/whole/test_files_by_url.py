"""Programs open files by address: only the parts that they need leave the server."""

from __future__ import annotations

import io
import urllib.error
import urllib.request
import zipfile
from typing import TYPE_CHECKING, Any

import fsspec
import h5py
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lakeservice
from lakeservice.config import Secret, Serve
from lakeservice.server import Server
from lakeservice.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "akeyofthetests"
ROWS = 150_000
RNG = np.random.default_rng(11)
TABLE = pa.table(
    {
        "time": np.arange(ROWS, dtype="f8"),
        "counts": RNG.integers(0, 2**60, ROWS),
        "text": [f"row {number % 97}" for number in range(ROWS)],
    }
)
STACK = RNG.integers(0, 60_000, (40, 200, 300)).astype("u2")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API of a server that everybody may read, over a run of tables and images."""
    serve = Serve(port=0, flight_port=0, api_key=Secret(KEY), public=True)
    folder = tmp_path_factory.mktemp("lake")
    with Service.open(str(folder), create=True) as service, Server(service, serve) as server:
        lake: Any = lakeservice.connect(server.url, KEY)
        run = lake.create_container("run", metadata={"plan": {"name": "scan"}})
        run.write_table("one", TABLE)
        run.write_table("several", TABLE.slice(0, ROWS // 2))
        run["several"].append(TABLE.slice(ROWS // 2))
        run.write_array("stack", STACK)
        yield f"{server.url}/api/v1"


@pytest.mark.parametrize("path", ["run/one", "run/several"])
@pytest.mark.parametrize("address", ["table/full/{}.parquet", "table/full/{}?format=parquet"])
def test_pandas_reads_parquet(url: str, path: str, address: str) -> None:
    frame = pd.read_parquet(f"{url}/{address.format(path)}")
    pd.testing.assert_frame_equal(frame, TABLE.to_pandas())


@pytest.mark.parametrize("path", ["run/one", "run/several"])
def test_polars_reads_some_columns_of_parquet(url: str, path: str) -> None:
    lazy = pl.scan_parquet(f"{url}/table/full/{path}.parquet")
    read = lazy.select("counts").tail(5).collect()
    assert read["counts"].to_list() == TABLE["counts"].to_pylist()[-5:]


@pytest.mark.parametrize("path", ["run/one", "run/several"])
def test_pyarrow_reads_some_columns_of_parquet(url: str, path: str) -> None:
    with fsspec.open(f"{url}/table/full/{path}?format=parquet", block_size=1 << 16) as file:
        read = pq.ParquetFile(file).read(["time"])
    assert read["time"].equals(TABLE["time"])


def test_a_range_is_that_of_the_whole_file(url: str) -> None:
    address = f"{url}/table/full/run/several?format=arrow"
    with urllib.request.urlopen(address) as answer:
        whole = answer.read()
    request = urllib.request.Request(address, headers={"Range": "bytes=1000-1999"})
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 206
        assert answer.headers["Content-Range"] == f"bytes 1000-1999/{len(whole)}"
        assert answer.read() == whole[1000:2000]
    head = urllib.request.Request(address, method="HEAD")
    with urllib.request.urlopen(head) as answer:
        assert int(answer.headers["Content-Length"]) == len(whole)


@pytest.mark.parametrize("address", ["container/full/run.h5", "container/full/run?format=hdf5"])
def test_h5py_reads_one_frame_of_a_container(url: str, address: str) -> None:
    with fsspec.open(f"{url}/{address}", block_size=1 << 16) as remote, h5py.File(remote) as file:
        assert np.array_equal(file["stack"][7], STACK[7])
        assert file["one/counts"][-1] == TABLE["counts"][-1].as_py()
        assert list(file) == ["one", "several", "stack"]


def test_some_children_of_a_container_can_be_had(url: str) -> None:
    with urllib.request.urlopen(f"{url}/container/full/run?format=hdf5&field=stack") as answer:
        payload = answer.read()
        assert len(payload) == int(answer.headers["Content-Length"])
    with h5py.File(io.BytesIO(payload)) as file:
        assert list(file) == ["stack"]
        assert np.array_equal(file["stack"][()], STACK)


def test_a_container_can_be_had_as_a_zip(url: str) -> None:
    with urllib.request.urlopen(f"{url}/container/full/run.zip?table=csv") as answer:
        archive = zipfile.ZipFile(io.BytesIO(answer.read()))
    assert np.array_equal(np.load(io.BytesIO(archive.read("stack.npy"))), STACK)
    frame = pd.read_csv(io.BytesIO(archive.read("several.csv")))
    pd.testing.assert_frame_equal(frame, TABLE.to_pandas(), check_dtype=False)


def test_a_child_that_is_not_there_is_named(url: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{url}/container/full/run?field=stack&field=eiger")
    assert caught.value.code == 400
    assert b"eiger" in caught.value.read()
    caught.value.close()


def test_the_older_route_answers_for_every_family(url: str) -> None:
    with urllib.request.urlopen(f"{url}/node/full/run/one?format=csv&field=time") as answer:
        assert answer.readline() == b"time\n"
    with urllib.request.urlopen(f"{url}/node/full/run/stack?slice=0,0,:3&format=json") as answer:
        assert answer.read() == str(STACK[0, 0, :3].tolist()).replace(" ", "").encode()
    with urllib.request.urlopen(
        f"{url}/node/full/run?format=json&include=data&field=one"
    ) as answer:
        assert answer.read(9) == b'{ "time":'
