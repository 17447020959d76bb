"""Runs: the tables that hold attribute rows, most of them sorted, merged as they grow in number."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lakeservice.catalog.attributes import NUMBERS, TEXTS
from lakeservice.catalog.columns import table
from lakeservice.catalog.database import statement
from lakeservice.catalog.leases import Leases

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    import duckdb
    import numpy as np
    import numpy.typing as npt

    from lakeservice.catalog.attributes import AttributeRows
    from lakeservice.catalog.database import Database

_DIRECT_ROWS = 50_000
"""So many rows at once become a sorted run of their own; fewer go to the tail."""
_TAIL_ROWS = 100_000
"""A tail of so many rows is closed, sorted in the background, and a new one begun."""
_FAN_IN = 8
"""Runs of about one size that are merged while entries come in."""
_RATIO = 3
"""How many times larger the next run stays unmerged when there is nothing else to do."""
_SAMPLE = 65_536
"""Every so many rows one is looked at, to cut a merge into slices."""
_SLICE_ROWS = 20 * _SAMPLE
"""Rows that are sorted in one piece: a merge takes the memory of one slice."""

_VALUES = {NUMBERS: ("number", "rest"), TEXTS: ("text",)}
_TYPES = {
    NUMBERS: "attribute INTEGER, number DOUBLE, rest DOUBLE, record INTEGER",
    TEXTS: "attribute INTEGER, text VARCHAR, record INTEGER",
}


@dataclass(frozen=True)
class Run:
    """One table of numbers and one of texts."""

    id: int
    ordered: bool
    """Sorted by attribute, value and record; a tail is in order of arrival."""
    numbers: int
    texts: int

    @property
    def rows(self) -> int:
        """Rows in both tables."""
        return self.numbers + self.texts

    def table(self, relation: str) -> str:
        """Return the name of its table of numbers or texts."""
        return f"{relation}_{self.id}"


class Stopped(Exception):  # noqa: N818 - not an error: the server is closing
    """A merge was given up because the catalog is being closed."""


class Runs:
    """All runs of an index."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.leases = Leases()
        with database.cursor() as cursor:
            self.all: tuple[Run, ...] = tuple(
                itertools.starmap(
                    Run,
                    cursor.execute(
                        "SELECT id, ordered, numbers, texts FROM runs ORDER BY id"
                    ).fetchall(),
                )
            )
            self._drop_leftovers(cursor)
        self._next = max((run.id for run in self.all), default=0) + 1

    def append(self, cursor: duckdb.DuckDBPyConnection, rows: AttributeRows) -> tuple[Run, ...]:
        """Write rows in a transaction; return all runs as they are once it is committed."""
        if not len(rows):
            return self.all
        tables = rows.tables()
        numbers, texts = tables[NUMBERS].num_rows, tables[TEXTS].num_rows
        for relation, rows_of_it in tables.items():
            cursor.register(f"new_{relation}", rows_of_it)
        try:
            if len(rows) >= _DIRECT_ROWS:
                run = Run(self._take_id(), ordered=True, numbers=numbers, texts=texts)
                for relation, values in _VALUES.items():
                    order = ", ".join(("attribute", *values, "record"))
                    cursor.execute(
                        f"CREATE TABLE {run.table(relation)} AS "
                        f"FROM new_{relation} ORDER BY {order}"
                    )
                self._register(cursor, run)
                return (*self.all, run)
            before = self._tail()
            if before is None:
                before = Run(self._take_id(), ordered=False, numbers=0, texts=0)
                self._create(cursor, before)
            for relation in _VALUES:
                cursor.execute(f"INSERT INTO {before.table(relation)} FROM new_{relation}")
            after = replace(before, numbers=before.numbers + numbers, texts=before.texts + texts)
            cursor.execute("DELETE FROM runs WHERE id = ?", [before.id])
            self._register(cursor, after)
            return (*(run for run in self.all if run.id != before.id), after)
        finally:
            for relation in tables:
                cursor.unregister(f"new_{relation}")

    def merge(
        self,
        chosen: Sequence[Run],
        stale: npt.NDArray[np.int32],
        stop: threading.Event,
    ) -> Run:
        """Make one sorted run of several, without the rows of stale records.

        The rows are sorted slice by slice, so memory stays bounded; readers go
        on with the old runs, which are dropped when the last of them is done.

        Raises
        ------
        Stopped
            ``stop`` was set meanwhile; nothing has changed.
        """
        empty = Run(self._take_id(), ordered=True, numbers=0, texts=0)
        source = "FROM ({rows})" + (" ANTI JOIN stale USING (record)" if stale.size else "")
        with self._database.transaction() as cursor:
            cursor.register("stale", table(record=stale))
            try:
                self._create(cursor, empty)
                counts = {
                    relation: self._merge_relation(cursor, relation, source, chosen, empty, stop)
                    for relation in _VALUES
                }
            finally:
                cursor.unregister("stale")
            merged = Run(empty.id, ordered=True, **counts)
            self._register(cursor, merged)
            for run in chosen:
                cursor.execute("DELETE FROM runs WHERE id = ?", [run.id])
        return merged

    def swap(self, chosen: Sequence[Run], merged: Run) -> None:
        """Let readers have the merged run from now on, and drop the old ones after the last."""
        old = {run.id for run in chosen}
        self.all = (*(run for run in self.all if run.id not in old), merged)
        self.leases.retire(lambda: self._drop(chosen))

    def to_merge(self, *, idle: bool) -> list[Run]:
        """Return runs that should become one; none if all is well.

        While entries come in, runs of about one size are merged when there are
        many, and a tail that is full is sorted. When nothing else is to do, small
        runs are merged into larger ones until each is several times larger than
        all smaller ones together.
        """
        tail = self._tail()
        runs = sorted(
            (run for run in self.all if tail is None or run.id != tail.id), key=lambda run: run.rows
        )
        for first in range(len(runs)):
            group = [run for run in runs[first:] if run.rows <= _FAN_IN * runs[first].rows]
            if len(group) >= _FAN_IN:
                return group[: 2 * _FAN_IN]
        closed = [run for run in runs if not run.ordered]
        if closed or not idle:
            return closed
        for last in range(len(runs) - 1, 0, -1):
            if runs[last].rows <= _RATIO * sum(run.rows for run in runs[:last]):
                return runs[: last + 1]
        return []

    def _merge_relation(
        self,
        cursor: duckdb.DuckDBPyConnection,
        relation: str,
        source: str,
        chosen: Sequence[Run],
        target: Run,
        stop: threading.Event,
    ) -> int:
        values = _VALUES[relation]
        order = ", ".join(("attribute", *values, "record"))
        bounds = self._bounds(cursor, relation, chosen)
        for low, high in itertools.pairwise([None, *bounds, None]):
            if stop.is_set():
                raise Stopped
            where, parameters = _slice(values[0], low, high)
            rows = " UNION ALL ".join(
                f"(FROM {run.table(relation)} WHERE {where})" for run in chosen
            )
            cursor.execute(
                f"INSERT INTO {target.table(relation)} {source.format(rows=rows)} ORDER BY {order}",
                parameters,
            )
        count = statement("SELECT count(*) FROM {table}", table=target.table(relation))
        return int(cursor.execute(count).fetchall()[0][0])

    def _bounds(
        self, cursor: duckdb.DuckDBPyConnection, relation: str, chosen: Sequence[Run]
    ) -> list[tuple[int, float | str]]:
        """Return attributes and values that cut the rows of some runs into slices."""
        value = _VALUES[relation][0]
        samples = " UNION ALL ".join(
            statement(
                "SELECT attribute, {value} FROM {table} WHERE rowid % {every} = 0",
                value=value,
                table=run.table(relation),
                every=str(_SAMPLE),
            )
            for run in chosen
        )
        found = sorted(cursor.execute(samples).fetchall())
        bounds = found[_SLICE_ROWS // _SAMPLE :: _SLICE_ROWS // _SAMPLE]
        return list(dict.fromkeys(bounds))

    def _tail(self) -> Run | None:
        tails = [run for run in self.all if not run.ordered]
        if not tails or tails[-1].rows >= _TAIL_ROWS:
            return None
        return tails[-1]

    def _take_id(self) -> int:
        self._next += 1
        return self._next - 1

    @staticmethod
    def _create(cursor: duckdb.DuckDBPyConnection, run: Run) -> None:
        for relation, columns in _TYPES.items():
            cursor.execute(f"CREATE TABLE {run.table(relation)} ({columns})")

    @staticmethod
    def _register(cursor: duckdb.DuckDBPyConnection, run: Run) -> None:
        cursor.execute(
            "INSERT INTO runs VALUES (?, ?, ?, ?)", [run.id, run.ordered, run.numbers, run.texts]
        )

    def _drop(self, runs: Sequence[Run]) -> None:
        with self._database.transaction() as cursor:
            for run in runs:
                for relation in _VALUES:
                    cursor.execute(f"DROP TABLE {run.table(relation)}")

    def _drop_leftovers(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Drop the tables of merged runs that a server had no time to drop."""
        known = {run.table(relation) for run in self.all for relation in _VALUES}
        there = cursor.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        for (name,) in there:
            if name.startswith(tuple(f"{relation}_" for relation in _VALUES)) and name not in known:
                cursor.execute(f"DROP TABLE {name}")


def _slice(
    value: str, low: tuple[int, float | str] | None, high: tuple[int, float | str] | None
) -> tuple[str, list[float | str]]:
    """Return a condition for the rows from one bound up to another, the plain parts for pruning."""
    conditions: list[str] = []
    parameters: list[float | str] = []
    if low is not None:
        conditions.append(f"attribute >= $1 AND (attribute > $1 OR {value} >= $2)")
        parameters += low
    if high is not None:
        first = len(parameters) + 1
        conditions.append(
            f"attribute <= ${first} AND (attribute < ${first} OR {value} < ${first + 1})"
        )
        parameters += high
    if low is not None and high is not None and low[0] == high[0]:
        conditions.append(f"{value} >= $2 AND {value} < $4")
    return " AND ".join(conditions) or "true", parameters
