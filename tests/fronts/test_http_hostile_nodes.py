"""Nodes with names, metadata and values that are legal here and strange to the forms."""

from __future__ import annotations

import csv
import dataclasses
import datetime
import io
import zipfile
from typing import Any

import h5py
import msgspec
import numpy as np
import openpyxl
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from lakeservice.access.keys import Authenticator
from lakeservice.export.registry import exporters_of
from lakeservice.fronts.http import create_app
from lakeservice.service.service import Service
from lakeservice.service.writing import Draft
from schemas.entry import Spec
from schemas.structures import ArrayStructure, ContainerStructure, TableStructure

FAR = pa.array([2**31 - 1, -800_000, 0], pa.int32()).cast(pa.date32())
COLUMNS = {
    "date32": FAR,
    "date64": pa.array([86_400_000 * 10**8, 0], pa.int64()).cast(pa.date64()),
    "seconds": pa.array([568_971_820_800, 2**50], pa.timestamp("s")),
    "zoned": pa.array([2**62, 0], pa.timestamp("ms", "Europe/Berlin")),
    "dates in lists": pa.ListArray.from_arrays([0, 1, 3], FAR),
    "dates in records": pa.StructArray.from_arrays([FAR], ["day"]),
    "intervals": pa.array([pa.MonthDayNano([1, 2, 3]), None]),
}
TABLE_FORMS = sorted({form.media_type for form in exporters_of("table")})


def container(service: Service, path: str, spec: str = "", **metadata: Any) -> None:
    specs = (Spec(spec),) if spec else ()
    service.create_empty(
        Draft(path=path, structure=ContainerStructure(), metadata=metadata, specs=specs)
    )


def array(
    service: Service, path: str, values: Any, dims: tuple[str, ...] | None = None, **metadata: Any
) -> None:
    structure = ArrayStructure.from_numpy(values.shape, values.dtype)
    structure = msgspec.structs.replace(structure, dims=dims)
    service.write_array(Draft(path=path, structure=structure, metadata=metadata), [values])


def table(service: Service, path: str, columns: dict[str, Any]) -> None:
    made = pa.table(columns)
    structure = TableStructure.from_arrow(made.schema)
    service.write_table(Draft(path=path, structure=structure, metadata={}), made.to_reader())


@pytest.mark.parametrize("name", COLUMNS)
def test_times_that_python_has_no_word_for_are_sent_in_every_form(
    http: TestClient, service: Service, name: str
) -> None:
    table(service, "t", {"x": COLUMNS[name]})
    statuses = {
        form: http.get("/api/v1/table/full/t", params={"format": form}).status_code
        for form in TABLE_FORMS
    }
    refused = {"application/x-parquet"} if name == "intervals" else set()
    assert {form for form, status in statuses.items() if status == 406} == refused
    assert set(statuses.values()) <= {200, 406}


def test_dates_beyond_the_calendar_are_their_iso_text(http: TestClient, service: Service) -> None:
    days = pa.array([20000 * 365, 0], pa.int32()).cast(pa.date32())
    told = days.cast(pa.string()).to_pylist()
    table(service, "t", {"x": days})
    book = openpyxl.load_workbook(io.BytesIO(http.get("/api/v1/table/full/t?format=xlsx").content))
    (far,), (near,) = book.worksheets[0].iter_rows(min_row=2, values_only=True)
    assert (far, near) == (told[0], datetime.datetime(1970, 1, 1))  # noqa: DTZ001
    assert http.get("/api/v1/table/full/t?format=json").json() == {"x": told}
    waves = http.get("/api/v1/table/full/t?format=itx").text
    assert "BEGIN\r\tNaN\r\t2082844800.0\rEND" in waves


def test_a_time_that_cannot_be_stored_is_a_mistake_of_who_sends_it(
    http: TestClient, service: Service
) -> None:
    table(service, "t", {"x": pa.array([0], pa.timestamp("s"))})
    sink = pa.BufferOutputStream()
    far = pa.table({"x": pa.array([2**62], pa.timestamp("s"))})
    with pa.ipc.new_file(sink, far.schema) as writer:
        writer.write_table(far)
    answer = http.put(
        "/api/v1/table/full/t",
        content=sink.getvalue().to_pybytes(),
        headers={"content-type": "application/vnd.apache.arrow.file"},
    )
    assert (answer.status_code, answer.json()["kind"]) == (422, "bad-body")


def test_formulas_in_cells_are_text(http: TestClient, service: Service) -> None:
    table(service, "t", {"=A1": ["=1+1", "@SUM(A1)"]})
    book = openpyxl.load_workbook(io.BytesIO(http.get("/api/v1/table/full/t?format=xlsx").content))
    kinds = {cell.data_type for row in book.worksheets[0].iter_rows() for cell in row}
    assert "f" not in kinds
    rows = list(csv.reader(io.StringIO(http.get("/api/v1/table/full/t?format=csv").text)))
    assert rows == [["=A1"], ["=1+1"], ["@SUM(A1)"]]


@pytest.mark.parametrize("dim", ["", ".", "/", "a/b", "a"])
@pytest.mark.parametrize("form", ["nc", "h5"])
def test_names_of_axes_need_not_be_names_in_hdf5(
    http: TestClient, service: Service, dim: str, form: str
) -> None:
    container(service, "c", "xarray_dataset")
    array(service, "c/a", np.arange(3.0), (dim,), **{"": 1})
    array(service, "c/b", np.array(["x", "y", "z"]), (dim,))
    array(service, "c/k", np.zeros((3, 2)), (dim, "k"))
    answer = http.get(f"/api/v1/container/full/c?format={form}")
    assert answer.status_code == 200, answer.text
    with h5py.File(io.BytesIO(answer.content)) as file:
        np.testing.assert_array_equal(file["a"][()], np.arange(3.0))
        assert list(file["b"].asstr()) == ["x", "y", "z"]
    assert http.get("/api/v1/array/full/c/a?format=nc").status_code == 200


@pytest.mark.parametrize(
    ("run", "stream"),
    [
        ({"start": "abc"}, {}),
        ({"stop": [1]}, {}),
        ({}, {"data_keys": [1]}),
        ({}, {"data_keys": {"e": {"external": True, "shape": ["a"]}}}),
        ({}, {"_config_updates": [{"configuration": {"d": 3}}]}),
        ({}, {"configuration": 3}),
    ],
)
def test_a_run_whose_metadata_are_no_documents_is_refused_as_documents(
    http: TestClient, service: Service, run: dict[str, Any], stream: dict[str, Any]
) -> None:
    container(service, "r", "BlueskyRun", **run)
    container(service, "r/primary", "BlueskyEventStream", **stream)
    array(service, "r/primary/e", np.zeros((2, 3)))
    answer = http.get("/api/v1/container/full/r?format=json-seq")
    assert (answer.status_code, answer.json()["kind"]) == (406, "unknown-format")


def test_events_without_a_time_that_is_a_number_are_sent(
    http: TestClient, service: Service
) -> None:
    container(service, "r", "BlueskyRun", start={"uid": "u"})
    container(service, "r/primary", "BlueskyEventStream", time="soon")
    table(service, "r/primary/internal", {"time": ["a", "b"], "x": [1, 2]})
    answer = http.get("/api/v1/container/full/r?format=json-seq")
    assert answer.status_code == 200
    assert answer.text.count('"event"') == 2


@pytest.mark.parametrize(
    "other",
    [
        {"format": "json", "include": "data"},
        {"format": "zip", "array": "png"},
        {"format": "zip", "array": "png", "cmap": "viridis"},
        {"format": "zip", "table": "csv"},
        {"format": "zip", "table": "csv", "header": "absent"},
    ],
)
def test_a_container_in_another_form_has_another_tag(
    http: TestClient, service: Service, other: dict[str, str]
) -> None:
    container(service, "c")
    array(service, "c/a", np.arange(400, dtype="u2").reshape(20, 20))
    *_, last = other
    less = {name: text for name, text in other.items() if name != last}
    first = http.get("/api/v1/container/full/c", params=less)
    again = http.get(
        "/api/v1/container/full/c", params=other, headers={"if-none-match": first.headers["etag"]}
    )
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.headers["etag"] != again.headers["etag"]


@pytest.mark.parametrize("text", ["%C2%B2", "1,%C2%B2", "-1", ""])
def test_digits_of_other_scripts_are_no_numbers(
    http: TestClient, service: Service, text: str
) -> None:
    array(service, "a", np.zeros(3))
    answer = http.put(
        f"/api/v1/data_source/a?patch_offset={text}&patch_shape=1", json={"data_source": {}}
    )
    assert 400 <= answer.status_code < 500


def test_an_address_that_is_none_is_refused(http: TestClient) -> None:
    source = {"assets": [{"data_uri": "file://["}], "management": "external"}
    document = {"structure_family": "bytes", "data_sources": [source]}
    assert http.post("/api/v1/register/", json=document).status_code == 400


def test_no_two_files_of_a_zip_have_one_name_and_none_leads_out_of_it(
    http: TestClient, service: Service
) -> None:
    container(service, "c")
    for name in ("metadata", "metadata.json", "..\\..\\x", "C:", "C_", "a"):
        array(service, f"c/{name}", np.zeros(2))
    container(service, "c/a.json")
    array(service, "c/a.json/x", np.zeros(2))
    answer = http.get("/api/v1/container/full/c?format=zip&array=json")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        names = archive.namelist()
    assert len(names) == len({name.rstrip("/") for name in names}) == 9
    assert not [name for name in names if "\\" in name or ":" in name]
    assert {"metadata.json", "metadata_.json", "metadata.json.json"} <= set(names)


def test_the_older_route_of_any_node_takes_slices_of_sparse_arrays(
    http: TestClient,
) -> None:
    number = {"endianness": "little", "kind": "f", "itemsize": 8, "dt_units": None}
    sparse = {
        "shape": [4, 5],
        "chunks": [[4], [5]],
        "layout": "COO",
        "data_type": number,
        "coord_data_type": {**number, "kind": "i"},
    }
    source = {"structure_family": "sparse", "structure": sparse}
    asked = {"structure_family": "sparse", "data_sources": [source], "id": "s"}
    assert http.post("/api/v1/metadata/", json=asked).status_code == 200
    sink = pa.BufferOutputStream()
    rows = pa.table({"dim0": [0, 1], "dim1": [1, 4], "data": [1.0, 2.0]})
    with pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows)
    kind = {"content-type": "application/vnd.apache.arrow.file"}
    content = sink.getvalue().to_pybytes()
    assert http.put("/api/v1/array/full/s", content=content, headers=kind).status_code == 200
    answer = http.get("/api/v1/node/full/s?slice=1&format=json")
    assert answer.json() == {"dim0": [4], "data": [2.0]}


def test_whole_numbers_beyond_all_types_are_refused(http: TestClient) -> None:
    number = {"endianness": "little", "kind": "f", "itemsize": 8, "dt_units": None}
    structure = {"data_type": number, "shape": [1, None], "size": 1, "chunks": [[1], None]}
    source = {"structure_family": "ragged", "structure": structure}
    asked = {"structure_family": "ragged", "data_sources": [source], "id": "r"}
    assert http.post("/api/v1/metadata/", json=asked).status_code == 200
    answer = http.put("/api/v1/ragged/full/r", json=[[10**30]])
    assert (answer.status_code, answer.json()["kind"]) == (422, "bad-body")


@pytest.mark.parametrize("message", [b'{"type":"auth","api_key":"\xff"}', b"[" * 100_000, b""])
def test_a_first_message_that_is_no_document_is_no_key(http: TestClient, message: bytes) -> None:
    anybody = TestClient(http.app, base_url="http://lake")
    with anybody.websocket_connect("/api/v1/stream/single/") as socket:
        socket.send_bytes(message)
        assert socket.receive()["code"] == 4001


def test_a_client_of_any_version_is_answered(http: TestClient) -> None:
    told = {"user-agent": f"python-tiled/{'9' * 5000}.1.1"}
    answer = http.get("/api/v1/metadata/?include_data_sources=true", headers=told)
    assert answer.status_code == 200


@pytest.mark.parametrize("kind", ["application/x-parquet", "text/csv"])
def test_a_table_that_does_not_say_how_long_it_is_may_not_be_longer_than_others(
    service: Service, kind: str
) -> None:
    table(service, "t", {"x": [1, 2]})
    limits = dataclasses.replace(service.limits, upload_bytes=1000)
    with Service.open(service.lake.uri, limits=limits) as small:
        app = create_app(small, Authenticator("k"), about={})
        client = TestClient(app, headers={"authorization": "Apikey k"})
        rows = iter([b"x\n", *[b"1\n2\n"] * 1000])
        answer = client.put("/api/v1/table/full/t", content=rows, headers={"content-type": kind})
    assert (answer.status_code, answer.json()["kind"]) == (413, "too-large")
