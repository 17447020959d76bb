"""Events of nodes: counted from the log, kept in bounds, told to every server."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from lakeservice.config import Limits
from lakeservice.service.events import Delivery
from lakeservice.service.service import Service
from lakeservice.service.writing import Draft
from schemas.commit import Delete, Update
from schemas.errors import ConflictError, ErrorKind, InvalidRequestError, NotFoundError
from schemas.structures import ArrayStructure, ContainerStructure, DataType

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lakeservice.service.events import Event
    from lakeservice.service.live import Subscription

SHAPE = (4, 3)
ARRAY = ArrayStructure(data_type=DataType.from_numpy(np.dtype("u2")), shape=SHAPE, chunks=SHAPE)


@pytest.fixture
def lake(tmp_path: Path) -> str:
    return str(tmp_path / "lake")


@pytest.fixture
def service(lake: str) -> Iterator[Service]:
    with Service.open(lake, create=True) as opened:
        yield opened


def create(service: Service, path: str, structure: ArrayStructure | ContainerStructure) -> None:
    service.create_empty(Draft(path=path, structure=structure, metadata={}))


def write(service: Service, path: str, value: int = 1, note: Delivery | None = None) -> None:
    node = service.describe(path)
    update = service.changes.replace_array(node, [np.full(SHAPE, value, "u2")])
    service.commit([update], trusted=True, note=note)


def listen(service: Service, path: str, start: int | None = None) -> Subscription:
    subscription = service.following.listen(service.describe(path), lambda: None)
    if start is not None:
        subscription.seek(start)
    return subscription


def told(subscription: Subscription) -> list[Event]:
    events = []
    while (event := subscription.take()) is not None:
        events.append(event)
    return events


def test_the_first_data_written_is_update_1_and_the_next_is_2(service: Service) -> None:
    create(service, "a", ARRAY)
    subscription = listen(service, "a")
    write(service, "a")
    write(service, "a")
    assert [event.sequence for event in told(subscription)] == [1, 2]


def test_who_comes_later_gets_what_was_before_only_where_asked(service: Service) -> None:
    create(service, "a", ARRAY)
    for value in range(4):
        write(service, "a", value)
    assert told(listen(service, "a")) == []
    assert [event.sequence for event in told(listen(service, "a", 0))] == [1, 2, 3, 4]
    assert [event.sequence for event in told(listen(service, "a", 3))] == [3, 4]


def test_a_payload_arrives_with_the_commit_that_it_belongs_to(service: Service) -> None:
    create(service, "a", ARRAY)
    subscription = listen(service, "a")
    threads = [
        threading.Thread(target=write, args=(service, "a", n, Delivery(payload=b"%d" % n)))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = told(subscription)
    payloads = {event.delivery.payload for event in events if event.delivery}
    assert payloads == {b"%d" % n for n in range(8)}
    assert [event.revision for event in events] == list(range(2, 10))


def test_a_write_that_is_refused_is_not_announced(service: Service) -> None:
    create(service, "a", ARRAY)
    on_root, on_array = listen(service, ""), listen(service, "a")
    with pytest.raises(ConflictError):
        service.commit([Update(path="a", expected_revision=99, metadata={})])
    with pytest.raises(ConflictError):
        create(service, "a", ARRAY)
    assert told(on_root) == []
    assert told(on_array) == []


def test_a_container_hears_of_its_children_and_of_their_metadata(service: Service) -> None:
    create(service, "runs", ContainerStructure())
    subscription = listen(service, "runs")
    create(service, "runs/a", ARRAY)
    service.commit([Update(path="runs/a", metadata={"colour": "blue"})])
    write(service, "runs/a")
    created, described = told(subscription)
    assert (created.kind, described.kind) == ("created", "described")
    assert created.node is not None
    assert created.node.name == "a"
    assert described.node is not None
    assert described.node.metadata == {"colour": "blue"}
    assert created.sequence < described.sequence


def test_a_node_at_the_path_of_a_deleted_one_has_none_of_its_updates(service: Service) -> None:
    create(service, "a", ARRAY)
    write(service, "a")
    before = listen(service, "a")
    service.commit([Delete(path="a")])
    create(service, "a", ARRAY)
    assert [event.kind for event in told(before)] == ["deleted"]
    assert told(listen(service, "a", 0)) == []


def test_deleting_a_container_ends_the_streams_below_it(service: Service) -> None:
    create(service, "runs", ContainerStructure())
    create(service, "runs/a", ARRAY)
    create(service, "runs-2", ContainerStructure())
    below, beside = listen(service, "runs/a"), listen(service, "runs-2")
    service.commit([Delete(path="runs", recursive=True)])
    assert [event.kind for event in told(below)] == ["deleted"]
    assert told(beside) == []


def test_a_stream_that_is_closed_is_ended_for_who_listens_and_for_who_replays(
    service: Service,
) -> None:
    create(service, "a", ARRAY)
    write(service, "a")
    subscription = listen(service, "a")
    service.commit([Update(path="a", ends_stream=True)])
    assert [event.kind for event in told(subscription)] == ["ended"]
    assert [event.kind for event in told(listen(service, "a", 0))] == ["written", "ended"]


def test_all_servers_of_a_lake_count_alike_and_go_on_after_a_restart(
    service: Service, lake: str
) -> None:
    create(service, "a", ARRAY)
    create(service, "runs", ContainerStructure())
    for value in range(3):
        write(service, "a", value)
    with Service.open(lake) as other:
        here, there = listen(service, "a"), listen(other, "a")
        root_here, root_there = listen(service, ""), listen(other, "")
        write(service, "a")
        write(other, "a")
        create(other, "b", ARRAY)
        service.refresh()
        other.refresh()
        assert [e.sequence for e in told(here)] == [e.sequence for e in told(there)] == [4, 5]
        assert told(root_here)[-1].sequence == told(root_there)[-1].sequence


def test_a_write_at_one_server_reaches_who_listens_at_another(service: Service, lake: str) -> None:
    create(service, "a", ARRAY)
    with Service.open(lake) as other:
        woken = threading.Event()
        subscription = other.following.listen(other.describe("a"), woken.set)
        write(service, "a")
        assert woken.wait(30)
        (event,) = told(subscription)
        assert (event.sequence, event.delivery) == (1, None)


def test_missing_updates_are_told_to_who_asks_for_them(service: Service, lake: str) -> None:
    create(service, "a", ARRAY)
    write(service, "a")
    write(service, "a")
    with Service.open(lake) as later:
        subscription = listen(later, "a")
        assert subscription.window == (3, 2)
        assert subscription.seek(1)
        assert not subscription.seek(0)
        assert not subscription.seek(3)


def test_what_is_kept_stays_in_bounds_and_a_slow_reader_is_told_what_it_lost(lake: str) -> None:
    limits = Limits(live_bytes=100_000)
    with Service.open(lake, create=True, limits=limits) as service:
        create(service, "a", ARRAY)
        slow, quick = listen(service, "a"), listen(service, "a")
        node = service.describe("a")
        for _ in range(50):
            service.live.announce(node, [Delivery(payload=b"x" * 10_000)])
            assert quick.take() is not None
            assert service.live.held_bytes <= 100_000
        with pytest.raises(NotFoundError, match="read too late") as caught:
            slow.take()
        assert caught.value.kind is ErrorKind.WINDOW_PASSED
        assert 5 <= len(told(listen(service, "a", 0))) <= 9


def test_what_is_older_than_the_window_is_forgotten(lake: str) -> None:
    with Service.open(lake, create=True, limits=Limits(live_s=0)) as service:
        create(service, "a", ARRAY)
        write(service, "a")
        assert told(listen(service, "a", 0)) == []


def test_a_large_commit_is_kept_in_part_for_nobody_and_whole_for_who_listens(
    service: Service,
) -> None:
    create(service, "bulk", ContainerStructure())
    create(service, "heard", ContainerStructure())
    subscription = listen(service, "heard")
    drafts = [
        service.writer.empty(
            Draft(path=f"{where}/{number:05}", structure=ContainerStructure(), metadata={})
        )
        for where in ("heard", "bulk")
        for number in range(1500)
    ]
    service.commit(drafts, trusted=True)
    assert len(told(subscription)) == 1500
    assert len(told(listen(service, "bulk", 0))) == 1000


def test_what_lies_inside_another_entry_has_no_stream(service: Service) -> None:
    create(service, "a", ARRAY)
    node = service.describe("a")
    inner = msgspec.structs.replace(node, id=f"{node.id}/x", path="a/x")
    with pytest.raises(InvalidRequestError, match="subscribe to that entry"):
        service.live.listen(inner, lambda: None)


def test_data_that_is_not_kept_changes_nothing_and_takes_the_next_number(service: Service) -> None:
    create(service, "a", ARRAY)
    subscription = listen(service, "a")
    before = service.describe("a")
    service.live.announce(before, [Delivery(payload=b"1"), Delivery(payload=b"2")])
    assert service.describe("a") == before
    write(service, "a")
    assert [event.sequence for event in told(subscription)] == [1, 2, 3]


def test_two_servers_that_write_at_once_tell_every_commit_once_and_in_order(
    service: Service, lake: str
) -> None:
    paths = [f"a{number}" for number in range(4)]
    for path in paths:
        create(service, path, ARRAY)
    with Service.open(lake) as other:
        heard = [(listen(service, path), listen(other, path)) for path in paths]
        ended = threading.Event()

        def write_some(at: Service, path: str) -> None:
            for number in range(20):
                note = Delivery(payload=f"{path} {number}".encode())
                at.commit([Update(path=path)], trusted=True, note=note)

        def follow() -> None:
            while not ended.is_set():
                service.refresh()
                other.refresh()

        writers = [
            threading.Thread(target=write_some, args=(other if number % 2 else service, path))
            for number, path in enumerate(paths)
        ]
        follower = threading.Thread(target=follow)
        for thread in (follower, *writers):
            thread.start()
        for thread in writers:
            thread.join()
        ended.set()
        follower.join()
        service.refresh()
        other.refresh()
        for number, (here, there) in enumerate(heard):
            events, elsewhere = told(here), told(there)
            if number % 2:
                events, elsewhere = elsewhere, events
            assert [event.sequence for event in events] == list(range(1, 21))
            assert [event.sequence for event in elsewhere] == list(range(1, 21))
            payloads = [event.delivery.payload for event in events if event.delivery]
            assert payloads == [f"{paths[number]} {n}".encode() for n in range(20)]
            assert [event.delivery for event in elsewhere] == [None] * 20
