"""A client that leaves ends the work on its answer, on both wires."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pyarrow import flight

from lakeservice.service import cells, reducing
from tests.whole.conftest import KEY

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.whole.conftest import Running

CELLS = 2000


@pytest.fixture
def looked(running: Running, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the server looked at a cell of a large array; a slow disk is behind it."""
    if "large" not in running.lake:
        running.lake.write_array("large", np.zeros((CELLS, 64), "f8"), chunks=(20, 64))
    times: list[float] = []
    add = reducing._Making.add

    def slowly(self: Any, cell: cells.Cell) -> None:
        times.append(time.monotonic())
        time.sleep(0.005)
        add(self, cell)

    monkeypatch.setattr(cells, "CELL_BYTES", 512)
    monkeypatch.setattr(reducing._Making, "add", slowly)
    return times


def wait_for(what: Callable[[], bool]) -> None:
    while not what():
        time.sleep(0.02)


def has_stopped(looked: list[float]) -> bool:
    seen = len(looked)
    time.sleep(1)
    return len(looked) == seen


def test_a_flight_client_that_cancels(running: Running, looked: list[float]) -> None:
    command = {"do": "reduce-array", "path": "large", "how": "sum", "axis": [0]}
    options = flight.FlightCallOptions(headers=[(b"authorization", f"Bearer {KEY}".encode())])
    with flight.connect(f"grpc://127.0.0.1:{running.server.flight_port}") as client:
        reader = client.do_get(flight.Ticket(json.dumps(command)), options)
        wait_for(lambda: len(looked) > 3)
        reader.cancel()
        wait_for(lambda: has_stopped(looked))
    assert len(looked) < CELLS


def test_an_http_client_that_hangs_up(running: Running, looked: list[float]) -> None:
    host, port = running.server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as line:
        line.sendall(
            f"GET /api/v1/array/reduce/large?do=sum&axis=0 HTTP/1.1\r\nHost: {host}\r\n"
            f"Authorization: Apikey {KEY}\r\n\r\n".encode()
        )
        wait_for(lambda: len(looked) > 3)
    wait_for(lambda: has_stopped(looked))
    assert len(looked) < CELLS
