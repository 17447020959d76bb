"""Our own client at work, in a process of its own, one measurement a process.

``python -m benchmarks.client_ours NAME PLAN`` prints one JSON object.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  (its filters)
import numpy as np

import lakeservice
from benchmarks.datasets import BULK_ENTRIES, entry_metadata
from benchmarks.timing import Values, median_seconds, seconds, together
from lakeservice.demo.memory import peak_resident

STACKS = {
    "registered": "registered/stack/entry/data/data",
    "converted": "converted/stack/entry/data/data",
}


def connect(plan: dict[str, Any]) -> Any:
    return lakeservice.connect(plan["url"], api_key=plan["key"])


def bulk(plan: dict[str, Any], name: str, delivery: str = "auto") -> Values:
    """Read a whole stack, first to compare it, then again for the time."""
    node = connect(plan)[STACKS[name]]
    array = node.read(delivery=delivery)
    check(plan, array)
    del array
    taken = seconds(lambda: node.read(delivery=delivery))
    return {"gb_s": plan["stack_bytes"] / taken / 1e9, "client_bytes": peak_resident()}


def bulk_converted(plan: dict[str, Any]) -> Values:
    """Read the stack that was converted to Zarr."""
    return bulk(plan, "converted")


def bulk_registered(plan: dict[str, Any]) -> Values:
    """Read the stack that lies in the HDF5 file."""
    return bulk(plan, "registered")


def bulk_decoded(plan: dict[str, Any]) -> Values:
    """Read the converted stack decoded by the server, as any Arrow Flight client gets it."""
    return bulk(plan, "converted", "decoded")


def check(plan: dict[str, Any], array: Any) -> None:
    with h5py.File(Path(plan["files"]) / "stack.h5") as file:
        stack = file["entry/data/data"]
        for number in (0, len(stack) // 2, len(stack) - 1):
            if not np.array_equal(array[number], stack[number]):
                raise SystemExit(f"frame {number} differs")


def frames(plan: dict[str, Any]) -> Values:
    """Read single frames, here and there."""
    values: Values = {}
    for name, path in STACKS.items():
        node = connect(plan)[path]
        asks = [partial(node.__getitem__, number) for number in plan["frames"]]
        values[f"{name}_s"] = median_seconds(asks)
    return values


def slices(plan: dict[str, Any]) -> Values:
    """Read 100 × 100 pixels of single frames."""
    values: Values = {}
    for name, path in STACKS.items():
        node = connect(plan)[path]
        asks = [
            partial(node.__getitem__, (number, slice(100, 200), slice(100, 200)))
            for number in plan["frames"] * 4
        ]
        values[f"{name}_s"] = median_seconds(asks)
    return values


def table(plan: dict[str, Any]) -> Values:
    """Read the short table whole, as a data frame."""
    node = connect(plan)["converted/table_short"]
    taken = min(seconds(node.to_pandas) for _ in range(3))
    return {"seconds": taken, "rows": plan["short_rows"], "client_bytes": peak_resident()}


def long_table(plan: dict[str, Any]) -> Values:
    """Stream the long table, batch by batch."""
    node = connect(plan)["converted/table_long"]
    rows = size = 0

    def stream() -> None:
        nonlocal rows, size
        for batch in node.batches():
            rows += batch.num_rows
            size += batch.nbytes

    taken = seconds(stream)
    if rows != plan["long_rows"]:
        raise SystemExit(f"{rows} rows came, not {plan['long_rows']}")
    return {"seconds": taken, "rows": rows, "gb_s": size / taken / 1e9}


def create(plan: dict[str, Any]) -> Values:
    """Create containers, one after another, then with eight clients at a time."""
    lake = connect(plan)
    target = lake.create_container(plan["made"])
    one = [
        partial(target.create_container, f"one{number}", metadata=entry_metadata(number))
        for number in range(201)
    ]
    values: Values = {"median_s": median_seconds(one)}
    clients = [connect(plan)[plan["made"]] for _ in range(8)]
    each = 250

    def write(client: Any, writer: int) -> None:
        for number in range(each):
            client.create_container(f"w{writer}-{number}", metadata=entry_metadata(number))

    taken = together([partial(write, client, writer) for writer, client in enumerate(clients)])
    values["eight_per_s"] = 8 * each / taken
    return values


def bulk_create(plan: dict[str, Any]) -> Values:
    """Create many entries, thousands in a commit, each durable when the call returns."""
    count = int(BULK_ENTRIES * plan["scale"])
    target = connect(plan).create_container("bulk")
    entries = ((f"run{number}", entry_metadata(number)) for number in range(count))
    values: Values = {"seconds": seconds(lambda: target.create_many(entries)), "entries": count}
    if len(connect(plan)["bulk"]) != count:
        raise SystemExit("not every entry is there")
    return values


def setup(plan: dict[str, Any]) -> Values:
    """Create the entries to be searched."""
    runs = connect(plan).create_container("runs")
    entries = ((f"run{number}", metadata) for number, metadata in enumerate(plan["entries"]))
    return {"entries": runs.create_many(entries)}


def search(plan: dict[str, Any]) -> Values:
    """Find one entry by a number; find 100 by a name, sorted."""
    runs = connect(plan)["runs"]

    def one(number: int) -> None:
        if len(list(runs.search(f"scan_id = {number}"))) != 1:
            raise SystemExit(f"scan {number} was not found")

    def many() -> None:
        found = runs.search("sample.name = 'silicon'", sort="-energy_ev", limit=100)
        if not 0 < len(list(found)) <= 100:
            raise SystemExit("nothing was found")

    count = len(plan["entries"])
    return {
        "one_s": median_seconds([partial(one, n * 7919 % count) for n in range(21)]),
        "hundred_s": median_seconds([many] * 21),
    }


if __name__ == "__main__":
    measurement = globals()[sys.argv[1]]
    given = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    sys.stdout.write("\n" + json.dumps(measurement(given)) + "\n")
