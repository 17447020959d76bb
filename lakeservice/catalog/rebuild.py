"""Rebuilding: an index from the snapshots and the log of a lake, and a snapshot from an index."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow as pa

from lakeservice.catalog.columns import numbers, strings
from lakeservice.catalog.database import Database, remove_database
from lakeservice.catalog.index import Index, mark_of
from lakeservice.storage.snapshots import (
    NODES_SCHEMA,
    latest_snapshot,
    read_nodes,
    read_requests,
    snapshots,
)
from schemas.errors import CorruptError, ErrorKind, NotFoundError
from schemas.path import parent_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.catalog.reading import Reading
    from lakeservice.catalog.slot import Slot
    from lakeservice.storage.lake import Lake
    from lakeservice.storage.snapshots import Snapshot

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Resources:
    """What an index may use."""

    memory_limit_mb: int
    """Memory of DuckDB; the process takes more."""
    threads: int
    """Threads of one query."""


class _Family(msgspec.Struct, frozen=True):
    family: str


class _Head(msgspec.Struct, frozen=True):
    """What a snapshot has columns for; the rest of a document is not decoded."""

    path: str
    id: str
    seq: int = 0
    version: int = 0
    revision: int = 1
    structure: _Family = _Family("container")


def open_index(lake: Lake, slot: Slot | None, resources: Resources) -> Index:
    """Return the index of a lake at its newest commit.

    A cached index goes on where it was left. One that is of another log, or
    behind what the log still has, is thrown away, and a new one is made from
    the newest snapshot that can be read, or else from the log alone.
    """
    index = _begin(lake, slot, resources, background=True)
    if index.version:
        if _continues(lake, index):
            return _followed(lake, index, None)
        logger.warning("the cached index does not belong to this log; rebuilding it")
        _discard(index, slot)
        index = _begin(lake, slot, resources, background=True)
    for snapshot in snapshots(lake):
        try:
            _restore(lake, index, snapshot)
            break
        except CorruptError as error:
            logger.warning("a snapshot cannot be used: %s", error)
            _discard(index, slot)
            index = _begin(lake, slot, resources, background=True)
    return _followed(lake, index, None)


def index_at(lake: Lake, version: int, slot: Slot | None, resources: Resources) -> Index:
    """Return the index of a lake as it was at a version, in memory.

    Raises
    ------
    NotFoundError
        ``version-not-found``: no such version, or the log no longer has it.
    """
    for snapshot in snapshots(lake) if version > 0 else ():
        if snapshot.version <= version:
            index = _begin(lake, None, resources, background=False, spill=slot)
            try:
                _restore(lake, index, snapshot)
            except CorruptError as error:
                logger.warning("a snapshot cannot be used: %s", error)
                index.close()
                continue
            break
    else:
        index = _begin(lake, None, resources, background=False, spill=slot)
    _followed(lake, index, version)
    if index.version != version:
        index.close()
        raise NotFoundError(
            ErrorKind.VERSION_NOT_FOUND, f"the lake has no version {version}, or no longer has it"
        )
    return index


def snapshot_batches(index: Index, reading: Reading) -> pa.RecordBatchReader:
    """Return all nodes with the columns of a snapshot, some thousand at a time."""
    kept = reading.view.document[reading.view.alive]
    decoder = msgspec.json.Decoder(_Head)

    def batches() -> Iterator[pa.RecordBatch]:
        for documents in index.documents.stream(kept[kept >= 0]):
            heads = [decoder.decode(document) for document in documents]
            columns = [
                strings([head.path for head in heads]),
                strings([head.id for head in heads]),
                strings([parent_of(head.path) for head in heads]),
                *(
                    numbers(np.array([getattr(head, name) for head in heads], np.int64))
                    for name in ("seq", "version", "revision")
                ),
                strings([head.structure.family for head in heads]),
                strings(documents).cast(pa.binary()),
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=NODES_SCHEMA)

    return pa.RecordBatchReader.from_batches(NODES_SCHEMA, batches())


def _begin(
    lake: Lake,
    slot: Slot | None,
    resources: Resources,
    *,
    background: bool,
    spill: Slot | None = None,
) -> Index:
    spill = slot or spill
    database = Database(
        None if slot is None else slot.index,
        lake.id,
        spill=None if spill is None else spill.folder / "spill",
        memory_limit_mb=resources.memory_limit_mb,
        threads=resources.threads,
    )
    return Index(database, background=background)


def _continues(lake: Lake, index: Index) -> bool:
    """Tell whether the log of a lake goes on where an index was left."""
    commit = lake.log.read(index.version)
    if commit is not None:
        return index.mark in ("", mark_of(commit))
    newest = latest_snapshot(lake)
    if newest is None or newest.version < index.version:
        return False
    return newest.version == index.version or lake.log.read(index.version + 1) is not None


def _restore(lake: Lake, index: Index, snapshot: Snapshot) -> None:
    answered = (
        (key, version)
        for batch in read_requests(lake, snapshot)
        for key, version in zip(
            batch.column("key").to_pylist(), batch.column("version").to_pylist(), strict=True
        )
    )
    index.restore(read_nodes(lake, snapshot), answered, snapshot.version)


def _followed(lake: Lake, index: Index, upto: int | None) -> Index:
    try:
        for commit in lake.log.follow(index.version):
            if upto is not None and commit.version > upto:
                break
            index.apply([commit])
    except BaseException:
        index.close()
        raise
    return index


def _discard(index: Index, slot: Slot | None) -> None:
    index.close()
    if slot is not None:
        remove_database(slot.index)
