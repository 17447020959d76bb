from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lakeservice.fronts.http.structures import structure_document
from lakeservice.service.writing import Draft
from schemas.structures import ArrayStructure

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from lakeservice.service.service import Service

API = "http://lake/api/v1"
STACK = np.arange(4 * 5 * 6, dtype="<u2").reshape(4, 5, 6)


def declared(array: np.ndarray[Any, Any], chunks: Any = None) -> dict[str, Any]:
    structure = ArrayStructure.from_numpy(array.shape, array.dtype, chunks)
    source = {"structure_family": "array", "structure": structure_document(structure)}
    return {"structure_family": "array", "data_sources": [source]}


def stored(
    http: TestClient, array: np.ndarray[Any, Any], name: str = "a", chunks: Any = None
) -> str:
    created = http.post("/api/v1/metadata/", json={**declared(array, chunks), "id": name})
    assert created.status_code == 200, created.text
    written = http.put(f"/api/v1/array/full/{name}", content=array.tobytes())
    assert written.status_code == 200, written.text
    return name


DTYPES = [
    "<i8", ">f4", "|b1", "<c16", "<U3", "|S2", "<M8[25s]", "<m8[ns]", "<f2", "|u1",
]  # fmt: skip


@pytest.mark.parametrize("text", DTYPES)
def test_bytes_of_each_dtype_come_back(http: TestClient, text: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(text)
    stored(http, array)
    answer = http.get("/api/v1/array/full/a", params={"expected_shape": "2,3"})
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-length"] == str(array.nbytes)
    assert answer.content == array.tobytes()
    node = http.get("/api/v1/metadata/a").json()["data"]["attributes"]["structure"]
    assert node == declared(array)["data_sources"][0]["structure"]


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1, 1, 1), (7,)])
def test_arrays_of_each_shape_come_back(http: TestClient, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int), dtype="<f8").reshape(shape)
    stored(http, array)
    answer = http.get("/api/v1/array/full/a", params={"format": "npy"})
    back = np.load(io.BytesIO(answer.content))
    assert back.shape == shape
    assert (back == array).all()
    assert http.get("/api/v1/array/full/a", params={"format": "json"}).json() == array.tolist()


def test_a_record_comes_back_field_by_field(http: TestClient, service: Service) -> None:
    array = np.array([(1, 2.5), (3, 4.5)], [("a", "<i4"), ("b", "<f8")])
    stored(http, array)
    assert http.get("/api/v1/array/full/a").content == array.tobytes()
    assert http.get("/api/v1/array/full/a?format=csv").text == "a,b\n1,2.5\n3,4.5\n"


def test_records_with_gaps_travel_without_them(http: TestClient, service: Service) -> None:
    dtype = np.dtype([("a", "u1"), ("b", "<f8")], align=True)
    array = np.array([(1, 2.5), (3, 4.5)], dtype)
    structure = ArrayStructure.from_numpy(array.shape, array.dtype)
    service.write_array(Draft(path="a", structure=structure, metadata={}), [array])
    told = http.get("/api/v1/metadata/a").json()["data"]["attributes"]["structure"]["data_type"]
    assert told["itemsize"] == 9
    packed = array.astype([("a", "u1"), ("b", "<f8")])
    assert http.get("/api/v1/array/full/a").content == packed.tobytes()
    other = packed[::-1].tobytes()
    assert http.put("/api/v1/array/full/a", content=other).status_code == 200
    assert http.get("/api/v1/array/full/a").content == other
    assert http.put("/api/v1/array/block/a?block=0", content=packed.tobytes()).status_code == 200
    assert http.get("/api/v1/array/full/a").content == packed.tobytes()


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("1", np.s_[1]),
        (":,2", np.s_[:, 2]),
        ("1:3,::2,-1", np.s_[1:3, ::2, -1]),
        ("::-1", np.s_[::-1]),
        ("3:-5:-2,4::-1", np.s_[::-2, ::-1]),
        ("2:1", np.s_[2:1]),
        ("1,2,3", np.s_[1, 2, 3]),
        ("...,0", np.s_[..., 0]),
        ("100:", np.s_[100:]),
    ],
)
def test_slices_mean_what_they_mean_in_numpy(http: TestClient, text: str, index: Any) -> None:
    stored(http, STACK, chunks=(2, 2, 4))
    wanted = STACK[index]
    expected = "scalar" if wanted.ndim == 0 else ",".join(map(str, wanted.shape))
    answer = http.get("/api/v1/array/full/a", params={"slice": text, "expected_shape": expected})
    assert answer.status_code == 200, answer.text
    assert answer.content == wanted.tobytes()
    assert http.get("/api/v1/array/full/a", params={"slice": text, "format": "json"}).json() == (
        wanted.tolist()
    )


@pytest.mark.parametrize(
    ("params", "kind", "told"),
    [
        ({"slice": "4"}, "bad-slice", "index 4 is out of range on axis 0"),
        ({"slice": ":,:,:,:"}, "bad-slice", "4 slices for an array of 3 axes"),
        ({"slice": "a"}, "bad-slice", "cannot read"),
        ({"slice": "::0"}, "bad-slice", "zero"),
        ({"expected_shape": "4,5"}, "bad-request", "has the shape '4,5,6'"),
        ({"expected_shape": "scalar"}, "bad-request", "has the shape"),
        ({"format": "docx"}, "unknown-format", "known here are application/octet-stream"),
        ({"format": "csv"}, "unknown-format", "lines and columns"),
        ({"as_of": "x"}, "bad-parameter", "whole number"),
        ({"as_of": "999999"}, "version-not-found", ""),
    ],
)
def test_a_read_that_cannot_be_is_refused(
    http: TestClient, params: dict[str, str], kind: str, told: str
) -> None:
    stored(http, STACK)
    answer = http.get("/api/v1/array/full/a", params=params)
    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["kind"] == kind
    assert told in answer.json()["detail"]


def test_blocks_are_chunks_of_the_declared_grid(http: TestClient) -> None:
    stored(http, STACK, chunks=(2, 2, 4))
    for block in np.ndindex(2, 3, 2):
        origin = [n * size for n, size in zip(block, (2, 2, 4), strict=True)]
        wanted = STACK[
            origin[0] : origin[0] + 2, origin[1] : origin[1] + 2, origin[2] : origin[2] + 4
        ]
        answer = http.get(
            "/api/v1/array/block/a",
            params={
                "block": ",".join(map(str, block)),
                "expected_shape": ",".join(map(str, wanted.shape)),
            },
        )
        assert answer.content == wanted.tobytes()


def test_a_slice_of_a_block_counts_from_the_block(http: TestClient) -> None:
    stored(http, STACK, chunks=(2, 2, 4))
    answer = http.get("/api/v1/array/block/a", params={"block": "1,2,1", "slice": "0,::-1,1:"})
    assert answer.content == STACK[2, 4:5, 4:6][::-1, 1:].tobytes()
    answer = http.get("/api/v1/array/block/a", params={"block": "0:2,1,0"})
    assert answer.content == STACK[:4, 2:4, :4].tobytes()


@pytest.mark.parametrize("block", ["", "0", "0,0", "0,0,2", "0,0,x", "0,0,0,0", "2,0,0", "0,::2,0"])
def test_a_block_that_is_not_there_is_refused(http: TestClient, block: str) -> None:
    stored(http, STACK, chunks=(2, 2, 4))
    answer = http.get("/api/v1/array/block/a", params={"block": block})
    assert answer.status_code == 422
    assert answer.json()["kind"] == "bad-slice"


def test_blocks_are_written_one_by_one(http: TestClient) -> None:
    http.post("/api/v1/metadata/", json={**declared(STACK, (2, 2, 4)), "id": "a"})
    assert http.get("/api/v1/array/full/a").content == bytes(STACK.nbytes)
    for block in np.ndindex(2, 3, 2):
        origin = [n * size for n, size in zip(block, (2, 2, 4), strict=True)]
        part = STACK[
            origin[0] : origin[0] + 2, origin[1] : origin[1] + 2, origin[2] : origin[2] + 4
        ]
        answer = http.put(
            f"/api/v1/array/block/a?block={','.join(map(str, block))}", content=part.tobytes()
        )
        assert (answer.status_code, answer.json()) == (200, None)
    assert http.get("/api/v1/array/full/a").content == STACK.tobytes()


@pytest.mark.parametrize("size", [0, 1, STACK.nbytes - 1, STACK.nbytes + 1, 3 * STACK.nbytes])
@pytest.mark.parametrize("announced", [True, False])
def test_another_number_of_bytes_is_refused_and_changes_nothing(
    http: TestClient, size: int, announced: bool
) -> None:
    stored(http, STACK)
    payload = bytes(size)
    content: Any = payload if announced else iter([payload[:7], payload[7:]])
    answer = http.put("/api/v1/array/full/a", content=content)
    assert answer.status_code == 422
    assert answer.json()["kind"] == "bad-body"
    assert f"takes {STACK.nbytes}" in answer.json()["detail"]
    assert http.get("/api/v1/array/full/a").content == STACK.tobytes()


def test_a_block_of_another_size_is_refused(http: TestClient) -> None:
    stored(http, STACK, chunks=(2, 2, 4))
    answer = http.put("/api/v1/array/block/a?block=0,0,0", content=bytes(31))
    assert answer.status_code == 422
    assert "shape (2, 2, 4) of uint16 takes 32" in answer.json()["detail"]
    answer = http.put("/api/v1/array/block/a?block=9,0,0", content=bytes(32))
    assert answer.json()["kind"] == "bad-slice"


@pytest.mark.parametrize(
    ("headers", "params", "told"),
    [
        ({"content-type": "text/csv"}, {}, "not as 'text/csv'"),
        ({"content-encoding": "gzip"}, {}, "uncompressed"),
    ],
)
def test_an_upload_in_another_form_is_refused(
    http: TestClient, headers: dict[str, str], params: dict[str, str], told: str
) -> None:
    stored(http, STACK)
    answer = http.put(
        "/api/v1/array/full/a", content=STACK.tobytes(), headers=headers, params=params
    )
    assert 400 <= answer.status_code < 500
    assert told in answer.json()["detail"]


def test_a_large_upload_in_small_pieces_comes_back(http: TestClient) -> None:
    array = np.arange(3_000_000, dtype="<u4").reshape(300, 100, 100)
    payload = array.tobytes()
    http.post("/api/v1/metadata/", json={**declared(array, (10, 100, 100)), "id": "a"})
    pieces = (payload[n : n + 99_991] for n in range(0, len(payload), 99_991))
    assert http.put("/api/v1/array/full/a", content=pieces).status_code == 200
    answer = http.get("/api/v1/array/full/a", headers={"accept-encoding": "identity"})
    assert answer.headers["content-length"] == str(array.nbytes)
    assert answer.content == payload
    text = http.get("/api/v1/array/full/a?format=json&slice=:,0").text
    assert json.loads(text) == array[:, 0].tolist()


def test_a_tag_saves_the_read_until_the_data_changes(http: TestClient) -> None:
    stored(http, STACK)
    tag = http.get("/api/v1/array/full/a").headers["etag"]
    same = http.get("/api/v1/array/full/a", headers={"if-none-match": tag})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    other = http.get("/api/v1/array/full/a?slice=0", headers={"if-none-match": tag})
    assert other.status_code == 200
    http.put("/api/v1/array/full/a", content=bytes(STACK.nbytes))
    changed = http.get("/api/v1/array/full/a", headers={"if-none-match": tag})
    assert (changed.status_code, changed.content) == (200, bytes(STACK.nbytes))


def test_an_unchanged_answer_needs_no_bytes_of_the_array(
    http: TestClient, service: Service
) -> None:
    stored(http, STACK)
    tag = http.get("/api/v1/array/full/a").headers["etag"]
    root = service.lake.objects.root
    assert root is not None
    chunks = [path for path in root.glob("data/*/*/c/**/*") if path.is_file()]
    assert chunks
    for path in chunks:
        path.unlink()
    same = http.get("/api/v1/array/full/a", headers={"if-none-match": tag})
    assert same.status_code == 304


def test_a_damaged_chunk_is_an_error_and_never_data(http: TestClient, service: Service) -> None:
    stored(http, STACK)
    root = service.lake.objects.root
    assert root is not None
    for path in root.glob("data/*/*/c/**/*"):
        if path.is_file():
            path.write_bytes(b"rubbish")
    answer = http.get("/api/v1/array/full/a")
    assert answer.status_code == 409
    assert answer.json()["kind"] == "corrupt-chunk"
    assert str(root) not in answer.text


def test_what_is_not_an_array_is_not_read_as_one(http: TestClient) -> None:
    http.post("/api/v1/metadata/", json={"structure_family": "container", "id": "box"})
    answer = http.get("/api/v1/array/full/box")
    assert answer.status_code == 400
    assert answer.json()["kind"] == "wrong-family"
    assert http.get("/api/v1/array/full/nope").json()["kind"] == "node-not-found"


def test_a_file_name_goes_to_the_browser(http: TestClient) -> None:
    stored(http, np.arange(3))
    answer = http.get("/api/v1/array/full/a", params={"format": "csv", "filename": 'ä".csv'})
    assert answer.headers["content-disposition"] == "attachment; filename*=utf-8''%C3%A4%22.csv"
