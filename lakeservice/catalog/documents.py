"""Documents: each node as JSON text, kept as it came and answered from."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from lakeservice.catalog.columns import table
from schemas.entry import Node

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import duckdb
    import numpy.typing as npt

    from lakeservice.catalog.database import Database

_CACHED_NODES = 4096
_MANY = 1000
"""From so many numbers on, they are handed to DuckDB as a table and not as a parameter."""
_STREAM_ROWS = 5000


class Documents:
    """The documents in a database, by number, with the nodes read last at hand.

    A number is given once: a node that changes gets a new document.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._decoder = msgspec.json.Decoder(Node)
        self._mutex = threading.Lock()
        self._cache: dict[int, Node] = {}

    def cached(self, number: int) -> Node | None:
        """Return a node that is at hand; None if its document has to be read."""
        return self._cache.get(number)

    def keep(self, number: int, node: Node) -> None:
        """Have a node at hand."""
        with self._mutex:
            self._cache.pop(number, None)
            self._cache[number] = node
            while len(self._cache) > _CACHED_NODES:
                del self._cache[next(iter(self._cache))]

    def nodes(self, numbers: Iterable[int]) -> dict[int, Node]:
        """Return nodes by the number of their document; what is not there is left out."""
        found: dict[int, Node] = {}
        missing: list[int] = []
        for number in numbers:
            node = self._cache.get(number)
            if node is None:
                missing.append(number)
            else:
                found[number] = node
        if missing:
            with self._database.cursor() as cursor:
                rows = self._read(cursor, np.array(missing, np.int64))
            for number, document in rows:
                node = found[number] = self._decoder.decode(document)
                self.keep(number, node)
        return found

    def stream(self, numbers: npt.NDArray[np.int64]) -> Iterator[list[str]]:
        """Yield documents as text, in the order of ``numbers``, some thousand at a time."""
        for first in range(0, len(numbers), _STREAM_ROWS):
            some = numbers[first : first + _STREAM_ROWS]
            with self._database.cursor() as cursor:
                rows = dict(self._read(cursor, some))
            yield [rows[number] for number in some.tolist()]

    @staticmethod
    def _read(
        cursor: duckdb.DuckDBPyConnection, numbers: npt.NDArray[np.int64]
    ) -> list[tuple[int, str]]:
        low, high = int(numbers.min()), int(numbers.max())
        select = "SELECT number, document FROM documents WHERE number BETWEEN $1 AND $2"
        if high - low < 2 * len(numbers):
            rows = cursor.execute(select, [low, high]).fetchall()
            wanted = set(numbers.tolist())
            return [row for row in rows if row[0] in wanted]
        if len(numbers) < _MANY:
            inside = f"{select} AND number IN (SELECT unnest($3))"
            return cursor.execute(inside, [low, high, numbers.tolist()]).fetchall()
        cursor.register("wanted", table(number=numbers))
        try:
            return cursor.execute(f"{select} AND number IN (FROM wanted)", [low, high]).fetchall()
        finally:
            cursor.unregister("wanted")
