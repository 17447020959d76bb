"""The files that the fast lane alone reads, and where all of its data lies."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

from benchmarks import datasets
from benchmarks.servers import ingest, say

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.servers import Bench

FRAMES = 120
SLICES = 400
SLICE_SIDE = 100


def prepare(bench: Bench, groups: tuple[str, ...]) -> None:
    """Make the files that these groups read, where they are not there yet, and the plan."""
    more = bench.folder / "more"
    more.mkdir(exist_ok=True)
    eiger = datasets.EIGER.scaled(bench.scale, 8)
    examples = datasets.EXAMPLES.scaled(bench.scale, 256)
    if "eiger" in groups:
        _made(more / "eiger.h5", lambda path: datasets.write_eiger(path, eiger.frames))
    if "loader" in groups:
        _made(more / "examples.h5", lambda path: datasets.write_stack(path, examples))
    draw = random.Random(11)
    rows, frames = bench.plan["stack_frames"], datasets.STACK
    bench.plan |= {
        "more": str(more),
        "stack_h5": str(bench.files / "stack.h5"),
        "table_file": str(bench.files / "table_long.parquet"),
        "eiger_h5": str(more / "eiger.h5"),
        "examples_h5": str(more / "examples.h5"),
        "shards": str(bench.folder / "shards"),
        "random_frames": draw.sample(range(rows), min(FRAMES, rows)),
        "random_slices": [
            (
                draw.randrange(rows),
                draw.randrange(frames.height - SLICE_SIDE),
                draw.randrange(frames.width - SLICE_SIDE),
            )
            for _ in range(SLICES)
        ],
    }


def _made(path: Path, write: Callable[[Path], None]) -> None:
    if path.exists():
        return
    say(f"making {path.name}")
    unfinished = path.with_suffix(".part")
    write(unfinished)
    unfinished.rename(path)


def ingest_more(bench: Bench, groups: tuple[str, ...]) -> None:
    """Register the Eiger's file, convert the loader's, and find the converted stack's folder."""
    if "eiger" in groups:
        ingest(bench, "register", bench.folder / "more" / "eiger.h5", bench.lake)
    if "loader" in groups:
        ingest(bench, "convert", bench.folder / "more" / "examples.h5", bench.lake)
    stack = datasets.STACK
    shape = [bench.plan["stack_frames"], stack.height, stack.width]
    bench.plan["stack_zarr"] = str(zarr_folder(bench.lake, shape))


def zarr_folder(lake: Path, shape: list[int]) -> Path:
    """Return the folder of the Zarr v3 array of this shape in a lake: any reader opens it."""
    for described in (lake / "data").rglob("zarr.json"):
        if json.loads(described.read_text(encoding="utf-8")).get("shape") == shape:
            return described.parent
    raise SystemExit(f"no Zarr array of shape {shape} in the lake")
