"""Order: the first nodes of many by several keys, page by page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lakeservice.catalog.cursors import Cursor
from lakeservice.catalog.sort_columns import SortColumn
from schemas.query import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakeservice.catalog.conditions import Conditions
    from lakeservice.catalog.places import Bools, Numbers
    from lakeservice.catalog.reading import Reading
    from lakeservice.catalog.sort_columns import Rank
    from schemas.query import Query, SortKey

_FEW = 2000
"""So many nodes are sorted as they are; of more, the first are found from the sorted runs."""


@dataclass(frozen=True)
class Slice:
    """A page of node numbers, in order."""

    nodes: Numbers
    cursor: str | None
    """Where the next page begins; None if this one is the last."""


class Ordering:
    """Sorts in one reading. Equal values are in the order of creation.

    Parameters
    ----------
    query
        Holds for all nodes that will be sorted.
    """

    def __init__(
        self,
        reading: Reading,
        conditions: Conditions,
        sort: Sequence[SortKey],
        query: Query = EVERYTHING,
    ) -> None:
        self._view = reading.view
        self._sort = tuple(sort)
        self._columns = [SortColumn(reading, conditions, key, query) for key in sort]

    def page(self, mask: Bools, *, limit: int, offset: int, cursor: str | None) -> Slice:
        """Return the nodes of a mask from a place on, sorted."""
        if cursor is not None:
            end = Cursor.from_text(cursor, self._sort)
            mask = mask & self._after(0, end.ranks, end.seq)
            if self._columns:
                self._columns[0].begin_at(end.ranks[0])
        wanted = offset + limit
        nodes = self._first(mask, 0, wanted)
        ranks = [column.ranks(nodes) for column in self._columns]
        nodes = self._sorted(nodes, ranks)[offset:wanted]
        if not nodes.size or int(np.count_nonzero(mask)) <= wanted:
            return Slice(nodes, None)
        last = int(nodes[-1])
        reached = Cursor.at(
            self._sort, [known.get(last) for known in ranks], int(self._view.seq[last])
        )
        return Slice(nodes, reached.to_text())

    def _sorted(self, nodes: Numbers, ranks: Sequence[dict[int, Rank]]) -> Numbers:
        order = np.sort(nodes).tolist()
        for key, known in zip(reversed(self._sort), reversed(ranks), strict=True):
            if key.key == "":
                order.sort(reverse=key.descending)
                continue
            # Python's sort keeps the order of equal values, also when it is reversed.
            present = [node for node in order if node in known]
            present.sort(key=known.__getitem__, reverse=key.descending)
            order = present + [node for node in order if node not in known]
        return np.array(order, np.int64)

    def _first(self, mask: Bools, place: int, wanted: int) -> Numbers:
        """Return the first nodes of a mask by the keys from a place on, in no order.

        There may be more than are wanted where there are few in all.
        """
        nodes = np.flatnonzero(mask)
        if nodes.size <= wanted or not wanted:
            return nodes[:wanted]
        if place == len(self._sort):
            return nodes[:wanted]
        key = self._sort[place]
        if key.key == "":
            return nodes[nodes.size - wanted :] if key.descending else nodes[:wanted]
        if nodes.size <= _FEW:
            return nodes
        first = self._columns[place].first(mask, wanted)
        if first.undecided is not None:
            rest = self._first(first.undecided, place + 1, first.wanted)
            self._columns[place].know(rest, first.rank)
            first.found.append(rest)
        return np.concatenate([np.zeros(0, np.int64), *first.found])

    def _after(self, place: int, ranks: Sequence[Rank | None], seq: int) -> Bools:
        """Return the nodes that come after the end of a page, by the keys from a place on."""
        if place == len(self._sort) or self._sort[place].key == "":
            mask = np.zeros(self._view.count, np.bool_)
            if place < len(self._sort) and self._sort[place].descending:
                mask[: self._view.seq.searchsorted(seq, "left")] = True
            else:
                mask[self._view.seq.searchsorted(seq, "right") :] = True
            return mask
        column, rank = self._columns[place], ranks[place]
        equal = column.equal(rank)
        if equal.any():
            equal &= self._after(place + 1, ranks, seq)
        return equal | column.after(rank)
