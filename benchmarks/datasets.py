"""The data that is measured: real shapes, counts with the sparsity of a real detector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin
import numpy as np
import pyarrow as pa
import pyarrow.parquet

from lakeservice.demo.detector import Detector

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BATCH_ROWS = 1 << 17
"""Rows of a record batch while a table is made."""
BACKGROUND = 55.0
"""Mean counts at the centre of the beam: about 36 % of its bytes remain after bitshuffle-LZ4."""
SAMPLES = ("lysozyme", "insulin", "thaumatin", "ferritin", "silicon")
PLANS = ("scan", "fly", "grid_scan", "rotation_scan")


@dataclass(frozen=True)
class Stack:
    """An image stack, uint16, one frame a chunk."""

    frames: int
    height: int
    width: int

    @property
    def size_bytes(self) -> int:
        """Bytes of the array."""
        return self.frames * self.height * self.width * 2

    def scaled(self, scale: float, least: int) -> Stack:
        """Return a stack of the same frames, of a part of their number but no fewer than some."""
        return Stack(max(least, int(self.frames * scale)), self.height, self.width)


STACK = Stack(900, 1080, 1280)
"""``stack-2.5gb``: 900 × 1080 × 1280 uint16, Poisson counts and Bragg-like spots."""
EXAMPLES = Stack(4000, 512, 512)
"""``examples-2.1gb``: 4000 × 512 × 512 uint16, the same kind of counts, as a model is fed with."""
EIGER = Stack(140, 2167, 2070)
"""``eiger-2.5gb``: 140 × 2167 × 2070, stored as uint32: sparse counts, gaps between modules."""
EIGER_BACKGROUND = 0.2
MODULE = (514, 1030)
"""Rows and columns of one module of an Eiger."""
GAP = (37, 10)
"""Rows and columns between modules; their pixels hold the largest number."""
SHORT_TABLE_ROWS = 1_000_000
"""``table-1m``: five float64 columns, 40 MB; both servers read it."""
LONG_TABLE_ROWS = 10_000_000
"""``table-10m``: the same, 400 MB; Tiled 0.2.20 refuses an answer of that size."""
BULK_ENTRIES = 100_000
SEARCHED_ENTRIES = 1_000


def write_stack(path: Path, stack: Stack) -> None:
    """Write a stack as a detector does: HDF5, bitshuffle-LZ4, at ``entry/data/data``."""
    detector = Detector(stack.height, stack.width, background=BACKGROUND)
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset(
            "entry/data/data",
            (stack.frames, stack.height, stack.width),
            "<u2",
            chunks=(1, stack.height, stack.width),
            **hdf5plugin.Bitshuffle(cname="lz4"),
        )
        for number, frame in enumerate(detector.frames(stack.frames)):
            dataset[number] = frame


def write_eiger(path: Path, frames: int) -> None:
    """Write sparse uint32 frames of four million pixels, as `write_stack` does."""
    detector = Detector(EIGER.height, EIGER.width, background=EIGER_BACKGROUND)
    inside = [
        np.arange(length) % (module + gap) < module
        for length, module, gap in zip((EIGER.height, EIGER.width), MODULE, GAP, strict=True)
    ]
    gaps = ~(inside[0][:, None] & inside[1])
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset(
            "entry/data/data",
            (frames, EIGER.height, EIGER.width),
            "<u4",
            chunks=(1, EIGER.height, EIGER.width),
            **hdf5plugin.Bitshuffle(cname="lz4"),
        )
        for number, counts in enumerate(detector.frames(frames)):
            frame = counts.astype("<u4")
            frame[gaps] = 0xFFFFFFFF
            dataset[number] = frame


def table_batches(rows: int) -> Iterator[pa.RecordBatch]:
    """Yield a table of five float64 columns in batches."""
    random = np.random.default_rng(7)
    for start in range(0, rows, BATCH_ROWS):
        count = min(BATCH_ROWS, rows - start)
        columns = {"time_s": np.arange(start, start + count) * 1e-3}
        columns |= {name: random.normal(size=count) for name in ("i0", "it", "theta", "temp_k")}
        yield pa.record_batch(columns)


def write_table(path: Path, rows: int) -> None:
    """Write such a table as Parquet."""
    schema = pa.schema([(name, "f8") for name in ("time_s", "i0", "it", "theta", "temp_k")])
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in table_batches(rows):
            writer.write_batch(batch)


def entry_metadata(number: int) -> dict[str, Any]:
    """Return the metadata of one small entry, as a scan's start document has it."""
    return {
        "scan_id": number,
        "plan_name": PLANS[number % len(PLANS)],
        "sample": {"name": SAMPLES[number % len(SAMPLES)], "temperature_k": 80 + number % 220},
        "energy_ev": 7_000 + (number * 37) % 9_000,
        "detectors": ["eiger", "monitor"],
        "motors": ["omega"],
        "num_points": 100 + number % 900,
        "operator": f"user{number % 50}",
    }
