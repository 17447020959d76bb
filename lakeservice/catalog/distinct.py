"""Distinct values: what values a key has among some nodes, and how often."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from lakeservice.catalog.attributes import NUMBERS, TEXTS
from lakeservice.catalog.database import fetch_many, statement
from lakeservice.catalog.keys import FAMILY, SPECS
from lakeservice.catalog.values import BOOLEAN, KIND_BITS, LIST, NULL, NUMBER, TEXT, whole
from schemas.entry import Spec
from schemas.errors import ErrorKind, TooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakeservice.catalog.places import Bools
    from lakeservice.catalog.reading import Reading

MAX_VALUES = 100_000
"""Most different values of one key in one answer."""

_FEW = 20_000
"""So many nodes are looked up in the rows; of more, the values are counted run by run."""
_VALUES = {NUMBERS: "number, rest, ''", TEXTS: "0::DOUBLE, 0::DOUBLE, text"}
_GROUP = {NUMBERS: "number, rest", TEXTS: "text"}
_COLUMNS = {
    NUMBERS: "attribute & 15 AS kind, number, rest, '' AS text, record",
    TEXTS: "attribute & 15 AS kind, 0::DOUBLE AS number, 0::DOUBLE AS rest, text, record",
}
_COUNT = (
    "SELECT kind, number, rest, text, min(node), count(*) "
    "FROM ({source}) JOIN chosen USING (record) GROUP BY ALL LIMIT {most}"
)
_GROUPS = (
    "SELECT {values}, count(*) FROM {table} WHERE attribute = $1 AND record < $2 "
    "GROUP BY {group} ORDER BY {group}"
)
_RECORDS = "SELECT record FROM {table} WHERE attribute = $1 AND record < $2{order}"
_specs = msgspec.json.Decoder(list[Spec])


class Counted(NamedTuple):
    """One value with the number of nodes that have it."""

    kind: int
    number: float
    rest: float
    text: str
    """The text; of a list, its digest."""
    node: int
    """One of the nodes that have it."""
    nodes: int
    """How many have it."""


class DistinctValues:
    """Counts values in one reading, among the nodes of a mask."""

    def __init__(self, reading: Reading, mask: Bools) -> None:
        self._reading = reading
        self._mask = mask
        self._nodes = np.flatnonzero(mask)

    def scalars(self, key: str) -> list[tuple[Any, int]]:
        """Return numbers, texts, booleans and null at a metadata key, in this order.

        Raises
        ------
        TooLargeError
            ``too-large``: more than `MAX_VALUES` different values.
        """
        found = self._of_key(NUMBERS, key, (NUMBER, BOOLEAN, NULL))
        found += self._of_key(TEXTS, key, (TEXT,))
        return [(_value(one), one.nodes) for one in sorted(found)]

    def lists(self, key: str) -> list[tuple[int, int]]:
        """Return a node for each different list at a metadata key, and its count."""
        return [(one.node, one.nodes) for one in self._of_key(TEXTS, key, (LIST,))]

    def families(self) -> list[tuple[str, int]]:
        """Return the structure families, in the order in which they first came."""
        found = self._counted(TEXTS, FAMILY << KIND_BITS, (TEXT,))
        return [(one.text, one.nodes) for one in sorted(found, key=_first)]

    def specs(self) -> list[tuple[list[Spec], int]]:
        """Return the combinations of specs that nodes have: none first, then as they came."""
        found = self._counted(TEXTS, SPECS << KIND_BITS, (TEXT,))
        without = self._nodes.size - sum(one.nodes for one in found)
        listed = [(_specs.decode(one.text), one.nodes) for one in sorted(found, key=_first)]
        return [([], without), *listed] if without else listed

    def _of_key(self, relation: str, key: str, kinds: Sequence[int]) -> list[Counted]:
        number = self._reading.keys.number(key)
        found = [] if number is None else self._counted(relation, number << KIND_BITS, kinds)
        if len(found) > MAX_VALUES:
            raise TooLargeError(
                ErrorKind.TOO_LARGE,
                f"key {key!r} has more than {MAX_VALUES} different values; narrow the search down",
            )
        return found

    def _counted(self, relation: str, attribute: int, kinds: Sequence[int]) -> list[Counted]:
        if not self._reading.runs or not self._nodes.size:
            return []
        if self._nodes.size <= _FEW:
            return self._joined(relation, attribute, kinds)
        return [one for kind in kinds for one in self._run_by_run(relation, attribute, kind)]

    def _joined(self, relation: str, attribute: int, kinds: Sequence[int]) -> list[Counted]:
        reading = self._reading
        where = " OR ".join(f"attribute = ${at + 1}" for at in range(len(kinds)))
        source = reading.union(relation, _COLUMNS[relation], f"({where})")
        with reading.chosen(self._nodes):
            rows = reading.cursor.execute(
                statement(_COUNT, source=source, most=str(MAX_VALUES + 1)),
                [attribute | kind for kind in kinds],
            ).fetchall()
        return [Counted(*row) for row in rows]

    def _run_by_run(self, relation: str, attribute: int, kind: int) -> Iterator[Counted]:
        """Count the values of one kind from the order of the rows.

        The rows of a run lie in the order of their values, so the records of one
        value are neighbours: how many of them are chosen is a difference of sums.
        """
        found: dict[tuple[float, float, str], tuple[int, int]] = {}
        for run in self._reading.runs:
            names = {"table": run.table(relation), "group": _GROUP[relation]}
            groups = self._reading.cursor.execute(
                statement(_GROUPS, values=_VALUES[relation], **names), self._known(attribute, kind)
            ).fetchall()
            if not groups:
                continue
            order = "" if run.ordered else f" ORDER BY {names['group']}"
            query = statement(_RECORDS, table=names["table"], order=order)
            rows = fetch_many(self._reading.cursor, query, self._known(attribute, kind))
            nodes, chosen = self._reading.view.owners(rows["record"])
            chosen &= self._mask.take(nodes)
            before = np.concatenate([[0], np.cumsum(chosen)])
            ends = np.cumsum([group[3] for group in groups])
            counts = np.diff(before[np.concatenate([[0], ends])])
            for at in np.flatnonzero(counts).tolist():
                count = int(counts[at])
                place = int(before.searchsorted(before[ends[at]] - count, "right")) - 1
                node, more = found.get(groups[at][:3], (int(nodes[place]), 0))
                found[groups[at][:3]] = (node, more + count)
        for value, (node, count) in found.items():
            yield Counted(kind, *value, node, count)

    def _known(self, attribute: int, kind: int) -> list[int]:
        """Return the parameters for rows that this reading knows: more may come to a tail."""
        return [attribute | kind, len(self._reading.view.owner)]


def _first(one: Counted) -> int:
    return one.node


def _value(one: Counted) -> Any:
    if one.kind == NUMBER:
        return whole(one.number, one.rest)
    if one.kind == BOOLEAN:
        return bool(one.number)
    return None if one.kind == NULL else one.text
