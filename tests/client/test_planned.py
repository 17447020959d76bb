"""Large arrays over Arrow Flight: parts of one version, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from multiprocessing import shared_memory
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pyarrow import flight

import lakeservice
from lakeservice.client import Lake, planned
from lakeservice.client import connection as connection_module
from lakeservice.client.address import Address
from lakeservice.client.connection import Connection
from lakeservice.client.remote import Remote
from lakeservice.config import Limits, Secret, Serve
from lakeservice.server import Server
from lakeservice.service import Service
from schemas.errors import (
    ConflictError,
    CorruptError,
    ErrorKind,
    InvalidRequestError,
    UnavailableError,
)
from schemas.selection import select
from schemas.ticket import ReadArray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = "the-key-of-these-tests"
ROWS = np.random.default_rng(3).poisson(3, (160, 200, 300)).astype("u2")
DELIVERIES = ("encoded", "decoded")
_NAMES = (f"node{number}" for number in itertools.count())


@contextlib.contextmanager
def running(folder: Path, **limits: Any) -> Iterator[tuple[Service, Server, Lake]]:
    """A server of endpoints that are small, and a client that reads over Arrow Flight."""
    settings = Limits(endpoint_bytes=1 << 20, small_bytes=1 << 19, block_bytes=1 << 18, **limits)
    serve = Serve(port=0, flight_port=0, api_key=Secret(KEY), direct="never")
    with (
        Service.open(str(folder), create=True, limits=settings) as service,
        Server(service, serve) as server,
        lakeservice.connect(server.url, KEY) as lake,
    ):
        yield service, server, lake


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Server, Lake]]:
    with running(tmp_path_factory.mktemp("planned") / "lake") as served:
        yield served


@pytest.fixture(scope="module")
def lake(here: tuple[Service, Server, Lake]) -> Lake:
    return here[2]


@pytest.fixture(scope="module")
def node(lake: Lake) -> Any:
    return lake.write_array("rows", ROWS, chunks=(1, 200, 300))


@pytest.fixture(autouse=True)
def _everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planned, "LARGE_BYTES", 1 << 20)


class Counting(Remote):
    """Counts the plans that are asked for."""

    plans = 0
    before: Callable[[int], None] | None = None

    def flight_info(self, request: Any) -> Any:
        if self.before is not None:
            self.before(self.plans)
        self.plans += 1
        return super().flight_info(request)


def counted(node: Any) -> Counting:
    node._remote = Counting(node._remote.connection)
    remote: Counting = node._remote
    return remote


@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize(
    "index",
    [
        np.s_[:],
        np.s_[::-1],
        np.s_[5:150:3],
        np.s_[7, :, :],
        np.s_[:, 3],
        np.s_[10:, 100:, ::2],
        np.s_[..., 299],
    ],
)
def test_parts_put_together_are_what_numpy_gives(node: Any, delivery: Any, index: Any) -> None:
    np.testing.assert_array_equal(node.read(index, delivery=delivery), ROWS[index])


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_an_answer_fills_any_memory_that_is_given(node: Any, delivery: Any) -> None:
    wide = np.zeros((*ROWS.shape[:2], 2 * ROWS.shape[2]), "u2")
    outs = [np.empty(ROWS.shape, "u2", order="F"), wide[:, :, ::2], wide[::-1, :, 1::2]]
    for out in outs:
        assert node.read(out=out, delivery=delivery) is out
        np.testing.assert_array_equal(out, ROWS)
    block = shared_memory.SharedMemory(create=True, size=ROWS.nbytes)
    try:
        shared = np.ndarray(ROWS.shape, "u2", block.buf)
        np.testing.assert_array_equal(node.read(out=shared, delivery=delivery), ROWS)
        del shared
    finally:
        block.close()
        block.unlink()


def test_endpoints_meet_where_chunks_do_and_tell_their_rows(lake: Lake) -> None:
    node = lake.write_array("seven", ROWS, chunks=(7, 200, 300))
    request = ReadArray(path="seven", selection="3:150", delivery="encoded")
    info = node._remote.flight_info(request)
    parts = [part.rows or (0, 0) for part in planned._parts(info)]
    assert parts[0][0] == 0
    assert parts[-1][1] == info.total_records == 147
    assert all(one[1] == other[0] for one, other in itertools.pairwise(parts))
    assert all((3 + stop) % 7 == 0 for _, stop in parts[:-1])
    assert all(endpoint.expiration_time is not None for endpoint in info.endpoints)


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_an_array_that_is_written_all_the_time_is_read_in_one_version(
    lake: Lake, delivery: Any
) -> None:
    name, shape = next(_NAMES), (40, 200, 300)
    lake.write_array(name, np.zeros(shape, "u2"), chunks=(1, 200, 300))
    over = threading.Event()
    seen: set[int] = set()

    def write() -> None:
        for value in itertools.count(1):
            with lake.transaction() as change:
                change.delete(name)
            lake.write_array(name, np.full(shape, value, "u2"), chunks=(1, 200, 300))
            if over.is_set():
                return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        deadline = time.monotonic() + 60
        while len(seen) < 5 and time.monotonic() < deadline:
            with contextlib.suppress(KeyError, ConflictError):  # deleted a moment ago
                values = lake[name].read(delivery=delivery)
                assert (values == values[0, 0, 0]).all()
                seen.add(int(values[0, 0, 0]))
    finally:
        over.set()
        writer.join()
    assert len(seen) >= 5


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_a_read_that_others_overtake_again_and_again_is_read_anew_or_refused(
    here: tuple[Service, Server, Lake], delivery: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, _, lake = here
    name = next(_NAMES)
    node = lake.write_array(name, ROWS, chunks=(1, 200, 300))
    remote = counted(node)
    real = service._planned.get
    changes = 3

    def forgotten(path: str, identity: str, version: int) -> Any:
        nonlocal changes
        if changes and path == name:
            changes -= 1
            lake[name].update_metadata({"changes": changes})
            return None
        return real(path, identity, version) if path != name else None

    monkeypatch.setattr(service._planned, "get", forgotten)
    told: list[int] = []
    monkeypatch.setattr("lakeservice.client.array.progress_bar", bar(told))
    np.testing.assert_array_equal(node.read(delivery=delivery, progress=True), ROWS)
    assert remote.plans > 1
    assert sum(told) == ROWS.nbytes
    changes = 10**6
    with pytest.raises(ConflictError) as caught:
        node.read(delivery=delivery)
    assert caught.value.kind is ErrorKind.REVISION_CONFLICT


def bar(told: list[int]) -> Any:
    @contextlib.contextmanager
    def progress_bar(*_: Any, **__: Any) -> Iterator[Callable[[int], None]]:
        yield told.append

    return progress_bar


@pytest.mark.parametrize("other", [ROWS[:100], ROWS.astype("i2")], ids=["shape", "dtype"])
def test_another_shape_or_dtype_is_told_and_not_read(lake: Lake, other: Any) -> None:
    name = next(_NAMES)
    node = lake.write_array(name, ROWS, chunks=(1, 200, 300))
    assert node.shape == ROWS.shape  # looked up now
    lake[name].delete()
    lake.write_array(name, other, chunks=(1, 200, 300))
    for delivery in DELIVERIES:
        with pytest.raises(ConflictError, match="refresh") as caught:
            node.read(delivery=delivery)
        assert caught.value.kind is ErrorKind.REVISION_CONFLICT
    np.testing.assert_array_equal(lake[name].read(), other)


def test_tickets_that_expire_while_they_wait_are_asked_for_again(tmp_path: Path) -> None:
    with running(tmp_path / "lake", ticket_s=1) as (_, _, lake):
        node = lake.write_array("rows", ROWS, chunks=(1, 200, 300))
        remote = counted(node)
        request = ReadArray(path="rows")
        out = np.zeros(ROWS.shape, "u2")
        parts: list[int] = []

        def receive(reader: Any, chosen: Any, place: Any, *_: Any) -> None:
            tensors = reader.read_all().column("data").combine_chunks()
            place[...] = tensors.to_numpy_ndarray()
            parts.append(chosen.axes[0].start)
            time.sleep(0.3)

        planned.read(remote, request, select(None, ROWS.shape), out, lambda _: None, receive)
        np.testing.assert_array_equal(out, ROWS)
        assert remote.plans > 1
        assert len(set(parts)) == len(parts)  # what had come was not read again


def test_another_server_of_the_lake_may_hold_a_part(
    here: tuple[Service, Server, Lake], node: Any
) -> None:
    _, server, lake = here
    own = node._remote.connection
    other = own.elsewhere(f"grpc://127.0.0.1:{server.flight_port}")
    assert other is own.elsewhere(f"grpc://127.0.0.1:{server.flight_port}")
    assert other is not own

    class Spread(Remote):
        """Names servers for the parts that the plan leaves open."""

        def flight_info(self, request: Any) -> Any:
            info = super().flight_info(request)
            places = [
                [],
                ["arrow-flight-reuse-connection://?"],
                [f"grpc://127.0.0.1:{server.flight_port}"],
                ["grpc://127.0.0.1:1", f"grpc+tcp://127.0.0.1:{server.flight_port}"],
            ]
            endpoints = [
                flight.FlightEndpoint(each.ticket, where, None, each.app_metadata)
                for each, where in zip(info.endpoints, itertools.cycle(places), strict=False)
            ]
            return flight.FlightInfo(
                info.schema, info.descriptor, endpoints[:8] + list(info.endpoints[8:])
            )

    found = lake["rows"]
    found._remote = Spread(own)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection_module, "RETRY_DELAYS_S", (0.01,))
        np.testing.assert_array_equal(found.read(), ROWS)


def test_a_plan_with_a_hole_is_refused(node: Any, lake: Lake) -> None:
    class Holed(Remote):
        def flight_info(self, request: Any) -> Any:
            info = super().flight_info(request)
            kept = [each for number, each in enumerate(info.endpoints) if number != 3]
            return flight.FlightInfo(info.schema, info.descriptor, kept)

    found = lake["rows"]
    found._remote = Holed(node._remote.connection)
    for delivery in DELIVERIES:
        with pytest.raises(CorruptError, match="every row once"):
            found.read(delivery=delivery)


@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("damage", ["flipped", "short", "gone"])
def test_a_bad_chunk_in_the_middle_is_named_with_its_node(
    here: tuple[Service, Server, Lake], delivery: Any, damage: str
) -> None:
    service, _, lake = here
    name = next(_NAMES)
    node = lake.write_array(name, ROWS, chunks=(1, 200, 300))
    assert service.lake.objects.root is not None
    (chunk,) = (Path(service.lake.objects.root) / "data" / node.id).glob("*/c/77/0/0")
    stored = bytearray(chunk.read_bytes())
    if damage == "gone":
        chunk.unlink()
    elif damage == "short":
        os.truncate(chunk, len(stored) // 2)
    else:
        stored[len(stored) // 2] ^= 16
        chunk.write_bytes(stored)
    out = np.full(ROWS.shape, 7, "u2")
    with pytest.raises(CorruptError, match=rf"chunk \(77, 0, 0\) of '{name}'") as caught:
        node.read(out=out, delivery=delivery)
    assert caught.value.kind is ErrorKind.CORRUPT_CHUNK
    assert str(service.lake.objects.root) not in str(caught.value)
    np.testing.assert_array_equal(node.read(slice(0, 70), delivery=delivery), ROWS[:70])


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_a_server_that_dies_and_comes_back_is_read_on_or_refuses(
    serve: Callable[..., Any], delivery: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planned, "LARGE_BYTES", 16 << 20)
    array = np.random.default_rng(1).integers(0, 99, (600, 200, 300), "u2")
    server = serve()
    lake = server.connect()
    node = lake.write_array("a", array, chunks=(1, 200, 300))
    node._remote_only = node.version  # as on another machine
    out = np.empty(array.shape, array.dtype)
    threading.Timer(0.01, server.process.kill).start()
    died = threading.Event()

    def restart() -> None:
        server.process.wait()
        died.set()
        serve(*server.ports)

    restarting = threading.Thread(target=restart)
    restarting.start()
    try:
        while not died.is_set():
            out[...] = 0
            with contextlib.suppress(UnavailableError):
                node.read(out=out, delivery=delivery)
                np.testing.assert_array_equal(out, array)
    finally:
        restarting.join()
    np.testing.assert_array_equal(node.read(delivery=delivery), array)
    node._remote.connection.close()


def test_other_servers_get_no_key_in_clear() -> None:
    address = Address("grpc+tls://127.0.0.1:1", "grpc+tls://127.0.0.1:1", KEY)
    with pytest.raises(InvalidRequestError, match="in clear"):
        Connection(address).elsewhere("grpc://127.0.0.1:2")
