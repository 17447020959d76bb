"""Many small reads on the wire: requests as rows, answers as rows, errors among them."""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import flight

from lakeservice.access.keys import Authenticator
from lakeservice.fronts.flight import LakeFlightServer, exchange
from lakeservice.service import Draft
from schemas.structures import ArrayStructure, DataType
from schemas.ticket import ReadArray
from tests.fronts.conftest import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakeservice.service import Service

STACK = np.random.default_rng(2).integers(0, 5000, (40, 30, 20)).astype("u2")
LINE = np.arange(10.0)


class Caller:
    """Opens exchanges, as one caller."""

    def __init__(self, port: int, key: str | None) -> None:
        self.client = flight.FlightClient(f"grpc://127.0.0.1:{port}")
        headers = [(b"authorization", b"Bearer " + key.encode())] if key else []
        self.options = flight.FlightCallOptions(headers=headers)

    def opened(self, command: bytes = b'{"do":"read-many"}') -> tuple[Any, Any]:
        descriptor = flight.FlightDescriptor.for_command(command)
        return self.client.do_exchange(descriptor, self.options)  # type: ignore[no-any-return]

    def batches(self, requests: Sequence[Any], size: int = 100) -> list[pa.RecordBatch]:
        """Return the batches of answers to requests, which are sent ``size`` at a time."""
        writer, reader = self.opened()
        texts = [
            each if isinstance(each, bytes | None) else msgspec.json.encode(each)
            for each in requests
        ]
        found = []
        with writer:
            writer.begin(pa.schema([("request", pa.binary())]))
            for start in range(0, len(texts), size):
                column = pa.array(texts[start : start + size], pa.binary())
                writer.write_batch(pa.record_batch([column], names=["request"]))
            writer.done_writing()
            while True:
                try:
                    found.append(reader.read_chunk().data)
                except StopIteration:
                    return found

    def ask(self, requests: Sequence[Any], size: int = 100) -> list[Any]:
        """Return arrays, and errors as dicts, in the order of the requests."""
        answers: dict[int, Any] = {}
        for batch in self.batches(requests, size):
            for row in batch.to_pylist():
                assert row["number"] not in answers
                answers[row["number"]] = answered(row)
        assert sorted(answers) == list(range(len(requests)))
        return [answers[number] for number in sorted(answers)]


def answered(row: dict[str, Any]) -> Any:
    if row["error"] is not None:
        assert row["data"] is row["shape"] is row["dtype"] is row["version"] is None
        return json.loads(row["error"])
    dtype = msgspec.json.decode(row["dtype"], type=DataType).to_numpy()
    return np.frombuffer(row["data"], dtype).reshape(row["shape"])


@contextmanager
def running(service: Service) -> Iterator[int]:
    authenticator = Authenticator(KEY, public=False, stored=service.keys)
    server = LakeFlightServer(service, authenticator, port=0)
    try:
        yield server.port
    finally:
        server.shutdown()


@pytest.fixture
def filled(service: Service) -> Service:
    for path, array, chunks in (("stack", STACK, (1, 30, 20)), ("line", LINE, (3,))):
        structure = ArrayStructure.from_numpy(array.shape, array.dtype, chunks)
        service.write_array(Draft(path=path, structure=structure, metadata={}), [array])
    return service


@pytest.fixture
def caller(filled: Service) -> Iterator[Caller]:
    with running(filled) as port:
        yield Caller(port, KEY)


def stack(selection: str | None = None, **others: Any) -> ReadArray:
    return ReadArray(path="stack", selection=selection, **others)


def test_answers_are_what_numpy_says_whatever_their_order(caller: Caller) -> None:
    rows = np.random.default_rng(3).integers(0, 40, 500)
    requests = [
        stack(f"{row},2:9") if row % 3 else ReadArray(path="line", selection="1:") for row in rows
    ]
    for row, found in zip(rows, caller.ask(requests), strict=True):
        assert np.array_equal(found, STACK[row, 2:9] if row % 3 else LINE[1:])


def test_errors_are_answers_and_end_nothing(caller: Caller) -> None:
    found = caller.ask(
        [
            stack("3"),
            stack("99"),
            ReadArray(path="nothing"),
            b"{",
            None,
            b'{"do":"read-table","path":"stack"}',
            stack("1", delivery="encoded"),
            ReadArray(path=""),
            stack("1", as_of=999),
            stack("4,5,6"),
        ]
    )
    kinds = [each.get("kind") if isinstance(each, dict) else None for each in found]
    assert kinds == [
        None,
        "bad-slice",
        "node-not-found",
        "bad-request",
        "bad-request",
        "bad-request",
        "bad-request",
        "wrong-family",
        "version-not-found",
        None,
    ]
    assert "out of range" in found[1]["message"]
    assert np.array_equal(found[0], STACK[3])
    assert found[9].shape == ()
    assert found[9] == STACK[4, 5, 6]


def test_a_damaged_chunk_spoils_only_those_who_want_it(filled: Service) -> None:
    (chunk,) = Path(str(filled.lake.objects.root)).glob("data/**/c/7/0/0")
    payload = bytearray(chunk.read_bytes())
    payload[len(payload) // 2] ^= 1
    chunk.write_bytes(payload)
    with running(filled) as port:
        found = Caller(port, KEY).ask([stack(f"{row},:3") for row in (6, 7, 8, 7)])
    assert np.array_equal(found[0], STACK[6, :3])
    assert np.array_equal(found[2], STACK[8, :3])
    assert [found[1]["kind"], found[3]["kind"]] == ["corrupt-chunk"] * 2
    assert "(7, 0, 0)" in found[1]["message"]


def test_what_is_too_large_for_one_answer_is_refused(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "ANSWER_BYTES", 10_000)
    found = caller.ask([stack("1"), stack("0:9")])
    assert np.array_equal(found[0], STACK[1])
    assert found[1]["kind"] == "too-large"
    assert "by itself" in found[1]["message"]


def test_a_bug_tells_nothing_but_where_to_look(
    caller: Caller, filled: Service, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a secret path")

    monkeypatch.setattr(filled, "read_array_each", fail)
    with caplog.at_level(logging.CRITICAL):
        (found,) = caller.ask([stack("1")])
    assert found["kind"] == "internal-error"
    assert "secret" not in found["message"]


def test_answers_come_in_batches_of_bounded_size(caller: Caller) -> None:
    batches = caller.batches([stack("1,:2") for _ in range(3000)], size=2500)
    assert sum(batch.num_rows for batch in batches) == 3000
    assert max(batch.num_rows for batch in batches) == exchange.GROUP_ANSWERS
    large = caller.batches([stack() for _ in range(200)])
    assert max(batch.nbytes for batch in large) < exchange.GROUP_BYTES + 10_000


def test_an_answer_comes_before_the_next_request_is_sent(caller: Caller) -> None:
    writer, reader = caller.opened()
    schema = pa.schema([("request", pa.utf8())])
    writer.begin(schema)
    for row in (5, 0):
        text = msgspec.json.encode(stack(str(row))).decode()
        writer.write_batch(pa.record_batch([pa.array([text])], schema=schema))
        (found,) = reader.read_chunk().data.to_pylist()
        assert np.array_equal(answered(found), STACK[row])
    assert found["number"] == 1
    writer.done_writing()
    with pytest.raises(StopIteration):
        reader.read_chunk()
    writer.close()


def test_an_exchange_without_requests_has_no_answers(caller: Caller) -> None:
    assert caller.ask([]) == []


@pytest.mark.parametrize(
    ("command", "column", "kind"),
    [
        (b'{"do":"read-many"}', pa.array([1, 2]), b"bad-body"),
        (b'{"do":"read-few"}', pa.array(["{}"]), b"bad-request"),
        (b"read-many", pa.array(["{}"]), b"bad-request"),
    ],
    ids=["numbers", "another command", "no command"],
)
def test_what_is_no_exchange_ends_with_an_error(
    caller: Caller, command: bytes, column: Any, kind: bytes
) -> None:
    writer, reader = caller.opened(command)
    with pytest.raises(flight.FlightError) as caught:  # noqa: PT012 (whichever notices first)
        writer.begin(pa.schema([("request", column.type)]))
        writer.write_batch(pa.record_batch([column], names=["request"]))
        writer.done_writing()
        while True:
            reader.read_chunk()
    assert kind in caught.value.extra_info
    with pytest.raises(flight.FlightError):
        writer.close()


def test_without_the_scope_or_a_key_nothing_is_read(filled: Service) -> None:
    _, metadata_only = filled.keys.create(["read:metadata"])
    _, reader_key = filled.keys.create(["read:data", "read:metadata"])
    with running(filled) as port:
        assert np.array_equal(Caller(port, reader_key).ask([stack("2")])[0], STACK[2])
        for key, kind in ((metadata_only, b"forbidden"), (None, b"unauthenticated")):
            with pytest.raises(flight.FlightError) as caught:
                Caller(port, key).ask([stack("2")])
            assert kind in caught.value.extra_info


@pytest.mark.parametrize("ends", [[0, 1 << 30, 2], [0, -(1 << 20), 2]])
def test_requests_that_claim_bytes_that_were_not_sent_are_refused(
    caller: Caller, ends: list[int]
) -> None:
    offsets = pa.py_buffer(np.array(ends, "i4"))
    column = pa.Array.from_buffers(pa.binary(), 2, [None, offsets, pa.py_buffer(b"{}")])
    writer, reader = caller.opened()
    writer.begin(pa.schema([("request", pa.binary())]))
    writer.write_batch(pa.record_batch([column], names=["request"]))
    writer.done_writing()
    with pytest.raises(pa.ArrowException) as caught:
        reader.read_chunk()
    assert json.loads(caught.value.extra_info)["kind"] == "bad-body"
    with pytest.raises(pa.ArrowException):
        writer.close()
    assert len(caller.ask([stack("0")])) == 1


def test_rows_that_claim_bytes_that_were_not_sent_are_refused(caller: Caller) -> None:
    offsets = pa.py_buffer(np.array([0, 1 << 30, 2], "i4"))
    column = pa.Array.from_buffers(pa.utf8(), 2, [None, offsets, pa.py_buffer(b"ab")])
    batch = pa.record_batch([column], names=["x"])
    command = flight.FlightDescriptor.for_command(b'{"do":"write-table","path":"wild"}')
    writer, answers = caller.client.do_put(command, batch.schema, caller.options)
    writer.write_batch(batch)
    writer.done_writing()
    assert answers.read() is None
    with pytest.raises(pa.ArrowException, match="contradicts itself"):
        writer.close()
    assert len(caller.ask([stack("0")])) == 1
