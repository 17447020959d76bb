"""Routes of containers: what is asked of them, and how they refuse."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pyarrow as pa
import pytest

from lakeservice.service.writing import Draft
from schemas.entry import Spec
from schemas.structures import ArrayStructure, ContainerStructure, TableStructure

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from lakeservice.service.service import Service

COUNTS = np.arange(6, dtype="<i4").reshape(2, 3)


@pytest.fixture(autouse=True)
def _run(service: Service) -> None:
    service.create_empty(
        Draft(path="run", structure=ContainerStructure(), metadata={"start": {"uid": "u"}})
    )
    structure = ArrayStructure.from_numpy(COUNTS.shape, COUNTS.dtype)
    service.write_array(Draft(path="run/counts", structure=structure, metadata={}), [COUNTS])
    table = pa.table({"det": [1.5, 2.5], "motor": [0, 1]})
    service.write_table(
        Draft(path="run/data", structure=TableStructure.from_arrow(table.schema), metadata={}),
        table.to_reader(),
    )


def names(payload: bytes) -> list[str]:
    with h5py.File(io.BytesIO(payload)) as file:
        return list(file)


def test_the_usual_form_is_hdf5(http: TestClient) -> None:
    answer = http.get("/api/v1/container/full/run", headers={"accept": "*/*"})
    assert answer.headers["content-type"] == "application/x-hdf5"
    assert names(answer.content) == ["counts", "data"]


@pytest.mark.parametrize("fields", [["data"], ["data", "counts"], []])
def test_children_are_chosen_by_query_and_by_body(http: TestClient, fields: list[str]) -> None:
    chosen = fields or ["counts", "data"]
    asked: dict[str, str | list[str]] = {"format": "h5", "field": fields}
    by_query = http.get("/api/v1/container/full/run", params=asked)
    by_body = http.post("/api/v1/container/full/run?format=h5", json=fields)
    assert names(by_query.content) == names(by_body.content) == chosen


def test_a_child_that_is_not_there_is_a_mistake_of_who_asks(http: TestClient) -> None:
    answer = http.get("/api/v1/container/full/run?field=eiger")
    assert answer.status_code == 400
    assert "'eiger'" in answer.json()["detail"]


@pytest.mark.parametrize("body", [b"{}", b"[1]", b"[", b'"data"'])
def test_a_body_that_is_no_list_of_names_is_refused(http: TestClient, body: bytes) -> None:
    answer = http.post("/api/v1/container/full/run", content=body)
    assert answer.status_code in (400, 422)
    assert answer.json()["kind"] == "bad-body"


def test_another_family_is_led_to_its_route(http: TestClient) -> None:
    answer = http.get("/api/v1/container/full/run/counts")
    assert 400 <= answer.status_code < 500
    assert "array/full/" in answer.json()["detail"]


def test_a_form_that_is_not_known_lists_those_that_are(http: TestClient) -> None:
    answer = http.get("/api/v1/container/full/run?format=tiff")
    assert answer.status_code == 406
    assert "application/zip" in answer.json()["detail"]


def test_an_unchanged_container_is_not_sent_again(http: TestClient, service: Service) -> None:
    first = http.get("/api/v1/container/full/run?format=json")
    tag = {"if-none-match": first.headers["etag"]}
    assert http.get("/api/v1/container/full/run?format=json", headers=tag).status_code == 304
    service.create_empty(Draft(path="run/more", structure=ContainerStructure(), metadata={}))
    assert http.get("/api/v1/container/full/run?format=json", headers=tag).status_code == 200


def test_the_older_route_gives_columns_as_one_object(http: TestClient) -> None:
    for path in ("run", "run/data"):
        answer = http.get(f"/api/v1/node/full/{path}?format=json&include=data")
        document: dict[str, Any] = json.loads(answer.content)
        assert document["det"] == [1.5, 2.5]
        assert list(document)[-2:] == ["det", "motor"]


def test_the_past_of_a_container_can_be_had(http: TestClient, service: Service) -> None:
    then = service.refresh()
    service.create_empty(Draft(path="run/more", structure=ContainerStructure(), metadata={}))
    now = http.get("/api/v1/container/full/run?format=h5")
    past = http.get(f"/api/v1/container/full/run?format=h5&as_of={then}")
    assert names(now.content) == ["counts", "data", "more"]
    assert names(past.content) == ["counts", "data"]


def test_a_run_of_bluesky_has_its_documents(http: TestClient, service: Service) -> None:
    service.create_empty(
        Draft(
            path="scan",
            structure=ContainerStructure(),
            metadata={"start": {"uid": "u", "time": 1.0}},
            specs=(Spec("BlueskyRun", "3.0"),),
        )
    )
    answer = http.get("/api/v1/container/full/scan?format=application/json-seq")
    assert answer.headers["content-type"] == "application/json-seq"
    assert answer.content == b'\x1e{"name":"start","doc":{"uid":"u","time":1.0}}\n'
    assert http.get("/api/v1/container/full/scan").headers["content-type"] == "application/x-hdf5"
