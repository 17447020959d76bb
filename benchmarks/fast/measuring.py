"""Runs the measurements of the fast lane, ours and Tiled's; a fresh server for each."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from benchmarks.client_peer import STACKS
from benchmarks.fast import files
from benchmarks.fast.crowd import gather
from benchmarks.fast.growth import CLIENTS
from benchmarks.servers import say

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.servers import Bench
    from benchmarks.timing import Values

OURS = {
    "direct": ("stack", "direct"),
    "encoded": ("stack", "encoded"),
    "decoded": ("stack", "decoded"),
    "eiger": ("stack", "eiger"),
    "frame": ("small", "frame"),
    "slice": ("small", "slices"),
    "take": ("small", "take"),
    "fasttable": ("tables", "table"),
    "loader": ("loading", "loader"),
    "reduce": ("reducing", "reduce"),
}
"""What is measured for a group: the module of `benchmarks.fast`, and the name in it."""
GROUPS = (*OURS, "clients16", "others", "growth")
OTHERS = ("zarr_python", "zarrs", "tensorstore", "of_h5py")
PEER = {
    **dict.fromkeys(("direct", "encoded", "decoded"), ("bulk",)),
    "frame": ("frames",),
    **dict.fromkeys(("slice", "take"), ("slices",)),
    "fasttable": ("long_table",),
}
"""What Tiled is measured at for a group, by `benchmarks.client_peer`."""
OF_PEER = ("eiger", "loader", "reduce")
"""Groups at which Tiled is measured by `benchmarks.fast.peer`."""
CROWD = 16
GROWN = ("sizes", "chunks", "entries")


def chosen(only: tuple[str, ...]) -> tuple[str, ...]:
    """Return the groups of the fast lane among those asked for."""
    return tuple(group for group in GROUPS if group in only)


def measure_ours(bench: Bench, groups: tuple[str, ...], peer: Path | None) -> dict[str, Values]:
    """Measure our server and client, the limits, and other readers on the same files."""
    found: dict[str, Values] = {}
    files.ingest_more(bench, groups)

    def ask(under: str, module: str, name: str) -> None:
        say(f"ours: {under}")
        with bench.ours() as server:
            values = bench.ask(sys.executable, f"fast.{module}", name)
            found[under] = values | {"server_bytes": server.peak_bytes}

    for group, (module, name) in OURS.items():
        if group in groups:
            ask(f"fast_{group}", module, name)
    if "clients16" in groups:
        for delivery in ("auto", "encoded", "decoded"):
            for count in (1, CROWD):
                found[f"crowd_{delivery}_{count}"] = _crowd(bench, count, delivery)
    if "growth" in groups:
        for name in GROWN:
            ask(f"growth_{name}", "growth", name)
        for count in CLIENTS:
            found[f"growth_clients_{count}"] = _crowd(bench, count, "decoded")
    if peer is None:
        return found
    others = [*(OTHERS if {"direct", "others"} & set(groups) else ())]
    others += ["webdataset"] if "loader" in groups else []
    for name in others:
        say(f"other readers: {name}")
        found[f"other_{name}"] = bench.ask(peer, "fast.others", name)
    return found


def _crowd(bench: Bench, count: int, delivery: str) -> Values:
    say(f"ours: {count} clients at once, {delivery}")
    command = [sys.executable, "-m", "benchmarks.fast.crowd"]
    with bench.ours() as server:
        values = gather(bench, command, count, delivery=delivery)
        return values | {"server_bytes": server.peak_bytes}


def measure_peer(bench: Bench, groups: tuple[str, ...], python: Path) -> dict[str, Values]:
    """Measure Tiled at what only the fast lane reads."""
    found: dict[str, Values] = {}

    def ask(name: str) -> Values:
        say(f"Tiled: {name}")
        with bench.tiled(python) as server:
            values = bench.ask(python, "fast.peer", name)
            return values | {"server_bytes": server.peak_bytes}

    if {"eiger", "loader"} & set(groups):
        found["fast_setup"] = ask("setup")
    for group in OF_PEER:
        if group in groups:
            found[f"fast_{group}"] = ask(group)
    if "clients16" in groups:
        command = [str(python), "-m", "benchmarks.fast.peer"]
        for stack in STACKS:
            say(f"Tiled: {CROWD} clients at once, {stack}")
            with bench.tiled(python) as server:
                values = gather(bench, command, CROWD, stack=stack)
                found[f"crowd_{stack}"] = values | {"server_bytes": server.peak_bytes}
    return found
