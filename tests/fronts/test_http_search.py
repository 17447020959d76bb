from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from starlette.testclient import TestClient

COLORS = ("red", "blue", "red", "blue", "red")


@pytest.fixture
def runs(http: TestClient) -> TestClient:
    """Five runs, and an empty container with other metadata."""
    for n, color in enumerate(COLORS):
        body = {
            "structure_family": "container",
            "id": f"r{n}",
            "metadata": {"color": color, "n": n, "start": {"detectors": ["det", "ccd"]}},
            "specs": [{"name": "BlueskyRun", "version": "3.0"}],
        }
        assert http.post("/api/v1/metadata/", json=body).status_code == 200
    body = {"structure_family": "container", "id": "box", "metadata": {"n": "many"}}
    assert http.post("/api/v1/metadata/", json=body).status_code == 200
    return http


def found(http: TestClient, **params: Any) -> list[str]:
    answer = http.get("/api/v1/search/", params=params)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["data"]]


def where(name: str, **fields: Any) -> dict[str, Any]:
    return {f"filter[{name}][condition][{key}]": value for key, value in fields.items()}


def test_children_are_listed_as_they_were_created(runs: TestClient) -> None:
    assert found(runs) == ["r0", "r1", "r2", "r3", "r4", "box"]
    assert found(runs, sort="-") == ["box", "r4", "r3", "r2", "r1", "r0"]


def test_a_listing_has_the_form_of_tiled(runs: TestClient) -> None:
    # Tiled's own answer: shared/tiled/exchanges/17.
    params = {"page[offset]": 0, "page[limit]": 1, "sort": "-n", **where("eq", key="n", value=4)}
    answer = runs.get("/api/v1/search/", params=params).json()
    (item,) = answer["data"]
    assert item == {
        "id": "r4",
        "attributes": {
            "ancestors": [],
            "structure_family": "container",
            "specs": [{"name": "BlueskyRun", "version": "3.0"}],
            "metadata": {"color": "red", "n": 4, "start": {"detectors": ["det", "ccd"]}},
            "structure": {"contents": None, "count": 0},
            "access_tags": [],
            "sorting": [{"key": "", "direction": 1}],
            "data_sources": None,
        },
        "links": {
            "self": "http://lake/api/v1/metadata/r4",
            "search": "http://lake/api/v1/search/r4",
            "search_deep": "http://lake/api/v1/search-deep/r4",
            "full": "http://lake/api/v1/container/full/r4",
        },
        "meta": None,
    }
    assert answer["meta"] == {"count": 1}
    assert answer["error"] is None
    assert answer["links"]["next"] is None
    assert set(answer["links"]) == {"self", "first", "next"}


def test_names_alone_are_cheap_and_counts_alone_too(runs: TestClient) -> None:
    answer = runs.get("/api/v1/search/?fields=").json()
    assert answer["data"][0]["attributes"] == {
        "ancestors": [],
        **dict.fromkeys(
            ["structure_family", "specs", "metadata", "structure", "access_tags", "sorting"]
        ),
        "data_sources": None,
    }
    assert answer["data"][0]["links"] == {"self": "http://lake/api/v1/metadata/r0"}
    answer = runs.get("/api/v1/search/?fields=count").json()
    assert (answer["data"], answer["meta"]) == ([], {"count": 6})
    answer = runs.get("/api/v1/search/?page[limit]=0").json()
    assert (answer["data"], answer["meta"]) == ([], {"count": 6})


@pytest.mark.parametrize(
    ("params", "names"),
    [
        (where("eq", key="color", value='"red"'), ["r0", "r2", "r4"]),
        (where("noteq", key="color", value='"red"'), ["r1", "r3"]),
        (where("comparison", operator="gt", key="n", value="2"), ["r3", "r4"]),
        (where("contains", key="start.detectors", value='"ccd"'), ["r0", "r1", "r2", "r3", "r4"]),
        (where("in", key="n", value="[1, 2, 9]"), ["r1", "r2"]),
        (where("notin", key="n", value="[1, 2, 9]"), ["r0", "r3", "r4", "box"]),
        (where("like", key="color", pattern='"re%"'), ["r0", "r2", "r4"]),
        (where("regex", key="color", pattern="^B", case_sensitive="false"), ["r1", "r3"]),
        (where("keypresent", key="start", exists="false"), ["box"]),
        (where("fulltext", text="blue"), ["r1", "r3"]),
        (where("specs", include='["BlueskyRun"]', exclude="[]"), ["r0", "r1", "r2", "r3", "r4"]),
        (where("structure_family", value="array"), []),
        (where("lookup", key="r2"), ["r2"]),
        (where("keys_filter", keys='["r1", "box", "no"]'), ["r1", "box"]),
        ({"q": "color = 'red' AND n > 1"}, ["r2", "r4"]),
        ({"q": "n > 0", **where("eq", key="color", value='"red"')}, ["r2", "r4"]),
        ({**where("eq", key="color", value='"red"'), **where("lookup", key="r1")}, []),
    ],
)
def test_filters_and_texts_choose(
    runs: TestClient, params: dict[str, Any], names: list[str]
) -> None:
    assert found(runs, **params) == names
    counted = runs.get("/api/v1/search/", params={**params, "fields": "count"}).json()
    assert counted["meta"]["count"] == len(names)


def test_repeated_fields_are_two_conditions(runs: TestClient) -> None:
    params = {
        "filter[comparison][condition][operator]": ["gt", "lt"],
        "filter[comparison][condition][key]": ["n", "n"],
        "filter[comparison][condition][value]": ["0", "3"],
    }
    assert found(runs, **params) == ["r1", "r2"]


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        (["-n", "color"], ["box", "r4", "r3", "r2", "r1", "r0"]),
        (["color", "-n"], ["r3", "r1", "r4", "r2", "r0", "box"]),
        (["metadata.color", "n"], ["r1", "r3", "r0", "r2", "r4", "box"]),
        (["+color", "-"], ["r3", "r1", "r4", "r2", "r0", "box"]),
        (["id"], ["box", "r0", "r1", "r2", "r3", "r4"]),
        (["-id"], ["r4", "r3", "r2", "r1", "r0", "box"]),
        ([""], ["r0", "r1", "r2", "r3", "r4", "box"]),
    ],
)
def test_any_keys_sort(runs: TestClient, sort: list[str], names: list[str]) -> None:
    assert found(runs, sort=sort) == names


@pytest.mark.parametrize("limit", [1, 2, 4, 6, 300])
@pytest.mark.parametrize("sort", ["", "-", "-n", "color"])
def test_pages_follow_one_another_without_gaps(runs: TestClient, limit: int, sort: str) -> None:
    whole = found(runs, sort=sort)
    url: str | None = "/api/v1/search/"
    params: Any = {"page[limit]": limit, "sort": sort, "fields": ""}
    names: list[str] = []
    while url is not None:
        answer = runs.get(url, params=params).json()
        assert answer["meta"]["count"] == 6
        names += [item["id"] for item in answer["data"]]
        url, params = answer["links"]["next"], None
    assert names == whole


def test_an_offset_skips(runs: TestClient) -> None:
    assert found(runs, **{"page[offset]": 2, "page[limit]": 2}) == ["r2", "r3"]
    assert found(runs, **{"page[offset]": 100}) == []


def test_links_to_pages_never_hold_the_key(runs: TestClient) -> None:
    del runs.headers["authorization"]
    answer = runs.get("/api/v1/search/?api_key=a-key-of-the-tests&page[limit]=1")
    assert answer.status_code == 200
    assert "a-key-of-the-tests" not in answer.text


@pytest.mark.parametrize(
    ("params", "kind"),
    [
        (where("near", uid="r"), "bad-query"),
        (where("eq", key="a", value="{"), "bad-query"),
        ({"q": "color = "}, "bad-query"),
        ({"q": "x; DROP TABLE nodes"}, "bad-query"),
        ({"q": "'" * 15_000}, "bad-query"),
        ({"page[limit]": 301}, "bad-parameter"),
        ({"page[limit]": -1}, "bad-parameter"),
        ({"page[limit]": "x"}, "bad-parameter"),
        ({"page[offset]": "1e3"}, "bad-parameter"),
        ({"page[cursor]": "rubbish"}, "bad-cursor"),
        ({"sort": ["", "n"]}, "bad-sort"),
        ({"sort": ["n"] * 40}, "bad-sort"),
        ({"sort": "-+n"}, "bad-sort"),
        ({"max_depth": "6"}, "bad-parameter"),
        ({"select_metadata": "a["}, "bad-parameter"),
        ({"select_metadata": "abs('a')"}, "bad-parameter"),
        ({"include_data_sources": "perhaps"}, "bad-parameter"),
    ],
)
def test_a_search_that_cannot_be_is_refused(
    runs: TestClient, params: dict[str, Any], kind: str
) -> None:
    answer = runs.get("/api/v1/search/", params=params)
    assert answer.status_code == (422 if kind in ("bad-parameter", "bad-sort") else 400)
    assert answer.json()["kind"] == kind
    assert len(answer.text) < 2000


def test_a_place_that_is_not_there_is_not_found(runs: TestClient) -> None:
    assert runs.get("/api/v1/search/nope").status_code == 404
    assert runs.get("/api/v1/distinct/nope?metadata=n").status_code == 404


def test_only_containers_are_searched(runs: TestClient) -> None:
    structure = {"data_type": {"kind": "u", "itemsize": 1}, "shape": [3], "chunks": [[3]]}
    body = {"structure_family": "array", "id": "x", "data_sources": [{"structure": structure}]}
    assert runs.post("/api/v1/metadata/", json=body).status_code == 200
    for route in ("search", "search-deep", "distinct"):
        answer = runs.get(f"/api/v1/{route}/x")
        assert (answer.status_code, answer.json()["kind"]) == (400, "wrong-family")


def test_a_deep_search_looks_below(runs: TestClient) -> None:
    body = {"structure_family": "container", "id": "inner", "metadata": {"k": 1}}
    runs.post("/api/v1/metadata/r1", json=body)
    condition = where("eq", key="k", value=1)
    assert found(runs, **condition) == []
    answer = runs.get("/api/v1/search-deep/", params=condition).json()
    assert [(item["attributes"]["ancestors"], item["id"]) for item in answer["data"]] == [
        (["r1"], "inner")
    ]
    assert answer["links"]["self"].startswith("http://lake/api/v1/search-deep/")


def test_distinct_values_are_counted(runs: TestClient) -> None:
    params: Any = {
        "metadata": ["color", "n"],
        "structure_families": True,
        "specs": True,
        "counts": True,
    }
    told = runs.get("/api/v1/distinct/", params=params).json()
    assert sorted(told["metadata"]["color"], key=json.dumps) == sorted(
        [{"value": "blue", "count": 2}, {"value": "red", "count": 3}], key=json.dumps
    )
    assert {(value["value"], value["count"]) for value in told["metadata"]["n"]} == {
        (0, 1), (1, 1), (2, 1), (3, 1), (4, 1), ("many", 1),
    }  # fmt: skip
    assert told["structure_families"] == [{"value": "container", "count": 6}]
    assert {"value": [{"name": "BlueskyRun", "version": "3.0"}], "count": 5} in told["specs"]
    assert told["specs"][0] == {"value": [], "count": 1}


def test_distinct_values_without_counts_and_with_a_filter(runs: TestClient) -> None:
    params = {"metadata": ["color", "nope"], **where("eq", key="n", value="1")}
    told = runs.get("/api/v1/distinct/", params=params).json()
    assert told == {
        "metadata": {"color": [{"value": "blue", "count": None}], "nope": []},
        "structure_families": None,
        "specs": None,
    }


def test_a_tag_holds_until_something_is_committed(runs: TestClient) -> None:
    tag = runs.get("/api/v1/search/").headers["etag"]
    assert runs.get("/api/v1/search/", headers={"if-none-match": tag}).status_code == 304
    other = runs.get("/api/v1/search/?sort=-", headers={"if-none-match": tag})
    assert other.status_code == 200
    runs.delete("/api/v1/metadata/box")
    assert runs.get("/api/v1/search/", headers={"if-none-match": tag}).status_code == 200
