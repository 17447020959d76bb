"""Tiled's client at the work of the fast lane; runs in the peer's environment.

``python -m benchmarks.fast.peer NAME PLAN`` prints one JSON object.
"""

from __future__ import annotations

import importlib.util
import random
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin  # noqa: F401  (its filters)
import numpy as np

from benchmarks.client_peer import STACKS, at, connect
from benchmarks.fast.crowd import share, take_part
from benchmarks.timing import answer, contest, seconds
from lakeservice.demo.memory import peak_resident

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.timing import Values

EIGER = ("more", "eiger", "entry", "data", "data")
EXAMPLES = ("more", "examples", "entry", "data", "data")
REGION = np.s_[:, 500:600, 500:600]
CROWD_FRAMES = 8
"""Frames that each client of a crowd reads at most."""
BATCH = 16
LOADED_S = 5.0
"""How long a loader is watched."""


def setup(plan: dict[str, Any]) -> Values:
    """Register the files that the fast lane alone reads."""
    import asyncio

    from tiled.client.register import register

    client = connect(plan)
    return {"seconds": seconds(lambda: asyncio.run(register(client, plan["more"], prefix="more")))}


def eiger(plan: dict[str, Any]) -> Values:
    """Read the Eiger's stack whole."""
    node = at(connect(plan), EIGER)
    with h5py.File(plan["eiger_h5"]) as file:
        if not np.array_equal(node[0], file["entry/data/data"][0]):
            raise SystemExit("frame 0 differs")
    size = 0

    def whole() -> None:
        nonlocal size
        size = node.read().nbytes

    taken = contest({"whole": whole}, rounds=2)["whole"]
    return {"gb_s": size / taken / 1e9, "client_bytes": peak_resident()}


def reduce(plan: dict[str, Any]) -> Values:
    """Read all of it and take the mean; read a region of each frame and sum it."""
    values: Values = {}
    for name, keys in STACKS.items():
        node = at(connect(plan), keys)
        works = {
            "mean": lambda node=node: node.read().mean(axis=0, dtype="f8"),
            "region": lambda node=node: node[REGION].sum(axis=(1, 2), dtype="u8"),
        }
        node[0]  # what the first question costs is not counted
        taken = contest(works, rounds=1)
        values |= {f"{name}_{work}_s": each for work, each in taken.items()}
    return values


def crowd(plan: dict[str, Any]) -> None:
    """Be one of many clients that read at once."""
    told = plan["crowd"]
    node = at(connect(plan), STACKS[told["stack"]])
    mine = share(node.shape[0], told["number"], told["count"])[:CROWD_FRAMES]
    first = node[mine.start]
    with h5py.File(plan["stack_h5"]) as file:
        if not np.array_equal(first, file["entry/data/data"][mine.start]):
            raise SystemExit(f"frame {mine.start} differs")
    take_part(lambda: node[mine.start : mine.stop].nbytes)


class Frames:
    """A dataset as PyTorch wants it: each frame is one request to Tiled."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self._node: Any = None

    def __getitem__(self, number: int) -> np.ndarray:
        if self._node is None:
            self._node = at(connect(self._plan), EXAMPLES)
        frame: np.ndarray = np.asarray(self._node[number])
        return frame


class Order:
    """Frames at random; how many, is set from epoch to epoch."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._random = random.Random(7)
        self.count = 2 * BATCH

    def __iter__(self) -> Iterator[int]:
        return iter(self._random.sample(range(self._rows), self.count))

    def __len__(self) -> int:
        return self.count


def loader(plan: dict[str, Any]) -> Values:
    """Load frames at random by a PyTorch DataLoader, in this process and with two workers."""
    if importlib.util.find_spec("torch") is None:
        return {"missing": "torch"}
    from torch.utils.data import DataLoader

    rows = at(connect(plan), EXAMPLES).shape[0]
    values: Values = {}
    for workers in (0, 2):
        order: Any = Order(rows)
        frames = DataLoader(
            Frames(plan),
            batch_size=BATCH,
            sampler=order,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=np.stack,
            multiprocessing_context="spawn" if workers else None,
        )
        epoch_of(frames)  # workers start and connect
        trial = seconds(partial(epoch_of, frames))
        order.count = min(rows, BATCH * max(4, round(LOADED_S / trial * 2)))
        began = time.perf_counter()
        size = epoch_of(frames)
        values[f"workers{workers}_gb_s"] = size / (time.perf_counter() - began) / 1e9
    return values


def epoch_of(frames: Any) -> int:
    """Go through an epoch and return its bytes."""
    return sum(batch.nbytes for batch in frames)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        import json
        from pathlib import Path

        crowd(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    else:
        answer(globals())
