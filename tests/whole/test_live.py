"""Subscriptions over real sockets: what is told, what is not, and to how many."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import threading
import time
import urllib.parse
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import psutil
import pyarrow as pa
import pytest
import urllib3
import websockets
from websockets.sync.client import ClientConnection, connect

import lakeservice
from lakeservice.config import Limits, Secret, Serve
from lakeservice.fronts.http import live
from lakeservice.server import Server
from lakeservice.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "akeyofthetests"
CLIENTS = Path(__file__).parents[1] / "clients"
OCTETS = {"content-type": "application/octet-stream"}
ARROW = {"content-type": "application/vnd.apache.arrow.file"}


class Lake:
    """A server, asked over HTTP and WebSocket."""

    def __init__(self, service: Service, *, public: bool = False) -> None:
        serve = Serve(port=0, flight_port=0, api_key=Secret(KEY), public=public)
        self.service = service
        self.server = Server(service, serve)
        self._http = urllib3.PoolManager()

    def ask(
        self,
        method: str,
        route: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        key: str = KEY,
        **params: Any,
    ) -> tuple[int, Any]:
        url = f"{self.server.url}/api/v1/{route}?{urllib.parse.urlencode(params)}"
        sent = {"authorization": f"Apikey {key}", **(headers or {})}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        answer = self._http.request(method, url, body=body, headers=sent)
        return answer.status, json.loads(answer.data) if answer.data else None

    def array(self, path: str, elements: np.ndarray[Any, Any], *, write: bool = True) -> None:
        under, _, name = path.rpartition("/")
        dtype = elements.dtype
        structure = {
            "data_type": {"kind": dtype.kind, "itemsize": dtype.itemsize, "endianness": "little"},
            "shape": elements.shape,
            "chunks": [[length] for length in elements.shape],
        }
        document = {
            "structure_family": "array",
            "id": name,
            "data_sources": [{"structure": structure}],
        }
        assert self.ask("POST", f"metadata/{under}", document)[0] == 200
        if write:
            assert self.write(path, elements) == 200

    def write(self, path: str, elements: np.ndarray[Any, Any], **params: Any) -> int:
        return self.ask("PUT", f"array/full/{path}", elements.tobytes(), OCTETS, **params)[0]

    def table(self, path: str, schema: pa.Schema) -> None:
        under, _, name = path.rpartition("/")
        text = b64encode(schema.serialize().to_pybytes()).decode()
        structure = {
            "arrow_schema": f"data:application/vnd.apache.arrow.file;base64,{text}",
            "columns": schema.names,
            "npartitions": 1,
        }
        document = {
            "structure_family": "table",
            "id": name,
            "data_sources": [{"structure": structure}],
        }
        assert self.ask("POST", f"metadata/{under}", document)[0] == 200

    def listen(self, path: str, key: str | None = KEY, **params: Any) -> ClientConnection:
        params.setdefault("envelope_format", "msgpack")
        address = self.server.url.replace("http", "ws", 1)
        headers = {"Authorization": f"Apikey {key}"} if key else None
        return connect(
            f"{address}/api/v1/stream/single/{path}?{urllib.parse.urlencode(params)}",
            additional_headers=headers,
            open_timeout=60,
            legacy=True,
        )


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with Service.open(str(tmp_path / "lake"), create=True) as service:
        lake = Lake(service)
        with lake.server:
            yield lake


def frame(socket: ClientConnection) -> dict[str, Any]:
    return decoded(socket.recv(timeout=60))


def decoded(received: str | bytes) -> dict[str, Any]:
    if isinstance(received, str):
        return dict(json.loads(received))
    return dict(msgspec.msgpack.decode(received))


def closing(socket: ClientConnection) -> tuple[int, str]:
    try:
        while True:
            socket.recv(timeout=60)
    except websockets.ConnectionClosed as closed:
        assert closed.rcvd is not None
        return closed.rcvd.code, closed.rcvd.reason


def file_of(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


ONES = np.ones((3, 4), "<i4")


@pytest.mark.parametrize("envelope", ["json", "msgpack"])
def test_the_schema_comes_first_then_each_write_as_it_was_sent(lake: Lake, envelope: str) -> None:
    lake.array("a", ONES)
    with lake.listen("a", envelope_format=envelope, start=0) as listener:
        assert frame(listener)["type"] == "array-schema"
        assert lake.write("a", ONES * 7) == 200
        first, second = frame(listener), frame(listener)
    assert [first["sequence"], second["sequence"]] == [1, 2]
    values = second["payload"]
    if isinstance(values, bytes):
        values = np.frombuffer(values, "<i4").reshape(second["shape"])
    np.testing.assert_array_equal(values, ONES * 7)


def test_a_frame_is_never_larger_than_tileds_client_takes(lake: Lake) -> None:
    stack = np.arange(3 * 600 * 700, dtype="<u4").reshape(3, 600, 700)
    lake.array("a", stack, write=False)
    with lake.listen("a") as listener:
        frame(listener)
        assert lake.write("a", stack) == 200
        told = frame(listener)
        assert told["type"] == "array-ref"
        assert "payload" not in told
        answer = urllib3.request(
            "GET",
            told["uri"],
            headers={"authorization": f"Apikey {KEY}", "accept": "application/octet-stream"},
        )
        np.testing.assert_array_equal(np.frombuffer(answer.data, "<u4"), stack.ravel())


@pytest.mark.parametrize("envelope", ["json", "msgpack"])
def test_data_that_is_not_kept_arrives_whole_in_parts_that_fit(lake: Lake, envelope: str) -> None:
    stack = np.arange(2 * 500 * 600, dtype="<u4").reshape(2, 500, 600)
    lake.array("a", np.zeros_like(stack))
    with lake.listen("a", envelope_format=envelope) as listener:
        frame(listener)
        assert lake.write("a", stack, persist="false") == 200
        seen = np.zeros_like(stack)
        filled = 0
        while filled < stack.size:
            received = listener.recv(timeout=60)
            assert len(received) < 1_000_000
            part = decoded(received)
            values = part["payload"]
            if isinstance(values, bytes):
                values = np.frombuffer(values, "<u4").reshape(part["shape"])
            place = zip(part["offset"], part["shape"], strict=True)
            seen[tuple(slice(start, start + length) for start, length in place)] = values
            filled += int(np.prod(part["shape"]))
    np.testing.assert_array_equal(seen, stack)
    status, kept = lake.ask("GET", "array/full/a", slice="0,0,:5", format="json")
    assert (status, kept) == (200, [0, 0, 0, 0, 0])


def test_a_write_that_is_refused_is_not_announced(lake: Lake) -> None:
    lake.array("a", ONES)
    with lake.listen("a") as listener:
        frame(listener)
        assert lake.ask("PUT", "array/full/a", b"short", OCTETS)[0] == 422
        assert lake.ask("PUT", "array/full/a", b"short", OCTETS, persist="false")[0] == 422
        assert lake.ask("PUT", "array/block/a", ONES.tobytes(), OCTETS, block="9,9")[0] // 100 == 4
        assert lake.write("a", ONES * 2) == 200
        assert frame(listener)["sequence"] == 2


def test_rows_that_are_added_reach_subscribers_however_many(lake: Lake) -> None:
    schema = pa.schema([("x", pa.int64()), ("name", pa.string())])
    lake.table("t", schema)
    with lake.listen("t") as listener:
        assert frame(listener)["type"] == "table-schema"
        for rows in (3, 200_000):
            table = pa.table({"x": range(rows), "name": ["n"] * rows}, schema=schema)
            body = file_of(table)
            assert lake.ask("PATCH", "table/partition/t", body, ARROW, partition=0)[0] == 200
            seen = 0
            while seen < rows:
                told = frame(listener)
                assert told["append"] is True
                part = pa.ipc.open_file(told["payload"]).read_all()
                assert part.column("x").to_pylist() == list(range(seen, seen + len(part)))
                seen += len(part)


def test_rows_that_do_not_fit_the_table_are_not_announced(lake: Lake) -> None:
    lake.table("t", pa.schema([("x", pa.int64())]))
    with lake.listen("t", envelope_format="json") as listener:
        frame(listener)
        wrong, right = file_of(pa.table({"y": ["a"]})), file_of(pa.table({"x": [1]}))
        query: dict[str, Any] = {"partition": 0, "persist": "false"}
        assert lake.ask("PATCH", "table/partition/t", wrong, ARROW, **query)[0] == 422
        assert lake.ask("PATCH", "table/partition/t", right, ARROW, **query)[0] == 200
        assert frame(listener)["payload"] == {"x": [1]}
    assert lake.ask("GET", "table/full/t", format="json")[1] == {"x": []}


def test_a_write_over_flight_is_announced_over_http(lake: Lake) -> None:
    with lake.listen("", envelope_format="json") as listener:
        assert frame(listener)["type"] == "container-schema"
        flight = lakeservice.connect(lake.server.url, KEY)
        flight.write_array("b", np.arange(5))
        created = frame(listener)
    assert (created["type"], created["key"]) == ("container-child-created", "b")
    assert created["data_sources"][0]["structure"]["shape"] == [5]


def test_a_write_at_one_server_is_announced_at_another(lake: Lake, tmp_path: Path) -> None:
    lake.array("a", ONES)
    with Service.open(str(tmp_path / "lake")) as service:
        other = Lake(service)
        with other.server, other.listen("a") as there, lake.listen("a") as here:
            frame(here)
            frame(there)
            assert lake.write("a", ONES * 3) == 200
            told_here, told_there = frame(here), frame(there)
            assert told_here["sequence"] == told_there["sequence"] == 2
            assert (told_here["type"], told_there["type"]) == ("array-data", "array-ref")
            assert lake.ask("DELETE", "stream/close/a")[0] == 200
            assert closing(there) == closing(here) == (1000, "Producer ended stream")


def test_who_asks_for_updates_that_are_gone_is_brought_up_to_date(tmp_path: Path) -> None:
    schema = pa.schema([("x", pa.int64())])
    with Service.open(str(tmp_path / "lake"), create=True) as service:
        lake = Lake(service)
        with lake.server:
            lake.array("a", ONES)
            lake.table("t", schema)
            for value in range(3):
                body = file_of(pa.table({"x": [value]}))
                lake.ask("PATCH", "table/partition/t", body, ARROW, partition=0)
    with Service.open(str(tmp_path / "lake")) as service:
        again = Lake(service)
        with again.server:
            with again.listen("a", start=1) as listener:
                assert frame(listener)["kept"] == {"first": 2, "last": 1}
                assert frame(listener)["type"] == "array-ref"
                assert again.write("a", ONES) == 200
                assert frame(listener)["sequence"] == 2
            with again.listen("t", start=1, envelope_format="json") as listener:
                frame(listener)
                seen: list[int] = []
                while len(seen) < 3:
                    seen += frame(listener)["payload"]["x"]
                assert seen == [0, 1, 2]


def test_fifty_subscribers_all_get_all_updates(lake: Lake) -> None:
    lake.array("a", ONES)
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(lake.listen("a")) for _ in range(50)]
        for listener in listeners:
            frame(listener)
        for value in range(10):
            assert lake.write("a", ONES * value) == 200
        for listener in listeners:
            assert [frame(listener)["sequence"] for _ in range(10)] == list(range(2, 12))
        assert lake.service.live.listeners == 50
    deadline = time.monotonic() + 30
    while lake.service.live.listeners and time.monotonic() < deadline:
        time.sleep(0.01)
    assert lake.service.live.listeners == 0


def test_who_reads_too_slowly_is_closed_with_a_reason_and_takes_no_memory(tmp_path: Path) -> None:
    limits = Limits(live_bytes=4 << 20)
    with Service.open(str(tmp_path / "lake"), create=True, limits=limits) as service:
        lake = Lake(service)
        frame_of_camera = np.zeros((400, 500), "<u4")
        with lake.server:
            lake.array("a", frame_of_camera, write=False)
            slow = _stalled(lake, "a")
            before = psutil.Process().memory_info().rss
            for _ in range(150):  # 120 MB
                assert lake.write("a", frame_of_camera, persist="false") == 200
                assert service.live.held_bytes <= 4 << 20
            assert psutil.Process().memory_info().rss - before < 60 << 20
            assert closing(slow)[0] == 1013


def _stalled(lake: Lake, path: str) -> ClientConnection:
    """Subscribe, and read nothing before it is asked for."""
    port = lake.server.port
    raw = socket.create_connection(("127.0.0.1", port))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
    return connect(
        f"ws://127.0.0.1:{port}/api/v1/stream/single/{path}?envelope_format=msgpack",
        sock=raw,
        additional_headers={"Authorization": f"Apikey {KEY}"},
        max_queue=1,
        legacy=True,
    )


@pytest.mark.parametrize(
    ("path", "key", "status"), [("a", "wrong", 401), ("nowhere", KEY, 404), ("a", "é" * 9, 401)]
)
def test_a_subscription_that_cannot_be_is_refused_at_the_handshake(
    lake: Lake, path: str, key: str, status: int
) -> None:
    lake.array("a", ONES)
    with pytest.raises(websockets.InvalidStatus) as caught:
        lake.listen(path, key=None, api_key=key)
    assert caught.value.response.status_code == status
    assert json.loads(caught.value.response.body or b"")["detail"]


@pytest.mark.parametrize("params", [{"start": "-1"}, {"start": "x"}, {"envelope_format": "xml"}])
def test_a_question_that_makes_no_sense_is_refused(lake: Lake, params: dict[str, str]) -> None:
    with pytest.raises(websockets.InvalidStatus) as caught:
        lake.listen("", **params)
    assert caught.value.response.status_code == 400


def test_the_key_may_come_in_the_first_message_and_nothing_is_missed_meanwhile(lake: Lake) -> None:
    lake.array("a", ONES)
    with lake.listen("a", key=None) as listener:
        assert lake.write("a", ONES * 2) == 200
        listener.send(json.dumps({"type": "auth", "api_key": KEY}))
        assert frame(listener)["type"] == "array-schema"
        assert frame(listener)["sequence"] == 2


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('{"type": "auth", "api_key": "wrong"}', 4003),
        ('{"type": "auth"}', 4003),
        ('{"type": "subscribe"}', 4001),
        ("not json", 4001),
        (b"\x00\xff", 4001),
    ],
)
def test_a_first_message_without_a_valid_key_ends_it(
    lake: Lake, message: str | bytes, code: int
) -> None:
    with lake.listen("nowhere", key=None) as listener:
        listener.send(message)
        assert closing(listener)[0] == code


def test_a_key_of_the_lake_opens_a_subscription_until_it_is_revoked(lake: Lake) -> None:
    key, secret = lake.service.keys.create(["read:data", "read:metadata"])
    with lake.listen("", key=secret) as listener:
        frame(listener)
    blind, blind_secret = lake.service.keys.create(["read:metadata"])
    assert blind.scopes == ("read:metadata",)
    with pytest.raises(websockets.InvalidStatus):
        lake.listen("", key=blind_secret)
    lake.service.keys.revoke(key.first_eight)
    with pytest.raises(websockets.InvalidStatus):
        lake.listen("", key=secret)


def test_a_subscription_ends_when_its_key_is_revoked(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "RECHECK_S", 0.05)
    key, secret = lake.service.keys.create(["read:data", "read:metadata"])
    with lake.listen("", key=secret) as listener:
        frame(listener)
        lake.service.keys.revoke(key.first_eight)
        assert closing(listener)[0] == 4003


def test_a_server_with_subscribers_stops_at_once(tmp_path: Path) -> None:
    with Service.open(str(tmp_path / "lake"), create=True) as service:
        lake = Lake(service)
        with lake.server:
            listener = lake.listen("")
            frame(listener)
        assert closing(listener)[0] in (1001, 1012)
    assert not [thread for thread in threading.enumerate() if thread.name == "live"]


def test_tileds_own_client_follows_arrays_tables_and_containers(
    lake: Lake, clients_python: str
) -> None:
    script = [clients_python, str(CLIENTS / "subscribe.py"), lake.server.url, KEY]
    ran = subprocess.run(script, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.splitlines()[-1] == "done"


def test_rows_that_were_gathered_with_others_meanwhile_are_told_once(lake: Lake) -> None:
    # Short parts of a table are written again as one; who comes late sees no difference.
    schema = pa.schema([("x", pa.int64()), ("pad", pa.string())])
    lake.table("t", schema)
    pad = "p" * 20_000
    for start in range(40):
        rows = [start * 50 + number for number in range(50)]
        body = file_of(pa.table({"x": rows, "pad": [pad] * 50}, schema=schema))
        assert len(body) > 990_000
        assert lake.ask("PATCH", "table/partition/t", body, ARROW, partition=0)[0] == 200
    seen: list[int] = []
    with lake.listen("t", start=1, envelope_format="json") as listener:
        frame(listener)
        while len(seen) < 2000:
            seen += frame(listener)["payload"]["x"]
    assert seen == list(range(2000))
