"""A server that dies, a process that forks, a stream that is cut."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest

from lakeservice.client import Container, Lake, connect
from lakeservice.client import connection as connection_module
from schemas.errors import ErrorKind, UnavailableError

Serve = Callable[..., Any]


def checksum(node: Any, delivery: Any = "auto") -> int:
    return int(node.read(delivery=delivery).sum())


FORKED = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
import lakeservice

def checksum(node, delivery):
    return int(node.read(delivery=delivery).sum())

url, key, path = sys.argv[1:]
node = lakeservice.connect(url, key)[path]
found = [checksum(node, "decoded")]
with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
    found += pool.map(checksum, [node] * 4, ["decoded", "encoded"] * 2, timeout=60)
print(found + [checksum(node, "encoded")])
"""


def test_a_forked_child_reads_with_connections_of_its_own(served: Any, home: Container) -> None:
    # in a process of its own: gRPC may be in use in this one, by servers of other tests
    node = home.write_array("a", np.arange(1000).reshape(10, 100))
    command = [sys.executable, "-c", FORKED, served.url, served.key, node.path]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert answer.stdout.strip() == str([int(np.arange(1000).sum())] * 6)


STRANDED = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from pyarrow import flight
import lakeservice

url, key, path = sys.argv[1:]
node = lakeservice.connect(url, key)[path]
others = flight.FlightServerBase("grpc://127.0.0.1:0")
with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
    print(pool.submit(node.read, delivery="decoded").exception(60).kind.value)
"""


def test_a_child_of_a_process_that_uses_grpc_elsewhere_says_so(
    served: Any, home: Container
) -> None:
    node = home.write_array("a", np.arange(10))
    command = [sys.executable, "-c", STRANDED, served.url, served.key, node.path]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert answer.stdout.strip() == "busy"


def test_a_child_forked_during_a_transfer_says_so_and_does_not_hang(home: Container) -> None:
    node = home.write_table("t", {"x": np.arange(400_000)})
    stream = node.batches(delivery="decoded")
    next(stream)
    child = os.fork()
    if child == 0:
        try:
            node.to_arrow(delivery="decoded")
        except UnavailableError as error:
            os._exit(7 if error.kind is ErrorKind.BUSY else 1)
        except BaseException:
            os._exit(2)
        os._exit(3)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    assert sum(batch.num_rows for batch in stream) > 0


def test_spawned_workers_take_nodes_with_them(home: Container) -> None:
    node = home.write_array("a", np.arange(1000))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(np.asarray, node).result(60).sum() == 499500


def test_a_restarted_server_is_found_again_and_a_write_is_done_once(serve: Serve) -> None:
    first = serve()
    lake: Lake = first.connect()
    node = lake.write_array("a", np.arange(10))
    ports = first.ports
    first.kill()
    restarted: list[Any] = []

    def restart() -> None:
        time.sleep(0.5)
        restarted.append(serve(*ports))

    thread = threading.Thread(target=restart)
    thread.start()
    lake.create_container("after", metadata={"n": 1})
    thread.join()
    assert np.array_equal(node[...], np.arange(10))
    assert list(lake) == ["a", "after"]


def test_nobody_answering_is_said_after_some_attempts(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    lake = server.connect()
    node = lake.write_array("a", np.arange(10))
    server.kill()
    monkeypatch.setattr(connection_module, "RETRY_DELAYS_S", (0.01, 0.01))
    uses: list[Callable[[], Any]] = [
        lambda: node[...],
        lambda: lake["a"],
        lambda: lake.create_container("b"),
    ]
    for use in uses:
        with pytest.raises(UnavailableError, match="is the server running") as caught:
            use()
        assert caught.value.kind is ErrorKind.STORE_UNAVAILABLE


def test_a_server_killed_while_it_answers_never_gives_a_short_array(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    lake = server.connect()
    array = np.random.default_rng(1).integers(0, 99, (300, 100, 1000), "u2")
    node = lake.write_array("a", array)
    monkeypatch.setattr(connection_module, "RETRY_DELAYS_S", (0.01,))
    assert np.array_equal(node[...], array)
    threading.Timer(0.01, server.process.kill).start()

    def read_on(delivery: Any) -> None:
        while True:
            assert np.array_equal(node.read(delivery=delivery), array)

    for delivery in ("decoded", "encoded"):
        with pytest.raises(UnavailableError):
            read_on(delivery)


class Line:
    """A TCP line to a server that can be cut after a request went through, before its answer."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.cut_next_answer = False
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(*ends, ends[0] is server)).start()

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while payload := source.recv(1 << 16):
                if answers and self.cut_next_answer:
                    time.sleep(0.5)  # the server does what it was asked to do
                    self.cut_next_answer = False
                    self.cuts += 1
                    break
                sink.sendall(payload)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def test_a_write_whose_answer_was_lost_is_sent_again_and_done_once(
    home: Container, served: Any
) -> None:
    line = Line(served.ports[1])
    through = connect(f"grpc://127.0.0.1:{line.port}", served.key)[home.path]
    node = through.write_array("a", np.zeros((2, 3)))
    assert node.shape == (2, 3)

    def lost(write: Callable[[], Any]) -> Any:
        line.cut_next_answer = True
        done = write()
        assert not line.cut_next_answer
        return done

    lost(lambda: through.create_container("c", metadata={"n": 1}))
    lost(lambda: through.write_array("b", np.ones(3)))
    lost(lambda: node.append(np.ones((1, 3))))
    lost(lambda: through.create_many([("m/1", {}), ("m/2", {})]))
    lost(lambda: through["c"].update_metadata({"n": 2}))
    assert line.cuts == 5
    assert sorted(home) == ["a", "b", "c", "m"]
    assert home["a"].shape == (3, 3)
    assert home["c"].revision == 2
    assert np.array_equal(home["b"], np.ones(3))
    through._remote.connection.close()
    line.close()


def test_a_read_that_was_cut_is_read_again(home: Container, served: Any) -> None:
    array = np.random.default_rng(5).integers(0, 999, (300, 100, 100))
    home.write_array("a", array)
    line = Line(served.ports[1])
    node = connect(f"grpc://127.0.0.1:{line.port}", served.key)[f"{home.path}/a"]
    for delivery in ("decoded", "encoded"):
        line.cut_next_answer = True
        assert np.array_equal(node.read(delivery=delivery), array)
    assert line.cuts >= 2
    node._remote.connection.close()
    line.close()
