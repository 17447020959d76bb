"""Sparse arrays over HTTP: `sparse` and NumPy say what is right."""

from __future__ import annotations

import csv
import io
import json
import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakeservice.fronts.http.structures import structure_document
from schemas.structures import DataType, SparseStructure

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from lakeservice.service.service import Service

FILE = "application/vnd.apache.arrow.file"


def as_file(coords: Any, values: Any) -> bytes:
    columns = {f"dim{axis}": np.asarray(place) for axis, place in enumerate(coords)}
    table = pa.table({**columns, "data": pa.array(values)})
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def declare(
    http: TestClient,
    shape: tuple[int, ...],
    chunks: tuple[tuple[int, ...], ...],
    dtype: str = "<f8",
    name: str = "s",
) -> None:
    structure = SparseStructure(
        data_type=DataType.from_numpy(np.dtype(dtype)), shape=shape, chunks=chunks
    )
    source = {"structure_family": "sparse", "structure": structure_document(structure)}
    asked = {"structure_family": "sparse", "data_sources": [source], "id": name}
    assert http.post("/api/v1/metadata/", json=asked).status_code == 200


def put(http: TestClient, where: str, coords: Any, values: Any) -> Any:
    return http.put(
        f"/api/v1/array/{where}",
        content=as_file(coords, values),
        headers={"content-type": FILE},
    )


def dense(payload: bytes, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    table = pa.ipc.open_file(io.BytesIO(payload)).read_all()
    coords = [table.column(f"dim{axis}").to_numpy() for axis in range(len(shape))]
    values = table.column("data").to_numpy()
    if not shape:
        return np.asarray(values.sum())
    result: np.ndarray[Any, Any] = sparse.COO(np.array(coords), values, shape=shape).todense()
    return result


RANDOM = np.random.default_rng(3)
ARRAY = np.where(RANDOM.random((7, 6, 5)) < 0.3, RANDOM.random((7, 6, 5)), 0.0)
COO = sparse.COO.from_numpy(ARRAY)
CHUNKS = ((3, 4), (6,), (2, 2, 1))


@pytest.fixture
def blocks(http: TestClient) -> TestClient:
    """An array written block by block, many at a time."""
    declare(http, ARRAY.shape, CHUNKS)

    def write(block: tuple[int, ...]) -> int:
        index = tuple(
            slice(sum(sizes[:number]), sum(sizes[: number + 1]))
            for number, sizes in zip(block, CHUNKS, strict=True)
        )
        part = sparse.COO.from_numpy(ARRAY[index])
        where = f"block/s?block={','.join(map(str, block))}"
        return int(put(http, where, part.coords, part.data).status_code)

    every = list(np.ndindex(*(len(sizes) for sizes in CHUNKS)))
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(write, every)) == {200}
    return http


@st.composite
def slices(draw: st.DrawFn) -> tuple[str, Any]:
    parts: list[str] = []
    index: list[Any] = []
    for length in ARRAY.shape[: draw(st.integers(0, 3))]:
        if draw(st.booleans()):
            number = draw(st.integers(-length, length - 1))
            parts.append(str(number))
            index.append(number)
            continue
        begin, end = (draw(st.none() | st.integers(-8, 8)) for _ in range(2))
        step = draw(st.sampled_from([None, 1, 2, -1, -3]))
        parts.append(":".join("" if one is None else str(one) for one in (begin, end, step)))
        index.append(slice(begin, end, step))
    return ",".join(parts), tuple(index)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(asked=slices())
def test_slices_are_those_of_numpy(blocks: TestClient, asked: tuple[str, Any]) -> None:
    text, index = asked
    answer = blocks.get("/api/v1/array/full/s", params={"slice": text})
    assert answer.status_code == 200
    wanted = np.asarray(ARRAY[index])
    assert np.array_equal(dense(answer.content, wanted.shape), wanted)


def test_a_block_counts_from_its_own_first_element(blocks: TestClient) -> None:
    answer = blocks.get("/api/v1/array/block/s?block=1,0,2&slice=1:")
    assert np.array_equal(dense(answer.content, (3, 6, 1)), ARRAY[4:, :, 4:])


def test_a_block_written_again_replaces_the_first(blocks: TestClient) -> None:
    assert put(blocks, "block/s?block=0,0,0", [[0], [0], [0]], [9.0]).status_code == 200
    wanted = ARRAY.copy()
    wanted[:3, :, :2] = 0
    wanted[0, 0, 0] = 9
    answer = blocks.get("/api/v1/array/full/s")
    assert np.array_equal(dense(answer.content, wanted.shape), wanted)


def test_an_array_written_whole_is_read_as_it_is(http: TestClient) -> None:
    declare(http, ARRAY.shape, CHUNKS)
    assert put(http, "full/s", COO.coords, COO.data).status_code == 200
    assert np.array_equal(dense(http.get("/api/v1/array/full/s").content, ARRAY.shape), ARRAY)


def test_an_array_without_data_is_all_zeros(http: TestClient) -> None:
    declare(http, (3, 4), ((3,), (4,)))
    answer = http.get("/api/v1/array/full/s")
    assert np.array_equal(dense(answer.content, (3, 4)), np.zeros((3, 4)))


@pytest.mark.parametrize("dtype", ["<i2", "<u8", "<f4", "|b1", ">i4"])
def test_values_keep_their_type(http: TestClient, dtype: str) -> None:
    declare(http, (3,), ((3,),), dtype)
    values = np.array([1, 0, 1], dtype)
    assert put(
        http, "full/s", [[0, 1, 2]], values.astype(values.dtype.newbyteorder("="))
    ).is_success
    table = pa.ipc.open_file(io.BytesIO(http.get("/api/v1/array/full/s").content)).read_all()
    assert table.column("data").to_numpy().dtype == values.dtype.newbyteorder("=")
    assert table.column("data").to_numpy().tolist() == values.tolist()


@pytest.mark.parametrize(
    ("coords", "values"),
    [
        ([[0, 7], [0, 0], [0, 0]], [1.0, 2.0]),
        ([[-1], [0], [0]], [1.0]),
        ([[0], [0]], [1.0]),
        ([[0], [0], [0]], ["text"]),
        ([[0], [0], [0]], [None]),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(
    http: TestClient, service: Service, coords: Any, values: Any
) -> None:
    declare(http, ARRAY.shape, CHUNKS)
    answer = put(http, "full/s", coords, values)
    assert answer.status_code == 422
    assert answer.json()["kind"] == "bad-body"
    assert list(service.lake.objects.list("data")) == []


def test_bodies_that_are_no_tables_are_refused(http: TestClient) -> None:
    declare(http, ARRAY.shape, CHUNKS)
    for kind in (FILE, "application/x-parquet", "application/zip"):
        answer = http.put(
            "/api/v1/array/full/s", content=b"ARROW1\0\0nonsense", headers={"content-type": kind}
        )
        assert answer.status_code == 422


@pytest.fixture
def small(http: TestClient) -> TestClient:
    declare(http, (4, 5), ((4,), (5,)))
    assert put(http, "full/s", [[0, 2, 3], [1, 0, 4]], [0.5, 7.5, -1.0]).status_code == 200
    return http


ROWS = [["0", "1", "0.5"], ["2", "0", "7.5"], ["3", "4", "-1"]]


def exported(http: TestClient, name: str) -> bytes:
    answer = http.get("/api/v1/array/full/s", params={"format": name})
    assert answer.status_code == 200, answer.text
    return bytes(answer.content)


@pytest.mark.parametrize("name", ["csv", "text/plain", "application/vnd.ms-excel"])
def test_text_has_a_line_for_each_value(small: TestClient, name: str) -> None:
    header, *lines = csv.reader(io.StringIO(exported(small, name).decode()))
    assert header == ["dim0", "dim1", "data"]
    assert [[float(cell) for cell in line] for line in lines] == [
        [float(cell) for cell in row] for row in ROWS
    ]


def test_parquet_json_and_arrow_hold_the_same_columns(small: TestClient) -> None:
    wanted = {"dim0": [0, 2, 3], "dim1": [1, 0, 4], "data": [0.5, 7.5, -1.0]}
    assert json.loads(exported(small, "json")) == wanted
    assert pyarrow.parquet.read_table(io.BytesIO(exported(small, "parquet"))).to_pydict() == wanted
    assert pa.ipc.open_file(io.BytesIO(exported(small, "arrow"))).read_all().to_pydict() == wanted


def test_hdf5_holds_coordinates_values_and_shape(small: TestClient) -> None:
    with h5py.File(io.BytesIO(exported(small, "h5"))) as file:
        coo = sparse.COO(file["coords"][()], file["data"][()], shape=tuple(file.attrs["shape"]))
    wanted = np.zeros((4, 5))
    wanted[[0, 2, 3], [1, 0, 4]] = [0.5, 7.5, -1.0]
    assert np.array_equal(coo.todense(), wanted)


def test_html_and_xlsx_show_every_value(small: TestClient) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    page = exported(small, "html").decode()
    assert page.count("<tr>") == 4
    sheet = openpyxl.load_workbook(io.BytesIO(exported(small, "xlsx"))).active
    cells = [[cell.value for cell in row] for row in sheet.iter_rows(min_row=2)]
    assert cells == [[float(cell) for cell in row] for row in ROWS]


def test_hdf5_of_a_slice_knows_how_many_values_there_are(small: TestClient) -> None:
    answer = small.get("/api/v1/array/full/s", params={"format": "h5", "slice": "2:,::-1"})
    with h5py.File(io.BytesIO(answer.content)) as file:
        assert file["coords"][()].tolist() == [[0, 1], [4, 0]]
        assert math.isclose(file["data"][0], 7.5)
