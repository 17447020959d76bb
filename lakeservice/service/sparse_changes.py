"""Writing sparse arrays that exist: coordinates and values, whole or block by block."""

from __future__ import annotations

import math
import uuid
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa

from lakeservice.service.sparse_source import VALUES, sparse_structure, value_type
from lakeservice.service.writing import PARQUET, removed_on_failure
from lakeservice.storage.table_writer import TableWriter
from schemas.chunks import Part, TableStorage
from schemas.commit import Update
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lakeservice.storage.objects import Objects
    from schemas.entry import DataSource, Node

Shape = tuple[int, ...]


class SparseChanges:
    """Writes data of sparse arrays; thread-safe."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def written(
        self, node: Node, batches: Iterable[pa.RecordBatch], origin: Shape, shape: Shape
    ) -> Part:
        """Write coordinates and values as one part.

        Parameters
        ----------
        batches
            Columns ``dim0``… and ``data``, as `columns_of` gives them.
        origin, shape
            First element and shape of the block that the coordinates count from.

        Raises
        ------
        InvalidRequestError
            ``bad-body``: coordinates outside of the block, or nulls.
        """
        _own(node)
        name = f"data/{node.id}/{uuid.uuid4().hex[:12]}.parquet"
        schema = columns_of(node)
        with (
            removed_on_failure(self._objects, name),
            TableWriter(self._objects, name, schema) as writer,
        ):
            for batch in batches:
                writer.write(_placed(batch, schema, origin, shape))
            storage, _ = writer.finish()
        return storage.parts[0]

    def replaced(self, node: Node, part: Part) -> Update:
        """Return the mutation that makes a part all of an array's data."""
        return self._updated(node, (part,))

    def block(self, node: Node, part: Part, position: Shape) -> Update:
        """Return the mutation that puts a part in the place of one block.

        Raises
        ------
        InvalidRequestError
            ``bad-request``: the array was written in one piece.
        """
        _, storage = _own(node)
        counts = block_counts(node)
        if math.prod(counts) > 1 and any(one.partition is None for one in storage.parts):
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST,
                f"{node.path!r} was written in one piece; write it whole instead of by blocks",
            )
        number = int(np.ravel_multi_index(position, counts)) if counts else 0
        kept = tuple(one for one in storage.parts if one.partition not in (None, number))
        placed = msgspec.structs.replace(part, partition=number)
        return self._updated(node, (*kept, placed))

    def _updated(self, node: Node, parts: tuple[Part, ...]) -> Update:
        source, _ = _own(node)
        replaced = msgspec.structs.replace(
            source, mimetype=PARQUET, storage=TableStorage(parts=parts)
        )
        return Update(
            path=node.path,
            id=node.id,
            expected_revision=node.revision,
            data_sources=(replaced,),
        )


def columns_of(node: Node) -> pa.Schema:
    """Return the columns in which a sparse array is stored; coordinates are of the whole array."""
    structure = sparse_structure(node)
    fields = [pa.field(f"dim{axis}", pa.int64()) for axis in range(len(structure.shape))]
    return pa.schema([*fields, pa.field(VALUES, value_type(structure.data_type.to_numpy()))])


def block_counts(node: Node) -> Shape:
    """Return the number of blocks along each axis."""
    structure = sparse_structure(node)
    return tuple(
        len(sizes) if isinstance(sizes, tuple) else max(1, -(-length // sizes))
        for length, sizes in zip(structure.shape, structure.chunks, strict=True)
    )


def _placed(
    batch: pa.RecordBatch, schema: pa.Schema, origin: Shape, shape: Shape
) -> pa.RecordBatch:
    columns = []
    for axis, (start, length) in enumerate(zip(origin, shape, strict=True)):
        places = batch.column(f"dim{axis}")
        if places.null_count:
            raise _bad(f"coordinates dim{axis} hold nulls")
        numbers = places.to_numpy()
        if numbers.size and not 0 <= int(numbers.min()) <= int(numbers.max()) < length:
            raise _bad(
                f"coordinates dim{axis} reach from {numbers.min()} to {numbers.max()}, but the "
                f"block has length {length} there; they count from the block's first element"
            )
        columns.append(pa.array(numbers.astype(np.int64) + start))
    values = batch.column(VALUES)
    if values.null_count:
        raise _bad("values are null; a value that is not there is left out")
    return pa.RecordBatch.from_arrays([*columns, values], schema=schema)


def _own(node: Node) -> tuple[DataSource, TableStorage]:
    sparse_structure(node)
    source = node.data_sources[0] if node.data_sources else None
    storage: Any = source.storage if source is not None else None
    if source is None or not isinstance(storage, TableStorage) or storage.assets or "/" in node.id:
        raise InvalidRequestError(
            ErrorKind.WRONG_FAMILY,
            f"{node.path!r} is not a sparse array that was written here; it cannot be changed",
        )
    return source, storage


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_BODY, message)
