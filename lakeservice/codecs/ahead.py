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
PROCESS_BYTES = 128 << 20
"""Results that wait to be taken hold about so many bytes, in the whole process."""


class _Room:
    """Bytes that are held, by all streams of this process."""

    shared: _Room

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = 0

    def take(self, size: int, *, anyway: bool) -> bool:
        """Tell whether there is room for so many bytes, and take it."""
        with self._lock:
            if not anyway and self._held + size > PROCESS_BYTES:
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
        About how many bytes a result has, and what makes it. One job at least is
        under way whatever its size, more as far as `PROCESS_BYTES` allows.
    """
    engine, room = Engine.shared(), _Room.shared
    most = engine.threads + 1
    waiting: deque[tuple[int, Callable[[], T], Future[T]]] = deque()
    source = iter(jobs)
    following = next(source, None)
    try:
        while waiting or following is not None:
            while following is not None and len(waiting) < most:
                size, job = following
                if not room.take(size, anyway=not waiting):
                    break
                waiting.append((size, job, engine.submit(job)))
                following = next(source, None)
            size, job, future = waiting.popleft()
            try:
                result = finished(job, future)
            finally:
                room.give(size)
            yield result
    finally:
        for size, _, future in waiting:
            _end(future)
            room.give(size)


def one_ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield the items of an iterator; a thread works on the next one meanwhile."""
    engine = Engine.shared()

    def step() -> list[T]:
        return [item for item in (next(items, _END),) if item is not _END]

    future = engine.submit(step)
    try:
        while found := finished(step, future):
            future = engine.submit(step)
            yield found[0]
    finally:
        _end(future)


_END: Any = object()


def finished(job: Callable[[], T], future: Future[T]) -> T:
    """Return the result of a job; one that no thread has begun is done here."""
    return job() if future.cancel() else future.result()


def _end(future: Future[Any]) -> None:
    if not future.cancel():
        future.exception()
