"""Many clients at once, each a process that reads its own part of a stack.

A client prints ``ready`` when it is connected, waits for a line, reads, and prints one JSON
object; so that nobody's start is measured. ``python -m benchmarks.fast.crowd PLAN`` is one of
ours, in what the plan's ``crowd`` says; `benchmarks.fast.peer` has Tiled's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin  # noqa: F401  (its filters)
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.servers import Bench
    from benchmarks.timing import Values

BLOCK_BYTES = 64 << 20
"""What one client holds of the stack at a time."""
PASSES = 3
"""How often a client of ours reads its part: one pass is over too soon."""


def share(rows: int, number: int, count: int) -> range:
    """Return the rows of one client."""
    return range(rows * number // count, rows * (number + 1) // count)


def take_part(work: Callable[[], int]) -> None:
    """Wait until all are ready, do the work, tell its bytes and when it began and ended."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    if not sys.stdin.readline():
        return  # another one has failed
    began = time.monotonic()  # one clock for all processes
    size = work()
    told = {"began": began, "ended": time.monotonic(), "bytes": size}
    sys.stdout.write(json.dumps(told) + "\n")


def gather(bench: Bench, command: Sequence[str], count: int, **crowd: Any) -> Values:
    """Run so many clients at once and return the sum of their rates; nothing where one fails.

    Parameters
    ----------
    command
        Program and arguments of a client; a file with its plan is added.
    crowd
        What the plan tells of the crowd, besides the client's number.
    """
    told = []
    with ExitStack() as stack:
        clients = []
        for number in range(count):
            plan = bench.folder / f"plan-{number}.json"
            of_client = {"number": number, "count": count, **crowd}
            plan.write_text(json.dumps(bench.plan | {"crowd": of_client}), encoding="utf-8")
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            client = subprocess.Popen([*command, str(plan)], text=True, **pipes)  # type: ignore[call-overload]
            clients.append(stack.enter_context(client))
        if all(_is_ready(client) for client in clients):
            for client in clients:
                client.stdin.write("go\n")
                client.stdin.flush()
            ends = [client.stdout.read().splitlines() for client in clients]
            told = [json.loads(lines[-1]) for lines in ends if lines]
        for client in clients:
            client.stdin.close()
    if len(told) < count:
        bench.fail(f"{count} clients, {crowd}")
        return {}
    taken = max(each["ended"] for each in told) - min(each["began"] for each in told)
    size = sum(each["bytes"] for each in told)
    return {"gb_s": size / taken / 1e9, "bytes": size, "seconds": taken}


def _is_ready(client: Any) -> bool:
    """Wait for a client's word; False where it has ended without."""
    while line := client.stdout.readline():
        if line == "ready\n":
            return True
    return False


def main(plan: dict[str, Any]) -> None:
    """Read one client's part, block by block into the same memory."""
    from benchmarks.fast.ours import INSIDE, STACK, connect, touched  # Tiled's side has no client

    crowd = plan["crowd"]
    node = connect(plan)[STACK]
    mine = share(len(node), crowd["number"], crowd["count"])
    step = max(1, BLOCK_BYTES // (node.nbytes // len(node)))
    out = touched((min(step, len(mine)), *node.shape[1:]), node.dtype)

    def block(start: int) -> int:
        stop = min(start + step, mine.stop)
        part = out[: stop - start]
        node.read(slice(start, stop), part, crowd["delivery"])
        return part.nbytes

    def work() -> int:
        starts = range(mine.start, mine.stop, step)
        return sum(block(start) for _ in range(PASSES) for start in starts)

    seen = out[: block(mine.start) // (node.nbytes // len(node))]
    with h5py.File(plan["stack_h5"]) as file:
        if len(seen) and not np.array_equal(seen[-1], file[INSIDE][mine.start + len(seen) - 1]):
            raise SystemExit(f"frame {mine.start + len(seen) - 1} differs")
    take_part(work)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
