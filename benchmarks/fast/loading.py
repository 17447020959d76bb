"""The loader: shuffled frames by our client, beside reading the same array in order.

``python -m benchmarks.fast.loading NAME PLAN`` prints one JSON object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin  # noqa: F401  (its filters)
import numpy as np

from benchmarks.fast.ours import EXAMPLES, INSIDE, connect, touched
from benchmarks.timing import answer, contest
from lakeservice.demo.memory import peak_resident

if TYPE_CHECKING:
    from benchmarks.timing import Values

BATCH = 64
ROUNDS = 4


def loader(plan: dict[str, Any]) -> Values:
    """Go through epochs of shuffled batches, and read the array whole in between."""
    lake = connect(plan)
    node = lake[EXAMPLES]
    before = peak_resident()  # before any batch: a peak never falls
    frames = lake.loader([EXAMPLES], batch_size=BATCH, shuffle=True, seed=1)
    _checked(plan, lake.loader([EXAMPLES], batch_size=BATCH, shuffle=True, seed=1))

    def epoch() -> None:
        seen = sum(batch.size for batch in frames)
        if seen != len(node):
            raise SystemExit(f"{seen} frames came, not {len(node)}")

    epoch()
    held = peak_resident() - before
    out = touched(node.shape, node.dtype)
    node.read(out=out, delivery="direct")
    taken = contest(
        {"shuffled": epoch, "in_order": lambda: node.read(out=out, delivery="direct")}, ROUNDS
    )
    return {
        "gb_s": node.nbytes / taken["shuffled"] / 1e9,
        "in_order_gb_s": node.nbytes / taken["in_order"] / 1e9,
        "frames_per_s": len(node) / taken["shuffled"],
        "held_bytes": held,
    }


def _checked(plan: dict[str, Any], frames: Any) -> None:
    """Compare one batch with the file, and see that its frames are no run of neighbours."""
    batch = next(iter(frames))
    rows = batch.indices[:, 1]
    with h5py.File(plan["examples_h5"]) as file:
        for number in (0, len(rows) - 1):
            if not np.array_equal(batch.data[number], file[INSIDE][int(rows[number])]):
                raise SystemExit(f"frame {rows[number]} differs")
    if len(rows) > 2 and np.all(np.diff(rows) == 1):
        raise SystemExit("nothing was shuffled")


if __name__ == "__main__":
    answer(globals())
