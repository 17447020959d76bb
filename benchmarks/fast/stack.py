"""Whole stacks by our client, each delivery beside the limit it could reach.

``python -m benchmarks.fast.stack NAME PLAN`` prints one JSON object.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin  # noqa: F401  (its filters)
import numpy as np

from benchmarks.fast.bare_flight import BareClient, bare_server
from benchmarks.fast.decoding import DecodeLoop
from benchmarks.fast.ours import EIGER, INSIDE, STACK, connect, rates, touched
from benchmarks.timing import answer, contest
from lakeservice.demo.memory import peak_resident

if TYPE_CHECKING:
    from benchmarks.timing import Values


def direct(plan: dict[str, Any]) -> Values:
    """Read from the files themselves, into memory used before and into fresh memory."""
    node = connect(plan)[STACK]
    loop = DecodeLoop(Path(plan["stack_zarr"]))
    taken = _direct_into(plan, node, loop, touched(node.shape, node.dtype))
    client_bytes = peak_resident()
    taken |= contest(
        {"fresh": lambda: node.read(delivery="direct"), "loop_fresh": lambda: loop.read()}
    )
    return rates(taken, node.nbytes) | {"client_bytes": client_bytes}


def _direct_into(
    plan: dict[str, Any], node: Any, loop: DecodeLoop, out: np.ndarray
) -> dict[str, float]:
    _checked(plan["stack_h5"], node, out, "direct")
    return contest(
        {
            "touched": lambda: node.read(out=out, delivery="direct"),
            "loop_touched": lambda: loop.into(out),
            "loop_unverified": lambda: loop.into(out, verify=False),
        }
    )


def encoded(plan: dict[str, Any]) -> Values:
    """Read stored chunks over Flight and decode them here, beside decoding alone."""
    node = connect(plan)[STACK]
    loop = DecodeLoop(Path(plan["stack_zarr"]))
    out = touched(node.shape, node.dtype)
    _checked(plan["stack_h5"], node, out, "encoded")
    taken = contest(
        {
            "touched": lambda: node.read(out=out, delivery="encoded"),
            "loop_touched": lambda: loop.into(out),
        }
    )
    return rates(taken, node.nbytes) | {"client_bytes": peak_resident()}


def decoded(plan: dict[str, Any]) -> Values:
    """Read what the server decoded, beside a bare Flight server that has it in memory."""
    node = connect(plan)[STACK]
    out = touched(node.shape, node.dtype)
    _checked(plan["stack_h5"], node, out, "decoded")
    with bare_server(Path(plan["stack_zarr"])) as port:
        one, two = BareClient(port), BareClient(port, streams=2)
        one.into(out)
        _compare(plan["stack_h5"], out)
        taken = contest(
            {
                "touched": lambda: node.read(out=out, delivery="decoded"),
                "bare_one": lambda: one.into(out),
                "bare_two": lambda: two.into(out),
            }
        )
    return rates(taken, node.nbytes) | {"client_bytes": peak_resident()}


def eiger(plan: dict[str, Any]) -> Values:
    """Read a registered HDF5 stack of an Eiger, beside h5py with hdf5plugin on the same file."""
    node = connect(plan)[EIGER]
    out = touched(node.shape, node.dtype)
    _checked(plan["eiger_h5"], node, out, "auto")
    delivery = node.last_delivery
    with h5py.File(plan["eiger_h5"]) as file:
        dataset = file[INSIDE]

        def frame_by_frame() -> None:
            for number in range(len(dataset)):
                dataset.read_direct(out, np.s_[number], np.s_[number])

        taken = contest(
            {
                "auto": lambda: node.read(out=out),
                "h5py_whole": lambda: dataset.read_direct(out),
                "h5py_frames": frame_by_frame,
            }
        )
        taken |= contest(
            {
                how: lambda how=how: node.read(out=out, delivery=how)  # type: ignore[misc]
                for how in ("encoded", "decoded")
            },
            rounds=2,
        )
    return rates(taken, node.nbytes) | {"client_bytes": peak_resident(), "delivery": delivery}


def _checked(file: str, node: Any, out: np.ndarray, delivery: str) -> None:
    """Read once, before any clock runs, and compare with the file."""
    node.read(out=out, delivery=delivery)
    if delivery not in ("auto", node.last_delivery):
        raise SystemExit(f"{delivery} was asked for, and {node.last_delivery} came")
    _compare(file, out)


def _compare(path: str, array: np.ndarray) -> None:
    with h5py.File(path) as file:
        stack = file[INSIDE]
        for number in (0, len(stack) // 2, len(stack) - 1):
            if not np.array_equal(array[number], stack[number]):
                raise SystemExit(f"frame {number} differs")


if __name__ == "__main__":
    answer(globals())
