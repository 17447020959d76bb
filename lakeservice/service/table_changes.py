"""Changing the rows of tables that were written here: new parts beside the old ones."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import msgspec
import pyarrow as pa

from lakeservice.service import partitions
from lakeservice.service.writing import remove, removed_on_failure
from lakeservice.storage.commits import form_of
from lakeservice.storage.files import FileReader
from lakeservice.storage.table_writer import TableWriter
from lakeservice.storage.tables import StoredTable
from schemas.chunks import Part, TableStorage
from schemas.commit import Append, Update
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.structures import TableStructure

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakeservice.storage.objects import Objects
    from schemas.entry import DataSource, Node


@dataclass(frozen=True)
class Change:
    """A change that is written and not yet visible."""

    mutation: Update | Append
    discard: Callable[[], None]
    """Removes what was written for it alone, where it was refused."""


@dataclass(frozen=True)
class Rows:
    """Rows of a table that are written and that nobody sees yet."""

    part: Part
    schema: pa.Schema
    format: Literal["parquet", "arrow", "buffers"]


class TableChanges:
    """Writes changed and added rows of tables that exist; thread-safe."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def rows(self, node: Node, reader: pa.RecordBatchReader) -> Rows:
        """Write rows of a table as a new object."""
        _own_table(node)
        name = f"data/{node.id}/{uuid.uuid4().hex[:12]}.parquet"
        with (
            removed_on_failure(self._objects, name),
            TableWriter(self._objects, name, reader.schema) as writer,
        ):
            for batch in reader:
                writer.write(batch)
            storage, _ = writer.finish()
            return Rows(storage.parts[0], reader.schema, storage.format)

    def discard(self, rows: Rows) -> None:
        """Remove rows that nobody has seen."""
        remove(self._objects, rows.part.name)

    def replaced(self, node: Node, rows: Rows, number: int | None = None) -> Change:
        """Return the change that makes written rows the whole table, or one partition of it.

        Raises
        ------
        InvalidRequestError
            ``bad-request``: there is no such partition; ``bad-body``: other columns than
            the other partitions have.
        """
        if number is None:
            return _with_parts(node, (rows.part,), rows)
        partitions.check_partition(node, number, partitions.told_partitions(node) + 1)
        parts = partitions.replaced(node, number, rows.part)
        if len(parts) > 1:
            rows = replace(rows, schema=_common(node, rows.schema))
        return _with_parts(node, parts, rows)

    def append(self, node: Node, reader: pa.RecordBatchReader) -> Append:
        """Write rows after the last of a table; returns the mutation."""
        if isinstance(node.structure, TableStructure):
            _same_schema(node, reader.schema)
        part = self.rows(node, reader).part
        return Append(path=node.path, id=node.id, parts=(part,), form=form_of(node))

    def appended(self, node: Node, number: int, rows: Rows, *, compact: bool = True) -> Change:
        """Return the change that adds written rows to a partition.

        Parameters
        ----------
        compact
            Short parts that have gathered at the end are written again as one, so that
            reading a table stays cheap however many rows came one by one.

        Raises
        ------
        InvalidRequestError
            ``bad-request``: there is no such partition; ``bad-body``: rows of other columns.
        """
        told = partitions.told_partitions(node)
        partitions.check_partition(node, number, told)
        parts, numbered = partitions.parts_in(node), _numbered(rows.part, number)
        if not parts:
            return _with_parts(node, (numbered,), rows)
        _same_schema(node, rows.schema)
        part = numbered if partitions.is_numbered(parts) else rows.part
        if number < told - 1 and part is rows.part:
            return _with_parts(node, _sorted((*partitions.numbered_parts(node), numbered)))
        if compact and number == told - 1:
            first = partitions.compactable((*parts, part))
            if first < len(parts):
                return self._compacted(node, (*parts, part), first)
        added = Append(path=node.path, id=node.id, parts=(part,), form=form_of(node))
        return Change(added, _nothing)

    def _compacted(self, node: Node, parts: tuple[Part, ...], first: int) -> Change:
        storage = msgspec.structs.replace(_own_table(node)[1], parts=parts[first:])
        schema = node.structure.to_arrow() if isinstance(node.structure, TableStructure) else None
        stored = StoredTable(self._objects, storage, schema=schema, fetch_files=FileReader())
        with stored.batches() as reader:
            whole = self.rows(node, reader)
        part = msgspec.structs.replace(whole.part, partition=parts[-1].partition)
        change = _with_parts(node, (*parts[:first], part))
        return Change(change.mutation, partial(self.discard, whole))


def _with_parts(node: Node, parts: tuple[Part, ...], rows: Rows | None = None) -> Change:
    """Return the change that gives a table these parts, and the columns of ``rows``."""
    source, storage = _own_table(node)
    changed, structure = msgspec.structs.replace, node.structure
    storage = changed(storage, parts=parts, format=rows.format if rows else storage.format)
    if isinstance(structure, TableStructure):
        numbers = [part.partition for part in parts if part.partition is not None]
        most = max((number + 1 for number in numbers), default=0)
        described = TableStructure.from_arrow(rows.schema) if rows else structure
        structure = changed(
            structure,
            arrow_schema=described.arrow_schema,
            columns=described.columns,
            rows=sum(part.length for part in parts),
            npartitions=max(partitions.told_partitions(node), most) if most else len(parts),
        )
    update = Update(
        path=node.path,
        id=node.id,
        expected_revision=node.revision,
        structure=structure,
        data_sources=(changed(source, storage=storage), *node.data_sources[1:]),
    )
    return Change(update, _nothing)


def _sorted(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    return tuple(sorted(parts, key=lambda part: part.partition or 0))


def _numbered(part: Part, number: int) -> Part:
    return msgspec.structs.replace(part, partition=number)


def _nothing() -> None:
    """Remove nothing: the rows are kept for the next attempt."""


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


def _common(node: Node, schema: pa.Schema) -> pa.Schema:
    """Return the columns of partitions side by side: one of nulls alone has any type."""
    if not isinstance(node.structure, TableStructure):
        return schema
    present = node.structure.to_arrow()
    if present.names == schema.names:
        for index, field in enumerate(present):
            if pa.types.is_null(schema.field(index).type):
                schema = schema.set(index, field)
            if pa.types.is_null(field.type):
                present = present.set(index, schema.field(index))
    if not present.equals(schema, check_metadata=False):
        raise InvalidRequestError(
            ErrorKind.BAD_BODY,
            f"a partition with columns {_columns(schema)}, "
            f"but the others of {node.path!r} have {_columns(present)}; cast them to the same",
        )
    return schema


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)
