"""Plans of arrays: which rows are read side by side, found from structure and selection alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lakeservice.codecs.grid import Grid

if TYPE_CHECKING:
    from schemas.selection import Selection
    from schemas.structures import ArrayStructure

MOST_ENDPOINTS = 1024
LEAST_ENDPOINTS = 4
"""What is worth several endpoints at all has so many, so that every core has one."""
LEAST_BYTES = 4 << 20
"""Below it, what an endpoint costs is more than is gained."""


@dataclass(frozen=True)
class Plan:
    """What a read will cost, found without touching data."""

    rows: int
    """Rows of the answer along its first kept axis; 1 for a single element."""
    answer_bytes: int
    """Decoded size."""
    parts: tuple[tuple[int, int], ...]
    """Row ranges that can be read side by side; they meet where chunks do."""


def plan_array(
    structure: ArrayStructure,
    selection: Selection,
    endpoint_bytes: int,
    *,
    encoded: bool = False,
) -> Plan:
    """Cut a selection along its first kept axis.

    Parameters
    ----------
    structure
        The array.
    selection
        What is read of it.
    endpoint_bytes
        A part has about so many bytes; more where a single row of chunks has, or
        where there would be more than `MOST_ENDPOINTS`.
    encoded
        Count the chunks that are sent whole, and not the elements that are wanted of them.
    """
    itemsize = structure.data_type.itemsize
    answer_bytes = selection.size * itemsize
    number = next((n for n, axis in enumerate(selection.axes) if not axis.drop), None)
    if number is None:
        return Plan(1, answer_bytes, ((0, 1),))
    axis = selection.axes[number]
    grid = Grid.of(structure)
    sent_bytes = grid.touched(selection) * itemsize if encoded else answer_bytes
    target = max(LEAST_BYTES, sent_bytes // LEAST_ENDPOINTS, 1)
    target = max(min(endpoint_bytes, target), math.ceil(sent_bytes / MOST_ENDPOINTS))
    if sent_bytes <= target or axis.count < 2:
        return Plan(axis.count, answer_bytes, ((0, axis.count),))
    rows = max(1, axis.count * target // sent_bytes)
    parts: list[tuple[int, int]] = []
    begin = 0
    while begin < axis.count:
        end = grid.run_end(number, axis, begin + rows)
        parts.append((begin, end))
        begin = end
    return Plan(axis.count, answer_bytes, tuple(parts))
