"""Our HTTP front at work: Tiled's own client, exports, and many readers at a time."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import urllib3

from benchmarks.servers import Bench, say

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.timing import Values

STOCK = ("bulk", "frames", "slices", "table", "long_table", "search", "listing", "create")
"""Measurements of `benchmarks.client_peer`, which both servers are asked for."""
INSIDE = ("stack", "entry", "data", "data")
WHERE = {
    "stacks": {"converted": ("converted", *INSIDE), "registered": ("registered", *INSIDE)},
    "tables": {"short": ("converted", "table_short"), "long": ("converted", "table_long")},
    "made": "made_by_stock",
}
"""Where Tiled's client finds in our lake what it finds in Tiled's catalog elsewhere."""
TIFF_BYTES = 1_000_000_000
READING_S = 60
"""How long many readers read at scale 1, in seconds."""


def measure_stock(bench: Bench, python: Path, *, entries: bool) -> dict[str, Values]:
    """Measure our server with Tiled's client; ``entries`` tells whether ``runs`` is to be made."""
    found: dict[str, Values] = {}
    if entries:
        with bench.ours():
            bench.ask(sys.executable, "client_ours", "setup")
    for name in STOCK:
        say(f"ours, with Tiled's client: {name}")
        with bench.ours() as server:
            kept = bench.plan
            bench.plan = kept | WHERE
            values = bench.ask(python, "client_peer", name)
            bench.plan = kept
            found[f"stock_{name}"] = values | {"server_bytes": server.peak_bytes}
    return found


def measure_exports(bench: Bench) -> dict[str, Values]:
    """Measure what a person exports: the whole container as HDF5, a long stack as TIFF."""
    frame_bytes = bench.plan["stack_bytes"] // bench.plan["stack_frames"]
    frames = min(bench.plan["stack_frames"], max(1, int(TIFF_BYTES * bench.scale) // frame_bytes))
    asks = {
        "export_hdf5": "container/full/converted/stack?format=application/x-hdf5",
        "export_tiff": f"array/full/converted/{'/'.join(INSIDE)}?format=image/tiff&slice=:{frames}",
    }
    found: dict[str, Values] = {}
    for name, ask in asks.items():
        say(f"ours: {name}")
        with bench.ours() as server:
            values = fetched(f"{bench.plan['url']}/api/v1/{ask}", bench.plan["key"])
            found[name] = values | {"server_bytes": server.peak_bytes}
    return found


def fetched(url: str, key: str) -> Values:
    """Fetch an answer and forget it; tells when its first byte came."""
    headers = {"Authorization": f"Apikey {key}", "Accept-Encoding": "identity"}
    began = time.perf_counter()
    with urllib3.PoolManager(retries=False) as pool:
        answer = pool.request("GET", url, headers=headers, preload_content=False)
        size = len(answer.read(1))
        first = time.perf_counter() - began
        if answer.status != 200:
            raise SystemExit(f"{url} answered {answer.status}: {answer.read(500)!r}")
        for piece in answer.stream(1 << 20):
            size += len(piece)
    taken = time.perf_counter() - began
    return {"first_s": first, "seconds": taken, "bytes": size, "gb_s": size / taken / 1e9}


def measure_readers(bench: Bench) -> dict[str, Values]:
    """Measure 64 readers at a time, and what one more has to wait for."""
    say("ours: 64 readers")
    with bench.ours() as server:
        plan = bench.folder / "plan.json"
        plan.write_text(json.dumps(bench.plan), encoding="utf-8")
        seconds = max(5.0, READING_S * min(1.0, bench.scale))
        command = [sys.executable, "-m", "benchmarks.readers", str(plan), str(seconds)]
        answer = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        values: Values = json.loads(answer.stdout.splitlines()[-1])
        return {"readers": values | {"server_bytes": server.peak_bytes}}
