"""Threads that decode: many chunks at once, each straight into its place."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lakeservice.codecs.extent import Held
from schemas.errors import CorruptError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from lakeservice.codecs.chain import Chain
    from lakeservice.codecs.grid import Piece
    from lakeservice.codecs.steps import Buffer

MAX_THREADS = 8
FAR_THREADS = 16


class _Feed:
    """Tasks that several threads take one by one; the first failure ends it."""

    def __init__(self, tasks: Iterator[Callable[[], object]]) -> None:
        self._tasks = tasks
        self._lock = threading.Lock()
        self._over = False

    def drain(self) -> None:
        try:
            while (task := self._next()) is not None:
                task()
        except BaseException:
            self._over = True
            raise

    def _next(self) -> Callable[[], object] | None:
        with self._lock:
            return None if self._over else next(self._tasks, None)


class Engine:
    """A pool of threads; codecs release the GIL, so that they really run at once.

    Parameters
    ----------
    threads
        How many; None for one per core, at most `MAX_THREADS`.
    """

    _shared: Engine | None = None
    _far: Engine | None = None
    _guard = threading.Lock()

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or min(MAX_THREADS, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="decode")

    @classmethod
    def shared(cls) -> Engine:
        """Return the engine that this process shares."""
        with cls._guard:
            if cls._shared is None:
                cls._shared = cls()
            return cls._shared

    @classmethod
    def share(cls, threads: int) -> None:
        """Give this process an engine of so many threads: where it is one of several."""
        with cls._guard:
            cls._shared = cls(threads)

    @classmethod
    def shared_far(cls) -> Engine:
        """Return the engine whose threads mostly wait for a store that is not on this disk."""
        with cls._guard:
            if cls._far is None:
                cls._far = cls(FAR_THREADS)
            return cls._far

    @classmethod
    def forget_shared(cls) -> None:
        """Make new engines when next asked for: after a fork, the threads of the old are gone."""
        cls._guard = threading.Lock()
        cls._shared = cls._far = None

    def run(self, tasks: Iterable[Callable[[], object]]) -> None:
        """Run all tasks and return; the calling thread works too.

        Tasks are taken from the iterable as threads get free, so that it may
        be long. After a failure no further task starts, and it is raised here.
        """
        iterator = iter(tasks)
        first = next(iterator, None)
        if first is None:
            return
        second = next(iterator, None)
        if second is None:
            first()
            return
        feed = _Feed(_chain(first, second, iterator))
        helpers = [self._pool.submit(feed.drain) for _ in range(self.threads - 1)]
        try:
            feed.drain()
        finally:
            started = [helper for helper in helpers if not helper.cancel()]
            failures = [failure for helper in started if (failure := helper.exception())]
        if failures:
            raise failures[0]

    def submit(self, task: Callable[[], Any]) -> Future[Any]:
        """Run one task in the background."""
        return self._pool.submit(task)

    def fill(
        self,
        out: NDArray[Any],
        jobs: Iterable[tuple[Piece, Buffer | None, int]],
        chain: Chain,
        path: str = "",
        *,
        alone: bool = False,
    ) -> None:
        """Decode chunks into their places in an array.

        Parameters
        ----------
        out
            Array of the selection's ``kept_shape``.
        jobs
            What a chunk gives, its encoded bytes (None for the fill value), and
            its filter mask.
        path
            Of the node, for errors.
        alone
            Decode in the calling thread: others do so beside it.

        Raises
        ------
        CorruptError
            ``corrupt-chunk``, naming node and chunk.
        """
        tasks = (_job(out, chain, path, *job) for job in jobs)
        if alone:
            for task in tasks:
                task()
        else:
            self.run(tasks)

    def close(self) -> None:
        """End the threads when their tasks are done."""
        self._pool.shutdown()


os.register_at_fork(after_in_child=Engine.forget_shared)


def _chain(
    first: Callable[[], object],
    second: Callable[[], object],
    rest: Iterator[Callable[[], object]],
) -> Iterator[Callable[[], object]]:
    yield first
    yield second
    yield from rest


def _job(
    out: NDArray[Any],
    chain: Chain,
    path: str,
    piece: Piece,
    encoded: Buffer | None,
    filter_mask: int,
) -> Callable[[], None]:
    def task() -> None:
        target = piece.place_in(out)
        if encoded is None:
            chain.fill_into(target)
            return
        with naming(piece.position, path):
            chain.decode_part(
                Held(encoded), piece.shape, piece.source, target, filter_mask=filter_mask
            )

    return task


@contextmanager
def naming(position: tuple[int, ...], path: str = "") -> Iterator[None]:
    """Add a chunk's position, and the path of its node, to the errors that are raised inside."""
    node = f" of {path!r}" if path else ""
    try:
        yield
    except CorruptError as error:
        raise CorruptError(
            error.kind, f"chunk {position}{node} is corrupt: {error.message}"
        ) from error
    except UnavailableError as error:
        raise UnavailableError(
            error.kind, f"chunk {position}{node} cannot be read: {error.message}"
        ) from error
