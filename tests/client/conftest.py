"""A server in a process of its own, on an empty lake."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from lakeservice.client import Container, Lake, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = "the-key-of-these-tests"
START = "from lakeservice.cli import main; main()"
_NUMBERS = itertools.count()


class Served:
    """A running server; ended by `stop`, or killed."""

    def __init__(
        self, lake: Path, cache: Path, port: int = 0, flight_port: int = 0, key: str = KEY
    ) -> None:
        self.lake = lake
        self.key = key
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-c", START, "serve", str(lake), "--api-key", key),
                *("--port", str(port), "--flight-port", str(flight_port)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"LAKE_CACHE": str(cache), "HOME": str(cache), "PATH": ""},
        )
        try:
            self.url = self._told(r"HTTP\s+(\S+)")
            self.flight = self._told(r"Flight\s+(\S+)")
        except BaseException:
            self.kill()
            raise

    def _told(self, pattern: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := re.search(pattern, line):
                return found[1]
        assert self.process.stderr is not None
        raise RuntimeError(f"the server did not start: {self.process.stderr.read()}")

    @property
    def ports(self) -> tuple[int, int]:
        return int(self.url.rpartition(":")[2]), int(self.flight.rpartition(":")[2])

    def connect(self) -> Lake:
        return connect(self.url, self.key)

    def kill(self) -> None:
        self.process.kill()
        self._close()

    def stop(self) -> None:
        self.process.terminate()
        self._close()

    def _close(self) -> None:
        self.process.wait(30)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    server = Served(folder / "lake", folder / "cache")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def lake(served: Served) -> Iterator[Lake]:
    with served.connect() as lake:
        yield lake


@pytest.fixture
def home(lake: Lake, request: pytest.FixtureRequest) -> Container:
    """A container of the test's own."""
    name = request.node.originalname or request.node.name
    made = lake.create_container(f"tests/{name}-{next(_NUMBERS)}")
    assert isinstance(made, Container)
    return made


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Start servers that the test may kill."""
    started: list[Served] = []

    def start(port: int = 0, flight_port: int = 0, key: str = KEY) -> Served:
        started.append(Served(tmp_path / "lake", tmp_path / "cache", port, flight_port, key))
        return started[-1]

    yield start
    for server in started:
        server.stop()
