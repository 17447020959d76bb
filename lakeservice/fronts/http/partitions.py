"""Partitions of tables, as clients of HTTP are told of them.

A table is stored in parts, and every append adds one. Tiled's clients keep the
number of partitions that they were told first, and expect the rows that are
appended later in these; so the link to a partition carries, as ``of``, the
number that its client was told, and the last partition has all the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.chunks import TableStorage
from schemas.structures import TableStructure

if TYPE_CHECKING:
    from schemas.entry import Node

PARTITION_ROWS = 100_000
"""Parts that are shorter on average are told as one partition: each costs its client a request."""


def stored_parts(node: Node) -> int:
    """Return how many parts a table is stored in."""
    storage = node.data_sources[0].storage if node.data_sources else None
    return len(storage.parts) + len(storage.assets) if isinstance(storage, TableStorage) else 0


def told_partitions(node: Node) -> int:
    """Return how many partitions clients are told that a table has; at least 1."""
    if not isinstance(node.structure, TableStructure):
        return 1
    parts = stored_parts(node)
    if not parts:
        return node.structure.npartitions
    return parts if (node.structure.rows or 0) >= parts * PARTITION_ROWS else 1


def parts_of(node: Node, number: int, told: int | None) -> range:
    """Return the stored parts that a partition stands for; none where it has no rows yet.

    Parameters
    ----------
    told
        Number of partitions that the client knows of; None where it counts parts.
    """
    stored = stored_parts(node)
    if told is None or number != told - 1:
        return range(number, min(number + 1, stored))
    return range(number, stored)
