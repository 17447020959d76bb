"""Work done ahead of whoever takes the results, in order and in bounded memory."""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

from lakeservice.codecs.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

T = TypeVar("T")
PROCESS_BYTES = 64 << 20
"""Results that are made ahead hold about so many bytes, in the whole process."""


class _Room:
    """What all streams of this process share: bytes that are held, and threads.

    The threads are not those of `Engine.shared`: its tasks may read rows, and would wait
    for one another.
    """

    shared: _Room

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = 0
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """Threads, one for each core."""
        with self._lock:
            if self._engine is None:
                self._engine = Engine()
            return self._engine

    def take(self, size: int) -> bool:
        """Tell whether there is room for so many bytes, and take it."""
        with self._lock:
            if self._held + size > PROCESS_BYTES:
                return False
            self._held += size
            return True

    def give(self, size: int) -> None:
        with self._lock:
            self._held -= size


def _new_room() -> None:
    _Room.shared = _Room()


_new_room()
os.register_at_fork(after_in_child=_new_room)


def in_order(jobs: Iterable[tuple[int, Callable[[], T]]]) -> Iterator[T]:
    """Yield the results of jobs in their order, while threads work on those that follow.

    Parameters
    ----------
    jobs
        About how many bytes a result has, and what makes it. Where `PROCESS_BYTES`
        leaves no room, a job is begun when its turn has come.
    """
    room = _Room.shared
    engine = room.engine
    most = engine.threads + 1
    waiting: deque[tuple[int, Future[T]]] = deque()
    source = iter(jobs)
    following = next(source, None)
    try:
        while waiting or following is not None:
            while following is not None and len(waiting) < most:
                size, job = following
                if not room.take(size):
                    break
                waiting.append((size, engine.submit(job)))
                following = next(source, None)
            if waiting:
                size, future = waiting.popleft()
                try:
                    result = future.result()
                finally:
                    room.give(size)
            elif following is not None:
                result = engine.submit(following[1]).result()
                following = next(source, None)
            yield result
            del result  # before the next is made
    finally:
        for size, future in waiting:
            _end(future)
            room.give(size)


def one_ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield the items of an iterator; a thread works on the next one meanwhile."""
    engine = _Room.shared.engine

    def step() -> list[T]:
        return [item for item in (next(items, _END),) if item is not _END]

    future = engine.submit(step)
    try:
        while found := future.result():
            future = engine.submit(step)
            yield found[0]
    finally:
        _end(future)


_END: Any = object()


def _end(future: Future[Any]) -> None:
    if not future.cancel():
        future.exception()
