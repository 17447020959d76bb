"""A real server on real ports, and both ways to ask it."""

from __future__ import annotations

import os
import shutil
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import urllib3

import lakeservice
from lakeservice.config import Secret, Serve
from lakeservice.server import Server
from lakeservice.service import Service

KEY = "akeyofthetests"
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Running:
    """A server in this process, its service and a client."""

    service: Service
    server: Server
    lake: Any
    http: urllib3.PoolManager

    def get(self, route: str, path: str, **parameters: Any) -> urllib3.BaseHTTPResponse:
        """Ask a route of the HTTP front about a node."""
        query = urllib.parse.urlencode({k: v for k, v in parameters.items() if v is not None})
        url = f"{self.server.url}/api/v1/{route}/{urllib.parse.quote(path)}?{query}"
        return self.http.request("GET", url, headers={"Authorization": f"Apikey {KEY}"})


def run_server(folder: Path) -> Iterator[Running]:
    """Run a server over a lake until the generator is closed."""
    serve = Serve(port=0, flight_port=0, api_key=Secret(KEY))
    with Service.open(str(folder), create=True) as service, Server(service, serve) as server:
        http = urllib3.PoolManager()
        yield Running(service, server, lakeservice.connect(server.url, KEY), http)
        http.clear()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from run_server(tmp_path_factory.mktemp("lake"))


Ask = Callable[[str, str | None], np.ndarray[Any, Any]]


@pytest.fixture(params=["http", "flight-decoded", "flight-encoded"])
def read(request: pytest.FixtureRequest, running: Running) -> Ask:
    """Read a selection of an array, over each wire in turn."""

    def over_http(path: str, selection: str | None) -> np.ndarray[Any, Any]:
        answer = running.get("array/full", path, slice=selection, format="application/octet-stream")
        assert answer.status == 200, answer.data
        structure = running.service.reader.structure(running.service.describe(path))
        shape = running.service.selection(running.service.describe(path), selection).shape
        return np.frombuffer(answer.data, structure.dtype).reshape(shape)

    def over_flight(path: str, selection: str | None) -> np.ndarray[Any, Any]:
        node = running.lake[path]
        index = _index(selection)
        result: np.ndarray[Any, Any] = node.read(index, delivery=request.param.split("-")[1])
        return np.asarray(result)

    return over_http if request.param == "http" else over_flight


def _index(selection: str | None) -> Any:
    if not selection:
        return None
    parts: list[Any] = []
    for part in selection.split(","):
        if ":" in part:
            parts.append(slice(*(int(piece) if piece else None for piece in part.split(":"))))
        else:
            parts.append(int(part))
    return tuple(parts)


@pytest.fixture(scope="session")
def clients_python() -> str:
    """The interpreter of the environment that holds Tiled's clients."""
    found = os.environ.get("LAKE_CLIENTS_PYTHON") or str(ROOT / ".peer" / "bin" / "python")
    if not Path(found).exists():
        if os.environ.get("CI"):
            pytest.fail(f"the clients' environment is missing: {found}")
        pytest.skip("the clients' environment is missing; 'make clients' makes it")
    return found


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """Return what finds a program of the system, or skips the test that needs it."""

    def find(name: str) -> str:
        found = shutil.which(name)
        if found is None:
            if os.environ.get("CI"):
                pytest.fail(f"{name} is missing; .ci/run installs it")
            pytest.skip(f"{name} is not installed")
        return found

    return find
