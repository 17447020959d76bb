from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from starlette.testclient import TestClient


def make(http: TestClient, under: str, key: str, **parts: Any) -> None:
    body = {"structure_family": "container", "id": key, **parts}
    answer = http.post(f"/api/v1/metadata/{under}", json=body)
    assert answer.status_code == 200, answer.text


def array(http: TestClient, under: str, key: str) -> None:
    structure = {"data_type": {"kind": "u", "itemsize": 1}, "shape": [3], "chunks": [[3]]}
    make(http, under, key, structure_family="array", data_sources=[{"structure": structure}])


def keys(http: TestClient, route: str = "search/", **params: Any) -> list[str]:
    answer = http.get(f"/api/v1/{route}", params=params)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["data"]]


@pytest.fixture
def dataset(http: TestClient) -> TestClient:
    make(http, "", "box", metadata={"sample": {"color": "red"}, "n": 1})
    make(http, "box", "set", specs=["xarray_dataset"])
    array(http, "box/set", "b")
    array(http, "box/set", "a")
    return http


def test_a_selection_of_the_metadata_is_sent_in_their_place(dataset: TestClient) -> None:
    for expression, told in (
        ("[sample.color, n]", ["red", 1]),
        ("{c: sample.color, m: missing}", {"c": "red", "m": None}),
        ("false", None),
    ):
        params = {"select_metadata": expression}
        answer = dataset.get("/api/v1/metadata/box", params=params).json()
        assert answer["data"]["attributes"]["metadata"] == {"selected": told}
        (item,) = dataset.get("/api/v1/search/", params=params).json()["data"]
        assert item["attributes"]["metadata"] == {"selected": told}


@pytest.mark.parametrize("expression", ["a[", "abs('a')", "x" * 5000, "(" * 2000, "nope(@)"])
def test_a_selection_that_cannot_be_is_refused(dataset: TestClient, expression: str) -> None:
    answer = dataset.get("/api/v1/metadata/box", params={"select_metadata": expression})
    assert (answer.status_code, answer.json()["kind"]) == (422, "bad-parameter")
    assert len(answer.text) < 1000


def test_another_selection_is_not_answered_with_304(dataset: TestClient) -> None:
    tag = dataset.get("/api/v1/metadata/box?select_metadata=n").headers["etag"]
    headers = {"if-none-match": tag}
    assert dataset.get("/api/v1/metadata/box", headers=headers).status_code == 200
    same = dataset.get("/api/v1/metadata/box?select_metadata=n", headers=headers)
    assert same.status_code == 304


def test_an_xarray_dataset_comes_with_its_contents(dataset: TestClient) -> None:
    told = dataset.get("/api/v1/metadata/box/set").json()["data"]["attributes"]
    assert told["structure"]["count"] == 2
    assert list(told["structure"]["contents"]) == ["b", "a"]
    inner = told["structure"]["contents"]["a"]
    assert inner["attributes"]["ancestors"] == ["box", "set"]
    assert inner["attributes"]["structure"]["shape"] == [3]
    assert inner["links"]["full"] == "http://lake/api/v1/array/full/box/set/a"
    (item,) = dataset.get("/api/v1/search/box").json()["data"]
    assert list(item["attributes"]["structure"]["contents"]) == ["b", "a"]


def test_contents_go_as_deep_as_is_asked(dataset: TestClient) -> None:
    def contents(path: str, depth: int) -> Any:
        answer = dataset.get(f"/api/v1/metadata/{path}", params={"max_depth": depth})
        return answer.json()["data"]["attributes"]["structure"]["contents"]

    assert contents("box/set", 0) is None
    assert contents("box", 1)["set"]["attributes"]["structure"]["contents"] is None
    assert list(contents("box", 2)["set"]["attributes"]["structure"]["contents"]) == ["b", "a"]
    assert dataset.get("/api/v1/metadata/box?max_depth=6").status_code == 422


def test_a_wide_container_comes_without_its_contents(dataset: TestClient) -> None:
    make(dataset, "", "wide", specs=["xarray_dataset"])
    for number in range(501):
        make(dataset, "wide", f"n{number}")
    structure = dataset.get("/api/v1/metadata/wide").json()["data"]["attributes"]["structure"]
    assert structure == {"contents": None, "count": 501}


def test_names_come_on_larger_pages(dataset: TestClient) -> None:
    make(dataset, "", "wide")
    for number in range(120):
        make(dataset, "wide", f"n{number}")
    assert len(keys(dataset, "search/wide", fields="", sort="")) == 120
    assert len(keys(dataset, "search/wide")) == 100
    for fields, limit in (("", 1001), ("metadata", 301)):
        params: dict[str, Any] = {"fields": fields, "page[limit]": limit}
        assert dataset.get("/api/v1/search/wide", params=params).status_code == 422


def test_a_deep_search_goes_as_far_down_as_is_asked(dataset: TestClient) -> None:
    assert keys(dataset, "search-deep/", max_depth=1) == ["box"]
    assert keys(dataset, "search-deep/", max_depth=2) == ["box", "set"]
    assert keys(dataset, "search-deep/box", max_depth=2) == ["set", "b", "a"]
    assert keys(dataset, "search-deep/") == ["box", "set", "b", "a"]
    for depth in (0, 65, -1, "x"):
        answer = dataset.get("/api/v1/search-deep/", params={"max_depth": depth})
        assert answer.status_code == 422


def test_children_are_counted_as_of_a_version(dataset: TestClient) -> None:
    for version, count in ((2, 0), (3, 1), (4, 2)):
        answer = dataset.get(f"/api/v1/metadata/box/set?fields=count&as_of={version}").json()
        assert answer["data"]["attributes"]["structure"]["count"] == count


def test_nodes_are_found_by_their_access_tags(http: TestClient) -> None:
    make(http, "", "a", access_tags=["mine", "ours"])
    make(http, "", "b", access_tags=["ours"])
    make(http, "", "c")
    name = "filter[access_tags_filter][condition][tags]"
    assert keys(http, **{name: '["mine", "other"]'}) == ["a"]
    assert keys(http, **{name: '["ours"]'}) == ["a", "b"]
    http.patch(
        "/api/v1/metadata/c",
        json={"content-type": "application/merge-patch+json", "access_tags": ["mine"]},
    )
    assert keys(http, **{name: '["mine"]'}) == ["a", "c"]


@pytest.fixture
def runs(http: TestClient) -> TestClient:
    """Three runs, of which one has a name at the top too, and a node that is no run."""
    for key, time, name in (("u3", 3.0, "scan"), ("u1", 1.0, "count"), ("u2", 2.0, "scan")):
        start = {"uid": key, "time": time, "plan_name": name, "scan_id": int(time) % 3}
        top = {"plan_name": "mine"} if key == "u2" else {}
        make(http, "", key, metadata={"start": start, **top}, specs=["BlueskyRun"])
    make(http, "", "box", metadata={"start": {"plan_name": "scan"}})
    return http


def where(name: str, **fields: Any) -> dict[str, Any]:
    return {f"filter[{name}][condition][{key}]": value for key, value in fields.items()}


def test_a_bare_key_means_the_start_document_of_a_run(runs: TestClient) -> None:
    assert keys(runs, **where("eq", key="plan_name", value='"scan"')) == ["u3"]
    assert keys(runs, **where("eq", key="plan_name", value='"mine"')) == ["u2"]
    assert keys(runs, **where("noteq", key="plan_name", value='"scan"')) == ["u1", "u2"]
    assert keys(runs, **where("keypresent", key="time", exists="true")) == ["u3", "u1", "u2"]
    assert keys(runs, **where("keypresent", key="time", exists="false")) == ["box"]
    assert keys(runs, q="time > 1 and not plan_name = 'mine'") == ["u3"]


def test_a_listing_is_sorted_by_a_bare_key_of_start_documents(runs: TestClient) -> None:
    assert keys(runs, sort="time") == ["u1", "u2", "u3", "box"]
    assert keys(runs, sort="-time") == ["u3", "u2", "u1", "box"]
    told = runs.get("/api/v1/distinct/?metadata=time&counts=true").json()
    assert [one["value"] for one in told["metadata"]["time"]] == [1.0, 2.0, 3.0]


def test_runs_are_found_by_the_filters_of_bluesky(runs: TestClient) -> None:
    assert keys(runs, **where("scan_id", scan_ids="0,2", duplicates="latest")) == ["u3", "u2"]
    asked = where("scan_id_range", start_id=1, end_id=3, duplicates="latest")
    assert keys(runs, **asked) == ["u1", "u2"]
    assert keys(runs, **where("partial_uid", partial_uids="u1,u2")) == ["u1", "u2"]
    asked = where("time_range", timezone="US/Central", since=1.5, until=3.0)
    assert keys(runs, **asked) == ["u2"]
    assert keys(runs, **where("raw_mongo", start='{"plan_name": "count"}')) == ["u1"]


def test_a_composite_keeps_its_promise(dataset: TestClient) -> None:
    def promise(path: str) -> Any:
        body = {"specs": [{"name": "composite"}]}
        return dataset.put(f"/api/v1/metadata/{path}", json=body)

    assert promise("box/set").status_code == 200
    for path, told in (("box", "Nested containers"), ("box/set/a", "only to containers")):
        answer = promise(path)
        assert (answer.status_code, answer.json()["kind"]) == (422, "bad-metadata")
        assert told in answer.json()["detail"]
    structure = {"data_type": {"kind": "u", "itemsize": 1}, "shape": [3], "chunks": [[3]]}
    body = {
        "structure_family": "array",
        "specs": ["composite"],
        "data_sources": [{"structure": structure}],
    }
    assert dataset.post("/api/v1/metadata/box", json=body).status_code == 422
