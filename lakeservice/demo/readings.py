"""What the demo reads back, and what the files say that it must be."""

from __future__ import annotations

import csv
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin  # noqa: F401  (HDF5 needs its filters to read the truth)
import numpy as np
import tifffile

from lakeservice.demo.generate import DATA, MONITOR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from lakeservice.demo.generate import Run
    from lakeservice.demo.http import HttpReader

Columns = dict[str, np.ndarray]
REGION = 64
"""Pixels along each side of the region that is read through time."""


@dataclass(frozen=True)
class Reading:
    """One thing that was read, how, and whether it equals the file."""

    what: str
    via: str
    size_bytes: int
    seconds: float
    equal: bool


class Truth:
    """The numbers as h5py, tifffile and the csv module read them from the files."""

    def __init__(self, run: Run) -> None:
        with h5py.File(run.nexus) as file:
            self.stack: np.ndarray = file[DATA][...]
            self.monitor: Columns = {name: item[...] for name, item in file[MONITOR].items()}
        with h5py.File(run.alignment) as file:
            self.alignment: np.ndarray = file["entry/data/data"][...]
        self.series = np.stack([tifffile.imread(path) for path in run.tiffs])
        self.table = _csv_columns(run.table)


def _csv_columns(path: Path) -> Columns:
    with path.open(newline="") as file:
        lines = csv.reader(file)
        names = next(lines)
        columns = zip(*lines, strict=True)
        return {
            name: np.array([float(text) for text in column])
            for name, column in zip(names, columns, strict=True)
        }


class Reader:
    """Reads everything below one container, over both wires.

    Parameters
    ----------
    lake
        Our client.
    http
        The same server by URL.
    under
        Container that the files were ingested into.
    """

    def __init__(self, lake: Any, http: HttpReader, under: str, truth: Truth) -> None:
        self._lake = lake
        self._http = http
        self._under = under
        self._truth = truth

    def readings(self) -> Iterator[Reading]:
        """Read one thing after another and compare each with the files."""
        stack = self._truth.stack
        path = f"{self._under}/scan_0042/{DATA}"
        self._open_connections(path, stack)
        number = len(stack) // 2
        y, x = (stack.shape[1] - REGION) // 2, (stack.shape[2] - REGION) // 2
        region = f":,{y}:{y + REGION},{x}:{x + REGION}"
        through_time = stack[:, y : y + REGION, x : x + REGION]
        for text, truth, what in (
            (f"{number}", stack[number], "one frame"),
            (region, through_time, f"{REGION} × {REGION} pixels through time"),
            (":", stack, "the whole stack"),
        ):
            yield from self._array(path, text, truth, what)
        yield from self._array(
            f"{self._under}/alignment_0041/entry/data/data",
            ":",
            self._truth.alignment,
            "gzip-compressed scan",
        )
        yield from self._array(
            f"{self._under}/snapshots/snapshot", ":", self._truth.series, "TIFF series"
        )
        yield from self._table(f"{self._under}/ring_current", self._truth.table, "CSV table")
        yield from self._table(
            f"{self._under}/scan_0042/{MONITOR}@table", self._truth.monitor, "NeXus monitor"
        )

    def _open_connections(self, path: str, stack: np.ndarray) -> None:
        """Read one pixel in each way, so that the first reading is like the others."""
        for delivery in ("encoded", "decoded"):
            self._lake[path].read("0:1,0:1,0:1", delivery=delivery)
        self._http.array(path, "0:1,0:1,0:1", stack.dtype, (1, 1, 1))

    def _array(self, path: str, text: str, truth: np.ndarray, what: str) -> Iterator[Reading]:
        node = self._lake[path]
        for delivery in ("encoded", "decoded"):
            array, taken = _timed(partial(node.read, text, delivery=delivery))
            yield Reading(what, f"Flight, {delivery}", array.nbytes, taken, _same(array, truth))
        array, taken = _timed(lambda: self._http.array(path, text, truth.dtype, truth.shape))
        yield Reading(what, "HTTP", array.nbytes, taken, _same(array, truth))

    def _table(self, path: str, truth: Columns, what: str) -> Iterator[Reading]:
        reads: Mapping[str, Callable[[], Any]] = {
            "Flight": self._lake[path].to_arrow,
            "HTTP": lambda: self._http.table(path),
        }
        for via, read in reads.items():
            table, taken = _timed(read)
            equal = set(table.column_names) == set(truth) and all(
                np.array_equal(table[name].to_numpy(), column) for name, column in truth.items()
            )
            yield Reading(what, via, table.nbytes, taken, equal)


def _timed(read: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    answer = read()
    return answer, time.perf_counter() - began


def _same(array: np.ndarray, truth: np.ndarray) -> bool:
    return array.dtype == truth.dtype and np.array_equal(array, truth)
