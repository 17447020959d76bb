"""Clocks for both clients; imports nothing of either server."""

from __future__ import annotations

import statistics
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Value = float | int | str
Values = dict[str, Value]
"""What one measurement found, by name."""


def seconds(work: Callable[[], object]) -> float:
    """Run the work once and return how long it took."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def median_seconds(works: Iterable[Callable[[], object]]) -> float:
    """Run each and return the median time; the first is a warm-up and does not count."""
    return statistics.median([seconds(work) for work in works][1:])


def together(works: Sequence[Callable[[], object]]) -> float:
    """Run all at once, each in a thread, and return the time until the last has ended."""
    failures: list[Exception] = []

    def guarded(work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = time.perf_counter() - began
    if failures:
        raise failures[0]
    return taken
