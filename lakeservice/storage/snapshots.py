"""Snapshots: all nodes at one version in a Parquet file, a shortcut that is never the truth."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from lakeservice.storage.layout import (
    SNAPSHOTS,
    snapshot_name,
    snapshot_requests_name,
    version_of,
)
from schemas.entry import Node
from schemas.errors import CorruptError, ErrorKind, LakeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lakeservice.storage.lake import Lake
    from lakeservice.storage.objects import Objects

NODES_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("id", pa.string()),
        ("parent", pa.string()),
        ("seq", pa.int64()),
        ("version", pa.int64()),
        ("revision", pa.int64()),
        ("family", pa.string()),
        ("node", pa.binary()),
    ]
)
"""Columns of a snapshot; ``node`` is the whole node as JSON."""
REQUESTS_SCHEMA = pa.schema([("key", pa.string()), ("version", pa.int64())])
"""Columns of the answered idempotency keys beside it."""
_BATCH_ROWS = 10_000
_COMPRESSION = "zstd"


class Snapshot(msgspec.Struct, frozen=True):
    """One snapshot that is there, with its keys."""

    version: int
    """Log version that it folds up to; continue with the commit after it."""
    nodes: str
    """Object name of the nodes."""
    requests: str
    """Object name of the answered idempotency keys."""


def write_snapshot(
    lake: Lake,
    version: int,
    nodes: pa.RecordBatchReader | Iterable[Node],
    requests: Iterable[tuple[str, int]] | pa.RecordBatchReader,
) -> Snapshot:
    """Write all nodes as they are at a version; memory stays bounded.

    Parameters
    ----------
    lake
        Where to.
    version
        The log version.
    nodes
        Every node, or batches with the columns of `NODES_SCHEMA`.
    requests
        Idempotency keys with the versions that answered them, or batches with
        the columns of `REQUESTS_SCHEMA`.
    """
    snapshot = Snapshot(version, snapshot_name(version), snapshot_requests_name(version))
    # The nodes come last: a snapshot counts only once they are there.
    if not isinstance(requests, pa.RecordBatchReader):
        requests = pa.RecordBatchReader.from_batches(REQUESTS_SCHEMA, _request_batches(requests))
    _write(lake.objects, snapshot.requests, requests, REQUESTS_SCHEMA)
    if not isinstance(nodes, pa.RecordBatchReader):
        nodes = pa.RecordBatchReader.from_batches(NODES_SCHEMA, _node_batches(nodes))
    _write(lake.objects, snapshot.nodes, nodes, NODES_SCHEMA)
    return snapshot


def snapshots(lake: Lake) -> list[Snapshot]:
    """Return the snapshots of a lake, newest first."""
    names = {name for name, _ in lake.objects.list(SNAPSHOTS)}
    versions = sorted({version for name in names if (version := version_of(name))}, reverse=True)
    found = (Snapshot(v, snapshot_name(v), snapshot_requests_name(v)) for v in versions)
    return [one for one in found if one.nodes in names and one.requests in names]


def latest_snapshot(lake: Lake) -> Snapshot | None:
    """Return the newest snapshot; None if there is none."""
    return next(iter(snapshots(lake)), None)


def read_snapshot(lake: Lake, snapshot: Snapshot) -> Iterator[pa.RecordBatch]:
    """Yield the nodes in batches with the columns of `NODES_SCHEMA`.

    Raises
    ------
    CorruptError
        ``corrupt-object``: damaged; take an older snapshot, or the log from its beginning.
    """
    return _read(lake.objects, snapshot.nodes, NODES_SCHEMA)


def read_requests(lake: Lake, snapshot: Snapshot) -> Iterator[pa.RecordBatch]:
    """Yield the answered keys in batches with the columns of `REQUESTS_SCHEMA`; raises likewise."""
    return _read(lake.objects, snapshot.requests, REQUESTS_SCHEMA)


def read_nodes(lake: Lake, snapshot: Snapshot) -> Iterator[Node]:
    """Yield the nodes one by one; raises like `read_snapshot`."""
    decoder = msgspec.json.Decoder(Node)
    for batch in read_snapshot(lake, snapshot):
        for document in batch.column("node"):
            try:
                yield decoder.decode(document.as_buffer())
            except msgspec.MsgspecError:
                raise _corrupt(snapshot.nodes) from None


def expire_snapshots(lake: Lake, keep: int = 2) -> list[Snapshot]:
    """Delete all snapshots but the newest ones; return those that are gone."""
    gone = snapshots(lake)[keep:]
    lake.objects.delete(name for one in gone for name in (one.nodes, one.requests))
    return gone


def _write(objects: Objects, name: str, reader: pa.RecordBatchReader, schema: pa.Schema) -> None:
    with (
        objects.open_output(name) as file,
        pq.ParquetWriter(file, schema, compression=_COMPRESSION) as writer,
    ):
        for batch in reader:
            writer.write_batch(batch.select(schema.names).cast(schema))


def _read(objects: Objects, name: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    try:
        with objects.open_input(name) as file:
            table = pq.ParquetFile(file)
            for batch in table.iter_batches(_BATCH_ROWS, columns=schema.names):
                yield batch.cast(schema)
    except LakeError:
        raise
    except (pa.ArrowException, OSError, ValueError):
        raise _corrupt(name) from None


def _node_batches(nodes: Iterable[Node]) -> Iterator[pa.RecordBatch]:
    encoder = msgspec.json.Encoder()
    rows = (
        (
            node.path,
            node.id,
            node.parent,
            node.seq,
            node.version,
            node.revision,
            node.family,
            encoder.encode(node),
        )
        for node in nodes
    )
    return _batches(rows, NODES_SCHEMA)


def _request_batches(requests: Iterable[tuple[str, int]]) -> Iterator[pa.RecordBatch]:
    return _batches(iter(requests), REQUESTS_SCHEMA)


def _batches(rows: Iterator[tuple[object, ...]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    while some := list(islice(rows, _BATCH_ROWS)):
        columns = zip(*some, strict=True)
        yield pa.record_batch([list(column) for column in columns], schema=schema)


def _corrupt(name: str) -> CorruptError:
    return CorruptError(
        ErrorKind.CORRUPT_OBJECT,
        f"snapshot {name!r} is damaged; delete it: the log has all that it held",
    )
