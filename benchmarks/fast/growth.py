"""How cost grows: with the size of an array, of its chunks, and with the number of entries.

``python -m benchmarks.fast.growth NAME PLAN`` prints one JSON object.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.datasets import BACKGROUND, entry_metadata
from benchmarks.fast.ours import connect, touched
from benchmarks.timing import answer, contest, median_seconds
from lakeservice.demo.detector import Detector

if TYPE_CHECKING:
    from benchmarks.timing import Values

SIDE = 1024
"""Rows and columns of a frame: 2 MB of uint16."""
FRAME_BYTES = SIDE * SIDE * 2
SIZES_MB = (1, 10, 100, 1000)
CHUNKS_KB = (64, 256, 1024, 4096, 16384, 32768)
CHUNKED_MB = 512
ENTRIES = (100, 10_000, 100_000)
CLIENTS = (1, 2, 4, 8, 16)
DELIVERIES = ("direct", "encoded", "decoded")
_LEAST_MB = 64
_KINDS = 16


def sizes(plan: dict[str, Any]) -> Values:
    """Read arrays of several sizes, in chunks of half a frame, by each delivery."""
    lake = connect(plan)
    values: Values = {}
    for size in SIZES_MB:
        if size > max(_LEAST_MB, SIZES_MB[-1] * plan["scale"]):
            continue
        halves = max(1, round(size * 1e6 / (FRAME_BYTES // 2)))
        node = _array(lake, f"size-{size}", (halves, SIDE // 2, SIDE), (1, SIDE // 2, SIDE))
        values |= {f"{size}_{how}_gb_s": rate for how, rate in _rates(node).items()}
    return values


def chunks(plan: dict[str, Any]) -> Values:
    """Read arrays of one size in chunks of several sizes, by each delivery."""
    lake = connect(plan)
    frames = round(max(_LEAST_MB, CHUNKED_MB * plan["scale"]) * 1e6 / FRAME_BYTES)
    values: Values = {}
    for size in CHUNKS_KB:
        rows = max(1, min(SIDE, size * 1024 // (SIDE * 2)))
        chunk = (max(1, size * 1024 // FRAME_BYTES), rows, SIDE)
        node = _array(lake, f"chunk-{size}", (frames, SIDE, SIDE), chunk)
        values |= {f"{size}_{how}_gb_s": rate for how, rate in _rates(node).items()}
    return values


def entries(plan: dict[str, Any]) -> Values:
    """Look up a node, find one by a number and read a slice, with more and more entries."""
    lake = connect(plan)
    most = max(ENTRIES[1], ENTRIES[-1] * plan["scale"])
    values: Values = {}
    there = 0
    for count in ENTRIES:
        if count > most:
            continue
        parent = lake.create_container(f"growth/entries-{count}")
        more = range(there, count)
        parent.create_many((f"run{number}", entry_metadata(number)) for number in more)
        there = count
        node = _array(lake, f"among-{count}", (8, SIDE, SIDE), (1, SIDE, SIDE))
        asked = [count - 1 - number * 7919 % len(more) for number in range(41)]
        works = {
            "look": [partial(parent.__getitem__, f"run{number}") for number in asked],
            "find": [partial(_find, parent, number) for number in asked],
            "slice": [
                partial(node.read, (n % 8, np.s_[:100], np.s_[:100]), None, "decoded")
                for n in asked
            ],
        }
        values |= {f"{count}_{name}_s": median_seconds(work) for name, work in works.items()}
    return values


def _find(parent: Any, number: int) -> None:
    if len(list(parent.search(f"scan_id = {number}"))) != 1:
        raise SystemExit(f"scan {number} was not found")


def _array(lake: Any, name: str, shape: tuple[int, ...], chunk: tuple[int, ...]) -> Any:
    """Write an array of detector counts; only some of its frames are different ones."""
    detector = Detector(*shape[1:], background=BACKGROUND)
    kinds = list(detector.frames(min(_KINDS, shape[0])))
    step = max(chunk[0], _KINDS)
    blocks = (
        np.stack([kinds[row % len(kinds)] for row in range(start, min(start + step, shape[0]))])
        for start in range(0, shape[0], step)
    )
    return lake.write_array(f"growth/{name}", blocks, shape=shape, dtype="<u2", chunks=chunk)


def _rates(node: Any) -> dict[str, float]:
    out = touched(node.shape, node.dtype)
    works = {how: partial(node.read, None, out, how) for how in DELIVERIES}
    for work in works.values():
        work()
    rounds = 3 if node.nbytes > FRAME_BYTES * _KINDS else 15
    taken = contest(works, rounds)
    return {how: node.nbytes / seconds / 1e9 for how, seconds in taken.items()}


if __name__ == "__main__":
    answer(globals())
