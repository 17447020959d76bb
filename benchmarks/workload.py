"""Reads one dataset again and again, for a profile of the client or the server.

``python -m benchmarks.workload PLAN`` does what ``work`` in the plan says. It prints ``ready`` when
it has done so once, goes on until it is terminated, and prints how fast it was.
"""

from __future__ import annotations

import itertools
import json
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.fast.ours import EXAMPLES, STACK, connect, touched
from benchmarks.fast.small import places
from benchmarks.fast.tables import TABLE

if TYPE_CHECKING:
    from collections.abc import Callable


def stack(plan: dict[str, Any], delivery: str) -> Callable[[], int]:
    """Read the converted stack whole."""
    node = connect(plan)[STACK]
    out = touched(node.shape, node.dtype)
    return lambda: int(node.read(out=out, delivery=delivery).nbytes)


def frames(plan: dict[str, Any], delivery: str) -> Callable[[], int]:
    """Read single frames at random."""
    node = connect(plan)[STACK]
    numbers = itertools.cycle(plan["random_frames"])
    return lambda: int(node.read(next(numbers), delivery=delivery).nbytes)


def slices(plan: dict[str, Any], delivery: str) -> Callable[[], int]:
    """Read 100 × 100 pixels here and there."""
    node = connect(plan)[STACK]
    chosen = itertools.cycle(places(plan))
    return lambda: int(node.read(next(chosen), delivery=delivery).nbytes)


def take(plan: dict[str, Any], delivery: str) -> Callable[[], int]:
    """Read all the small slices in one call."""
    node = connect(plan)[STACK]
    chosen = places(plan)
    return lambda: sum(part.nbytes for part in node.take(chosen, delivery=delivery))


def table(plan: dict[str, Any], delivery: str) -> Callable[[], int]:
    """Read the long table whole."""
    node = connect(plan)[TABLE]
    return lambda: int(node.to_arrow(delivery=delivery).nbytes)


def loader(plan: dict[str, Any], delivery: str) -> Callable[[], int]:
    """Go through an epoch of shuffled frames."""
    if delivery != "auto":
        raise SystemExit("the loader takes what is fastest: DELIVERY=auto")
    batches = connect(plan).loader([EXAMPLES], batch_size=64, shuffle=True, seed=1)
    return lambda: sum(np.asarray(batch.data).nbytes for batch in batches)


WORKS = {
    "stack": stack,
    "frames": frames,
    "slices": slices,
    "take": take,
    "table": table,
    "loader": loader,
}


def main(plan: dict[str, Any]) -> None:
    """Work until there is a SIGTERM."""
    work = WORKS[plan["work"]["data"]](plan, plan["work"]["delivery"])
    work()
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    size = 0
    began = time.perf_counter()
    while not over.is_set():
        size += work()
    taken = time.perf_counter() - began
    sys.stdout.write(json.dumps({"gb_s": size / taken / 1e9, "seconds": taken}) + "\n")


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
