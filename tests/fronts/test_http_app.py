from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from lakeservice.fronts.http.app import METHODS, OPERATIONS

ROUTES = [(one.method, one.path, one.scope) for one in OPERATIONS]

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from lakeservice.service.service import Service

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "http.md"
LONG = "x" * 10_000
PATHS = ["metadata", "search", "search-deep", "distinct", "array/full", "array/block",
         "table/full", "table/partition"]  # fmt: skip


def address(path: str) -> str:
    return "/api/v1" + path.replace("{path:path}", "nope")


def test_the_about_document_is_what_clients_need_to_connect(http: TestClient) -> None:
    told = http.get("/api/v1/").json()
    assert told["api_version"] == 0
    assert told["library_version"] == "0.2.20"
    authentication = told["authentication"]
    assert (authentication["required"], authentication["providers"]) == (True, [])
    # Tiled's client reads all five, and from the cookie what it sends when it revokes a key.
    named = {"whoami", "apikey", "refresh_session", "revoke_session", "logout"}
    assert set(authentication["links"]) == named
    assert "tiled_csrf" in http.cookies
    assert told["links"]["self"] == "http://lake/api/v1"
    assert told["formats"]["array"][0] == "application/octet-stream"
    assert told["formats"]["table"][0] == "application/vnd.apache.arrow.file"
    assert told["aliases"]["array"]["text/csv"] == ["csv"]
    assert "comparison" in told["queries"]
    assert told["meta"]["lakeservice"] == {"version": "1", "flight": "grpc://x:1"}


def test_the_about_document_and_health_need_no_key(http: TestClient) -> None:
    del http.headers["authorization"]
    assert http.get("/api/v1/").status_code == 200
    assert http.get("/healthz").json() == {"status": "ready"}
    assert http.get("/").status_code == 200


@pytest.mark.parametrize("authorization", [None, "Apikey wrong", "Basic eDp5"])
def test_every_other_route_needs_a_key(http: TestClient, authorization: str | None) -> None:
    del http.headers["authorization"]
    headers = {} if authorization is None else {"authorization": authorization}
    for method, path, scope in ROUTES:
        if scope is None:
            continue
        answer = http.request(method, address(path), headers=headers)
        assert answer.status_code == 401
        assert answer.json()["kind"] == "unauthenticated"
        assert answer.headers["content-type"] == "application/json"
        assert scope in answer.headers["www-authenticate"]
        assert answer.headers["x-tiled-root"] == "http://lake/api/v1"


def test_who_has_no_key_may_only_read_a_public_server(anybody: TestClient) -> None:
    for method, path, scope in ROUTES:
        answer = anybody.request(method, address(path))
        if scope in (None, "read:metadata", "read:data"):
            assert answer.status_code in (200, 400, 404)
        else:
            assert (answer.status_code, answer.json()["kind"]) == (401, "unauthenticated")


def test_a_key_is_read_from_header_or_query(anybody: TestClient) -> None:
    def scopes(**request: Any) -> int:
        answer = anybody.get("/api/v1/auth/whoami", **request)
        return len(answer.json()["scopes"]) if answer.status_code == 200 else answer.status_code

    key = "a-key-of-the-tests"
    assert scopes() == 2
    assert scopes(params={"api_key": key}) > 2
    assert scopes(headers={"authorization": f"Apikey {key}"}) > 2
    assert scopes(headers={"authorization": f"bearer {key}"}) > 2
    assert scopes(params={"api_key": "wrong"}) == 401
    assert scopes(params={"api_key": ""}) == 401


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a/%2e%2e/b", "bad-path"),
        ("%2E", "bad-path"),
        ("a%00b", "bad-path"),
        ("a%0d%0ab", "bad-request"),
        ("%7f", "bad-path"),
        (LONG, "bad-path"),
        ("é" * 1000, "bad-path"),
        ("a/" * 3000, "bad-path"),
        ("no/such/node", "node-not-found"),
        ("///no///such//", "node-not-found"),
        ("日本/語", "node-not-found"),
        ("%ff%fe", "node-not-found"),
        ("'; DROP TABLE nodes; --", "node-not-found"),
    ],
)
def test_no_path_brings_the_server_down(http: TestClient, path: str, kind: str) -> None:
    for route in PATHS:
        answer = http.get(f"/api/v1/{route}/{path}", params={"block": "0", "partition": "0"})
        assert answer.json()["kind"] == kind, answer.text
        assert answer.status_code in (400, 404)
        assert len(answer.text) < 12_000


@pytest.mark.parametrize("method", METHODS)
def test_an_address_that_is_no_route_is_told_in_json(http: TestClient, method: str) -> None:
    answer = http.request(method, "/api/v1/nonsense")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/json"
    assert "docs/reference/http.md" in answer.json()["detail"]
    answer = http.request("PUT", "/api/v1/search/")
    assert answer.status_code == 405


def test_a_head_has_the_headers_alone(http: TestClient) -> None:
    answer = http.head("/api/v1/metadata/")
    assert (answer.status_code, answer.content) == (200, b"")
    assert "etag" in answer.headers


def test_every_answer_has_an_id_that_the_log_knows(
    http: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lakeservice.fronts.http")
    answers = [http.get("/api/v1/?api_key=secret"), http.get("/api/v1/nope"), http.get("/healthz")]
    for answer in answers:
        assert answer.headers["x-request-id"] == answer.headers["x-tiled-request-id"]
        assert answer.headers["x-request-id"] in caplog.text
    assert "secret" not in caplog.text
    assert len({answer.headers["x-request-id"] for answer in answers}) == 3


def test_a_fault_of_the_program_tells_its_id_and_nothing_else(
    http: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("/srv/secret/path of the server")

    monkeypatch.setattr(service, "describe", broken)
    answer = http.get("/api/v1/metadata/")
    assert answer.status_code == 500
    assert answer.json()["kind"] == "internal"
    assert answer.headers["x-request-id"] in answer.json()["detail"]
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert "/srv/secret/path" in caplog.text


def test_pages_from_elsewhere_may_ask(http: TestClient) -> None:
    headers = {"origin": "https://elsewhere.example", "access-control-request-method": "PATCH",
               "access-control-request-headers": "authorization"}  # fmt: skip
    preflight = http.options("/api/v1/metadata/", headers=headers)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    answer = http.get("/api/v1/", headers={"origin": "https://elsewhere.example"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers


def test_long_documents_are_compressed_for_who_can_read_it(http: TestClient) -> None:
    body = {"structure_family": "container", "id": "a", "metadata": {"text": "word " * 2000}}
    http.post("/api/v1/metadata/", json=body)
    plain = http.get("/api/v1/metadata/a", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    with http.stream("GET", "/api/v1/metadata/a", headers={"accept-encoding": "zstd"}) as packed:
        assert packed.headers["content-encoding"] == "zstd"
        assert "Accept-Encoding" in packed.headers["vary"]
        raw = b"".join(packed.iter_raw())
    assert len(raw) < len(plain.content) / 5
    unpacked = zstandard.ZstdDecompressor().decompressobj().decompress(raw)
    assert unpacked == plain.content
    short = http.get("/api/v1/metadata/", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in short.headers


def test_the_page_of_routes_names_each_one() -> None:
    page = PAGE.read_text()
    for method, path, scope in ROUTES:
        shown = path.replace("{path:path}", "{path}")
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{method} {shown}` |")]
        assert f"`{scope}`" in row if scope else "| – |" in row
