"""Sparse, awkward and ragged data between Tiled's client over HTTP and ours over Flight."""

from __future__ import annotations

import pickle
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest
import sparse
import urllib3

import lakeservice
from lakeservice.config import Secret, Serve
from lakeservice.server import Server
from lakeservice.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).parents[1] / "clients" / "nested.py"
KEY = "akeyofthetests"


@dataclass(frozen=True)
class Running:
    """A server and our client of it."""

    server: Server
    lake: Any

    def get(self, route: str, path: str, form: str) -> urllib3.BaseHTTPResponse:
        """Ask for a node in a form."""
        url = f"{self.server.url}/api/v1/{route}/{path}?format={form}"
        return urllib3.request("GET", url, headers={"Authorization": f"Apikey {KEY}"})


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with a key that Tiled's client takes out of a command line."""
    folder = tmp_path_factory.mktemp("lake")
    serve = Serve(port=0, flight_port=0, api_key=Secret(KEY))
    with Service.open(str(folder), create=True) as service, Server(service, serve) as server:
        yield Running(server, lakeservice.connect(server.url, KEY))


def tiled(python: str, task: str, running: Running, folder: Path) -> dict[str, Any]:
    """Let Tiled's client do something, and return what it tells of it."""
    file = folder / "told"
    command = [python, str(SCRIPT), task, f"{running.server.url}/api/v1", KEY, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    told: dict[str, Any] = pickle.loads(file.read_bytes())
    return told


def lists(content: Any) -> Any:
    return content.todense().tolist() if isinstance(content, sparse.COO) else content.to_list()


def test_what_tiled_writes_over_http_ours_reads_over_flight(
    running: Running, clients_python: str, tmp_path: Path
) -> None:
    written = tiled(clients_python, "write", running, tmp_path)
    assert {name: lists(running.lake["theirs"][name].read()) for name in written} == written


DENSE = np.where(np.random.default_rng(2).random((6, 7)) < 0.3, 2.5, 0.0)
AWKWARD = {
    "records": ak.Array([[{"x": 1.5, "y": [1, 2]}], [], [{"x": 2.5, "y": []}] * 3]),
    "missing": ak.Array([1.5, None, 3.5] * 20),
    "texts": ak.Array(["a", "bcd", ""]),
    "union": ak.Array([1, "two", [3.0]]),
    "regular": ak.from_numpy(np.arange(12).reshape(2, 3, 2), regulararray=True),
}
RAGGED = {
    "lists": [[1.0, 2.0], [], [3.0, 4.0, 5.0]],
    "deep": [[[1.0], []], [[2.0, 3.0]], []],
    "flat": [1.0, 2.0],
}


@pytest.fixture(scope="module")
def ours(running: Running) -> dict[str, Any]:
    """Data that our client wrote over Flight, as lists."""
    home = running.lake
    home.write_sparse("ours/sparse", sparse.COO.from_numpy(DENSE))
    home.write_sparse("ours/flags", sparse.COO.from_numpy(DENSE > 0))
    for name, array in AWKWARD.items():
        home.write_awkward(f"ours/{name}", array)
    for name, rows in RAGGED.items():
        home.write_ragged(f"ours/{name}", rows)
    nested = {name: array.to_list() for name, array in AWKWARD.items()}
    return {"sparse": DENSE.tolist(), "flags": (DENSE > 0).tolist(), **nested, **RAGGED}


def test_what_ours_writes_over_flight_tiled_reads_over_http(
    running: Running, ours: dict[str, Any], clients_python: str, tmp_path: Path
) -> None:
    assert tiled(clients_python, "read", running, tmp_path) == ours


def test_ours_reads_what_it_wrote(running: Running, ours: dict[str, Any]) -> None:
    assert {name: lists(running.lake["ours"][name].read()) for name in ours} == ours


def test_a_container_of_all_families_is_exported(running: Running, ours: dict[str, Any]) -> None:
    for form in ("json", "zip", "h5"):
        answer = running.get("container/full", "ours", form)
        assert answer.status == 200, (form, answer.data[:500])
        assert len(answer.data) > 100
    assert ours
