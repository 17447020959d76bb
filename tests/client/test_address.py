"""From the address that people know to the one for Flight."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from lakeservice.client.address import Address, find, reachable
from schemas.errors import AccessError, ErrorKind, InvalidRequestError, LakeError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def answering(status: int, body: Any) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Serve one document at every path, and note the headers that came."""
    seen: list[dict[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append({"path": self.path, **{k.lower(): v for k, v in self.headers.items()}})
            payload = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()
        thread.join()


ABOUT = {"meta": {"lakeservice": {"flight": "grpc://0.0.0.0:8815"}}}


@pytest.mark.parametrize("tail", ["", "/", "/api/v1", "/api/v1/"])
def test_the_about_document_tells_where_flight_is(tail: str) -> None:
    with answering(200, ABOUT) as (url, seen):
        found = find(url + tail + "?api_key=secret")
    assert found == Address(url, "grpc://127.0.0.1:8815", "secret")
    assert seen[0]["authorization"] == "Apikey secret"
    assert seen[0]["path"] == "/api/v1/"


def test_a_key_given_beside_the_address_counts_first() -> None:
    with answering(200, ABOUT) as (url, _):
        assert find(url + "?api_key=a", "b").api_key == "b"


def test_an_address_never_prints_its_key() -> None:
    assert "secret" not in repr(Address("http://x", "grpc://x", "secret"))


@pytest.mark.parametrize(
    ("location", "host", "expected"),
    [
        ("grpc://0.0.0.0:8815", "lake.example.org", "grpc://lake.example.org:8815"),
        ("grpc://[::]:8815", "::1", "grpc://[::1]:8815"),
        ("grpc+tls://data.example.org:443", "lake", "grpc+tls://data.example.org:443"),
        ("grpc+unix:///run/lake", "lake", "grpc+unix:///run/lake"),
    ],
)
def test_any_host_is_the_one_that_answered(location: str, host: str, expected: str) -> None:
    assert reachable(location, host) == expected


def test_a_flight_address_is_taken_as_it_is() -> None:
    assert find("grpc://127.0.0.1:1?api_key=k") == Address(
        "grpc://127.0.0.1:1", "grpc://127.0.0.1:1", "k"
    )


@pytest.mark.parametrize(
    ("status", "body", "error", "message"),
    [
        (401, {}, AccessError, "wants an API key"),
        (503, {}, UnavailableError, "status 503"),
        (404, b"nothing", LakeError, "is no lakeservice"),
        (200, b"<html>", LakeError, "is no lakeservice"),
        (200, {"meta": {}}, InvalidRequestError, "offers no Arrow Flight"),
        (200, [1], InvalidRequestError, "offers no Arrow Flight"),
    ],
)
def test_what_is_no_lake_is_refused_in_words(
    status: int, body: Any, error: type[LakeError], message: str
) -> None:
    with answering(status, body) as (url, _), pytest.raises(error, match=message):
        find(url)


def test_nobody_at_the_address_is_said_so() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UnavailableError, match="is the server running") as caught:
        find(f"127.0.0.1:{port}")
    assert caught.value.kind is ErrorKind.STORE_UNAVAILABLE


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="not an address"):
        find("s3://bucket/lake")
