"""Tiled's own Python client at work; runs in the peer's environment, one measurement a process.

It asks Tiled's server, or ours where the plan says where things lie there.
``python -m benchmarks.client_peer NAME PLAN`` prints one JSON object.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin  # noqa: F401  (its filters)
import numpy as np

from benchmarks.timing import Values, median_seconds, seconds, together
from lakeservice.demo.memory import peak_resident

if TYPE_CHECKING:
    from collections.abc import Sequence

STACKS = {"hdf5": ("files", "stack", "entry", "data", "data"), "zarr": ("stack_zarr",)}
TABLES = {"short": ("files", "table_short"), "long": ("files", "table_long")}
ZARR_FRAMES = 20
"""Frames in a chunk of its Zarr array: reading in bulk is faster for it than with one."""


def connect(plan: dict[str, Any]) -> Any:
    from tiled.client import from_uri

    return from_uri(f"{plan['url']}/api/v1", api_key=plan["key"])


def stacks(plan: dict[str, Any]) -> dict[str, list[str]]:
    return plan.get("stacks") or {name: list(keys) for name, keys in STACKS.items()}


def table_at(plan: dict[str, Any], name: str) -> Any:
    return at(connect(plan), (plan.get("tables") or TABLES)[name])


def at(client: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        client = client[key]
    return client


def setup(plan: dict[str, Any]) -> Values:
    """Register the files, write its own Zarr array, create the entries to be searched."""
    import asyncio

    import dask.array
    from tiled.client.register import register
    from tiled.structures.array import ArrayStructure
    from tiled.structures.core import StructureFamily
    from tiled.structures.data_source import DataSource

    client = connect(plan)
    values: Values = {}
    files = Path(plan["files"])
    values["register_s"] = seconds(lambda: asyncio.run(register(client, files, prefix="files")))
    with h5py.File(files / "stack.h5") as file:
        stack = file["entry/data/data"]
        lazy = dask.array.from_array(stack, chunks=(ZARR_FRAMES, *stack.shape[1:]))
        source = DataSource(
            structure=ArrayStructure.from_array(lazy), structure_family=StructureFamily.array
        )
        node = client.new("array", [source], key="stack_zarr")

        def write() -> None:
            for number, start in enumerate(range(0, stack.shape[0], ZARR_FRAMES)):
                node.write_block(stack[start : start + ZARR_FRAMES], (number, 0, 0))

        values["write_s"] = seconds(write)
    runs = client.create_container("runs")
    for number, metadata in enumerate(plan["entries"]):
        runs.create_container(f"run{number}", metadata=metadata)
    return values


def bulk(plan: dict[str, Any]) -> Values:
    """Read the whole stack, from HDF5 and from Zarr."""
    client = connect(plan)
    values: Values = {}
    for name, keys in stacks(plan).items():
        node = at(client, keys)
        array = node.read()
        check(plan, array)
        del array
        taken = seconds(node.read)
        values[f"{name}_gb_s"] = plan["stack_bytes"] / taken / 1e9
    values["client_bytes"] = peak_resident()
    return values


def check(plan: dict[str, Any], array: Any) -> None:
    with h5py.File(Path(plan["files"]) / "stack.h5") as file:
        stack = file["entry/data/data"]
        for number in (0, len(stack) // 2, len(stack) - 1):
            if not np.array_equal(array[number], stack[number]):
                raise SystemExit(f"frame {number} differs")


def frames(plan: dict[str, Any]) -> Values:
    """Read single frames, here and there."""
    values: Values = {}
    for name, keys in stacks(plan).items():
        node = at(connect(plan), keys)
        asks = [partial(node.__getitem__, number) for number in plan["frames"][:13]]
        values[f"{name}_s"] = median_seconds(asks)
    return values


def slices(plan: dict[str, Any]) -> Values:
    """Read 100 × 100 pixels of single frames."""
    values: Values = {}
    for name, keys in stacks(plan).items():
        node = at(connect(plan), keys)
        asks = [
            partial(node.__getitem__, (number, slice(100, 200), slice(100, 200)))
            for number in plan["frames"][:41]
        ]
        values[f"{name}_s"] = median_seconds(asks)
    return values


def table(plan: dict[str, Any]) -> Values:
    """Read the short table whole, as a data frame."""
    node = table_at(plan, "short")
    taken = min(seconds(node.read) for _ in range(3))
    return {"seconds": taken, "client_bytes": peak_resident()}


def long_table(plan: dict[str, Any]) -> Values:
    """Try to read the long table; the answer is what it says, or the time."""
    node = table_at(plan, "long")
    try:
        return {"seconds": seconds(node.read)}
    except Exception as error:
        return {"refused": str(error).strip().splitlines()[0][:120]}


def create(plan: dict[str, Any]) -> Values:
    """Create containers, one after another, then with eight clients at a time."""
    made = plan.get("made") or "made"
    target = connect(plan).create_container(made)
    one = [
        partial(target.create_container, f"one{number}", metadata=metadata)
        for number, metadata in enumerate(plan["entries"][:60])
    ]
    values: Values = {"median_s": median_seconds(one)}
    clients = [connect(plan)[made] for _ in range(8)]
    each = plan["entries"][:15]

    def write(client: Any, writer: int) -> None:
        for number, metadata in enumerate(each):
            client.create_container(f"w{writer}-{number}", metadata=metadata)

    taken = together([partial(write, client, writer) for writer, client in enumerate(clients)])
    values["eight_per_s"] = 8 * len(each) / taken
    return values


def search(plan: dict[str, Any]) -> Values:
    """Find one entry by a number; find 100 by a name, sorted."""
    from tiled.queries import Key

    runs = connect(plan)["runs"]

    def one(number: int) -> None:
        if len(list(runs.search(Key("scan_id") == number).values())) != 1:
            raise SystemExit(f"scan {number} was not found")

    def many() -> None:
        found = runs.search(Key("sample.name") == "silicon").sort(("energy_ev", -1))
        if not 0 < len(found.values().head(100)) <= 100:
            raise SystemExit("nothing was found")

    count = len(plan["entries"])
    return {
        "one_s": median_seconds([partial(one, n * 7919 % count) for n in range(21)]),
        "hundred_s": median_seconds([many] * 21),
    }


def listing(plan: dict[str, Any]) -> Values:
    """List the children of a container of 1 000: their names, then all that is told of them."""
    runs = connect(plan)["runs"]
    count = len(plan["entries"])

    def names() -> None:
        if len(list(runs)) != count:
            raise SystemExit("not every name came")

    def nodes() -> None:
        if len(list(runs.values())) != count:
            raise SystemExit("not every node came")

    return {"names_s": median_seconds([names] * 4), "nodes_s": median_seconds([nodes] * 4)}


if __name__ == "__main__":
    measurement = globals()[sys.argv[1]]
    given = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    sys.stdout.write("\n" + json.dumps(measurement(given)) + "\n")
