"""Sort columns: the values at one key as nodes are sorted by them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lakeservice.catalog.attributes import NUMBERS, TEXTS
from lakeservice.catalog.database import fetch_many, statement
from lakeservice.catalog.keys import NAME
from lakeservice.catalog.values import BOOLEAN, EXACT, KIND_BITS, NUMBER, TEXT, whole
from schemas.query import And, Comparison

if TYPE_CHECKING:
    from lakeservice.catalog.conditions import Conditions
    from lakeservice.catalog.places import Bools, Numbers
    from lakeservice.catalog.reading import Reading
    from schemas.query import Operator, Query, SortKey

SORTABLE = (NUMBER, TEXT, BOOLEAN)
"""Kinds that nodes are sorted by, in their order."""

_REMEMBERED = 10_000
_WINDOW = 4096
"""Numbers that are looked at from the wanted end before all of them are."""
_NEAREST = "SELECT * FROM ({source}) ORDER BY number {order} LIMIT {limit}"
_TEXT_ONLY = "0::DOUBLE AS number, 0::DOUBLE AS rest, text"
_RANKS = "SELECT node, kind, number, rest, text FROM ({source}) JOIN chosen USING (record)"

Rank = tuple[int, float, float, str]
"""A value as it sorts: its kind, a number and its rest, a text."""

Floats = npt.NDArray[np.float64]
Valued = tuple[npt.NDArray[np.int32], Floats, Floats]
"""Nodes with a number and its rest each."""


@dataclass
class First:
    """The first nodes of many by one key, as far as that key decides."""

    found: list[Numbers] = field(default_factory=list)
    """Nodes that are among the first, in no order."""
    undecided: Bools | None = None
    """Nodes of which some are: those with the value that the last has, or with none at all."""
    wanted: int = 0
    """How many of the undecided."""
    rank: Rank | None = None
    """The value that all the undecided have; None if they have none."""


class SortColumn:
    """One key to sort by, in one reading, of nodes for which a query holds."""

    def __init__(
        self, reading: Reading, conditions: Conditions, key: SortKey, query: Query
    ) -> None:
        self._reading = reading
        self._conditions = conditions
        self._key = key.key
        self._backwards = key.descending
        self._is_name = key.key == "id"
        number = NAME if self._is_name else reading.keys.number(key.key)
        self._attribute = -1 if number is None else number << KIND_BITS
        self._bounds = bounds(query, key.key)
        self._known: dict[int, Rank | None] = {}

    def begin_at(self, rank: Rank | None) -> None:
        """Take note that nodes before a value are not asked for."""
        if rank is None or rank[0] != NUMBER:
            return
        low, high = self._bounds
        self._bounds = (low, min(high, rank[1])) if self._backwards else (max(low, rank[1]), high)

    def first(self, mask: Bools, wanted: int) -> First:
        """Return the first nodes of a mask, of which there are more than are wanted."""
        first = First(wanted=wanted)
        left = mask.copy()
        kinds = SORTABLE if self._attribute >= 0 else ()
        for kind in reversed(kinds) if self._backwards else kinds:
            if not first.wanted:
                return first
            if kind == TEXT:
                self._add_texts(first, left)
            elif not self._is_name:
                self._add_numbers(first, left, kind)
            if first.undecided is not None:
                return first
        first.undecided = left
        return first

    def ranks(self, nodes: Numbers) -> dict[int, Rank]:
        """Return the values that some nodes are sorted by; nodes without are left out."""
        asked = nodes.tolist()
        unknown = [node for node in asked if node not in self._known]
        if unknown and self._attribute >= 0 and self._reading.runs:
            self._known.update(dict.fromkeys(unknown))
            some = np.array(unknown, np.int64)
            self._known.update(self._fetch(some, TEXTS, (TEXT,)))
            if not self._is_name:
                self._known.update(self._fetch(some, NUMBERS, (NUMBER, BOOLEAN)))
        found = ((node, self._known.get(node)) for node in asked)
        return {node: rank for node, rank in found if rank is not None}

    def know(self, nodes: Numbers, rank: Rank | None) -> None:
        """Take note of the value that some nodes are sorted by."""
        self._known.update(dict.fromkeys(nodes.tolist(), rank))

    def after(self, rank: Rank | None) -> Bools:
        """Return the nodes whose value comes after another one; those without come last."""
        if rank is None:
            return self._reading.none()
        return ~self._up_to(rank)

    def equal(self, rank: Rank | None) -> Bools:
        """Return the nodes that have a value, or those that have none."""
        if rank is None:
            if self._is_name:
                return self._reading.none()
            return ~self._conditions.of_kinds(self._key, SORTABLE)
        if self._is_name:
            return self._named("=", rank[3])
        return self._conditions.equal(self._key, _value(rank))

    def _up_to(self, rank: Rank) -> Bools:
        if self._is_name:
            return self._named(">=" if self._backwards else "<=", rank[3])
        kinds = SORTABLE[rank[0] + 1 :] if self._backwards else SORTABLE[: rank[0]]
        operator: Operator = "ge" if self._backwards else "le"
        return self._conditions.of_kinds(self._key, kinds) | self._conditions.compared(
            self._key, operator, _value(rank)
        )

    def _named(self, sign: str, name: str) -> Bools:
        where = f"attribute = $1 AND text {sign} $2"
        return self._reading.mask(TEXTS, where, [NAME << KIND_BITS | TEXT, name])

    def _add_numbers(self, first: First, left: Bools, kind: int) -> None:
        rows = self._nearest(left, kind, first.wanted) or self._numbers(left, kind)
        if rows[0].size <= first.wanted:
            left[rows[0]] = False
            self._add(first, kind, rows)
            first.wanted -= rows[0].size
            return
        equal = self._add_closer(first, kind, rows, by=1)
        if equal[2].any():
            # Integers that are the same float: what is missing to it decides.
            equal = self._add_closer(first, kind, equal, by=2)
        first.undecided = self._reading.none()
        first.undecided[equal[0]] = True
        first.rank = (kind, float(equal[1][0]), float(equal[2][0]), "")

    def _add_closer(self, first: First, kind: int, rows: Valued, by: int) -> Valued:
        """Add the nodes that are before the last one wanted; return those that equal it."""
        signed = -rows[by] if self._backwards else rows[by]
        limit = np.partition(signed, first.wanted - 1)[first.wanted - 1]
        closer, equal = np.flatnonzero(signed < limit), np.flatnonzero(signed == limit)
        self._add(first, kind, _taken(rows, closer))
        first.wanted -= closer.size
        return _taken(rows, equal)

    def _add(self, first: First, kind: int, rows: Valued) -> None:
        nodes, numbers, rests = rows
        first.found.append(nodes.astype(np.int64))
        if nodes.size <= _REMEMBERED:
            ranked = zip(nodes.tolist(), numbers.tolist(), rests.tolist(), strict=True)
            self._known.update((node, (kind, number, rest, "")) for node, number, rest in ranked)

    def _add_texts(self, first: First, left: Bools) -> None:
        parts = self._in_order(left)
        for part in parts:
            left[part] = False
        size = sum(part.size for part in parts)
        if size <= first.wanted:
            first.found += parts
            first.wanted -= size
            return
        ranks = self.ranks(np.concatenate([part[: first.wanted] for part in parts]))
        limit = sorted(ranks.values(), reverse=self._backwards)[first.wanted - 1]
        closer = [
            node
            for node, rank in ranks.items()
            if (rank > limit if self._backwards else rank < limit)
        ]
        first.found.append(np.array(closer, np.int64))
        first.wanted -= len(closer)
        first.undecided = self._reading.none()
        for part in parts:
            first.undecided[part] = True
        first.undecided &= self.equal(limit)
        first.rank = limit

    def _numbers(self, mask: Bools, kind: int) -> Valued:
        """Return the nodes of a mask that have a number of a kind, with the numbers."""
        reading = self._reading
        if not reading.runs:
            return np.zeros(0, np.int32), np.zeros(0), np.zeros(0)
        query = reading.union(NUMBERS, "record, number", "attribute = $1")
        rows = fetch_many(reading.cursor, query, [self._attribute | kind])
        numbers = rows["number"]
        if numbers.max(initial=0) >= EXACT or numbers.min(initial=0) <= -EXACT:
            query = reading.union(NUMBERS, "record, number, rest", "attribute = $1")
            rows = fetch_many(reading.cursor, query, [self._attribute | kind])
        nodes, present = reading.view.owners(rows["record"])
        kept = np.flatnonzero(present & mask.take(nodes))
        rests = rows.get("rest", np.zeros(len(nodes)))
        return _taken((nodes, rows["number"], rests), kept)

    def _nearest(self, mask: Bools, kind: int, wanted: int) -> Valued | None:
        """Return the first nodes of a mask by number, more than are wanted and none left out.

        None where so many of the first numbers belong to nodes outside the mask that
        all of them have to be looked at. The condition's own bounds of the key are
        where it begins: without them, the first numbers would be those that it refuses.
        """
        reading = self._reading
        expected = wanted * mask.size // max(1, int(np.count_nonzero(mask)))
        if kind != NUMBER or not reading.runs or expected > _WINDOW // 4:
            return None
        low, high = self._bounds
        source = reading.union(
            NUMBERS, "record, number, rest", "attribute = $1 AND number BETWEEN $2 AND $3"
        )
        query = statement(
            _NEAREST, source=source, order="DESC" if self._backwards else "ASC", limit=str(_WINDOW)
        )
        rows = fetch_many(reading.cursor, query, [self._attribute | kind, low, high])
        numbers = rows["number"]
        # Of those with the last number there may be more.
        sure = numbers != numbers[-1] if numbers.size == _WINDOW else np.ones(numbers.size, bool)
        nodes, present = reading.view.owners(rows["record"])
        kept = np.flatnonzero(present & sure & mask.take(nodes))
        return _taken((nodes, numbers, rows["rest"]), kept) if kept.size > wanted else None

    def _in_order(self, mask: Bools) -> list[Numbers]:
        """Return for each run the nodes of a mask that have a text, in the order of the texts."""
        parts = []
        for run in self._reading.runs:
            query = statement(
                "SELECT record FROM {table} WHERE attribute = $1{order}",
                table=run.table(TEXTS),
                order="" if run.ordered else " ORDER BY text",
            )
            rows = fetch_many(self._reading.cursor, query, [self._attribute | TEXT])
            nodes = self._reading.view.holders(rows["record"])
            nodes = nodes.take(np.flatnonzero(mask.take(nodes)))
            parts.append((nodes[::-1] if self._backwards else nodes).astype(np.int64))
        return parts

    def _fetch(self, nodes: Numbers, relation: str, kinds: tuple[int, ...]) -> dict[int, Rank]:
        values = "number, rest, '' AS text" if relation == NUMBERS else _TEXT_ONLY
        where = " OR ".join(f"attribute = ${at + 1}" for at in range(len(kinds)))
        source = self._reading.union(
            relation, f"attribute & 15 AS kind, {values}, record", f"({where})"
        )
        with self._reading.chosen(nodes):
            rows = self._reading.cursor.execute(
                statement(_RANKS, source=source), [self._attribute | kind for kind in kinds]
            ).fetchall()
        return {row[0]: row[1:] for row in rows}


def bounds(query: Query, key: str) -> tuple[float, float]:
    """Return numbers between which the value at a key lies wherever a condition holds.

    Only what the condition says outright is seen; infinite where it says nothing.
    """
    low, high = -math.inf, math.inf
    for one in query.queries if isinstance(query, And) else (query,):
        if not isinstance(one, Comparison) or one.key != key or isinstance(one.value, str):
            continue
        if one.operator in ("gt", "ge"):
            low = max(low, _near(one.value))
        else:
            high = min(high, _near(one.value))
    return low, high


def _near(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _taken(rows: Valued, at: Numbers) -> Valued:
    return rows[0].take(at), rows[1].take(at), rows[2].take(at)


def _value(rank: Rank) -> Any:
    kind, number, rest, text = rank
    if kind == TEXT:
        return text
    return bool(number) if kind == BOOLEAN else whole(number, rest)
