"""Many parts of arrays in one call: what NumPy says, who is told what is wrong, lost lines."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import resource
import socket
import threading
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakeservice.client import Container, connect, takes
from lakeservice.client import connection as connection_module
from lakeservice.service import Service
from schemas.errors import (
    AccessError,
    ConflictError,
    CorruptError,
    ErrorKind,
    InvalidRequestError,
    NotFoundError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakeservice.client import Array, Lake

_NUMBERS = itertools.count()
DELIVERIES: list[Any] = ["direct", "decoded"]
RANDOM = np.random.default_rng(4)
STACK = RANDOM.integers(0, 4000, (23, 40, 50)).astype("u2")
SELECTIONS: list[Any] = [
    3,
    -1,
    (3, slice(5, 25), slice(None, None, -7)),
    (slice(2, 20, 3), 7, 8),
    (..., 4),
    "1:3, ::2",
    "-1",
    (1, 2, 3),
    slice(4, 4),
    None,
]


def by_numpy(array: Any, selection: Any) -> Any:
    known: dict[Any, Any] = {"1:3, ::2": np.s_[1:3, ::2], "-1": -1}
    if isinstance(selection, str):
        return array[known[selection]]
    return array[...] if selection is None else array[selection]


@pytest.fixture
def stack(home: Container) -> Array:
    node: Any = home.write_array("stack", STACK, chunks=(4, 17, 50))
    return node  # type: ignore[no-any-return]


@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize(
    "rows",
    [
        [0],
        [5, 5, 5, 2],
        list(range(23)),
        range(22, -1, -3),
        np.array([-1, 0, -23, 22], "i4"),
        RANDOM.integers(0, 23, 300).astype("u8"),
        [np.int64(3), 4],
    ],
    ids=["one", "again", "all", "range", "negative", "many", "mixed"],
)
def test_rows_by_their_numbers_are_those_of_numpy(stack: Array, rows: Any, delivery: Any) -> None:
    found = stack.take(rows, delivery=delivery)
    wanted = STACK[np.asarray(rows)]
    assert found.dtype == wanted.dtype
    assert np.array_equal(found, wanted)
    assert stack.last_delivery == delivery


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_selections_are_those_of_numpy(stack: Array, delivery: Any) -> None:
    found = stack.take(SELECTIONS * 3, delivery=delivery)
    assert isinstance(found, list)
    for got, selection in zip(found, SELECTIONS * 3, strict=True):
        wanted = by_numpy(STACK, selection)
        assert got.shape == wanted.shape
        assert np.array_equal(got, wanted)


@pytest.mark.parametrize("delivery", DELIVERIES)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_any_rows_of_any_chunks_are_those_of_numpy(
    home: Container, delivery: Any, data: st.DataObject
) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    chunks = tuple(data.draw(st.integers(1, length)) for length in shape)
    dtype = data.draw(st.sampled_from(["u2", ">i4", "f8", "S3", "M8[ns]", "?"]))
    array = RANDOM.integers(0, 100, shape).astype("i8").astype(dtype)
    key = f"n{next(_NUMBERS)}"
    node: Any = home.write_array(key, array, chunks=chunks)
    rows = data.draw(st.lists(st.integers(-shape[0], shape[0] - 1), max_size=20))
    assert np.array_equal(node.take(rows, delivery=delivery), array[np.array(rows, int)])


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_rows_of_a_zarr_array_made_by_others_are_its_own(
    home: Container, stack: Array, delivery: Any
) -> None:
    truth = zarr.create_array(
        zarr.storage.MemoryStore(), shape=STACK.shape, chunks=(4, 17, 50), dtype="u2"
    )
    truth[:] = STACK
    rows = np.array([22, 3, 3, 0, 9])
    assert np.array_equal(stack.take(rows, delivery=delivery), truth.oindex[rows])


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_out_receives_rows_in_place_also_where_it_is_no_single_piece_of_memory(
    stack: Array, delivery: Any
) -> None:
    rows = [7, 0, 22, 7]
    whole = np.zeros((8, 40, 60), "u2")
    out = whole[::2, :, 5:55]
    assert stack.take(rows, out=out, delivery=delivery) is out
    assert np.array_equal(out, STACK[rows])
    assert not whole[1::2].any()
    assert not whole[:, :, :5].any()


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_out_receives_selections_of_one_shape(stack: Array, delivery: Any) -> None:
    chosen = [(row, slice(3, 9), slice(row, row + 4)) for row in (0, 9, 22)]
    out = np.zeros((3, 6, 8), "u2")[:, :, ::2]
    assert stack.take(chosen, out=out, delivery=delivery) is out
    for got, selection in zip(out, chosen, strict=True):
        assert np.array_equal(got, STACK[selection])


@pytest.mark.parametrize(
    ("selections", "out"),
    [
        ([1, 2], np.zeros((3, 40, 50), "u2")),
        ([1, 2], np.zeros((2, 40, 50), "i2")),
        ([1, (2, 3)], np.zeros((2, 40, 50), "u2")),
        ([(1, 2)], np.broadcast_to(np.zeros(50, "u2"), (1, 50))),
    ],
    ids=["shape", "dtype", "several shapes", "read-only"],
)
def test_out_that_does_not_fit_is_refused(stack: Array, selections: Any, out: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"out (is|takes)") as caught:
        stack.take(selections, out=out)
    assert caught.value.kind is ErrorKind.BAD_REQUEST


@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("none", [[], (), range(0), np.empty(0, int), np.empty(0)])
def test_no_rows_are_an_empty_array(stack: Array, none: Any, delivery: Any) -> None:
    found = stack.take(none, delivery=delivery)
    assert found.shape == (0, 40, 50)
    assert found.dtype == STACK.dtype


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_an_array_without_axes_gives_its_value_but_no_rows(home: Container, delivery: Any) -> None:
    node: Any = home.write_array("zero", np.array(7.5))
    found = node.take([(), ..., None], delivery=delivery)
    assert [each.shape for each in found] == [()] * 3
    assert [float(each) for each in found] == [7.5] * 3
    with pytest.raises(InvalidRequestError, match="without axes has no rows"):
        node.take([0], delivery=delivery)


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_arrays_of_text_and_of_records_come_whole(home: Container, delivery: Any) -> None:
    text = np.array([["a", "bcd"], ["", "ä"], ["xyz", "q"]])
    record = np.zeros(5, [("x", "f4"), ("y", "S3")])
    record["x"], record["y"] = np.arange(5), b"abc"
    for key, array in (("text", text), ("record", record)):
        node: Any = home.write_array(key, array)
        assert np.array_equal(node.take([2, 0, 2], delivery=delivery), array[[2, 0, 2]])


@pytest.mark.parametrize(
    ("selections", "message"),
    [
        ([1, 23], "selection 1 of 2: index 23 is out of range on axis 0, which has length 23"),
        (np.array([0, 1, -24]), "selection 2 of 3: index -24"),
        ([(0,), (0, 40)], "selection 1 of 2: index 40 is out of range on axis 1"),
        ([(0,), "1,2,3,4"], "selection 1 of 2: 4 slices for an array of 3 axes"),
        ([0, True], "selection 1 of 2: axis 0: only integers"),
        ([[1, 2]], "selection 0 of 1"),
        (np.zeros((2, 2), int), "1-D array of integers"),
        (np.array([True, False]), "1-D array of integers"),
        (np.array([1.0]), "1-D array of integers"),
        ("1,2", "no list of selections"),
        (7, "no list of selections"),
    ],
)
def test_what_is_no_selection_is_named(stack: Array, selections: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        stack.take(selections)
    assert caught.value.kind is ErrorKind.BAD_SLICE
    assert message in caught.value.message


def test_another_delivery_is_refused(stack: Array) -> None:
    with pytest.raises(InvalidRequestError, match="delivery 'post'"):
        stack.take([1], delivery="post")  # type: ignore[arg-type]


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_the_past_is_taken_as_it_was(home: Container, delivery: Any) -> None:
    node: Any = home.write_array("grows", STACK[:5], chunks=(2, 40, 50))
    past = home._remote.as_of
    version = node.version
    node.append(STACK[5:9])
    assert past is None
    assert np.array_equal(node.take([8, 0], delivery=delivery), STACK[[8, 0]])
    lake: Any = connect(
        home._remote.connection.address.url, home._remote.connection.address.api_key
    )
    before = lake.as_of(version)[f"{home.path}/grows"]
    assert np.array_equal(before.take([4, 0], delivery=delivery), STACK[[4, 0]])
    with pytest.raises(InvalidRequestError, match="index 8 is out of range"):
        before.take([8], delivery=delivery)
    lake.close()


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_an_array_that_became_another_is_a_conflict_and_no_wrong_rows(
    home: Container, delivery: Any
) -> None:
    node: Any = home.write_array("changes", STACK)
    assert node.take([0]).shape == (1, 40, 50)
    home["changes"].delete()
    home.write_array("changes", STACK[:, :30].astype("i4"))
    with pytest.raises(ConflictError, match="has changed") as caught:
        node.take([0, 1], delivery=delivery)
    assert caught.value.kind is ErrorKind.REVISION_CONFLICT
    with pytest.raises(ConflictError, match="has changed"):
        node.take([(0, 1)], delivery=delivery)


@pytest.mark.parametrize("delivery", ["auto", *DELIVERIES])
def test_a_key_that_reads_no_data_takes_none(home: Container, served: Any, delivery: Any) -> None:
    node = home.write_array("secret", STACK)
    with Service.open(str(served.lake)) as service:
        _, key = service.keys.create(["read:metadata"])
    with connect(served.url, key) as lake:
        other: Any = lake[node.path]
        for use in (
            lambda: other.take(np.arange(23), delivery=delivery),
            lambda: other.take([(1, 2)] * 3000, delivery=delivery),
            lambda: lake.read_many([(node.path, 0)], delivery),
        ):
            with pytest.raises(AccessError) as caught:
                use()
            assert caught.value.kind is ErrorKind.FORBIDDEN


def test_rows_come_from_one_version_while_others_write(home: Container, lake: Lake) -> None:
    node: Any = home.write_array("moves", np.full((40, 10, 10), 0, "i4"), chunks=(1, 10, 10))
    over = threading.Event()

    def write() -> None:
        number = 1
        with connect(lake.url, lake._remote.connection.address.api_key) as other:
            while not over.is_set():
                parent: Any = other[home.path]
                parent["moves"].delete()
                parent.write_array("moves", np.full((40, 10, 10), number, "i4"), chunks=(1, 10, 10))
                number += 1

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    try:
        for turn in range(60):
            delivery = ("auto", "decoded")[turn % 2]
            with contextlib.suppress(NotFoundError, ConflictError, CorruptError):
                found = node.take(np.arange(40), delivery=delivery)
                assert (found == found.flat[0]).all()
                seen.add(int(found.flat[0]))
    finally:
        over.set()
        writer.join()
    assert seen


def test_large_selections_come_among_small_ones(
    home: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    node: Any = home.write_array("large", STACK, chunks=(4, 17, 50))
    monkeypatch.setattr(takes, "LARGE_BYTES", 10_000)
    found = node.take([None, (3, 4), slice(2, 20)], delivery="decoded")
    for got, wanted in zip(found, (STACK, STACK[3, 4], STACK[2:20]), strict=True):
        assert np.array_equal(got, wanted)
    monkeypatch.setattr(takes, "LARGE_BYTES", 100)
    assert np.array_equal(node.take([5, 3], delivery="decoded"), STACK[[5, 3]])


@pytest.mark.parametrize("selections", [[5, 3, 4], [slice(0, 9), 4, slice(2, 11), 5]])
@pytest.mark.parametrize("changes", [1, 100])
def test_large_selections_are_of_one_version_too(
    home: Container, monkeypatch: pytest.MonkeyPatch, selections: Any, changes: int
) -> None:
    node: Any = home.write_array("large", STACK, chunks=(4, 17, 50))
    monkeypatch.setattr(takes, "LARGE_BYTES", 100 if selections[0] == 5 else 10_000)
    left, read = [changes], type(node).read

    def changed_afterwards(self: Any, *arguments: Any, **others: Any) -> Any:
        answer = read(self, *arguments, **others)
        if left[0]:
            left[0] -= 1
            home["large"].delete()
            home.write_array("large", STACK + 1, chunks=(4, 17, 50))
        return answer

    monkeypatch.setattr(type(node), "read", changed_afterwards)
    if changes > 1:
        with pytest.raises(ConflictError, match="changed 5 times"):
            node.take(selections, delivery="decoded")
        return
    found = node.take(selections, delivery="decoded")
    for got, selection in zip(found, selections, strict=True):
        assert np.array_equal(got, STACK[selection] + 1)


@pytest.mark.parametrize("delivery", ["auto", "decoded"])
def test_many_arrays_of_any_kind_are_read_in_one_call(home: Container, delivery: Any) -> None:
    made = {
        "stack": STACK,
        "line": RANDOM.normal(size=30),
        "inner/text": np.array(["a", "bcd", ""]),
        "inner/big": np.arange(7, dtype=">i4").reshape(7, 1),
        "zero": np.array(2 + 3j),
    }
    nodes = {key: home.write_array(key, array) for key, array in made.items()}
    pairs: list[tuple[Any, Any, Any]] = [
        ("stack", selection, by_numpy(STACK, selection)) for selection in SELECTIONS
    ]
    pairs += [
        ("line", slice(-3, None), made["line"][-3:]),
        (nodes["line"], np.int64(4), made["line"][4]),
        ("inner/text", slice(None, None, -1), made["inner/text"][::-1]),
        ("inner/big", (..., 0), made["inner/big"][..., 0]),
        ("zero", None, made["zero"]),
        ("zero", (), made["zero"]),
    ]
    found = home.read_many(((key, selection) for key, selection, _ in pairs), delivery)
    for got, (_, _, wanted) in zip(found, pairs, strict=True):
        assert got.shape == wanted.shape
        assert got.dtype == wanted.dtype
        assert np.array_equal(got, wanted)
    assert home.read_many([]) == []
    table: Any = home.write_table("table", {"x": np.arange(5.0)})
    assert np.array_equal(home.read_many([("table/x", "1:3")])[0], [1.0, 2.0])
    assert len(table) == 5


def test_what_is_too_large_among_many_is_read_by_itself(home: Container) -> None:
    large = np.zeros((70, 1024, 1024), "u1")
    large[::7] = 5
    home.write_array("large", large)
    home.write_array("small", np.arange(3))
    found = home.read_many([("small", 1), ("large", None), ("small", None)], "decoded")
    assert np.array_equal(found[1], large)
    assert np.array_equal(found[2], [0, 1, 2])


def test_large_and_small_ones_of_a_node_are_of_one_version(
    home: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = np.zeros((9, 1024, 1024), "u1")
    node = home.write_array("large", large)
    left, read = [1], type(node).read

    def changed_before(self: Any, *arguments: Any, **others: Any) -> Any:
        if left[0]:
            left[0] -= 1
            home["large"].delete()
            home.write_array("large", large + 1)
        return read(self, *arguments, **others)

    monkeypatch.setattr(type(node), "read", changed_before)
    found = home.read_many([("large", None), ("large", (0, 0, 0))], "decoded")
    assert found[0].all()
    assert found[1] == 1


@pytest.mark.parametrize(
    ("pair", "kind", "message"),
    [
        (("nothing", 0), ErrorKind.NODE_NOT_FOUND, "selection 1 of 2, of 'tests/"),
        (("stack", 99), ErrorKind.BAD_SLICE, "selection 1 of 2"),
        (("stack", [1, 2]), ErrorKind.BAD_SLICE, "only integers, slices and"),
        (("stack", 1.5), ErrorKind.BAD_SLICE, "integer"),
        (("", 0), ErrorKind.WRONG_FAMILY, "is a container"),
    ],
    ids=["no node", "no row", "a list", "a float", "a container"],
)
@pytest.mark.parametrize("delivery", ["auto", "direct", "decoded"])
def test_a_pair_that_fails_is_named(
    home: Container, pair: Any, kind: ErrorKind, message: str, delivery: Any
) -> None:
    home.write_array("stack", STACK)
    with pytest.raises((InvalidRequestError, NotFoundError)) as caught:
        home.read_many([("stack", 1), pair], delivery)
    assert caught.value.kind is kind
    assert message in caught.value.message


def test_rows_of_ten_thousand_requests_need_no_memory_for_all(home: Container) -> None:
    node: Any = home.write_array("frames", np.tile(STACK[:1], (8, 10, 4)), chunks=(1, 400, 200))
    rows = RANDOM.integers(0, 8, 10_000)
    out = np.empty((10_000, 20, 10), "u2")
    node.take([(int(row), slice(0, 20), slice(0, 10)) for row in rows[:64]], delivery="decoded")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    chosen = [(int(row), slice(3, 23), slice(5, 15)) for row in rows]
    node.take(chosen, out=out, delivery="decoded")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert np.array_equal(out, np.broadcast_to(node[0, 3:23, 5:15], out.shape))
    assert after - before < 64 << 10  # KiB


def checksum(node: Any, delivery: Any) -> int:
    return int(node.take(range(len(node)), delivery=delivery).sum())


def test_forked_workers_take_with_what_their_parent_opened(stack: Array) -> None:
    assert {checksum(stack, delivery) for delivery in DELIVERIES} == {STACK.sum()}
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        found = pool.map(checksum, [stack] * 4, DELIVERIES * 2, timeout=60)
        assert set(found) == {STACK.sum()}
    assert checksum(stack, "decoded") == STACK.sum()


class Line:
    """A TCP line to a server that breaks each time so many bytes of answers went through."""

    def __init__(self, port: int, break_after: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.break_after = break_after
        self.breaks_left = 0
        self.answered = 0
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
        through = 0
        with contextlib.suppress(OSError):
            while payload := source.recv(1 << 16):
                sink.sendall(payload)
                if answers:
                    through += len(payload)
                    self.answered += len(payload)
                    if self.breaks_left and through > self.break_after:
                        self.breaks_left -= 1
                        break
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture
def far(home: Container, served: Any) -> Any:
    home.write_array("far", np.arange(400 * 64 * 100).reshape(400, 64, 100), chunks=(1, 64, 100))
    line = Line(served.ports[1], break_after=6 << 20)
    lake: Any = connect(f"grpc://127.0.0.1:{line.port}", served.key)
    yield line, lake[f"{home.path}/far"]
    lake.close()
    line.close()


def test_after_a_broken_line_only_what_is_missing_is_asked_again(far: Any) -> None:
    line, node = far
    rows = RANDOM.permutation(400)
    wanted = np.arange(400 * 64 * 100).reshape(400, 64, 100)[rows]
    line.breaks_left = 2
    assert np.array_equal(node.take(rows, delivery="decoded"), wanted)
    assert line.breaks_left == 0
    assert line.answered < 1.6 * wanted.nbytes
    line.breaks_left = 1
    pairs = [(node, int(row)) for row in rows]
    parent = connect(f"grpc://127.0.0.1:{line.port}", node._remote.connection.address.api_key)
    assert np.array_equal(np.stack(parent.read_many(pairs, "decoded")), wanted)
    assert line.breaks_left == 0
    parent.close()


def test_a_line_that_breaks_again_and_again_is_an_error_and_no_rows(
    far: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, node = far
    monkeypatch.setattr(connection_module, "RETRY_DELAYS_S", (0.01, 0.01))
    line.break_after = 100_000
    line.breaks_left = 10**6
    with pytest.raises(UnavailableError):
        node.take(RANDOM.permutation(400), delivery="decoded")


def test_a_server_killed_while_it_answers_gives_no_rows(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    lake = server.connect()
    node = lake.write_array("a", np.tile(STACK, (10, 4, 4)), chunks=(1, 160, 200))
    wanted = np.tile(STACK, (10, 4, 4))
    monkeypatch.setattr(connection_module, "RETRY_DELAYS_S", (0.01,))
    rows = np.arange(230)
    assert np.array_equal(node.take(rows, delivery="decoded"), wanted)
    threading.Timer(0.05, server.process.kill).start()

    def take_on() -> None:
        while True:
            assert np.array_equal(node.take(rows, delivery="decoded"), wanted)

    with pytest.raises(UnavailableError):
        take_on()
