"""Plans of tables: which ranges of rows are read side by side, found without reading rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lakeservice.codecs.batches import Span

MOST_ENDPOINTS = 16


@dataclass(frozen=True)
class RowPlan:
    """Ranges of a table's rows that follow one another."""

    parts: tuple[Span, ...]
    """First row and the row after the last of each; one at least."""
    answer_bytes: int
    """Decoded size of what may match."""

    @property
    def rows(self) -> int:
        """Rows of all ranges, before any condition."""
        return self.parts[-1][1] - self.parts[0][0]


def plan_rows(
    units: Iterable[tuple[int, int]], endpoint_bytes: int, span: Span | None = None
) -> RowPlan:
    """Join stretches of rows into ranges of about the same size.

    Parameters
    ----------
    units
        Rows and bytes of stretches that are best read as a whole, in order.
    endpoint_bytes
        A range has at least so many bytes, where there are as many.
    span
        Only these rows; None for all.
    """
    cut: list[tuple[int, int, float]] = []
    start = 0
    for rows, stored in units:
        low, high = start, start + rows
        start = high
        if span is not None:
            low, high = max(low, span[0]), min(high, span[1])
        if low < high:
            cut.append((low, high, stored * (high - low) / rows))
    if not cut:
        return RowPlan(((0, 0),), 0)
    total = sum(size for _, _, size in cut)
    ranges = max(1, min(MOST_ENDPOINTS, round(total / endpoint_bytes)))
    parts: list[Span] = []
    first, held = cut[0][0], 0.0
    for _, high, size in cut:
        held += size
        if held >= total * (len(parts) + 1) / ranges and len(parts) + 1 < ranges:
            parts.append((first, high))
            first = high
    if first < cut[-1][1] or not parts:
        parts.append((first, cut[-1][1]))
    return RowPlan(tuple(parts), int(total))
