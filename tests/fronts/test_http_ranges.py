from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakeservice.service.writing import Draft
from schemas.structures import ArrayStructure, DataType

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from lakeservice.service.service import Service

STACK = np.arange(7 * 30 * 50, dtype="<u4").reshape(7, 30, 50)
FULL = "/api/v1/array/full/eiger"
OCTETS = "application/octet-stream"


@pytest.fixture
def stack(http: TestClient) -> TestClient:
    """A client of a front that serves a stack in chunks of three frames."""
    structure = {
        "data_type": {"endianness": "little", "kind": "u", "itemsize": 4},
        "shape": [7, 30, 50],
        "chunks": [[3, 3, 1], [30], [50]],
    }
    source = {"structure_family": "array", "structure": structure}
    created = http.post(
        "/api/v1/metadata/",
        json={"id": "eiger", "structure_family": "array", "data_sources": [source]},
    )
    assert created.status_code == 200, created.text
    assert http.put(FULL, content=STACK.tobytes(), headers={"content-type": OCTETS}).is_success
    return http


def asked(client: TestClient, text: str, **more: str) -> Any:
    return client.get(FULL, params={"format": OCTETS}, headers={"range": text, **more})


@given(start=st.integers(0, STACK.nbytes - 1), data=st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_range_of_an_array_is_that_part_of_its_bytes(
    stack: TestClient, start: int, data: st.DataObject
) -> None:
    stop = data.draw(st.integers(start + 1, STACK.nbytes))
    answer = asked(stack, f"bytes={start}-{stop - 1}")
    assert answer.status_code == 206
    assert answer.content == STACK.tobytes()[start:stop]
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{STACK.nbytes}"
    assert answer.headers["content-length"] == str(stop - start)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("bytes=0-", slice(None)),
        ("bytes=-10", slice(-10, None)),
        ("bytes=-999999", slice(None)),
        ("bytes=41990-999999", slice(41990, None)),
        ("Bytes = 3 - 4", slice(3, 5)),
    ],
)
def test_open_ends_and_last_bytes_are_ranges_too(stack: TestClient, text: str, part: slice) -> None:
    answer = asked(stack, text)
    assert answer.status_code == 206
    assert answer.content == STACK.tobytes()[part]


@pytest.mark.parametrize("text", ["bytes=0-1,5-6", "bytes=5-3", "items=0-1", "bytes=-", "bytes=x-"])
def test_what_is_not_one_range_gets_the_whole(stack: TestClient, text: str) -> None:
    answer = asked(stack, text)
    assert answer.status_code == 200
    assert answer.content == STACK.tobytes()


@pytest.mark.parametrize("text", ["bytes=42000-", "bytes=99999999-", "bytes=-0"])
def test_a_range_behind_the_end_is_refused_with_the_length(stack: TestClient, text: str) -> None:
    answer = asked(stack, text)
    assert answer.status_code == 416
    assert answer.json()["kind"] == "bad-range"
    assert answer.headers["content-range"] == "bytes */42000"


def test_a_range_holds_only_while_the_tag_does(stack: TestClient) -> None:
    tag = asked(stack, "bytes=0-0").headers["etag"]
    assert tag.startswith('"')
    assert asked(stack, "bytes=0-9", **{"if-range": tag}).status_code == 206
    for other in (f"W/{tag}", '"other"', "Wed, 21 Oct 2015 07:28:00 GMT"):
        assert asked(stack, "bytes=0-9", **{"if-range": other}).status_code == 200
    assert asked(stack, "bytes=0-9", **{"if-none-match": tag}).status_code == 304


def test_a_head_tells_the_length_and_sends_nothing(stack: TestClient) -> None:
    answer = stack.head(FULL, params={"format": OCTETS}, headers={"range": "bytes=0-1"})
    assert answer.status_code == 200
    assert answer.content == b""
    assert answer.headers["content-length"] == str(STACK.nbytes)
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-type"] == OCTETS


def test_a_head_of_a_node_that_is_not_there_is_404(http: TestClient) -> None:
    assert http.head("/api/v1/array/full/nothing").status_code == 404


def test_documents_and_short_texts_have_ranges_too(stack: TestClient) -> None:
    whole = stack.get("/api/v1/metadata/eiger").content
    part = stack.get("/api/v1/metadata/eiger", headers={"range": "bytes=5-20"})
    assert (part.status_code, part.content) == (206, whole[5:21])
    text = stack.get(FULL, params={"format": "csv", "slice": "0"}).content
    part = stack.get(FULL, params={"format": "csv", "slice": "0"}, headers={"range": "bytes=-30"})
    assert (part.status_code, part.content) == (206, text[-30:])


def test_ranges_are_of_the_bytes_as_they_are_not_of_compressed_ones(stack: TestClient) -> None:
    far = {"x-forwarded-for": "10.0.0.7", "accept-encoding": "gzip"}
    answer = asked(stack, "bytes=100-40099", **far)
    assert answer.status_code == 206
    assert "content-encoding" not in answer.headers
    assert answer.content == STACK.tobytes()[100:40100]


def test_a_large_array_is_read_only_where_it_is_asked_for(
    service: Service, http: TestClient
) -> None:
    rows = np.arange(40 << 18, dtype="<f8").reshape(40, 1 << 18)
    structure = ArrayStructure(
        data_type=DataType.from_numpy(rows.dtype), shape=rows.shape, chunks=(1, 1 << 18)
    )
    service.write_array(Draft(path="rows", structure=structure, metadata={}), [rows])
    answer = http.get(
        "/api/v1/array/full/rows", params={"format": "npy"}, headers={"range": "bytes=-16"}
    )
    assert np.frombuffer(answer.content).tolist() == rows[-1, -2:].tolist()
    header = http.get(
        "/api/v1/array/full/rows", params={"format": "npy"}, headers={"range": "bytes=0-127"}
    ).content
    assert np.lib.format.read_array_header_1_0(io.BytesIO(header[8:]))[0] == rows.shape
