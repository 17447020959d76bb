"""Batches: what has changed in memory, written to the database in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from lakeservice.catalog.attributes import AttributeRows
from lakeservice.catalog.columns import table
from lakeservice.catalog.places import GONE, ROOT_NUMBER
from schemas.path import name_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb
    import numpy.typing as npt

    from lakeservice.catalog.database import Database
    from lakeservice.catalog.keys import Keys
    from lakeservice.catalog.lookup import Lookup
    from lakeservice.catalog.places import Places
    from lakeservice.catalog.runs import Run, Runs
    from schemas.entry import Node


class Change(NamedTuple):
    """What has become of a node since it was last written."""

    node: Node | None
    """None if it is gone."""
    searchable: bool
    """Whether something changed that can be searched for."""


@dataclass(frozen=True)
class Batch:
    """Everything to write."""

    changes: dict[int, Change]
    """By number of the node."""
    version: int
    mark: str
    nodes: dict[str, npt.NDArray[Any]]
    """New nodes: ``number``, ``parent``, ``seq``."""
    paths: Sequence[str]
    """Their paths."""
    requests: Sequence[tuple[str, int]]
    """New idempotency keys with their versions."""


@dataclass
class Written:
    """Where everything was written; memory takes it over once it is committed."""

    documents: list[tuple[int, int]] = field(default_factory=list)
    """Node and document, in order."""
    records: list[int] = field(default_factory=list)
    """Nodes that got a new record, in the order of their records."""
    superseded: list[int] = field(default_factory=list)
    """Documents that nobody needs any more."""
    runs: tuple[Run, ...] = ()
    path_hashes: npt.NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    request_hashes: npt.NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))


class BatchWriter:
    """Writes batches; only one thread at a time may."""

    def __init__(
        self, database: Database, runs: Runs, keys: Keys, places: Places, requests: Lookup
    ) -> None:
        self._database = database
        self._runs = runs
        self._keys = keys
        self._places = places
        self._requests = requests
        self._encoder = msgspec.json.Encoder()

    def write(self, batch: Batch, first_document: int) -> Written:
        """Write a batch, as a whole or not at all."""
        written = Written(
            path_hashes=self._places.paths.hashes_of(batch.paths),
            request_hashes=self._requests.hashes_of(key for key, _ in batch.requests),
        )
        rows = AttributeRows(self._keys)
        texts: list[str] = []
        records: list[int] = []
        for number, change in batch.changes.items():
            earlier = self._places.document(number)
            if earlier >= 0:
                written.superseded.append(earlier)
            elif change.node is None:
                continue
            written.documents.append((number, first_document + len(texts)))
            texts.append("" if change.node is None else self._encoder.encode(change.node).decode())
            records.append(self._record(number, change, rows, written))
        numbers = np.array([number for number, _ in written.documents], np.int32)
        keys = self._keys.new()
        with self._database.transaction() as cursor:
            _insert(
                cursor,
                "nodes",
                **batch.nodes,
                hash=written.path_hashes,
                name=[name_of(path) for path in batch.paths],
            )
            _insert(
                cursor,
                "documents",
                number=np.arange(first_document, first_document + len(texts)),
                node=numbers,
                record=np.array(records, np.int32),
                document=texts,
            )
            _insert(
                cursor,
                "requests",
                hash=written.request_hashes,
                version=np.array([version for _, version in batch.requests], np.int64),
                key=[key for key, _ in batch.requests],
            )
            _insert(
                cursor,
                "keys",
                key=[key for key, _ in keys],
                number=np.array([number for _, number in keys], np.int32),
            )
            written.runs = self._runs.append(cursor, rows)
            cursor.execute("UPDATE state SET version = ?, mark = ?", [batch.version, batch.mark])
        self._keys.mark_kept(keys)
        return written

    def _record(self, number: int, change: Change, rows: AttributeRows, written: Written) -> int:
        """Return the record of a node's attributes, writing them if it needs a new one."""
        if change.node is None:
            return GONE
        record = self._places.record(number)
        if number == ROOT_NUMBER or (record != GONE and not change.searchable):
            return record
        record = self._places.records + len(written.records)
        written.records.append(number)
        rows.add(record, change.node)
        return record


def _insert(cursor: duckdb.DuckDBPyConnection, into: str, **columns: Any) -> None:
    """Insert rows given as columns in the order of the table."""
    if not len(next(iter(columns.values()))):
        return
    cursor.register("inserted", table(**columns))
    try:
        cursor.execute(f"INSERT INTO {into} FROM inserted")
    finally:
        cursor.unregister("inserted")
