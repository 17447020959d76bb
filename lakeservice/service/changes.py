"""Changing the data of nodes that were written here: new objects beside the old ones."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from lakeservice.codecs.grid import Grid
from lakeservice.service.writing import ZARR, removed_on_failure
from lakeservice.storage.array_writer import ArrayWriter
from lakeservice.storage.block_writer import BlockWriter
from lakeservice.storage.mutations import stored_parts
from lakeservice.storage.table_writer import TableWriter
from schemas.chunks import ArrayStorage, Part, TableStorage, ZarrParts
from schemas.commit import Append, Update
from schemas.entry import DataSource, Node
from schemas.errors import (
    ErrorKind,
    InvalidRequestError,
)
from schemas.structures import (
    ArrayStructure,
    TableStructure,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    import pyarrow as pa

    from lakeservice.storage.objects import Objects


class Changes:
    """Writes changed and added data of nodes that exist; thread-safe.

    Every method returns the mutation that makes the change visible. The old data
    stays as it is, for those who read it and for the past.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def block(self, node: Node, position: tuple[int, ...], block: np.ndarray[Any, Any]) -> Update:
        """Write one chunk of an array that exists; returns the mutation that announces it."""
        structure, storage = _own_array(node)
        origin, shape = Grid.of(structure).bounds(_position(node, structure, position))
        if block.shape != shape:
            raise InvalidRequestError(
                ErrorKind.BAD_BODY, f"block {position} of {node.path!r} has shape {shape}"
            )
        BlockWriter(self._objects, structure, storage).write(origin, block)
        return Update(path=node.path, id=node.id)

    def replace_array(self, node: Node, rows: Iterable[np.ndarray[Any, Any]]) -> Update:
        """Write all of an array anew, beside the old one; returns the mutation that swaps them."""
        structure, _ = _own_array(node)
        prefix = f"data/{node.id}/{uuid.uuid4().hex[:12]}"
        with (
            removed_on_failure(self._objects, prefix),
            ArrayWriter(self._objects, prefix, structure) as writer,
        ):
            for block in rows:
                writer.write(block)
            storage = writer.finish()
        source = msgspec.structs.replace(node.data_sources[0], storage=storage)
        return Update(
            path=node.path, id=node.id, structure=writer.structure, data_sources=(source,)
        )

    def replace_table(
        self, node: Node, reader: pa.RecordBatchReader, partition: int | None = None
    ) -> Update:
        """Write a table (or one partition) anew; returns the mutation that swaps it in."""
        source, storage = _own_table(node)
        part = self._table_part(node, reader)
        parts: tuple[Part, ...] = (part,)
        if partition is not None:
            if partition < 0 or partition > len(storage.parts):
                raise InvalidRequestError(
                    ErrorKind.BAD_REQUEST,
                    f"partition {partition} of {node.path!r}, which has {len(storage.parts)}",
                )
            parts = (*storage.parts[:partition], part, *storage.parts[partition + 1 :])
        structure = node.structure
        if isinstance(structure, TableStructure):
            structure = msgspec.structs.replace(
                TableStructure.from_arrow(reader.schema, rows=sum(p.length for p in parts)),
                npartitions=max(len(parts), structure.npartitions if partition is not None else 1),
                resizable=structure.resizable,
            )
        replaced = msgspec.structs.replace(
            source, storage=msgspec.structs.replace(storage, parts=parts)
        )
        return Update(path=node.path, id=node.id, structure=structure, data_sources=(replaced,))

    def append_rows(self, node: Node, rows: Iterable[np.ndarray[Any, Any]]) -> Append:
        """Write rows after the last of an array's first axis; returns the mutation."""
        structure, present = _own_array(node)
        if not structure.shape:
            raise InvalidRequestError(
                ErrorKind.BAD_BODY, f"{node.path!r} is a single value; it has no axis to append to"
            )
        prefix = f"data/{node.id}/{uuid.uuid4().hex[:12]}"
        layout = present.layout
        tail = msgspec.structs.replace(
            structure,
            shape=(layout.chunk_shape[0], *structure.shape[1:]),
            chunks=layout.chunk_shape,
        )
        with (
            removed_on_failure(self._objects, prefix),
            ArrayWriter(self._objects, prefix, tail, layout.codecs, growing=True) as writer,
        ):
            for block in rows:
                writer.write(block)
            storage = writer.finish()
        return Append(
            path=node.path,
            id=node.id,
            parts=stored_parts(DataSource(mimetype=ZARR, storage=storage)),
        )

    def append_table(self, node: Node, reader: pa.RecordBatchReader) -> Append:
        """Write rows after the last of a table; returns the mutation."""
        _own_table(node)
        if isinstance(node.structure, TableStructure):
            _same_schema(node, reader.schema)
        part = self._table_part(node, reader)
        return Append(path=node.path, id=node.id, parts=(part,))

    def _table_part(self, node: Node, reader: pa.RecordBatchReader) -> Part:
        name = f"data/{node.id}/{uuid.uuid4().hex[:12]}.parquet"
        with (
            removed_on_failure(self._objects, name),
            TableWriter(self._objects, name, reader.schema) as writer,
        ):
            for batch in reader:
                writer.write(batch)
            storage, _ = writer.finish()
            return storage.parts[0]


def _position(node: Node, structure: ArrayStructure, position: tuple[int, ...]) -> tuple[int, ...]:
    grid = Grid.of(structure)
    if not grid.contains(position):
        raise InvalidRequestError(
            ErrorKind.BAD_SLICE,
            f"no block {position} in {node.path!r}, whose grid has {grid.counts} blocks",
        )
    return position


def _own_array(node: Node) -> tuple[ArrayStructure, ArrayStorage]:
    source = node.data_sources[0] if node.data_sources else None
    if (
        not isinstance(node.structure, ArrayStructure)
        or source is None
        or not isinstance(source.storage, ArrayStorage)
        or not isinstance(source.storage.location, ZarrParts)
        or "/" in node.id
    ):
        raise InvalidRequestError(
            ErrorKind.WRONG_FAMILY,
            f"{node.path!r} is not an array that was written here; it cannot be changed",
        )
    return node.structure, source.storage


def _own_table(node: Node) -> tuple[DataSource, TableStorage]:
    source = node.data_sources[0] if node.data_sources else None
    if (
        source is None
        or not isinstance(source.storage, TableStorage)
        or source.storage.assets
        or "/" in node.id
    ):
        raise InvalidRequestError(
            ErrorKind.WRONG_FAMILY,
            f"{node.path!r} is not a table that was written here; it cannot be changed",
        )
    return source, source.storage


def _same_schema(node: Node, schema: pa.Schema) -> None:
    structure = node.structure
    if isinstance(structure, TableStructure):
        present = structure.to_arrow()
        if not present.equals(schema, check_metadata=False):
            raise InvalidRequestError(
                ErrorKind.BAD_BODY,
                f"rows to append have columns {_columns(schema)}, "
                f"but {node.path!r} has {_columns(present)}; cast them to the same",
            )


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)
