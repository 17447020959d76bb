from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from lakeservice.fronts.http.app import OPERATIONS
from lakeservice.fronts.http.openapi import openapi, operation_id

if TYPE_CHECKING:
    from starlette.testclient import TestClient


@pytest.fixture
def api(anybody: TestClient) -> dict[str, Any]:
    """The documentation, as anybody gets it."""
    answer = anybody.get("/api/v1/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    document: dict[str, Any] = answer.json()
    return document


def test_every_operation_is_documented_once(api: dict[str, Any]) -> None:
    documented = [
        one["operationId"] for methods in api["paths"].values() for one in methods.values()
    ]
    assert sorted(documented) == sorted(map(operation_id, OPERATIONS))
    assert len(set(documented)) == len(documented)


@pytest.mark.parametrize("one", OPERATIONS, ids=operation_id)
def test_an_operation_says_what_it_does(one: Any) -> None:
    assert re.fullmatch(r"[A-Z].+\.", one.summary), one.summary
    names = [parameter.name for parameter in one.params]
    assert len(set(names)) == len(names)
    assert all(re.match(r"[A-Z`].*\.$", parameter.description) for parameter in one.params)


def test_options_of_single_forms_are_parameters(api: dict[str, Any]) -> None:
    told = {one["name"]: one for one in api["paths"]["/array/full/{path}"]["get"]["parameters"]}
    assert told["max_size"]["schema"]["type"] == "integer"
    assert "(png)" in told["cmap"]["description"]
    assert "cmap" not in str(api["paths"]["/table/full/{path}"]["get"]["parameters"])


def test_every_reference_leads_somewhere(api: dict[str, Any]) -> None:
    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [found for one in value.values() for found in references(one)]
        if isinstance(value, list):
            return [found for one in value for found in references(one)]
        return []

    found = references(api)
    assert found
    names = {reference.rpartition("/")[2] for reference in found}
    assert names <= set(api["components"]["schemas"])


def test_answers_are_of_the_types_that_are_documented(
    http: TestClient, api: dict[str, Any]
) -> None:
    http.post("/api/v1/metadata/", json={"structure_family": "container", "id": "a"})
    for path, address in {
        "/metadata/{path}": "/metadata/a",
        "/search/{path}": "/search/",
        "/distinct/{path}": "/distinct/?specs=true",
        "/": "/",
    }.items():
        schema = api["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
        whole = {**schema["schema"], "components": api["components"]}
        answer = http.get(f"/api/v1{address}")
        assert answer.status_code == 200
        jsonschema.validate(answer.json(), whole)


def test_the_page_shows_the_document_that_lies_beside_it(anybody: TestClient) -> None:
    answer = anybody.get("/api/v1/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert "openapi.json" in answer.text


def test_the_document_names_the_address_that_was_asked() -> None:
    made = openapi(OPERATIONS, server="http://lake/api/v1", version="1")
    assert made["servers"] == [{"url": "http://lake/api/v1"}]
    assert made["info"]["version"] == "1"
