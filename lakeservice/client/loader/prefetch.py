"""Making things ahead of who takes them: in order, a few at a time, in threads."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable


class Prefetch:
    """An iterator over ``make(n)`` for consecutive numbers, some of which are made ahead.

    A failure is raised where its number would have come, and the next call tries that
    number again.

    Parameters
    ----------
    make
        Called in threads; with ``ahead`` of 0, in the caller's.
    start, stop
        First number, and the one after the last.
    ahead
        Most numbers that are made, or being made, before they are asked for.
    threads
        How many threads make them.
    """

    def __init__(
        self, make: Callable[[int], Any], start: int, stop: int, *, ahead: int, threads: int
    ) -> None:
        self._make = make
        self.next = start
        """Number that is handed out next."""
        self._submitted = start
        self._stop = stop
        self._ahead = ahead
        self._waiting: deque[Future[Any]] = deque()
        self._pool: ThreadPoolExecutor | None = None
        if ahead and start < stop:
            self._pool = ThreadPoolExecutor(min(ahead, threads), thread_name_prefix="lake-loader")

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if self.next >= self._stop:
            self.stop()
            raise StopIteration
        pool = self._pool
        if pool is None:
            made = self._make(self.next)
        else:
            self._submit(pool, self._ahead)
            try:
                made = self._waiting[0].result()
            except BaseException:
                if self._waiting[0].done():  # else the wait was interrupted, and it goes on
                    self._begin_again()
                raise
            self._waiting.popleft()
            self._submit(pool, self._ahead)
        self.next += 1
        return made

    def _submit(self, pool: ThreadPoolExecutor, most: int) -> None:
        while len(self._waiting) < most and self._submitted < self._stop:
            self._waiting.append(pool.submit(self._make, self._submitted))
            self._submitted += 1

    def _begin_again(self) -> None:
        """Forget what was made ahead: it may have failed for the same reason."""
        for each in self._waiting:
            each.cancel()
        self._waiting.clear()
        self._submitted = self.next

    def stop(self) -> None:
        """Make nothing more; the threads end when they have made what they are at."""
        self._stop = self.next
        self._waiting.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Make nothing more; the threads are gone when this returns."""
        self.stop()
        if self._pool is not None:
            self._pool.shutdown()
