"""One search's sight of the index: the tree, the runs, and a cursor, all of one moment."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lakeservice.catalog.columns import table
from lakeservice.catalog.database import fetch_columns, fetch_many, statement
from schemas.path import join_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb
    import numpy.typing as npt

    from lakeservice.catalog.keys import Keys
    from lakeservice.catalog.places import Bools, View
    from lakeservice.catalog.runs import Run


@dataclass(frozen=True)
class Reading:
    """What a search reads; valid only while its lease is held.

    Conditions are written here, values are always parameters ``$1``, ``$2``…
    """

    view: View
    runs: tuple[Run, ...]
    keys: Keys
    cursor: duckdb.DuckDBPyConnection

    def union(self, relation: str, columns: str, where: str) -> str:
        """Return the text of a query over the rows of all runs, of which there is at least one."""
        return " UNION ALL ".join(
            statement(
                "SELECT {columns} FROM {table} WHERE {where}",
                columns=columns,
                table=run.table(relation),
                where=where,
            )
            for run in self.runs
        )

    def holders(
        self, relation: str, where: str, parameters: Sequence[Any], *, many: bool = False
    ) -> npt.NDArray[np.int32]:
        """Return the nodes that have a row for which ``where`` is true; some may come twice.

        With ``many`` it is quicker for many nodes and slower for few.
        """
        if not self.runs:
            return np.zeros(0, np.int32)
        query = self.union(relation, "record", where)
        fetch = fetch_many if many else fetch_columns
        return self.view.holders(fetch(self.cursor, query, parameters)["record"])

    def mask(
        self, relation: str, where: str, parameters: Sequence[Any], *, many: bool = False
    ) -> Bools:
        """Return the nodes that have such a row, as a mask over all nodes."""
        mask = self.none()
        mask[self.holders(relation, where, parameters, many=many)] = True
        return mask

    def none(self) -> Bools:
        """Return the mask of no node."""
        return np.zeros(self.view.count, np.bool_)

    def every(self) -> Bools:
        """Return the mask of all nodes."""
        return np.ones(self.view.count, np.bool_)

    @contextlib.contextmanager
    def chosen(self, nodes: npt.NDArray[np.int64]) -> Iterator[None]:
        """Give queries a table ``chosen (record, node)`` of some nodes."""
        chosen = table(record=self.view.record[nodes], node=nodes)
        self.cursor.register("chosen", chosen)
        try:
            yield
        finally:
            self.cursor.unregister("chosen")

    def paths(self, nodes: npt.NDArray[np.int64], top: int) -> list[str]:
        """Return the paths of some nodes relative to a container that they all lie below."""
        view = self.view
        needed, level = [nodes], nodes
        while level.size:
            above = np.unique(view.parent[level]).astype(np.int64)
            level = above[(above != top) & (above > 0)]
            needed.append(level)
        with self.chosen(np.unique(np.concatenate(needed))):
            rows = self.cursor.execute(
                "SELECT number, name FROM nodes WHERE number IN (SELECT node FROM chosen)"
            ).fetchall()
        names: dict[int, str] = dict(rows)
        known = {top: ""}

        def path_of(number: int) -> str:
            if number not in known:
                known[number] = join_path(path_of(int(view.parent[number])), names[number])
            return known[number]

        return [path_of(number) for number in nodes.tolist()]
