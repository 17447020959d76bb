"""What happens to nodes, told to those who listen: kept for a while, in bounded memory."""

from __future__ import annotations

import logging
import threading
import time
from bisect import bisect_right
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lakeservice.service.events import Delivery, Event, EventKind
from schemas.errors import ErrorKind, InvalidRequestError, NotFoundError
from schemas.path import ancestors_of, parent_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from schemas.commit import Applied, Commit
    from schemas.entry import Node

logger = logging.getLogger(__name__)

TOPICS = 20_000
"""Nodes whose events are counted at a time."""
LINES = 1000
"""Of a larger commit only so many lines, the last, are kept for nodes without listeners."""
_POSITION_BITS = 24
_DESCRIPTION = frozenset({"metadata", "specs", "access_tags"})
_DATA = frozenset({"structure", "data_sources"})


@dataclass(slots=True, eq=False)
class Topic:
    """The events of one node."""

    path: str
    container: bool
    last: int
    """Sequence of the newest event."""
    dropped: int
    """Sequence of the newest event that is not kept any more."""
    events: deque[Event] = field(default_factory=deque)
    listeners: set[Subscription] = field(default_factory=set)


class Hub:
    """Events of all nodes; any number of threads may tell and listen.

    It is told of commits in their order. Sequences come from the log, so all servers of
    a lake count alike and go on counting after a restart: the node's revision, less one,
    so that the first data written is 1; for a container, the place of the line in the
    log. Data that is announced and not kept takes the next number, at this server only.

    Parameters
    ----------
    version
        Log version at which it begins.
    window_s
        How long an event is kept, in seconds.
    window_bytes
        Bytes of all events that are kept.
    """

    def __init__(self, version: int, *, window_s: float, window_bytes: int) -> None:
        self._window_ns = int(window_s * 1e9)
        self._window_bytes = window_bytes
        self._lock = threading.Lock()
        self._topics: OrderedDict[str, Topic] = OrderedDict()
        self._below: Counter[str] = Counter()
        self._kept: deque[tuple[int, int, Topic]] = deque()
        self._bytes = 0
        self._forgotten = ((version + 1) << _POSITION_BITS) - 1 if version else 0
        self._listening = 0

    @property
    def held_bytes(self) -> int:
        """About the memory that events take now."""
        return self._bytes

    @property
    def listeners(self) -> int:
        """Subscriptions that are open."""
        return self._listening

    def record(self, commit: Commit, notes: Mapping[int, object]) -> None:
        """Take over a commit that has been applied; a note is the `Delivery` of a request."""
        try:
            self._record(commit, notes)
        except Exception:
            # The commit is made, whatever becomes of those who wait to hear of it.
            logger.exception("commit %d could not be told to subscribers", commit.version)

    def _record(self, commit: Commit, notes: Mapping[int, object]) -> None:
        woken: set[Subscription] = set()
        first_kept = len(commit.applied) - LINES
        with self._lock:
            for position, line in enumerate(commit.applied):
                sequence = commit.version << _POSITION_BITS | position
                if position < first_kept and self._unheard(line, sequence):
                    continue
                note = notes.get(line.request)
                delivery = note if isinstance(note, Delivery) else None
                for topic, event in self._told(line, sequence, delivery):
                    if position >= first_kept or topic.listeners:
                        self._add(topic, event)
                    else:
                        topic.last = topic.dropped = event.sequence
                    woken |= topic.listeners
            self._trim()
        for listener in woken:
            listener.wake()

    def announce(self, node: Node, deliveries: Sequence[Delivery]) -> None:
        """Tell those who listen to a node of data that is not kept."""
        self._check(node)
        with self._lock:
            topic = self._topic(node.path, node.revision - 1)
            for delivery in deliveries:
                event = Event("written", topic.last + 1, time.time_ns(), delivery=delivery)
                self._add(topic, event)
            woken = set(topic.listeners)
            self._trim()
        for listener in woken:
            listener.wake()

    def listen(self, node: Node, wake: Callable[[], None]) -> Subscription:
        """Return a subscription that begins now; `Subscription.close` ends it.

        Parameters
        ----------
        wake
            Called, from any thread, when there may be something to take.

        Raises
        ------
        InvalidRequestError
            ``bad-request``: a node inside a file, or a column of a table, has no stream.
        """
        self._check(node)
        with self._lock:
            container = node.family == "container"
            unseen = self._forgotten if node.seq <= self._forgotten else 0
            past = unseen if container else node.revision - 1
            topic = self._topic(node.path, past, container=container)
            subscription = Subscription(self, topic, wake)
            topic.listeners.add(subscription)
            self._listening += 1
            self._trim()
        return subscription

    def leave(self, subscription: Subscription) -> None:
        """End a subscription; again is harmless."""
        with self._lock:
            if subscription in subscription.topic.listeners:
                subscription.topic.listeners.remove(subscription)
                self._listening -= 1

    def after(self, topic: Topic, cursor: int) -> Event | None:
        """Return the first event of a topic after a sequence; None where there is none.

        Raises
        ------
        NotFoundError
            ``window-passed``: it is not kept any more.
        """
        with self._lock:
            if cursor < topic.dropped:
                raise NotFoundError(
                    ErrorKind.WINDOW_PASSED,
                    f"updates {cursor + 1} to {topic.dropped} were read too late and are gone; "
                    "describe the node and subscribe again",
                )
            if cursor >= topic.last:
                return None
            return topic.events[bisect_right(topic.events, cursor, key=_sequence)]

    def _unheard(self, line: Applied, sequence: int) -> bool:
        """Pass over one of very many new nodes, where nobody listens to their container."""
        if line.op != "create":
            return False
        parent = self._topics.get(parent_of(line.path))
        if parent is None:
            self._forgotten = max(self._forgotten, sequence)
        elif parent.listeners:
            return False
        else:
            parent.last = parent.dropped = sequence
        return True

    def _told(
        self, line: Applied, sequence: int, delivery: Delivery | None
    ) -> list[tuple[Topic, Event]]:
        """Return the events that a line of the log stands for, and whom they concern."""
        if line.op == "delete":
            return self._deleted(line)
        told: list[tuple[Topic, Event]] = []
        changed, container = frozenset(line.changed), False
        if line.node is not None:
            container = line.node.family == "container"
        if line.path and (line.op == "create" or changed & _DESCRIPTION):
            parent = self._topic(parent_of(line.path), self._forgotten, container=True)
            kind: EventKind = "created" if line.op == "create" else "described"
            told.append((parent, Event(kind, sequence, line.time_ns, line.node)))
        if line.op == "create":
            return told
        ended = "stream" in changed
        data = delivery is not None or not changed or bool(changed & _DATA)
        if ended or line.op == "append" or (data and not container):
            past = self._forgotten if container else line.revision - 2
            topic = self._topic(line.path, past, container=container)
            number = sequence if container else max(topic.last + 1, line.revision - 1)
            kind = "ended" if ended else "written"
            event = Event(
                kind, number, line.time_ns, None, delivery, line.parts, revision=line.revision
            )
            told.append((topic, event))
        return told

    def _deleted(self, line: Applied) -> list[tuple[Topic, Event]]:
        gone = [line.path]
        if self._below[line.path]:
            gone += [path for path in self._topics if path.startswith(f"{line.path}/")]
        told = []
        for path in gone:
            topic = self._topics.get(path)
            if topic is not None:
                self._forget(topic)
                told.append((topic, Event("deleted", topic.last + 1, line.time_ns)))
        return told

    def _topic(self, path: str, past: int, *, container: bool = False) -> Topic:
        """Return the topic of a node; one that is new has seen nothing up to ``past``."""
        topic = self._topics.get(path)
        if topic is None:
            topic = self._topics[path] = Topic(path, container, past, past)
            self._below.update(ancestors_of(path))
            if len(self._topics) > TOPICS:
                self._make_room()
        self._topics.move_to_end(path)
        return topic

    def _make_room(self) -> None:
        for topic in self._topics.values():
            if not topic.listeners:
                self._forget(topic)
                if topic.container:
                    self._forgotten = max(self._forgotten, topic.last)
                return

    def _forget(self, topic: Topic) -> None:
        del self._topics[topic.path]
        above = list(ancestors_of(topic.path))
        self._below.subtract(above)
        for path in above:
            if not self._below[path]:
                del self._below[path]

    def _add(self, topic: Topic, event: Event) -> None:
        topic.events.append(event)
        topic.last = event.sequence
        cost = event.cost
        self._kept.append((time.monotonic_ns(), cost, topic))
        self._bytes += cost

    def _trim(self) -> None:
        """Drop the oldest events until all fit into the window."""
        oldest = time.monotonic_ns() - self._window_ns
        while self._kept and (self._bytes > self._window_bytes or self._kept[0][0] < oldest):
            _, cost, topic = self._kept.popleft()
            topic.dropped = max(topic.dropped, topic.events.popleft().sequence)
            self._bytes -= cost

    @staticmethod
    def _check(node: Node) -> None:
        if "/" in node.id:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST,
                f"{node.path!r} lies inside another entry, a file or a table; "
                "subscribe to that entry",
            )


class Subscription:
    """A place in the events of one node; it holds no events itself."""

    def __init__(self, hub: Hub, topic: Topic, wake: Callable[[], None]) -> None:
        self._hub = hub
        self.topic = topic
        self.wake = wake
        self._cursor = topic.last

    @property
    def window(self) -> tuple[int, int]:
        """Sequences of the oldest event that is kept, and of the newest."""
        return self.topic.dropped + 1, self.topic.last

    def seek(self, start: int) -> bool:
        """Begin at a sequence, or as far back as events are kept for 0.

        Returns whether events are missing that were asked for.
        """
        dropped = self.topic.dropped
        self._cursor = min(max(start - 1, dropped), self.topic.last)
        return 0 < start <= dropped

    def take(self) -> Event | None:
        """Return the next event; None where there is none yet.

        Raises
        ------
        NotFoundError
            ``window-passed``: the next one is gone, because this reader was too slow.
        """
        event = self._hub.after(self.topic, self._cursor)
        if event is not None:
            self._cursor = event.sequence
        return event

    def close(self) -> None:
        """Listen no more."""
        self._hub.leave(self)


def _sequence(event: Event) -> int:
    return event.sequence
