"""Partitions of tables: which stored parts they are, and what a change makes of the parts.

A table is stored in parts, and every append adds one. Where parts carry the number of
their partition, that counts. Where none does, clients are told of one partition as long
as parts are short, for each partition costs its client a request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

from schemas.chunks import Part, TableStorage
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.structures import TableStructure

if TYPE_CHECKING:
    from schemas.entry import Node

PARTITION_ROWS = 100_000
"""Parts without numbers that are shorter on average are told as one partition."""
COMPACTED_PARTS = 32
"""So many short parts at a partition's end are written again as one."""
SHORT_ROWS = 100_000
SHORT_BYTES = 8 << 20
_GROWTH = 8  # a part is written again when what follows it has an eighth of its rows


def parts_in(node: Node) -> tuple[Part, ...]:
    """Return the parts of a table that lie in the lake."""
    storage = node.data_sources[0].storage if node.data_sources else None
    return storage.parts if isinstance(storage, TableStorage) else ()


def stored_parts(node: Node) -> int:
    """Return how many parts a table is stored in, registered files among them."""
    storage = node.data_sources[0].storage if node.data_sources else None
    return len(storage.parts) + len(storage.assets) if isinstance(storage, TableStorage) else 0


def told_partitions(node: Node) -> int:
    """Return how many partitions clients are told that a table has; at least 1."""
    if not isinstance(node.structure, TableStructure):
        return 1
    declared = node.data_sources[0].declared if node.data_sources else None
    if isinstance(declared, TableStructure):
        return max(declared.npartitions, node.structure.npartitions)
    parts = stored_parts(node)
    if not parts or is_numbered(parts_in(node)):
        return node.structure.npartitions
    return parts if (node.structure.rows or 0) >= parts * PARTITION_ROWS else 1


def is_numbered(parts: tuple[Part, ...]) -> bool:
    """Tell whether parts say which partition they are."""
    return any(part.partition is not None for part in parts)


def numbers(parts: tuple[Part, ...]) -> list[int]:
    """Return the partition of each part; one without a number belongs to the one before."""
    found, last = [], 0
    for part in parts:
        last = last if part.partition is None else part.partition
        found.append(last)
    return found


def parts_of(node: Node, number: int, told: int | None) -> range:
    """Return the stored parts that a partition stands for; none where it has no rows yet.

    Parameters
    ----------
    told
        Number of partitions that the client knows of, the last of which has all the
        rest; None where it counts those that there are.
    """
    stored, parts = stored_parts(node), parts_in(node)
    if is_numbered(parts):
        found = numbers(parts)
        start = sum(other < number for other in found)
        return range(start, stored if number + 1 == told else sum(o <= number for o in found))
    if told is None or number != told - 1:
        return range(number, min(number + 1, stored))
    return range(number, stored)


def numbered_parts(node: Node) -> tuple[Part, ...]:
    """Return the parts, each with its number."""
    parts = parts_in(node)
    if is_numbered(parts):
        found = numbers(parts)
    elif told_partitions(node) == len(parts):
        found = list(range(len(parts)))
    else:
        found = [0] * len(parts)
    return tuple(
        msgspec.structs.replace(part, partition=number)
        for part, number in zip(parts, found, strict=True)
    )


def check_partition(node: Node, number: int, most: int) -> None:
    """Refuse a partition that there is not.

    Raises
    ------
    InvalidRequestError
        ``bad-request``: it is not below ``most``.
    """
    if not 0 <= number < most:
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST,
            f"partition {number} of {node.path!r}, which has {told_partitions(node)}; "
            "the first is 0",
        )


def replaced(node: Node, number: int, part: Part) -> tuple[Part, ...]:
    """Return the parts of a table with one part as all rows of a partition."""
    kept = [other for other in numbered_parts(node) if other.partition != number]
    kept.append(msgspec.structs.replace(part, partition=number))
    return tuple(sorted(kept, key=lambda other: other.partition or 0))


def rows_before(node: Node, parts: range) -> range:
    """Return which rows of the table some of its parts are; an empty range where it is unknown."""
    lengths = [part.length for part in parts_in(node)]
    if not parts or parts.stop > len(lengths):
        return range(0)
    start = sum(lengths[: parts.start])
    return range(start, start + sum(lengths[parts.start : parts.stop]))


def with_range_index(reader: pa.RecordBatchReader, rows: range) -> pa.RecordBatchReader:
    """Tell pandas which rows these are, where it counts the rows of the whole table."""
    schema = reader.schema
    try:
        described = msgspec.json.decode((schema.metadata or {}).get(b"pandas", b"null"))
        indexes = described["index_columns"]
        counted = len(indexes) == 1 and indexes[0]["kind"] == "range"
    except (msgspec.DecodeError, TypeError, KeyError):
        return reader
    if not counted or not rows:
        return reader
    described["index_columns"] = [{**indexes[0], "start": rows.start, "stop": rows.stop, "step": 1}]
    metadata = {**schema.metadata, b"pandas": msgspec.json.encode(described)}
    told = (batch.replace_schema_metadata(metadata) for batch in reader)
    return pa.RecordBatchReader.from_batches(schema.with_metadata(metadata), told)


def compactable(parts: tuple[Part, ...]) -> int:
    """Return from which part on short parts at the end are worth being one; their number if none.

    What is written again grows with what was appended since, so that a row is written
    a bounded number of times however many there are.
    """
    first = len(parts)
    while first and _is_short(parts[first - 1]) and _together(parts[first - 1], parts[-1]):
        first -= 1
    if len(parts) - first < COMPACTED_PARTS:
        return len(parts)
    start, rows = len(parts), 0
    while start > first and (
        len(parts) - start < COMPACTED_PARTS // 2 or parts[start - 1].length <= _GROWTH * rows
    ):
        start -= 1
        rows += parts[start].length
    return start


def _is_short(part: Part) -> bool:
    return part.length < SHORT_ROWS and (part.size_bytes or 0) < SHORT_BYTES


def _together(part: Part, last: Part) -> bool:
    return part.partition == last.partition
