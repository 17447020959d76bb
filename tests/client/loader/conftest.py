"""Data sets of some nodes, and what NumPy says of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from lakeservice.client import Container
    from lakeservice.client.loader import Batch


@dataclass
class DataSet:
    """Arrays in the lake and in memory."""

    home: Container
    arrays: list[Any] = field(default_factory=list)
    nodes: list[Any] = field(default_factory=list)

    def expected(self, batch: Batch) -> Any:
        """Return what the samples of a batch have to be, by NumPy."""
        return np.stack([self.arrays[node][row] for node, row in batch.indices])


LENGTHS = (7, 0, 12, 1, 20)


@pytest.fixture
def frames(home: Container) -> DataSet:
    """40 frames of 6 × 5 in five nodes, one of them without any."""
    made = DataSet(home)
    for number, length in enumerate(LENGTHS):
        array = np.random.default_rng(number).integers(0, 60000, (length, 6, 5)).astype("u2")
        metadata = {"sample": {"class": "ring" if number % 2 else "blank"}, "angle": number / 2}
        chunks = (3, 6, 5)
        node = home.write_array(f"n{number}", array, chunks=chunks, metadata=metadata)
        made.arrays.append(array)
        made.nodes.append(node)
    return made
