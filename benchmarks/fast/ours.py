"""What the measurements of our own client share: a connection, memory, where things lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import lakeservice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.timing import Values

INSIDE = "entry/data/data"
STACK = f"converted/stack/{INSIDE}"
EIGER = f"registered/eiger/{INSIDE}"
EXAMPLES = f"converted/examples/{INSIDE}"


def connect(plan: Mapping[str, Any]) -> Any:
    """Return the lake that the plan names."""
    return lakeservice.connect(plan["url"], api_key=plan["key"])


def touched(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Return memory whose every page was used before."""
    return np.full(shape, 1, dtype)


def rates(taken: Mapping[str, float], size_bytes: float) -> Values:
    """Return seconds as GB/s, each name ending so."""
    return {f"{name}_gb_s": size_bytes / seconds / 1e9 for name, seconds in taken.items()}
