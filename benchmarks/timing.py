"""Clocks for both clients; imports nothing of either server."""

from __future__ import annotations

import json
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

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


def contest(works: Mapping[str, Callable[[], object]], rounds: int = 3) -> dict[str, float]:
    """Run each in turn and return the shortest time of each, in seconds.

    The order is turned around every other round, so that nobody always follows the same one.
    """
    best: dict[str, float] = {}
    for turn in range(rounds):
        for name in list(works)[:: -1 if turn % 2 else 1]:
            taken = seconds(works[name])
            best[name] = min(taken, best.get(name, taken))
    return best


def answer(measurements: Mapping[str, Any]) -> None:
    """Run the measurement that the command line names, and print what it found as JSON."""
    plan = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    sys.stdout.write("\n" + json.dumps(measurements[sys.argv[1]](plan)) + "\n")
