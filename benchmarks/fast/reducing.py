"""Reductions on the server, beside reading everything and reducing it here.

``python -m benchmarks.fast.reducing NAME PLAN`` prints one JSON object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.fast.ours import STACK, connect
from benchmarks.timing import answer, contest

if TYPE_CHECKING:
    from benchmarks.timing import Values

REGION = np.s_[:, 500:600, 500:600]
"""What is watched through time."""


def reduce(plan: dict[str, Any]) -> Values:
    """Take the mean of all frames, and the sum of a region of each."""
    node = connect(plan)[STACK]

    def mean_here(delivery: str = "auto") -> np.ndarray:
        mean: np.ndarray = node.read(delivery=delivery).mean(axis=0, dtype="f8")
        return mean

    def region_here(delivery: str = "auto") -> np.ndarray:
        totals: np.ndarray = node.read(REGION, delivery=delivery).sum(axis=(1, 2), dtype="u8")
        return totals

    def region() -> np.ndarray:
        totals: np.ndarray = node.sum(axis=(1, 2), selection=REGION)
        return totals

    if not np.allclose(node.mean(axis=0), mean_here()):
        raise SystemExit("the means differ")
    if not np.array_equal(region(), region_here()):
        raise SystemExit("the sums differ")
    taken = contest(
        {
            "mean": lambda: node.mean(axis=0),
            "mean_here": mean_here,
            "mean_decoded": lambda: mean_here("decoded"),
            "region": region,
            "region_here": region_here,
            "region_decoded": lambda: region_here("decoded"),
        }
    )
    return {f"{name}_s": seconds for name, seconds in taken.items()}


if __name__ == "__main__":
    answer(globals())
