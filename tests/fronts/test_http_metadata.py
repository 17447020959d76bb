from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from lakeservice.service.service import Service

CONTAINER = {"structure_family": "container"}
MERGE = "application/merge-patch+json"
PATCH = "application/json-patch+json"


def create(http: TestClient, path: str, **parts: Any) -> dict[str, Any]:
    parent, _, name = path.rpartition("/")
    answer = http.post(f"/api/v1/metadata/{parent}", json={**CONTAINER, "id": name, **parts})
    assert answer.status_code == 200, answer.text
    created: dict[str, Any] = answer.json()
    return created


def attributes(http: TestClient, path: str) -> dict[str, Any]:
    answer = http.get(f"/api/v1/metadata/{path}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["data"]["attributes"]
    return found


def test_a_created_container_is_described_as_tiled_does(http: TestClient) -> None:
    # Tiled's own answers: shared/tiled/exchanges/02 and 01.
    created = create(
        http, "box", metadata={"color": "red", "n": 1}, specs=[{"name": "S", "version": None}]
    )
    links = {
        "self": "http://lake/api/v1/metadata/box",
        "search": "http://lake/api/v1/search/box",
        "search_deep": "http://lake/api/v1/search-deep/box",
        "full": "http://lake/api/v1/container/full/box",
    }
    assert created == {"id": "box", "links": links, "data_sources": [], "access_tags": []}
    assert http.get("/api/v1/metadata//box").json() == {
        "data": {
            "id": "box",
            "attributes": {
                "ancestors": [],
                "structure_family": "container",
                "specs": [{"name": "S", "version": None}],
                "metadata": {"color": "red", "n": 1},
                "structure": {"contents": None, "count": 0},
                "access_tags": [],
                "sorting": [{"key": "", "direction": 1}],
                "data_sources": None,
            },
            "links": links,
            "meta": None,
        },
        "error": None,
        "links": None,
        "meta": {},
    }


def test_messagepack_says_the_same_with_the_exact_content_type(http: TestClient) -> None:
    create(http, "box", metadata={"n": 1.5, "deep": {"list": [1, None, "ä"]}})
    packed = http.get("/api/v1/metadata/box", headers={"accept": "application/x-msgpack"})
    assert packed.headers["content-type"] == "application/x-msgpack"
    plain = http.get("/api/v1/metadata/box")
    assert plain.headers["content-type"] == "application/json"
    assert msgspec.msgpack.decode(packed.content) == plain.json()


def test_integers_of_any_length_can_be_asked_for_in_either_form(http: TestClient) -> None:
    create(http, "big", metadata={"n": 2**70, "m": 2**64 - 1})
    assert attributes(http, "big")["metadata"] == {"n": 2**70, "m": 2**64 - 1}
    packed = http.get("/api/v1/metadata/big", headers={"accept": "application/x-msgpack"})
    assert packed.status_code == 200
    told = msgspec.msgpack.decode(packed.content)["data"]["attributes"]["metadata"]
    assert told == {"n": float(2**70), "m": 2**64 - 1}


def test_ancestors_and_counts_follow_the_tree(http: TestClient) -> None:
    for path in ("a", "a/b", "a/b/c", "a/d"):
        create(http, path)
    assert attributes(http, "a/b/c")["ancestors"] == ["a", "b"]
    assert attributes(http, "a")["structure"] == {"contents": None, "count": 2}
    root = http.get("/api/v1/metadata/").json()["data"]
    assert (root["id"], root["attributes"]["structure"]["count"]) == ("", 1)


def test_a_node_without_a_name_gets_one(http: TestClient) -> None:
    answer = http.post("/api/v1/metadata/", json=CONTAINER)
    assert attributes(http, answer.json()["id"])["structure_family"] == "container"


def test_key_order_of_metadata_is_kept(http: TestClient) -> None:
    metadata = {"z": 1, "a": {"y": 1, "b": 2}, "m": None}
    create(http, "box", metadata=metadata)
    assert list(attributes(http, "box")["metadata"]) == ["z", "a", "m"]
    assert list(attributes(http, "box")["metadata"]["a"]) == ["y", "b"]


def test_missing_containers_are_made_on_request(http: TestClient) -> None:
    answer = http.post("/api/v1/metadata/x/y", json={**CONTAINER, "id": "z"})
    assert (answer.status_code, answer.json()["kind"]) == (404, "node-not-found")
    answer = http.post("/api/v1/metadata/x/y?parents=true", json={**CONTAINER, "id": "z"})
    assert answer.status_code == 200
    assert attributes(http, "x/y/z")["ancestors"] == ["x", "y"]


def test_fields_choose_what_is_told(http: TestClient) -> None:
    create(http, "box", metadata={"n": 1})
    item = http.get("/api/v1/metadata/box?fields=metadata").json()["data"]
    filled = {name for name, value in item["attributes"].items() if value is not None}
    assert filled == {"ancestors", "metadata"}
    assert set(item["links"]) == {"self"}
    item = http.get("/api/v1/metadata/box?fields=structure_family&fields=specs").json()["data"]
    filled = {name for name, value in item["attributes"].items() if value is not None}
    assert filled == {"ancestors", "structure_family", "specs"}
    assert "links" not in http.get("/api/v1/metadata/box?omit_links=true").json()["data"]


def test_names_that_need_quoting_lead_back(http: TestClient) -> None:
    for name in ("a b", "ä€😀", "50%", "q?x=1#f", "{0}", "a&b=c", "+"):
        created = create(http, name)
        assert http.get(created["links"]["self"]).json()["data"]["id"] == name
        assert "{" not in created["links"]["self"]


@pytest.mark.parametrize(
    ("body", "kind", "told"),
    [
        (b"", "bad-body", "not a JSON document"),
        (b"{", "bad-body", "not a JSON document"),
        (b"[]", "bad-body", "Expected `object`"),
        (b"\xff", "bad-body", "not a JSON document"),
        (b"[" * 100_000, "bad-body", "not a JSON document"),
        (b'{"structure_family":"container","metadata":{"x":NaN}}', "bad-body", "JSON"),
        (b"{}", "bad-body", "structure_family"),
        (b'{"structure_family":"cube"}', "bad-body", "cube"),
        (b'{"structure_family":"container","metadata":[1]}', "bad-body", "metadata"),
        (b'{"structure_family":"container","id":"a/b"}', "bad-path", "one segment"),
        (b'{"structure_family":"container","id":""}', "bad-path", "one segment"),
        (b'{"structure_family":"container","id":".."}', "bad-path", "'..'"),
        (b'{"structure_family":"container","id":"a\\u0000b"}', "bad-path", "control"),
        (b'{"structure_family":"container","specs":[1]}', "bad-body", "specs"),
        (b'{"structure_family":"array"}', "bad-structure", "array"),
        (
            b'{"structure_family":"container","data_sources":[{"assets":[{}]}]}',
            "bad-request",
            "POST register/",
        ),
    ],
)
def test_a_creation_that_cannot_be_is_refused(
    http: TestClient, body: bytes, kind: str, told: str
) -> None:
    answer = http.post("/api/v1/metadata/", content=body)
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.json()["kind"] == kind
    assert told in answer.json()["detail"]
    assert http.get("/api/v1/search/?fields=count").json()["meta"]["count"] == 0


def test_a_taken_path_is_a_conflict(http: TestClient) -> None:
    create(http, "box")
    answer = http.post("/api/v1/metadata/", json={**CONTAINER, "id": "box"})
    assert (answer.status_code, answer.json()["kind"]) == (409, "path-taken")


def test_a_repeated_request_gets_the_first_answer(http: TestClient) -> None:
    first = http.post(
        "/api/v1/metadata/", json={**CONTAINER, "id": "box"}, headers={"idempotency-key": "k1"}
    )
    again = http.post(
        "/api/v1/metadata/", json={**CONTAINER, "id": "box"}, headers={"idempotency-key": "k1"}
    )
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()


def test_metadata_is_replaced_and_what_is_null_stays(http: TestClient) -> None:
    create(http, "box", metadata={"a": 1}, specs=["S"])
    answer = http.put("/api/v1/metadata/box", json={"metadata": {"z": 1}, "specs": None})
    assert (answer.status_code, answer.json()) == (200, {"id": "box"})
    assert attributes(http, "box")["metadata"] == {"z": 1}
    assert attributes(http, "box")["specs"] == [{"name": "S", "version": None}]
    http.put("/api/v1/metadata/box", json={"specs": ["T", {"name": "U", "version": "1"}]})
    assert [spec["name"] for spec in attributes(http, "box")["specs"]] == ["T", "U"]
    http.put("/api/v1/metadata/box", json={"access_tags": ["x"]})
    assert attributes(http, "box")["access_tags"] == ["x"]


def test_metadata_is_patched_in_both_forms(http: TestClient) -> None:
    create(http, "box", metadata={"a": 1, "b": {"c": 2}}, specs=["S"])

    def patch(**body: Any) -> None:
        answer = http.patch("/api/v1/metadata/box?drop_revision=true", json=body)
        assert (answer.status_code, answer.json()) == (200, {"id": "box"}), answer.text

    patch(**{"content-type": MERGE, "metadata": {"b": {"d": 3}, "a": None}})
    assert attributes(http, "box")["metadata"] == {"b": {"c": 2, "d": 3}}
    patch(**{"content-type": PATCH, "metadata": [{"op": "add", "path": "/stop", "value": {}}]})
    assert attributes(http, "box")["metadata"] == {"b": {"c": 2, "d": 3}, "stop": {}}
    patch(
        **{
            "content-type": PATCH,
            "metadata": [],
            "specs": [{"op": "add", "path": "/1", "value": {"name": "T", "version": None}}],
        }
    )
    assert [spec["name"] for spec in attributes(http, "box")["specs"]] == ["S", "T"]
    patch(**{"content-type": MERGE, "specs": ["U"], "access_tags": ["t"]})
    assert [spec["name"] for spec in attributes(http, "box")["specs"]] == ["U"]
    assert attributes(http, "box")["access_tags"] == ["t"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"metadata": {}}, "bad-metadata"),
        ({"content-type": "text/plain", "metadata": {}}, "bad-metadata"),
        ({"content-type": PATCH, "metadata": {"a": 2}}, "bad-metadata"),
        ({"content-type": PATCH, "metadata": [{"op": "remove", "path": "/z"}]}, "bad-metadata"),
        ({"content-type": PATCH, "metadata": [{"op": "replace", "path": "", "value": 1}]},
         "bad-metadata"),
        ({"content-type": MERGE, "metadata": [1]}, "bad-metadata"),
        ({"content-type": MERGE, "specs": [1]}, "bad-metadata"),
        ({"content-type": MERGE, "access_tags": "x"}, "bad-metadata"),
    ],
)  # fmt: skip
def test_a_patch_that_cannot_be_is_refused_and_changes_nothing(
    http: TestClient, body: dict[str, Any], kind: str
) -> None:
    create(http, "box", metadata={"a": 1})
    answer = http.patch("/api/v1/metadata/box", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["kind"] == kind
    assert attributes(http, "box")["metadata"] == {"a": 1}


def test_the_root_has_metadata_too(http: TestClient) -> None:
    answer = http.patch(
        "/api/v1/metadata/", json={"content-type": MERGE, "metadata": {"facility": "here"}}
    )
    assert answer.status_code == 200, answer.text
    assert attributes(http, "")["metadata"] == {"facility": "here"}
    http.patch("/api/v1/metadata/", json={"content-type": MERGE, "metadata": {"b": 1}})
    assert attributes(http, "")["metadata"] == {"facility": "here", "b": 1}


def test_a_tree_is_deleted_on_request_only(http: TestClient) -> None:
    create(http, "a")
    create(http, "a/b")
    refused = http.delete("/api/v1/metadata/a")
    assert (refused.status_code, refused.json()["kind"]) == (409, "not-empty")
    deleted = http.delete("/api/v1/metadata/a?recursive=true")
    assert (deleted.status_code, deleted.json()) == (200, None)
    assert http.get("/api/v1/metadata/a/b").status_code == 404
    assert http.delete("/api/v1/metadata/a").status_code == 404


def test_data_of_the_lake_is_deleted_only_by_saying_so(http: TestClient) -> None:
    create(http, "a")
    structure = {
        "data_type": {"kind": "u", "itemsize": 1},
        "shape": [3],
        "chunks": [[3]],
    }
    create(http, "a/x", structure_family="array", data_sources=[{"structure": structure}])
    for url in ("/api/v1/metadata/a/x", "/api/v1/metadata/a?recursive=true"):
        answer = http.delete(url)
        assert answer.status_code == 409
        assert "external_only=false" in answer.json()["detail"]
    assert http.delete("/api/v1/metadata/a?recursive=true&external_only=false").status_code == 200


def test_the_root_is_not_deleted(http: TestClient) -> None:
    assert 400 <= http.delete("/api/v1/metadata/?recursive=true").status_code < 500


def test_data_sources_are_told_when_asked_and_never_where_they_lie(
    http: TestClient, service: Service
) -> None:
    structure = {"data_type": {"kind": "u", "itemsize": 1}, "shape": [3], "chunks": [[3]]}
    created = create(http, "x", structure_family="array", data_sources=[{"structure": structure}])
    (source,) = created["data_sources"]
    assert source["mimetype"] == "application/x-zarr"
    assert source["management"] == "writable"
    assert source["structure"]["shape"] == [3]
    answer = http.get("/api/v1/metadata/x?include_data_sources=true")
    assert answer.json()["data"]["attributes"]["data_sources"] == [source]
    assert str(service.lake.objects.root) not in answer.text


def test_a_tag_holds_until_the_node_or_its_children_change(http: TestClient) -> None:
    create(http, "a")
    tag = http.get("/api/v1/metadata/a").headers["etag"]

    def known() -> bool:
        answer = http.get("/api/v1/metadata/a", headers={"if-none-match": tag})
        assert answer.status_code in (200, 304)
        return answer.status_code == 304

    assert known()
    other = http.get("/api/v1/metadata/a?fields=", headers={"if-none-match": tag})
    assert other.status_code == 200
    create(http, "a/b")
    assert not known()


def test_an_earlier_state_can_be_asked_for(http: TestClient, service: Service) -> None:
    create(http, "box", metadata={"n": 1})
    before = service.refresh()
    http.put("/api/v1/metadata/box", json={"metadata": {"n": 2}})
    answer = http.get(f"/api/v1/metadata/box?as_of={before}")
    assert answer.json()["data"]["attributes"]["metadata"] == {"n": 1}
    assert attributes(http, "box")["metadata"] == {"n": 2}


@pytest.mark.parametrize(
    ("specs", "told"),
    [
        ([f"s{number}" for number in range(21)], "at most 20"),
        (["a", "b", "a"], "twice"),
        (["a" * 256], "255 characters"),
    ],
)
def test_specs_have_the_bounds_of_tileds(http: TestClient, specs: list[str], told: str) -> None:
    created = {"structure_family": "container", "id": "c"}
    http.post("/api/v1/metadata/", json=created)
    for answer in (
        http.post("/api/v1/metadata/", json={**created, "id": "d", "specs": specs}),
        http.put("/api/v1/metadata/c", json={"specs": specs}),
    ):
        assert answer.status_code == 422
        assert told in answer.json()["detail"]
