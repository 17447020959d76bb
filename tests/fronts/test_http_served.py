"""The HTTP front behind a real server: sockets, broken streams, and Tiled's own client."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import urllib3

from lakeservice.access.keys import Authenticator
from lakeservice.fronts.http import create_app, http_server
from lakeservice.fronts.http.structures import structure_document
from lakeservice.service.writing import Draft
from schemas.structures import ArrayStructure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.service.service import Service

KEY = "akeyofthetests"
HEADERS = {"authorization": f"Apikey {KEY}"}
NINES = b"9" * 60_000
ROOT = Path(__file__).parents[2]


@pytest.fixture
def address(service: Service) -> Iterator[str]:
    """Address of a running server."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = http_server(create_app(service, Authenticator(KEY), about={}))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def pool() -> Iterator[urllib3.PoolManager]:
    with urllib3.PoolManager(retries=False, headers=HEADERS) as manager:
        yield manager


def stack(service: Service, frames: int) -> np.ndarray[Any, Any]:
    """Write a stack of frames that do not compress, one a chunk."""
    rng = np.random.default_rng(1)
    array = rng.integers(0, 65535, (frames, 512, 1024), dtype="u2")
    structure = ArrayStructure.from_numpy(array.shape, array.dtype, (1, 512, 1024))
    service.write_array(Draft(path="stack", structure=structure, metadata={}), [array])
    return array


def test_a_large_array_streams_with_its_length(
    service: Service, address: str, pool: urllib3.PoolManager
) -> None:
    array = stack(service, 40)
    answer = pool.request("GET", f"{address}/api/v1/array/full/stack", preload_content=False)
    assert answer.headers["content-length"] == str(array.nbytes)
    assert answer.read() == array.tobytes()
    backwards = pool.request("GET", f"{address}/api/v1/array/full/stack?slice=::-7,::5,::-3")
    assert backwards.data == array[::-7, ::5, ::-3].tobytes()


def test_an_answer_that_breaks_off_is_seen_to_be_short(
    service: Service, address: str, pool: urllib3.PoolManager
) -> None:
    stack(service, 40)
    root = service.lake.objects.root
    assert root is not None
    (damaged,) = root.glob("data/*/*/c/35/0/0")
    damaged.write_bytes(damaged.read_bytes()[:1000])
    answer = pool.request("GET", f"{address}/api/v1/array/full/stack", preload_content=False)
    assert answer.status == 200
    with pytest.raises(urllib3.exceptions.HTTPError):
        answer.read()
    assert pool.request("GET", f"{address}/api/v1/array/full/stack?slice=0").status == 200
    assert pool.request("GET", f"{address}/api/v1/array/full/stack?slice=35").status == 409


def test_a_client_that_goes_away_frees_the_server(
    service: Service, address: str, pool: urllib3.PoolManager
) -> None:
    stack(service, 40)
    for _ in range(60):
        answer = pool.request("GET", f"{address}/api/v1/array/full/stack", preload_content=False)
        answer.read(1000)
        answer.close()
    begun = time.monotonic()
    assert pool.request("GET", f"{address}/api/v1/array/full/stack?slice=0").status == 200
    assert time.monotonic() - begun < 30


def test_an_upload_that_breaks_off_leaves_nothing(
    service: Service, address: str, pool: urllib3.PoolManager
) -> None:
    structure = structure_document(ArrayStructure.from_numpy((64, 1 << 20), np.dtype("u1")))
    body = {"structure_family": "array", "data_sources": [{"structure": structure}], "id": "a"}
    assert pool.request("POST", f"{address}/api/v1/metadata/", json=body).status == 200
    root = service.lake.objects.root
    assert root is not None
    before = sorted(path for path in root.glob("data/**/*"))
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as sender:
        head = f"PUT /api/v1/array/full/a HTTP/1.1\r\nhost: x\r\ncontent-length: {64 << 20}\r\n"
        sender.sendall(f"{head}authorization: Apikey {KEY}\r\n\r\n".encode())
        sender.sendall(bytes(30 << 20))
    deadline = time.monotonic() + 30
    while sorted(root.glob("data/**/*")) != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert sorted(root.glob("data/**/*")) == before
    assert pool.request("GET", f"{address}/api/v1/array/full/a?slice=0,0").data == b"\0"


def test_a_refused_upload_still_gets_its_answer(address: str, pool: urllib3.PoolManager) -> None:
    answer = pool.request("PUT", f"{address}/api/v1/array/full/nope", body=bytes(3 << 20))
    assert (answer.status, answer.json()["kind"]) == (404, "node-not-found")
    pieces = (bytes(1 << 20) for _ in range(3))
    answer = pool.request("PUT", f"{address}/api/v1/array/full/nope", body=pieces)
    assert (answer.status, answer.json()["kind"]) == (404, "node-not-found")
    assert pool.request("GET", f"{address}/api/v1/metadata/").status == 200


@pytest.mark.parametrize(
    "path",
    [
        b"/api/v1/metadata/a/../b",
        b"/api/v1/metadata/%2e%2e/%2e%2e/etc/passwd",
        b"/api/v1/metadata/" + b"x" * 10_000,
        b"/api/v1/metadata/%00",
        b"/api/v1/metadata/%ff%fe",
        b"/api/v1/search/?filter[eq][condition][key]=a&filter[eq][condition][value]=" + NINES,
        b"/api/v1/search/?" + b"sort=a&" * 5_000,
        b"/../../../etc/passwd",
    ],
)
def test_raw_addresses_get_a_client_error_or_an_answer(address: str, path: bytes) -> None:
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as sender:
        sender.sendall(b"GET " + path + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n")
        sender.sendall(f"authorization: Apikey {KEY}\r\n\r\n".encode())
        answer = b""
        while piece := sender.recv(65536):
            answer += piece
    status = int(answer.split(b" ")[1])
    assert status < 500
    assert b"root:" not in answer


def peer() -> str:
    """Return the Python that has Tiled's client, or skip."""
    for candidate in (os.environ.get("LAKE_TILED_PYTHON"), ROOT / ".peer" / "bin" / "python"):
        if candidate and Path(candidate).exists():
            return str(candidate)
    pytest.skip("no Python with tiled[client]: set LAKE_TILED_PYTHON, or make .peer")


@pytest.mark.external
def test_tileds_own_client_works_unmodified(address: str) -> None:
    script = Path(__file__).parent / "tiled_session.py"
    environment = {**os.environ, "TILED_RETRY_ATTEMPTS": "1"}
    done = subprocess.run(
        [peer(), str(script), address, KEY],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("all as expected\n")
