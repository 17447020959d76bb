"""Order: the first nodes of many by some keys, and the cursor that says where a page ended."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np

from lakeservice.catalog.attributes import NUMBERS, TEXTS
from lakeservice.catalog.database import fetch_columns, statement
from lakeservice.catalog.keys import NAME
from lakeservice.catalog.values import BOOLEAN, KIND_BITS, NUMBER, TEXT, whole
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakeservice.catalog.conditions import Conditions
    from lakeservice.catalog.places import Bools, Numbers
    from lakeservice.catalog.reading import Reading
    from schemas.query import Operator, SortKey

_SORTABLE = (NUMBER, TEXT, BOOLEAN)
_FEW = 2000
"""So many nodes are sorted as they are; of more, the first are found from the sorted runs."""
_RANKS = "SELECT node, kind, number, rest, text FROM ({source}) JOIN chosen USING (record)"

Rank = tuple[int, float, float, str]
"""A value as it sorts: its kind, a number and its rest, a text."""


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended: the values that its last node is sorted by, and its place in time."""

    order: int
    """Checksum of the keys: a cursor is of use for its own order only."""
    ranks: tuple[Rank | None, ...]
    """By key; None where the node has no value to sort by."""
    seq: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]

    def to_text(self) -> str:
        """Return the text that `from_text` reads back."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")

    @classmethod
    def from_text(cls, text: str, sort: Sequence[SortKey]) -> Cursor:
        """Read a cursor.

        Raises
        ------
        InvalidRequestError
            ``bad-cursor``: not one of ours, or of another order.
        """
        try:
            padded = text + "=" * (-len(text) % 4)
            cursor = msgspec.json.decode(base64.urlsafe_b64decode(padded), type=cls)
        except (ValueError, msgspec.MsgspecError):
            cursor = None
        if cursor is None or cursor.order != _order_of(sort) or len(cursor.ranks) != len(sort):
            raise InvalidRequestError(
                ErrorKind.BAD_CURSOR,
                "the cursor is not one of this listing and this order; begin without a cursor",
            )
        return cursor


@dataclass(frozen=True)
class Slice:
    """A page of node numbers, in order."""

    nodes: Numbers
    cursor: str | None
    """Where the next page begins; None if this one is the last."""


class Ordering:
    """Sorts in one reading. Equal values are in the order of creation."""

    def __init__(self, reading: Reading, conditions: Conditions, sort: Sequence[SortKey]) -> None:
        self._reading = reading
        self._conditions = conditions
        self._sort = tuple(sort)

    def page(self, mask: Bools, *, limit: int, offset: int, cursor: str | None) -> Slice:
        """Return the nodes of a mask from a place on, sorted."""
        if cursor is not None:
            end = Cursor.from_text(cursor, self._sort)
            mask = mask & self._after(self._sort, end.ranks, end.seq)
        wanted = offset + limit
        nodes = self._first(mask, self._sort, wanted)
        ranks = [self._ranks(key, nodes) for key in self._sort]
        nodes = self._sorted(nodes, ranks)[offset:wanted]
        more = int(np.count_nonzero(mask)) > wanted
        if not more or not nodes.size:
            return Slice(nodes, None)
        last = int(nodes[-1])
        reached = Cursor(
            order=_order_of(self._sort),
            ranks=tuple(known.get(last) for known in ranks),
            seq=int(self._reading.view.seq[last]),
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

    def _first(self, mask: Bools, sort: Sequence[SortKey], wanted: int) -> Numbers:
        """Return the first nodes of a mask, in no order; at most ``_FEW`` or ``wanted``."""
        nodes = np.flatnonzero(mask)
        if not wanted:
            return nodes[:0]
        if nodes.size <= wanted or (sort and nodes.size <= _FEW):
            return nodes
        if not sort or sort[0].key == "":
            backwards = bool(sort) and sort[0].descending
            return nodes[nodes.size - wanted :] if backwards else nodes[:wanted]
        key, left, found = sort[0], mask.copy(), [np.zeros(0, np.int64)]
        for kind in reversed(_SORTABLE) if key.descending else _SORTABLE:
            if not wanted:
                break
            parts = self._in_order(key, kind, left)
            size = sum(part.size for part in parts)
            if size <= wanted:
                for part in parts:
                    left[part] = False
                found += parts
                wanted -= size
                continue
            some = np.concatenate([part[:wanted] for part in parts])
            ranks = self._ranks(key, some)
            ordered = sorted(ranks.values(), reverse=key.descending)
            limit = ordered[wanted - 1]
            closer = [
                node
                for node, rank in ranks.items()
                if (rank > limit if key.descending else rank < limit)
            ]
            equal = left & self._equal(key, limit)
            found.append(np.array(closer, np.int64))
            return np.concatenate([*found, self._first(equal, sort[1:], wanted - len(closer))])
        return np.concatenate([*found, self._first(left, sort[1:], wanted)])

    def _in_order(self, key: SortKey, kind: int, mask: Bools) -> list[Numbers]:
        """Return for each run the nodes of a mask that have a value of a kind, in its order."""
        attribute = self._attribute(key)
        if attribute is None or (key.key == "id" and kind != TEXT):
            return []
        relation = TEXTS if kind == TEXT else NUMBERS
        parts = []
        for run in self._reading.runs:
            query = statement(
                "SELECT record FROM {table} WHERE attribute = $1", table=run.table(relation)
            )
            if not run.ordered:
                query += " ORDER BY text" if kind == TEXT else " ORDER BY number, rest"
            rows = fetch_columns(self._reading.cursor.execute(query, [attribute | kind]))
            nodes = self._reading.view.holders(rows["record"])
            nodes = nodes[mask[nodes]]
            parts.append((nodes[::-1] if key.descending else nodes).astype(np.int64))
        return parts

    def _ranks(self, key: SortKey, nodes: Numbers) -> dict[int, Rank]:
        """Return the values that some nodes are sorted by; those without are left out."""
        attribute = self._attribute(key)
        if attribute is None or not nodes.size or not self._reading.runs:
            return {}
        reading = self._reading
        columns = "attribute & 15 AS kind, {}, record"
        where = "(attribute = $1 OR attribute = $2)"
        numbers = reading.union(NUMBERS, columns.format("number, rest, '' AS text"), where)
        texts = reading.union(
            TEXTS, columns.format("0::DOUBLE AS number, 0::DOUBLE AS rest, text"), where
        )
        number, text, boolean = (attribute | kind for kind in _SORTABLE)
        rows: list[tuple[int, int, float, float, str]] = []
        with reading.chosen(nodes):
            for source, kinds in ((numbers, [number, boolean]), (texts, [text, text])):
                rows += reading.cursor.execute(statement(_RANKS, source=source), kinds).fetchall()
        return {row[0]: row[1:] for row in rows}

    def _after(self, sort: Sequence[SortKey], ranks: Sequence[Rank | None], seq: int) -> Bools:
        """Return the nodes that come after a place."""
        view = self._reading.view
        backwards = bool(sort) and sort[0].key == "" and sort[0].descending
        if not sort or sort[0].key == "":
            mask = self._reading.none()
            if backwards:
                mask[: view.seq.searchsorted(seq, "left")] = True
            else:
                mask[view.seq.searchsorted(seq, "right") :] = True
            return mask
        key, rank = sort[0], ranks[0]
        equal = self._equal(key, rank)
        if equal.any():
            equal &= self._after(sort[1:], ranks[1:], seq)
        if rank is None:
            return equal
        return equal | ~self._up_to(key, rank)

    def _up_to(self, key: SortKey, rank: Rank) -> Bools:
        """Return the nodes whose value is not after another; nodes without one are."""
        earlier = [
            kind for kind in _SORTABLE if (kind > rank[0] if key.descending else kind < rank[0])
        ]
        operator: Operator = "ge" if key.descending else "le"
        if key.key == "id":
            where = f"attribute = $1 AND text {'>=' if key.descending else '<='} $2"
            return self._reading.mask(TEXTS, where, [NAME << KIND_BITS | TEXT, rank[3]])
        return self._conditions.compared(key.key, operator, _value(rank)) | (
            self._conditions.of_kinds(key.key, earlier)
        )

    def _equal(self, key: SortKey, rank: Rank | None) -> Bools:
        if rank is None:
            if key.key == "id":
                return self._reading.none()
            return ~self._conditions.of_kinds(key.key, _SORTABLE)
        if key.key == "id":
            where = "attribute = $1 AND text = $2"
            return self._reading.mask(TEXTS, where, [NAME << KIND_BITS | TEXT, rank[3]])
        return self._conditions.equal(key.key, _value(rank))

    def _attribute(self, key: SortKey) -> int | None:
        if key.key == "":
            return None
        number = NAME if key.key == "id" else self._reading.keys.number(key.key)
        return None if number is None else number << KIND_BITS


def _value(rank: Rank) -> Any:
    kind, number, rest, text = rank
    if kind == TEXT:
        return text
    return bool(number) if kind == BOOLEAN else whole(number, rest)


def _order_of(sort: Sequence[SortKey]) -> int:
    return zlib.crc32(msgspec.json.encode(sort))
