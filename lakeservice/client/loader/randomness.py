"""How random an epoch is, measured against a uniform permutation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lakeservice.client.loader.order import Order


@dataclass(frozen=True)
class Randomness:
    """Figures of an epoch's order; 1 is what a uniform permutation has, except as said."""

    displacement: float
    """Mean distance between where a sample is stored and where it comes, over all samples,
    relative to a third of their number."""
    from_one_block: float
    """Share of neighbours in a batch that lie in one stored block (0 is best)."""
    from_one_block_uniform: float
    """The same share in a uniform permutation."""
    nodes_per_batch: float
    """Mean number of different nodes in a batch."""
    nodes_per_batch_uniform: float
    """The same number in a uniform permutation."""


def randomness(order: Order, epoch: int, batch_size: int, batches: int) -> Randomness:
    """Measure some batches, spread over an epoch.

    Parameters
    ----------
    batches
        How many; an epoch that has not so many is measured whole.
    """
    steps = max(1, order.samples // batch_size)
    looked = np.unique(np.linspace(0, steps - 1, min(batches, steps)).astype(np.int64))
    away, together, nodes, uniform_together, uniform_nodes, pairs = 0.0, 0, 0, 0, 0, 0
    chance = np.random.Generator(np.random.Philox(key=np.array([order.seed, epoch], np.uint64)))
    seen = 0
    for step in looked.tolist():
        start, stop = step * batch_size, min(order.samples, (step + 1) * batch_size)
        samples = order.take(epoch, start, stop)
        away += float(np.abs(order.place_of(samples) - np.arange(start, stop)).sum())
        seen += stop - start
        pairs += stop - start - 1
        together += _pairs(order, samples)
        nodes += np.unique(samples[:, 0]).size
        any_of_all = order.sequential(chance.integers(0, order.samples, stop - start))
        uniform_together += _pairs(order, any_of_all)
        uniform_nodes += np.unique(any_of_all[:, 0]).size
    return Randomness(
        displacement=away / max(1, seen) / max(1.0, order.samples / 3),
        from_one_block=together / max(1, pairs),
        from_one_block_uniform=uniform_together / max(1, pairs),
        nodes_per_batch=nodes / looked.size,
        nodes_per_batch_uniform=uniform_nodes / looked.size,
    )


def _pairs(order: Order, samples: NDArray[np.int64]) -> int:
    blocks = order.block_of(samples)
    return int((blocks[1:] == blocks[:-1]).sum())
