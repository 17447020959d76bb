"""Runs both servers and both clients, one after another."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

from benchmarks.fast import measuring
from benchmarks.over_http import STOCK, measure_exports, measure_readers, measure_stock
from benchmarks.register import write_file
from benchmarks.servers import Bench, ingest, say, search_index

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.timing import Values

READS = {
    "bulk": ("bulk_converted", "bulk_registered", "bulk_decoded"),
    "frames": ("frames",),
    "slices": ("slices",),
    "table": ("table", "long_table"),
    "search": ("setup", "search"),
}
PEER_READS = READS | {"bulk": ("bulk",), "search": ("search",), "create": ("create",)}
PEER_READS |= {"stock": STOCK, **measuring.PEER}
GROUPS = (
    *("bulk", "frames", "slices", "table", "search", "create", "start", "register", "index"),
    *("stock", "export", "readers"),
    *measuring.GROUPS,
)
FAST = "fast"
"""Stands for all groups of `benchmarks.fast`."""
OF_FILES = (
    *("bulk", "frames", "slices", "table", "stock", "export", "readers"),
    *measuring.GROUPS,
)
"""Groups that read what was ingested."""
MANY_FILES = 1_000
INDEXED_ENTRIES = 1_000_000


def groups_of(asked: str) -> tuple[str, ...]:
    """Return the groups that a list with commas names; all for an empty one.

    Raises
    ------
    ValueError
        There is no such group.
    """
    names = [name for name in asked.split(",") if name]
    if unknown := set(names) - {*GROUPS, FAST}:
        known = ", ".join((*GROUPS, FAST))
        raise ValueError(f"unknown {', '.join(sorted(unknown))}; known are {known}")
    wanted = {*names, *(measuring.GROUPS if FAST in names else ())}
    return tuple(group for group in GROUPS if group in wanted or not names)


def measure_ours(bench: Bench, only: tuple[str, ...], peer: Path | None) -> dict[str, Values]:
    """Ingest into a fresh lake, serve it, and measure; a fresh server for each measurement."""
    shutil.rmtree(bench.lake, ignore_errors=True)
    found: dict[str, Values] = {}
    for mode in ("register", "convert") if set(only) & set(OF_FILES) else ():
        say(f"ours: {mode}")
        found[mode] = {"seconds": ingest(bench, mode, bench.files, bench.lake)}

    def ask(name: str, under: str = "") -> None:
        say(f"ours: {under or name}")
        with bench.ours() as server:
            bench.plan["made"] = under
            values = bench.ask(sys.executable, "client_ours", name)
            found[under or name] = values | {"server_bytes": server.peak_bytes}

    for group, names in READS.items():
        for name in names if group in only else ():
            ask(name)
    if "create" in only:
        ask("create", "create")
    if "create" in only or "start" in only:
        ask("bulk_create")
    if "create" in only:
        ask("create", "create_late")
    if "start" in only:
        say("ours: start")
        with bench.ours() as server:
            found["start"] = {"seconds": server.ready_s, "server_bytes": server.peak_bytes}
    if "stock" in only and peer is not None:
        found |= measure_stock(bench, peer, entries="search" not in only)
    if "export" in only:
        found |= measure_exports(bench)
    if "readers" in only:
        found |= measure_readers(bench)
    if groups := measuring.chosen(only):
        found |= measuring.measure_ours(bench, groups, peer)
    if "register" in only:
        found["many"] = register_many(bench)
    if "index" in only:
        entries = int(INDEXED_ENTRIES * bench.scale)
        say(f"ours: an index of {entries:,} entries")
        index = search_index(bench, entries)
        found["index"] = {name: index[name] for name in ("entries", "index_mb", "resident_mb")}
        found["index_ms"] = index["ms"]
    return found


def register_many(bench: Bench) -> Values:
    """Register a folder of small NeXus files with two workers."""
    count = max(20, int(MANY_FILES * bench.scale))
    say(f"ours: {count:,} files of 50 datasets")
    folder = bench.folder / "many"
    folder.mkdir(exist_ok=True)
    for number in range(len(list(folder.iterdir())), count):
        write_file(folder / f"scan_{number:05}.h5", 50, number)
    lake = bench.folder / "many_lake"
    shutil.rmtree(lake, ignore_errors=True)
    return {"files": count, "seconds": ingest(bench, "register", folder, lake)}


def measure_peer(bench: Bench, only: tuple[str, ...], python: Path) -> dict[str, Values]:
    """Measure Tiled over the same files and over its own Zarr array."""
    shutil.rmtree(bench.folder / "tiled", ignore_errors=True)
    found: dict[str, Values] = {}
    say("Tiled: setup")
    with bench.tiled(python):
        found["setup"] = bench.ask(python, "client_peer", "setup")
    for group, names in PEER_READS.items():
        for name in names if group in only else ():
            if name in found:
                continue
            say(f"Tiled: {name}")
            with bench.tiled(python) as server:
                values = bench.ask(python, "client_peer", name)
                found[name] = values | {"server_bytes": server.peak_bytes}
    if groups := measuring.chosen(only):
        found |= measuring.measure_peer(bench, groups, python)
    if "start" in only:
        say("Tiled: start")
        with bench.tiled(python) as server:
            found["start"] = {"seconds": server.ready_s, "server_bytes": server.peak_bytes}
    return found
