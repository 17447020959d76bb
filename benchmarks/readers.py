"""Many readers at a time over HTTP, and one who asks for metadata and waits for the answer.

``python -m benchmarks.readers PLAN SECONDS`` prints one JSON object. Readers look at an
answer for a moment before they ask again: without that, 64 of them and the server would
wait for two cores, and the figures would tell of the machine's scheduler.
"""

from __future__ import annotations

import http.client
import json
import multiprocessing
import queue
import random
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from benchmarks.timing import Values

READERS = 64
PROCESSES = 4
IDLE_S = 3.0
PROBE_EVERY_S = 0.05
PAUSE_S = 0.25
STACK = "/api/v1/array/full/converted/stack/entry/data/data"
METADATA = "/api/v1/metadata/converted/stack/entry/data/data"


class Connection:
    """A kept connection that asks as Tiled's client does."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._http = http.client.HTTPConnection(urlsplit(plan["url"]).netloc, timeout=60)
        self._headers = {
            "Authorization": f"Apikey {plan['key']}",
            "Accept": "application/octet-stream, application/x-msgpack",
            "Accept-Encoding": "gzip, deflate, zstd, blosc2",
        }

    def ask(self, path: str) -> int:
        """Return the bytes of an answer; anything but success is an error."""
        self._http.request("GET", path, headers=self._headers)
        answer = self._http.getresponse()
        payload = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {payload[:200]!r}")
        return len(payload)


def paths(plan: dict[str, Any], seed: int) -> Any:
    """Yield what one reader asks for, one after another."""
    chosen = random.Random(seed)
    while True:
        frame = chosen.choice(plan["frames"])
        yield METADATA
        yield f"{STACK}?slice={frame},100:200,100:200&expected_shape=100,100"
        yield f"{STACK}?slice={frame}"
        yield "/api/v1/search/?page[limit]=10"


def read(plan: dict[str, Any], first: int, seconds: float, found: Any) -> None:
    """Read with some of the readers for a while; tells requests, bytes and errors."""
    asked, taken, errors = [0], [0], []

    def one(seed: int) -> None:
        connection = Connection(plan)
        pause = random.Random(seed)
        until = time.monotonic() + seconds
        for path in paths(plan, seed):
            if time.monotonic() > until:
                return
            time.sleep(pause.uniform(0.5, 1.5) * PAUSE_S)
            try:
                size = connection.ask(path)
                taken[0] += size
                asked[0] += 1
            except (OSError, http.client.HTTPException, RuntimeError) as error:
                errors.append(str(error)[:200])
                connection = Connection(plan)

    threads = [threading.Thread(target=one, args=(first + n,)) for n in range(READERS // PROCESSES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found.put((asked[0], taken[0], errors))


def probe(plan: dict[str, Any], seconds: float) -> list[float]:
    """Return how long each of many metadata requests took, sent at a steady pace."""
    connection = Connection(plan)
    taken = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        connection.ask(METADATA)
        taken.append(time.perf_counter() - began)
        time.sleep(PROBE_EVERY_S)
    return taken


def main(plan: dict[str, Any], seconds: float) -> Values:
    """Measure idle, then with all readers."""
    idle = statistics.median(probe(plan, IDLE_S))
    context = multiprocessing.get_context("spawn")
    found: Any = context.Queue()
    readers = [
        context.Process(target=read, args=(plan, n * READERS // PROCESSES, seconds, found))
        for n in range(PROCESSES)
    ]
    for reader in readers:
        reader.start()
    time.sleep(1)  # until they have started
    busy = sorted(probe(plan, seconds - 1))
    asked = taken = 0
    errors: list[str] = []
    for _ in readers:
        try:
            requests, size, failures = found.get(timeout=60)
        except queue.Empty:
            requests, size, failures = 0, 0, ["a process of readers did not answer"]
        asked, taken, errors = asked + requests, taken + size, errors + failures
    for reader in readers:
        reader.join()
    return {
        "idle_s": idle,
        "median_s": statistics.median(busy),
        "p99_s": busy[int(0.99 * (len(busy) - 1))],
        "times_idle": busy[int(0.99 * (len(busy) - 1))] / idle,
        "errors": len(errors),
        "first_error": errors[0] if errors else "",
        "requests_per_s": asked / seconds,
        "mb_per_s": taken / seconds / 1e6,
    }


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.stdout.write("\n" + json.dumps(main(given, float(sys.argv[2]))) + "\n")
