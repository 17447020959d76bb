"""Single frames and small slices by our client, one by one and many in a call.

``python -m benchmarks.fast.small NAME PLAN`` prints one JSON object.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin  # noqa: F401  (its filters)
import numpy as np

from benchmarks.fast.bare_flight import BareClient, bare_server
from benchmarks.fast.ours import INSIDE, STACK, connect, touched
from benchmarks.timing import answer, contest, median_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.timing import Values

DELIVERIES = ("auto", "encoded", "decoded")
SIDE = 100
"""Rows and columns of a small slice."""
TURNS = 3


def frame(plan: dict[str, Any]) -> Values:
    """Read single frames at random, no frame twice; then the same ones in one call."""
    node = connect(plan)[STACK]
    numbers = np.array(plan["random_frames"])
    values: Values = {}
    for delivery in DELIVERIES:
        asks = [partial(node.read, int(number), None, delivery) for number in numbers]
        values[f"{delivery}_s"] = median_seconds(asks)
        values[f"{delivery}_came"] = str(node.last_delivery)
        _check(plan, int(numbers[-1]), asks[-1]())
    out = touched((len(numbers), *node.shape[1:]), node.dtype)
    taken = contest({"take": lambda: node.take(numbers, out=out)})
    _check(plan, int(numbers[-1]), out[-1])
    return values | {"take_s": taken["take"] / len(numbers)}


def places(plan: dict[str, Any]) -> list[tuple[int, slice, slice]]:
    """Return where the small slices lie."""
    return [
        (number, slice(row, row + SIDE), slice(column, column + SIDE))
        for number, row, column in plan["random_slices"]
    ]


def slices(plan: dict[str, Any]) -> Values:
    """Read 100 × 100 pixels here and there, one by one, beside bare ``DoGet``s of that size."""
    node = connect(plan)[STACK]
    chosen = places(plan)
    works: dict[str, list[Callable[[], object]]] = {
        how: [partial(node.read, place, None, how) for place in chosen] for how in DELIVERIES
    }
    for works_of_one in works.values():
        _check(plan, chosen[-1], works_of_one[-1]())
    found: dict[str, list[float]] = {}
    with bare_server() as port:
        bare = BareClient(port)
        works["bare"] = [bare.small] * len(chosen)
        for turn in range(TURNS):
            for how in list(works)[:: -1 if turn % 2 else 1]:
                found.setdefault(how, []).append(median_seconds(works[how]))
    return {f"{how}_s": min(medians) for how, medians in found.items()}


def take(plan: dict[str, Any]) -> Values:
    """Read the same slices in one call; compared with the file."""
    node = connect(plan)[STACK]
    chosen = places(plan)
    out = touched((len(chosen), SIDE, SIDE), node.dtype)
    hows = ("auto", "decoded")
    taken = contest(
        {how: lambda how=how: node.take(chosen, out=out, delivery=how) for how in hows},  # type: ignore[misc]
        rounds=5,
    )
    for number in (0, len(chosen) // 2, len(chosen) - 1):
        _check(plan, chosen[number], out[number])
    return {f"{how}_s": seconds / len(chosen) for how, seconds in taken.items()}


def _check(plan: dict[str, Any], place: Any, found: Any) -> None:
    """Compare what came with the file."""
    with h5py.File(plan["stack_h5"]) as file:
        if not np.array_equal(found, file[INSIDE][place]):
            raise SystemExit(f"{place} differs")


if __name__ == "__main__":
    answer(globals())
