"""The committer: whole requests or none, in one order for all, each answered once."""

from __future__ import annotations

import datetime
import signal
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from lakeservice.storage.commits import MemoryState
from lakeservice.storage.committer import Committer, fingerprint_of
from lakeservice.storage.lake import Lake
from lakeservice.storage.layout import log_name, new_id, tree_name
from lakeservice.storage.objects import Objects
from lakeservice.storage.remote import RemoteStore
from schemas.chunks import ArrayStorage, ChunkLayout, Indexed, Part, TableStorage, ZarrParts
from schemas.commit import Append, Applied, Create, Delete, Mutation, Update
from schemas.entry import DataSource, Node, Spec
from schemas.errors import (
    ConflictError,
    CorruptError,
    ErrorKind,
    InvalidRequestError,
    LakeError,
    NotFoundError,
    UnavailableError,
)
from schemas.structures import ArrayStructure, DataType, TableStructure

if TYPE_CHECKING:
    from collections.abc import Callable


def create(path: str, *, parents: bool = False, **fields: Any) -> Create:
    """A new node with an id of its own."""
    return Create(node=Node(path=path, id=new_id(), **fields), parents=parents)


def array(path: str) -> Create:
    """A new array of 4 rows in one part."""
    node_id = new_id()
    layout = ChunkLayout(
        data_type=DataType(kind="u", itemsize=2, endianness="little"), chunk_shape=(2, 3)
    )
    parts = ZarrParts(parts=(Part(name=f"data/{node_id}/0", length=4),))
    source = DataSource(
        mimetype="application/x-zarr", storage=ArrayStorage(layout=layout, location=parts)
    )
    structure = ArrayStructure.from_numpy((4, 3), np.dtype("<u2"), (2, 3))
    return Create(node=Node(path=path, id=node_id, structure=structure, data_sources=(source,)))


class Bench:
    """A lake, a state and a committer on it."""

    def __init__(self, lake: Lake, **options: Any) -> None:
        self.lake = lake
        self.state = MemoryState()
        self.committer = Committer(lake, self.state, **options)

    def commit(self, *mutations: Mutation, **options: Any) -> tuple[Applied, ...]:
        return self.committer.commit(mutations, **options)

    def paths(self) -> list[str]:
        self.committer.follow()
        return sorted(node.path for node in self.state)

    def node(self, path: str) -> Node:
        return self.state.nodes([path])[path]


@pytest.fixture
def bench() -> Bench:
    """A committer on an empty lake in memory."""
    return Bench(Lake.create("memory://"))


def test_a_created_node_is_as_asked_with_its_place_in_time(bench: Bench) -> None:
    asked = create("a", metadata={"z": 1, "a": [1, {"b": None}]}, specs=(Spec("NXsas", "1.0"),))
    (applied,) = bench.commit(asked)
    node = bench.node("a")
    assert applied.node == node
    assert list(node.metadata) == ["z", "a"]
    assert (node.revision, node.version, node.seq) == (1, 1, 1 << 24)
    assert node.created_ns == node.updated_ns == applied.time_ns > 0
    assert (node.metadata, node.specs, node.id) == (
        asked.node.metadata,
        asked.node.specs,
        asked.node.id,
    )


def test_order_of_creation_is_the_order_of_seq(bench: Bench) -> None:
    bench.commit(create("z"), create("m/n", parents=True), create("a"))
    bench.commit(create("b"))
    in_order = sorted(bench.state, key=lambda node: node.seq)
    assert [node.path for node in in_order] == ["z", "m", "m/n", "a", "b"]


def test_all_mutations_of_a_request_or_none(bench: Bench) -> None:
    bench.commit(create("a"))
    with pytest.raises(ConflictError, match="'a' already"):
        bench.commit(create("b"), create("b/c"), Delete(path="b/c"), create("a"))
    assert bench.paths() == ["a"]
    assert bench.state.version == 1


def test_a_request_of_nothing_commits_nothing(bench: Bench) -> None:
    assert bench.commit() == ()
    assert bench.state.version == 0


def test_each_mutation_of_a_request_sees_the_ones_before(bench: Bench) -> None:
    bench.commit(
        create("a"),
        create("a/b"),
        Update(path="a/b", expected_revision=1, metadata={"x": 1}),
        Update(path="a/b", expected_revision=2, metadata={"x": 2}),
        create("a/c"),
        Delete(path="a/c"),
        create("a/c", metadata={"again": True}),
        Delete(path="a/b", expected_revision=3),
    )
    assert bench.paths() == ["a", "a/c"]
    bench.commit(Delete(path="a/c"), Delete(path="a"), create("a"), create("a/d"))
    assert bench.paths() == ["a", "a/d"]
    bench.commit(Delete(path="a", recursive=True), create("a"), Delete(path="a"))
    assert bench.paths() == []


REFUSED: dict[str, tuple[Callable[[], Mutation], type[LakeError], ErrorKind, str]] = {
    "taken": (lambda: create("box"), ConflictError, ErrorKind.PATH_TAKEN, "'box' already"),
    "root": (lambda: create(""), ConflictError, ErrorKind.PATH_TAKEN, "already"),
    "orphan": (lambda: create("x/y/z"), NotFoundError, ErrorKind.NODE_NOT_FOUND, "'x/y' to hold"),
    "under-array": (
        lambda: create("box/stack/x", parents=True),
        ConflictError,
        ErrorKind.PARENT_NOT_CONTAINER,
        "family array",
    ),
    "under-file": (
        lambda: create("file/x"),
        ConflictError,
        ErrorKind.PARENT_NOT_CONTAINER,
        "registered file",
    ),
    "deep-under-file": (
        lambda: create("file/entry/x", parents=True),
        ConflictError,
        ErrorKind.PARENT_NOT_CONTAINER,
        "registered file",
    ),
    "update-nothing": (
        lambda: Update(path="no", metadata={}),
        NotFoundError,
        ErrorKind.NODE_NOT_FOUND,
        "no node 'no'",
    ),
    "append-nothing": (
        lambda: Append(path="no", parts=()),
        NotFoundError,
        ErrorKind.NODE_NOT_FOUND,
        "no node 'no'",
    ),
    "delete-nothing": (
        lambda: Delete(path="no"),
        NotFoundError,
        ErrorKind.NODE_NOT_FOUND,
        "no node 'no'",
    ),
    "revision": (
        lambda: Update(path="box", expected_revision=2, metadata={}),
        ConflictError,
        ErrorKind.REVISION_CONFLICT,
        "at revision 1, not 2",
    ),
    "delete-revision": (
        lambda: Delete(path="box", expected_revision=7, recursive=True),
        ConflictError,
        ErrorKind.REVISION_CONFLICT,
        "at revision 1, not 7",
    ),
    "other-id": (
        lambda: Update(path="box", id="another", metadata={}),
        ConflictError,
        ErrorKind.REVISION_CONFLICT,
        "another node is at 'box'",
    ),
    "not-empty": (
        lambda: Delete(path="box"),
        ConflictError,
        ErrorKind.NOT_EMPTY,
        "has children",
    ),
    "delete-root": (
        lambda: Delete(path="", recursive=True),
        InvalidRequestError,
        ErrorKind.BAD_PATH,
        "root",
    ),
    "append-to-box": (
        lambda: Append(path="box", parts=()),
        InvalidRequestError,
        ErrorKind.WRONG_FAMILY,
        "family container",
    ),
    "foreign-part": (
        lambda: Append(path="box/stack", parts=(Part(name="data/other/1", length=1),)),
        InvalidRequestError,
        ErrorKind.BAD_REQUEST,
        "does not belong",
    ),
    "new-family": (
        lambda: Update(path="box", structure=TableStructure.from_arrow(pa.schema([]))),
        InvalidRequestError,
        ErrorKind.BAD_STRUCTURE,
        "cannot become table",
    ),
    "bad-structure": (
        lambda: create(
            "x",
            structure=ArrayStructure(
                data_type=DataType(kind="u", itemsize=2), shape=(3,), chunks=((1, 1),)
            ),
        ),
        InvalidRequestError,
        ErrorKind.BAD_STRUCTURE,
        "add up to 2, not to 3",
    ),
    "bad-columns": (
        lambda: create(
            "x",
            structure=msgspec.structs.replace(
                TableStructure.from_arrow(pa.schema([("a", pa.int8())])), columns=("b",)
            ),
        ),
        InvalidRequestError,
        ErrorKind.BAD_STRUCTURE,
        "the Arrow schema has",
    ),
    "file-over-children": (
        lambda: Update(
            path="box", data_sources=(DataSource(mimetype="x", tree="data/boxid/tree"),)
        ),
        ConflictError,
        ErrorKind.NOT_EMPTY,
        "cannot become a registered file",
    ),
    "dots": (lambda: create("a/../b"), InvalidRequestError, ErrorKind.BAD_PATH, r"\.\."),
    "bad-id": (
        lambda: Create(node=Node(path="x", id="../up")),
        InvalidRequestError,
        ErrorKind.BAD_REQUEST,
        "no id",
    ),
    "nan": (
        lambda: create("x", metadata={"a": {"b": [1.0, float("nan")]}}),
        InvalidRequestError,
        ErrorKind.BAD_METADATA,
        "'a.b' is nan",
    ),
    "infinity": (
        lambda: Update(path="box", metadata={"c": np.float64("inf")}),
        InvalidRequestError,
        ErrorKind.BAD_METADATA,
        "'c' is inf",
    ),
    "object": (
        lambda: create("x", metadata={"a": object()}),
        InvalidRequestError,
        ErrorKind.BAD_METADATA,
        "object",
    ),
    "surrogate": (
        lambda: create("x", metadata={"a": "\ud800"}),
        InvalidRequestError,
        ErrorKind.BAD_METADATA,
        "JSON",
    ),
    "wrong-type": (
        lambda: create("x", revision="one"),
        InvalidRequestError,
        ErrorKind.BAD_REQUEST,
        "malformed",
    ),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_done_is_refused_by_kind_and_changes_nothing(
    bench: Bench, case: tuple[Callable[[], Mutation], type[LakeError], ErrorKind, str]
) -> None:
    make, error, kind, message = case
    bench.commit(
        Create(node=Node(path="box", id="boxid")),
        array("box/stack"),
        Create(
            node=Node(
                path="file",
                id="fileid",
                data_sources=(DataSource(mimetype="application/x-hdf5", tree=tree_name("fileid")),),
            )
        ),
    )
    before = list(bench.state)
    with pytest.raises(error, match=message) as caught:
        bench.commit(make())
    assert caught.value.kind is kind
    assert list(bench.state) == before
    assert bench.lake.log.head() == 1


@pytest.mark.parametrize(
    "source",
    [
        DataSource(mimetype="x", storage=TableStorage(parts=(Part(name="../x", length=1),))),
        DataSource(
            mimetype="x", storage=TableStorage(parts=(Part(name="data/mine/../o", length=1),))
        ),
        DataSource(mimetype="x", tree="data/other/tree"),
        DataSource(
            mimetype="x",
            storage=ArrayStorage(
                layout=ChunkLayout(data_type=DataType(kind="u", itemsize=1), chunk_shape=(1,)),
                location=Indexed(index="lake.json", first=0, count=1),
            ),
        ),
    ],
    ids=["outside", "dots", "tree", "index"],
)
def test_an_entry_cannot_refer_to_objects_that_are_not_its_own(
    bench: Bench, source: DataSource
) -> None:
    with pytest.raises(InvalidRequestError, match="does not belong to the node with id 'mine'"):
        bench.commit(Create(node=Node(path="a", id="mine", data_sources=(source,))))


def test_metadata_is_kept_as_every_reader_of_the_log_sees_it(bench: Bench) -> None:
    noon = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)
    metadata = {"tuple": (1, 2), "number": np.int16(3), "at": noon, "raw": b"ab", 5: "key"}
    bench.commit(create("a", metadata=metadata))
    expected = {
        "tuple": [1, 2],
        "number": 3,
        "at": "2026-01-02T12:00:00Z",
        "raw": "YWI=",
        "5": "key",
    }
    assert bench.node("a").metadata == expected
    assert Bench(bench.lake).paths() == ["a"]


def test_paths_are_cleaned(bench: Bench) -> None:
    bench.commit(create("//a/"), create("/a//b"))
    bench.commit(Update(path="a/b/", metadata={"x": 1}))
    assert bench.paths() == ["a", "a/b"]
    assert bench.node("a/b").metadata == {"x": 1}


def test_missing_parents_are_made_once(bench: Bench) -> None:
    applied = bench.commit(create("a/b/c", parents=True), create("a/b/d", parents=True))
    assert [(line.op, line.path) for line in applied] == [
        ("create", "a"),
        ("create", "a/b"),
        ("create", "a/b/c"),
        ("create", "a/b/d"),
    ]
    assert len({node.id for node in bench.state}) == 4


def test_the_root_has_metadata_once_somebody_gives_it_some(bench: Bench) -> None:
    bench.commit(Update(path="", expected_revision=1, metadata={"beamline": "P07"}))
    bench.commit(create("a"), Update(path="", expected_revision=2, metadata={"beamline": "P08"}))
    root = bench.node("")
    assert (root.id, root.revision, root.metadata) == ("root", 3, {"beamline": "P08"})
    assert Bench(bench.lake).paths() == ["", "a"]


def test_an_update_changes_only_what_it_gives(bench: Bench) -> None:
    bench.commit(create("a", metadata={"x": 1}, specs=(Spec("s"),), access_tags=("t",)))
    bench.commit(Update(path="a", specs=()))
    node = bench.node("a")
    assert (node.metadata, node.specs, node.access_tags) == ({"x": 1}, (), ("t",))
    bench.commit(Update(path="a", metadata={}))
    assert bench.node("a").metadata == {}
    assert (bench.node("a").revision, bench.node("a").version) == (3, 3)


def test_appends_of_several_writers_do_not_conflict(bench: Bench) -> None:
    bench.commit(array("a"))
    node_id = bench.node("a").id
    other = Bench(bench.lake)
    for number, writer in enumerate([bench, other, bench, other, other], start=1):
        part = Part(name=f"data/{node_id}/{number}", length=number)
        (line,) = writer.commit(Append(path="a", id=node_id, parts=(part,)))
        assert (line.op, line.node, line.parts) == ("append", None, (part,))
    bench.committer.follow()
    structure = bench.node("a").structure
    assert isinstance(structure, ArrayStructure)
    assert structure.explicit_chunks()[0] == (2, 2, 1, 2, 2, 1, 2, 2, 2, 2, 1)
    assert bench.node("a").revision == 6


def test_an_array_takes_no_empty_parts(bench: Bench) -> None:
    bench.commit(array("a"))
    part = Part(name=f"data/{bench.node('a').id}/1", length=0)
    with pytest.raises(InvalidRequestError, match="a part of 0 rows"):
        bench.commit(Append(path="a", parts=(part,)))


def test_a_committer_that_lags_behind_validates_against_the_newest_state(bench: Bench) -> None:
    other = Bench(bench.lake)
    bench.commit(create("a"), create("b"))
    with pytest.raises(ConflictError, match="'a' already"):
        other.commit(create("a"))
    bench.commit(Update(path="a", metadata={"x": 1}))
    with pytest.raises(ConflictError, match="at revision 2, not 1"):
        other.commit(Update(path="a", expected_revision=1, metadata={}))
    bench.commit(Delete(path="b"))
    other.commit(create("b"))
    assert other.paths() == bench.paths() == ["a", "b"]


def test_following_applies_what_others_did_and_nothing_twice(bench: Bench) -> None:
    other = Bench(bench.lake)
    assert other.committer.follow() == 0
    bench.commit(create("a"))
    bench.commit(create("b"))
    assert other.committer.follow() == 2
    assert other.committer.follow() == 2
    assert other.paths() == ["a", "b"]


def test_a_repeated_request_gets_its_first_answer_anywhere(bench: Bench) -> None:
    request: list[Mutation] = [create("a/b", parents=True), Update(path="a/b", metadata={"x": 1})]
    first = bench.commit(*request, key="k")
    assert bench.commit(*request, key="k") == first
    assert Bench(bench.lake).commit(*request, key="k") == first
    bench.commit(Delete(path="a", recursive=True))
    assert Bench(bench.lake).commit(*request, key="k") == first
    assert bench.paths() == []


def test_a_repeated_request_may_carry_other_fresh_ids(bench: Bench) -> None:
    first = bench.commit(array("a"), key="k")
    assert bench.commit(array("a"), key="k") == first
    assert fingerprint_of([array("a")]) == fingerprint_of([array("a")])
    assert fingerprint_of([array("a")]) != fingerprint_of([array("b")])


@pytest.mark.parametrize(
    "again",
    [
        {"mutations": [create("b")]},
        {"mutations": [create("a", metadata={"x": 1})]},
        {"mutations": [create("a"), create("b")]},
        {"mutations": [create("a")], "principal": "eve"},
        {"mutations": [create("a")], "fingerprint": "given"},
    ],
)
def test_a_key_of_another_request_is_refused(bench: Bench, again: dict[str, Any]) -> None:
    bench.commit(create("a"), key="k", principal="ann")
    options = {"principal": "ann"} | again
    with pytest.raises(ConflictError, match="'k' belongs to another request") as caught:
        Bench(bench.lake).commit(*options.pop("mutations"), key="k", **options)
    assert caught.value.kind is ErrorKind.KEY_REUSED


def test_a_refused_request_does_not_use_up_its_key(bench: Bench) -> None:
    with pytest.raises(NotFoundError):
        bench.commit(create("a/b"), key="k")
    bench.commit(create("a"))
    assert len(bench.commit(create("a/b"), key="k")) == 1


def test_one_key_sent_by_many_at_once_is_done_once() -> None:
    bench = Bench(Lake.create("memory://"), window_s=0.02)
    answers: list[tuple[Applied, ...]] = []

    def send() -> None:
        answers.append(bench.commit(create("a"), key="k"))

    run_together([send] * 8)
    assert len(answers) == 8
    assert len({line for answer in answers for line in [msgspec.json.encode(answer)]}) == 1
    assert bench.lake.log.head() == 1


def run_together(calls: list[Callable[[], object]]) -> None:
    """Run calls in a thread each."""
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_requests_that_wait_share_a_commit_and_each_gets_its_own_answer() -> None:
    bench = Bench(Lake.create("memory://"), window_s=0.2)
    outcomes: dict[int, tuple[Applied, ...] | LakeError] = {}

    def send(number: int) -> None:
        try:
            outcomes[number] = bench.commit(create(f"n{number // 2}"), principal=str(number))
        except LakeError as error:
            outcomes[number] = error

    run_together([partial(send, number) for number in range(16)])
    assert bench.lake.log.head() <= 3
    assert bench.paths() == sorted(f"n{number}" for number in range(8))
    refused = [one for one in outcomes.values() if isinstance(one, LakeError)]
    assert [error.kind for error in refused] == [ErrorKind.PATH_TAKEN] * 8
    commit = bench.lake.log.read(1)
    assert commit is not None
    for line in commit.applied:
        number = int(commit.requests[line.request].principal or "")
        assert outcomes[number] == (line,)


def test_a_commit_takes_no_more_than_allowed_but_any_one_request() -> None:
    bench = Bench(Lake.create("memory://"), window_s=0.2, max_mutations=10)

    def send(number: int) -> None:
        bench.commit(*[create(f"n{number}-{k}") for k in range(4)])

    run_together([partial(send, number) for number in range(6)])
    bench.commit(*[create(f"big-{k}") for k in range(50)])
    sizes = [len(commit.applied) for commit in bench.lake.log.follow(0)]
    assert sum(sizes) == 74
    assert sizes[-1] == 50
    assert max(sizes[:-1]) <= 8


def test_eight_threads_on_disk_lose_and_double_nothing(tmp_path: Any) -> None:
    bench = Bench(Lake.create(str(tmp_path)))
    acknowledged: list[str] = []

    def send(number: int) -> None:
        for k in range(50):
            (line,) = bench.commit(create(f"n{number}-{k}"))
            acknowledged.append(line.path)
            assert bench.state.nodes([line.path])

    run_together([partial(send, number) for number in range(8)])
    expected = sorted(f"n{number}-{k}" for number in range(8) for k in range(50))
    assert sorted(acknowledged) == expected
    assert bench.paths() == expected
    logged = [line.path for commit in bench.lake.log.follow(0) for line in commit.applied]
    assert sorted(logged) == expected


def test_readers_follow_while_writers_commit() -> None:
    lake = Lake.create("memory://")
    writers = [Bench(lake), Bench(lake)]
    done = threading.Event()

    def send(writer: Bench, name: str) -> None:
        for k in range(100):
            writer.commit(create(f"{name}-{k}"))

    def read(writer: Bench) -> None:
        while not done.is_set():
            writer.committer.follow()

    readers = [threading.Thread(target=read, args=(writer,)) for writer in writers]
    for reader in readers:
        reader.start()
    run_together([lambda: send(writers[0], "a"), lambda: send(writers[1], "b")])
    done.set()
    for reader in readers:
        reader.join()
    assert len(writers[0].paths()) == 200
    assert by_path(writers[0].state) == by_path(replayed(lake))


def by_path(state: MemoryState) -> dict[str, Node]:
    """The nodes of a state."""
    return {node.path: node for node in state}


def replayed(lake: Lake) -> MemoryState:
    """A state made from the log alone."""
    state = MemoryState()
    state.apply(list(lake.log.follow(0)))
    return state


def test_a_closed_committer_refuses_and_finishes_what_it_has() -> None:
    bench = Bench(Lake.create("memory://"), window_s=0.1)
    thread = threading.Thread(target=lambda: bench.commit(create("a")))
    thread.start()
    while not bench.committer._leading:
        time.sleep(0.001)
    bench.committer.close()
    assert bench.lake.log.head() == 1
    thread.join()
    with pytest.raises(UnavailableError, match="shutting down") as caught:
        bench.commit(create("b"))
    assert caught.value.kind is ErrorKind.BUSY


class Interrupted(BaseException):
    """What a signal handler raises."""


def test_an_interrupted_waiter_leaves_nobody_waiting() -> None:
    bench = Bench(Lake.create("memory://"), window_s=0.2)
    leader = threading.Thread(target=lambda: bench.commit(create("a")))

    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        leader.start()
        while not bench.committer._leading:
            time.sleep(0.001)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(Interrupted):
            bench.commit(create("b"))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    leader.join()
    bench.commit(create("c"))
    assert bench.paths() == ["a", "c"]


def test_catching_up_takes_many_commits_at_once(bench: Bench) -> None:
    for number in range(5):
        bench.commit(*[create(f"n{number}-{k}") for k in range(4000)])
    other = Bench(bench.lake)
    assert other.committer.follow() == 5
    assert by_path(other.state) == by_path(bench.state)


def test_a_damaged_log_stops_writers_and_is_not_written_over(tmp_path: Any) -> None:
    bench = Bench(Lake.create(str(tmp_path)))
    bench.commit(create("a"))
    (tmp_path / log_name(2)).write_bytes(b"damaged")
    with pytest.raises(CorruptError, match="version 2"):
        bench.commit(create("b"))
    assert (tmp_path / log_name(2)).read_bytes() == b"damaged"


class FailingStore(RemoteStore):
    """A store in memory that fails when told to, before or after it has written."""

    failing = ""

    def put_if_absent(self, name: str, payload: bytes) -> bool:
        if self.failing == "full":
            raise UnavailableError(ErrorKind.STORE_FULL, "full")
        if self.failing == "before":
            raise UnavailableError(ErrorKind.STORE_UNAVAILABLE, "timed out")
        won = super().put_if_absent(name, payload)
        if self.failing in ("after", "silent"):
            raise UnavailableError(ErrorKind.STORE_UNAVAILABLE, "timed out")
        return won

    def get(self, name: str) -> bytes | None:
        if self.failing == "silent":
            raise UnavailableError(ErrorKind.STORE_UNAVAILABLE, "timed out")
        return super().get(name)


@pytest.fixture
def failing() -> tuple[Bench, FailingStore]:
    """A committer on a store whose failures can be switched on."""
    store = FailingStore.open("memory://")
    made = Lake.create("memory://")
    lake = Lake(Objects(store, "memory://"), made.file)
    return Bench(lake), store


@pytest.mark.parametrize("how", ["before", "full"])
def test_a_store_that_failed_is_tried_again_by_the_next_request(
    failing: tuple[Bench, FailingStore], how: str
) -> None:
    bench, store = failing
    bench.commit(create("a"))
    store.failing = how
    with pytest.raises(UnavailableError):
        bench.commit(create("b"), key="k")
    store.failing = ""
    assert bench.paths() == ["a"]
    bench.commit(create("b"), key="k")
    assert bench.paths() == ["a", "b"]
    assert bench.lake.log.head() == 2


def test_a_commit_whose_answer_was_lost_is_acknowledged(
    failing: tuple[Bench, FailingStore],
) -> None:
    bench, store = failing
    store.failing = "after"
    bench.commit(create("a"))
    assert bench.paths() == ["a"]
    assert bench.lake.log.head() == 1


def test_a_commit_that_nobody_knows_of_is_found_again_by_its_key(
    failing: tuple[Bench, FailingStore],
) -> None:
    bench, store = failing
    store.failing = "silent"
    with pytest.raises(UnavailableError, match="same idempotency key"):
        bench.commit(create("a"), key="k")
    store.failing = ""
    (line,) = bench.commit(create("a"), key="k")
    assert line.version == 1
    assert bench.lake.log.head() == 1
