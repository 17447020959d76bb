from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from lakeservice.fronts.http.structures import structure_document
from lakeservice.storage.draft import MAX_REVISIONS
from schemas.structures import TableStructure

if TYPE_CHECKING:
    from starlette.testclient import TestClient

MERGE = "application/merge-patch+json"


def change(http: TestClient, path: str = "box", *, drop: bool = False, **parts: Any) -> None:
    params = {"drop_revision": "true"} if drop else {}
    answer = http.patch(
        f"/api/v1/metadata/{path}", params=params, json={"content-type": MERGE, **parts}
    )
    assert answer.status_code == 200, answer.text


def listed(
    http: TestClient, path: str = "box", page: dict[str, int] | None = None
) -> list[tuple[int, Any]]:
    answer = http.get(f"/api/v1/revisions/{path}", params=page)
    assert answer.status_code == 200, answer.text
    return [
        (one["revision_number"], one["attributes"]["metadata"]) for one in answer.json()["data"]
    ]


@pytest.fixture
def box(http: TestClient) -> TestClient:
    body = {"structure_family": "container", "id": "box", "metadata": {"n": 0}}
    assert http.post("/api/v1/metadata/", json=body).status_code == 200
    return http


def test_what_was_replaced_is_listed_oldest_first(box: TestClient) -> None:
    assert listed(box) == []
    change(box, metadata={"n": 1})
    change(box, specs=[{"name": "S"}])
    change(box, metadata={"n": 2})
    assert listed(box) == [(1, {"n": 0}), (2, {"n": 1}), (3, {"n": 1})]
    answer = box.get("/api/v1/revisions/box?page[offset]=2&page[limit]=1").json()
    assert answer["meta"] == {"count": 3}
    assert answer["links"]["next"] is None
    (last,) = answer["data"]
    assert last["attributes"]["specs"] == [{"name": "S", "version": None}]
    assert last["attributes"]["time_updated"].endswith("+00:00")


def test_pages_of_revisions_lead_to_the_next(box: TestClient) -> None:
    for n in range(1, 4):
        change(box, metadata={"n": n})
    numbers, address = [], "http://lake/api/v1/revisions/box?page[limit]=1"
    while address:
        page = box.get(address).json()
        numbers += [one["revision_number"] for one in page["data"]]
        address = page["links"]["next"]
    assert numbers == [1, 2, 3]
    assert listed(box, page={"page[offset]": 10}) == []
    assert listed(box, page={"page[limit]": 0}) == []


def test_a_dropped_revision_is_not_kept(box: TestClient) -> None:
    change(box, metadata={"n": 1}, drop=True)
    assert listed(box) == []
    change(box, metadata={"n": 2})
    assert listed(box) == [(1, {"n": 1})]


def test_a_revision_can_be_forgotten_once(box: TestClient) -> None:
    for n in range(1, 4):
        change(box, metadata={"n": n})
    assert box.delete("/api/v1/revisions/box?number=2").status_code == 200
    assert listed(box) == [(1, {"n": 0}), (3, {"n": 2})]
    again = box.delete("/api/v1/revisions/box?number=2")
    assert (again.status_code, again.json()["kind"]) == (404, "version-not-found")
    change(box, metadata={"n": 4})
    assert [number for number, _ in listed(box)] == [1, 3, 4]
    for query in ("", "?number=", "?number=x", "?number=-1"):
        assert box.delete(f"/api/v1/revisions/box{query}").status_code == 422


def test_rows_that_were_added_do_not_hide_what_was_written_before(http: TestClient) -> None:
    table = pa.table({"a": [1]})
    structure = structure_document(TableStructure.from_arrow(table.schema))
    source = {"structure_family": "table", "structure": structure}
    body = {"structure_family": "table", "id": "t", "metadata": {"n": 0}, "data_sources": [source]}
    assert http.post("/api/v1/metadata/", json=body).status_code == 200
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    headers = {"content-type": "application/vnd.apache.arrow.stream"}
    for _ in range(2):
        address = "/api/v1/table/partition/t?partition=0"
        answer = http.patch(address, content=sink.getvalue(), headers=headers)
        assert answer.status_code == 200, answer.text
    change(http, "t", metadata={"n": 1})
    assert listed(http, "t") == [(1, {"n": 0})]


def test_the_root_has_revisions_too(box: TestClient) -> None:
    change(box, "", metadata={"title": "a"})
    change(box, "", metadata={"title": "b"})
    assert listed(box, "") == [(1, {}), (2, {"title": "a"})]


def test_only_the_newest_revisions_are_kept(box: TestClient) -> None:
    for n in range(1, MAX_REVISIONS + 3):
        change(box, metadata={"n": n})
    found = listed(box, page={"page[limit]": 300})
    assert [number for number, _ in found] == list(range(3, MAX_REVISIONS + 3))
    assert found[-1][1] == {"n": MAX_REVISIONS + 1}


def test_revisions_of_what_is_not_there_are_not_found(http: TestClient) -> None:
    assert http.get("/api/v1/revisions/nope").status_code == 404
    assert http.delete("/api/v1/revisions/nope?number=1").status_code == 404
