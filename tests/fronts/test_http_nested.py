"""Awkward and ragged data over HTTP: Awkward Array says what is right."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakeservice.service.writing import Draft
from lakeservice.storage.check import check
from schemas.commit import Append
from schemas.errors import InvalidRequestError
from schemas.structures import AwkwardStructure, DataType, RaggedStructure

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from lakeservice.service.service import Service

ZIP = {"content-type": "application/zip"}
EVENTS = ak.Array(
    [
        [{"x": 1.1, "y": [1]}, {"x": 2.2, "y": [1, 2]}],
        [],
        [{"x": 3.3, "y": [1, 2, 3]}],
    ]
)
LISTS = [[1.0, 2.0], [], [3.0], [4.0, 5.0, 6.0], [7.0], [8.0, 9.0]]


def zipped(files: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, payload in files.items():
            archive.writestr(name, bytes(payload))
    return file.getvalue()


def create(http: TestClient, family: str, structure: Any, name: str = "n") -> Any:
    source = {"structure_family": family, "structure": structure}
    asked = {"structure_family": family, "data_sources": [source], "id": name}
    return http.post("/api/v1/metadata/", json=asked)


def write_awkward(http: TestClient, array: Any, name: str = "n") -> None:
    form, length, buffers = ak.to_buffers(ak.to_packed(array))
    structure = {"length": length, "form": form.to_dict()}
    assert create(http, "awkward", structure, name).status_code == 200
    payload = zipped({key: np.asarray(buffer).tobytes() for key, buffer in buffers.items()})
    answer = http.put(f"/api/v1/awkward/full/{name}", content=payload, headers=ZIP)
    assert (answer.status_code, answer.json()) == (200, None)


def form_of(http: TestClient, name: str = "n") -> dict[str, Any]:
    attributes = http.get(f"/api/v1/metadata/{name}").json()["data"]["attributes"]
    form: dict[str, Any] = attributes["structure"]["form"]
    return form


def unzipped(payload: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_awkward_buffers_come_back_byte_for_byte(http: TestClient) -> None:
    write_awkward(http, EVENTS)
    form, length, buffers = ak.to_buffers(EVENTS)
    answer = http.get("/api/v1/awkward/full/n")
    assert answer.headers["content-type"] == "application/zip"
    assert unzipped(answer.content) == {key: bytes(value) for key, value in buffers.items()}
    assert form_of(http) == form.to_dict()
    assert length == 3


def test_only_the_buffers_of_the_keys_named_are_sent(http: TestClient) -> None:
    write_awkward(http, ak.Array([{f"key{number}": number for number in range(30)}]))
    by_query = http.get("/api/v1/awkward/buffers/n?form_key=node1&form_key=node0")
    by_body = http.post("/api/v1/awkward/buffers/n", json=["node1", "node12"])
    assert set(unzipped(by_query.content)) == {"node1-data"}  # and not node10-data
    assert set(unzipped(by_body.content)) == {"node1-data", "node12-data"}
    assert unzipped(http.post("/api/v1/awkward/buffers/n", json=[]).content) == {}
    assert len(unzipped(http.get("/api/v1/awkward/buffers/n").content)) == 30


def test_an_unknown_form_key_is_refused_with_those_there_are(http: TestClient) -> None:
    write_awkward(http, EVENTS)
    answer = http.get("/api/v1/awkward/buffers/n?form_key=node99")
    assert answer.status_code == 400
    assert "node0" in answer.json()["detail"]


def test_awkward_data_are_written_as_awkward_writes_them(http: TestClient) -> None:
    write_awkward(http, EVENTS)
    text = http.get("/api/v1/awkward/full/n?format=json").text
    assert text == ak.to_json(EVENTS)
    arrow = http.get("/api/v1/awkward/full/n?format=arrow").content
    assert pa.ipc.open_file(io.BytesIO(arrow)).read_all() == ak.to_arrow_table(EVENTS)
    parquet = http.get("/api/v1/awkward/full/n?format=parquet").content
    assert pyarrow.parquet.read_table(io.BytesIO(parquet)) == ak.to_arrow_table(EVENTS)


def test_numbers_that_json_does_not_have_are_null(http: TestClient) -> None:
    write_awkward(http, ak.Array([[1.0, float("nan")], [float("inf")]]))
    assert http.get("/api/v1/awkward/full/n?format=json").json() == [[1.0, None], [None]]


def test_what_arrow_cannot_say_is_refused_with_advice(http: TestClient) -> None:
    write_awkward(http, ak.Array([[1 + 2j]]))
    answer = http.get("/api/v1/awkward/full/n?format=arrow")
    assert answer.status_code == 406
    assert "application/zip" in answer.json()["detail"]
    assert http.get("/api/v1/awkward/full/n?format=json").json() == [[[1.0, 2.0]]]


def test_a_form_without_keys_gets_them(http: TestClient) -> None:
    structure = {"length": 1, "form": {"class": "NumpyArray", "primitive": "int64"}}
    assert create(http, "awkward", structure).status_code == 200
    assert form_of(http)["form_key"] == "node0"


def test_data_that_nobody_has_written_are_not_found(http: TestClient) -> None:
    structure = {"length": 1, "form": {"class": "NumpyArray", "primitive": "int64"}}
    create(http, "awkward", structure)
    answer = http.get("/api/v1/awkward/full/n")
    assert answer.status_code == 404
    assert "0 of 1 rows" in answer.json()["detail"]


@pytest.mark.parametrize(
    "form",
    [
        {"class": "Nonsense"},
        {"class": "NumpyArray", "primitive": "object"},
        {"class": "RecordArray", "contents": 3},
        {"class": "ListOffsetArray", "offsets": "i64", "content": {}},
    ],
)
def test_a_structure_that_is_none_is_refused(http: TestClient, form: Any) -> None:
    answer = create(http, "awkward", {"length": 1, "form": form})
    assert answer.status_code == 422


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"not a zip",
        zipped({"node0-offsets": struct.pack("<4q", 0, 2, 1, 3)}),
        zipped({"../../etc/passwd": b"x"}),
        zipped({}),
    ],
)
def test_bodies_that_are_not_the_buffers_are_refused_and_leave_nothing(
    http: TestClient, service: Service, payload: bytes
) -> None:
    form, length, _ = ak.to_buffers(EVENTS)
    create(http, "awkward", {"length": length, "form": form.to_dict()})
    answer = http.put("/api/v1/awkward/full/n", content=payload, headers=ZIP)
    assert answer.status_code == 422
    assert list(service.lake.objects.list("data")) == []


def test_routes_are_for_their_own_family(http: TestClient) -> None:
    write_awkward(http, EVENTS)
    for route in ("ragged/full", "array/full"):
        assert http.get(f"/api/v1/{route}/n").status_code == 400


def test_rows_that_arrow_brings_are_added_to_buffers(http: TestClient, service: Service) -> None:
    write_awkward(http, EVENTS)
    table = ak.to_arrow_table(EVENTS, extensionarray=False)
    node = service.describe("n")
    reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches())
    appended = service.nested.append(node, reader)
    assert isinstance(appended, Append)
    service.publish(appended)
    assert http.get("/api/v1/awkward/full/n?format=json").text == ak.to_json(
        ak.concatenate([EVENTS, EVENTS])
    )


def ragged_structure(shape: list[int | None], size: int, chunks: list[Any]) -> dict[str, Any]:
    kind = {"endianness": "little", "kind": "f", "itemsize": 8, "dt_units": None}
    return {"data_type": kind, "shape": shape, "size": size, "chunks": chunks, "dims": None}


def ragged_body(rows: list[Any]) -> bytes:
    array = ak.values_astype(ak.Array(rows), np.float64) if rows else ak.Array(rows)
    if not rows or not any(rows):
        empty = ak.contents.NumpyArray(np.empty(0))
        offsets = ak.index.Index64(np.zeros(len(rows) + 1, np.int64))
        array = ak.Array(ak.contents.ListOffsetArray(offsets, empty))
    form, length, buffers = ak.to_buffers(array)
    files = {key: np.asarray(buffer).tobytes() for key, buffer in buffers.items()}
    files["length"] = length.to_bytes(8, "big")
    files["form"] = json.dumps(form.to_json()).encode()
    return zipped(files)


def read_ragged(payload: bytes) -> Any:
    files = unzipped(payload)
    form = ak.forms.from_json(json.loads(files.pop("form")))
    length = int.from_bytes(files.pop("length"), "big")
    return ak.from_buffers(form, length, files).to_list()


@pytest.fixture
def ragged(http: TestClient) -> TestClient:
    """Six rows, in blocks of two, three and one, written at the same time."""
    structure = ragged_structure([6, None], 9, [[2, 3, 1], None])
    assert create(http, "ragged", structure).status_code == 200

    def write(block: tuple[int, list[Any]]) -> int:
        number, rows = block
        where = f"/api/v1/ragged/block/n?block={number}"
        return http.put(where, content=ragged_body(rows), headers=ZIP).status_code

    with ThreadPoolExecutor(3) as pool:
        parts = enumerate((LISTS[:2], LISTS[2:5], LISTS[5:]))
        assert set(pool.map(write, parts)) == {200}
    return http


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    bounds=st.tuples(*[st.none() | st.integers(-7, 7)] * 2),
    step=st.sampled_from([1, 2, 4, -1, -2, -5]),
    inner=st.sampled_from(["", ",:1", ",1:", ",::-1"]),
)
def test_slices_of_rows_are_those_of_python(
    ragged: TestClient, bounds: tuple[Any, Any], step: int, inner: str
) -> None:
    parts = ["" if bound is None else str(bound) for bound in bounds]
    text = f"{parts[0]}:{parts[1]}:{step}{inner}"
    within = {"": slice(None), ",:1": slice(1), ",1:": slice(1, None)}.get(
        inner, slice(None, None, -1)
    )
    wanted = [row[within] for row in LISTS[slice(*bounds, step)]]
    answer = ragged.get("/api/v1/ragged/full/n", params={"slice": text, "format": "zip"})
    assert answer.status_code == 200, answer.text
    assert read_ragged(answer.content) == wanted
    answer = ragged.get("/api/v1/ragged/full/n", params={"slice": text})
    assert answer.json() == wanted


def test_rows_and_numbers_can_be_had_alone(ragged: TestClient) -> None:
    assert ragged.get("/api/v1/ragged/full/n?slice=3").json() == LISTS[3]
    assert ragged.get("/api/v1/ragged/full/n?slice=-3,-1").json() == 6.0
    assert ragged.get("/api/v1/ragged/block/n?block=1&slice=1").json() == LISTS[3]
    assert ragged.get("/api/v1/ragged/block/n?block=1").json() == LISTS[2:5]
    assert ragged.get("/api/v1/ragged/full/n?slice=3,1&format=zip").status_code == 406


@pytest.mark.parametrize("text", [":,0", "9", "0,5", "0,0,0", "x", "::0", ":,::0"])
def test_slices_that_cannot_be_are_refused(ragged: TestClient, text: str) -> None:
    answer = ragged.get("/api/v1/ragged/full/n", params={"slice": text})
    assert 400 <= answer.status_code < 500
    assert answer.json()["kind"] == "bad-slice"


def test_rows_are_added_at_the_end_only(ragged: TestClient) -> None:
    where = "/api/v1/ragged/full/n?shape=2&extend=true&offset="
    body = ragged_body([[10.0], [11.0, 12.0]])
    answer = ragged.patch(f"{where}6", content=body, headers=ZIP)
    assert answer.status_code == 200, answer.text
    assert answer.json()["shape"] == [8, None]
    assert answer.json()["chunks"] == [[2, 3, 1, 2], None]
    assert answer.json()["size"] == 12
    assert ragged.get("/api/v1/ragged/full/n").json() == [*LISTS, [10.0], [11.0, 12.0]]
    assert ragged.patch(f"{where}6", content=body, headers=ZIP).status_code == 409
    assert ragged.patch(where.replace("&extend=true", "") + "8").status_code == 400


def test_rows_come_as_json_too(http: TestClient) -> None:
    create(http, "ragged", ragged_structure([2, None], 3, [[2], None]))
    answer = http.put("/api/v1/ragged/full/n", json=[[1, 2], [3.5]])
    assert answer.status_code == 200, answer.text
    assert http.get("/api/v1/ragged/full/n").json() == [[1.0, 2.0], [3.5]]
    for bad in ([[1]], {"a": 1}, [["x"], []], [1, 2], [[[1]], []], [[1], None]):
        assert http.put("/api/v1/ragged/full/n", json=bad).status_code == 422
    assert http.get("/api/v1/ragged/full/n").json() == [[1.0, 2.0], [3.5]]


def test_lists_in_another_form_are_stored_in_the_declared_one(http: TestClient) -> None:
    create(http, "ragged", ragged_structure([2, None], 3, [[2], None]))
    layout = ak.contents.ListArray(
        ak.index.Index64(np.array([1, 0])),
        ak.index.Index64(np.array([3, 1])),
        ak.contents.NumpyArray(np.array([3.5, 1.0, 2.0])),
    )
    form, length, buffers = ak.to_buffers(layout)
    files = {key: np.asarray(buffer).tobytes() for key, buffer in buffers.items()}
    body = zipped({**files, "length": length.to_bytes(8, "big"), "form": form.to_json().encode()})
    answer = http.put("/api/v1/ragged/full/n", content=body, headers=ZIP)
    assert answer.status_code == 200, answer.text
    assert http.get("/api/v1/ragged/full/n").json() == [[1.0, 2.0], [3.5]]


def test_ragged_rows_are_lists_for_arrow_and_parquet(ragged: TestClient) -> None:
    arrow = ragged.get("/api/v1/ragged/full/n?format=arrow").content
    assert ak.from_arrow(pa.ipc.open_file(io.BytesIO(arrow)).read_all()).to_list() == LISTS
    parquet = ragged.get("/api/v1/ragged/full/n?format=parquet").content
    assert ak.from_arrow(pyarrow.parquet.read_table(io.BytesIO(parquet))).to_list() == LISTS


@pytest.mark.parametrize(
    "structure",
    [
        ragged_structure([], 0, []),
        ragged_structure([None], 0, [[1]]),
        ragged_structure([3, None], 3, [[2], None]),
        ragged_structure([3, 4], 12, [[3], [2, 2]]),
        ragged_structure([3, None], 3, [None, None]),
    ],
)
def test_ragged_structures_that_contradict_themselves_are_refused(
    http: TestClient, structure: Any
) -> None:
    assert create(http, "ragged", structure).status_code == 422


def test_a_range_of_an_answer_and_its_tag(ragged: TestClient) -> None:
    where = "/api/v1/ragged/full/n?format=parquet"
    whole = ragged.get(where)
    part = ragged.get(where, headers={"range": "bytes=4-9"})
    assert (part.status_code, part.content) == (206, whole.content[4:10])
    again = ragged.get(where, headers={"if-none-match": whole.headers["etag"]})
    assert again.status_code == 304


def test_rows_are_added_to_what_flight_brought_as_arrow(http: TestClient, service: Service) -> None:
    table = ak.to_arrow_table(ak.Array(LISTS), extensionarray=False)
    structure = RaggedStructure(
        data_type=DataType.from_numpy(np.dtype("<f8")),
        shape=(6, None),
        size=9,
        chunks=((6,), None),
    )
    reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches())
    service.write_table(Draft(path="n", structure=structure, metadata={}), reader)
    body = ragged_body([[10.0]])
    where = "/api/v1/ragged/full/n?extend=true&offset=6"
    answer = http.patch(where, content=body, headers=ZIP)
    assert answer.status_code == 200, answer.text
    assert answer.json()["size"] == 10
    assert http.get("/api/v1/ragged/full/n").json() == [*LISTS, [10.0]]
    assert read_ragged(http.get("/api/v1/ragged/full/n?format=zip").content) == [*LISTS, [10.0]]
    with service.read_table(service.describe("n")) as rows:
        assert ak.from_arrow(rows.read_all()).to_list() == [*LISTS, [10.0]]


def test_flight_refuses_other_rows_than_the_structure_says(service: Service) -> None:
    table = ak.to_arrow_table(EVENTS, extensionarray=False)
    structure = AwkwardStructure(length=5, form=ak.to_buffers(EVENTS)[0].to_dict())
    reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches())
    with pytest.raises(InvalidRequestError, match="3 rows sent, but the structure says 5"):
        service.write_table(Draft(path="n", structure=structure, metadata={}), reader)


def test_the_past_is_read_as_it_was_and_a_check_finds_all_of_it(
    ragged: TestClient, service: Service
) -> None:
    version = service.refresh()
    body = ragged_body([[0.0]] * 6)
    structure = ragged_structure([6, None], 9, [[2, 3, 1], None])
    create(ragged, "ragged", structure, "other")
    assert ragged.put("/api/v1/ragged/full/n", content=body, headers=ZIP).status_code == 200
    assert ragged.get("/api/v1/ragged/full/n").json() == [[0.0]] * 6
    assert ragged.get(f"/api/v1/ragged/full/n?as_of={version}").json() == LISTS
    report = check(service.lake, older_than_s=0)
    assert report.ok, report.broken
    assert not report.garbage


def test_what_is_announced_only_is_not_kept(ragged: TestClient) -> None:
    body = ragged_body([[0.0]] * 6)
    where = "/api/v1/ragged/full/n?persist=false"
    assert ragged.put(where, content=body, headers=ZIP).status_code == 200
    assert ragged.get("/api/v1/ragged/full/n").json() == LISTS
