"""Writing awkward and ragged data of nodes that exist: new objects beside the old ones."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from lakeservice.service.nested_source import declared_form
from lakeservice.service.writing import remove, removed_on_failure
from lakeservice.storage.commits import form_of
from lakeservice.storage.conforming import array_of, window_of
from lakeservice.storage.forms import numbered_form, parse_form
from lakeservice.storage.intake import BufferWriter, told_form, told_length
from lakeservice.storage.nested import NOTHING, StoredBuffers, array_from, arrow_of, merged
from lakeservice.storage.table_writer import TableWriter
from lakeservice.storage.windows import windows
from schemas.chunks import Part, TableStorage
from schemas.commit import Append, Update
from schemas.errors import ConflictError, ErrorKind, InvalidRequestError
from schemas.structures import AwkwardStructure, RaggedStructure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa

    from lakeservice.storage.archives import ArchiveReader
    from lakeservice.storage.objects import Objects
    from lakeservice.storage.windows import Window
    from schemas.entry import DataSource, Node

AWKWARD_BUFFERS = "application/x-awkward-buffers"


class NestedChanges:
    """Writes data of awkward and ragged nodes; thread-safe.

    A part is written first, and stays if its node changes meanwhile; what places it
    is asked again with the node as it is then.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def sent(self, node: Node, upload: ArchiveReader) -> Part:
        """Write the buffers in an archive as one part.

        An archive that holds its form may be of another form than the node's, if it
        says the same.

        Raises
        ------
        InvalidRequestError
            ``bad-body``: they are not what the form leads to.
        """
        declared = declared_form(node)
        told = told_form(upload)
        length = told_length(upload)
        if length is None:
            length = _length(node)
        writer = self._writer(node, declared)
        if told is None or parse_form(told) == writer.form:
            with removed_on_failure(self._objects, writer.name):
                return writer.take(upload, length)
        sent = self._writer(node, numbered_form(told))
        try:
            part = sent.take(upload, length)
            with self._objects.open_input(part.name) as file:
                buffers = StoredBuffers(file, part.name)
                return self.written(
                    node,
                    (
                        (rows, window_of(writer.form, array_of(buffers.document, rows, window)))
                        for rows, window in windows(buffers.form, length, buffers)
                    ),
                )
        finally:
            self._objects.delete([sent.name])

    def rows(self, node: Node, rows: list[Any]) -> Part:
        """Write rows that are lists of numbers, as JSON has them, as one part.

        Raises
        ------
        InvalidRequestError
            ``bad-body``: other rows than the node's, or whole numbers beyond 64 bits.
        """
        import awkward  # heavy

        form = parse_form(declared_form(node))
        try:
            array = awkward.from_iter(rows, highlevel=False)
        except (RuntimeError, OverflowError):
            raise InvalidRequestError(
                ErrorKind.BAD_BODY, "the rows hold a number that no type has; write it as 1e30"
            ) from None
        return self.written(node, [(len(rows), window_of(form, array))])

    def batches(self, node: Node, reader: Iterable[pa.RecordBatch]) -> Part:
        """Write rows that are Arrow lists as one part."""
        form = parse_form(declared_form(node))
        return self.written(
            node,
            ((batch.num_rows, window_of(form, array_from(batch))) for batch in reader),
        )

    def written(self, node: Node, rows: Iterable[tuple[int, Window]]) -> Part:
        """Write windows, one after another, as one part."""
        writer = self._writer(node, declared_form(node))
        with removed_on_failure(self._objects, writer.name), merged(writer.form, rows) as joined:
            return writer.write(joined.length, {one.name: one.pieces() for one in joined.members})

    def replaced(self, node: Node, part: Part) -> Update:
        """Return the mutation that makes a part all of a node's data."""
        _check_length(part, _length(node))
        return self._updated(node, (part,), "buffers")

    def block(self, node: Node, part: Part, number: int) -> Update:
        """Return the mutation that puts a part in the place of one block of rows."""
        source, storage = _own(node)
        lengths = block_lengths(node)
        if not 0 <= number < len(lengths):
            raise InvalidRequestError(
                ErrorKind.BAD_SLICE, f"no block {number} of {node.path!r}, which has {len(lengths)}"
            )
        _check_length(part, lengths[number])
        if storage.parts and (storage.format != "buffers" or _is_undivided(storage, lengths)):
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST,
                f"{node.path!r} was written in one piece; write it whole instead of by blocks",
            )
        placed = msgspec.structs.replace(part, partition=number)
        present = {
            one.partition if one.partition is not None else order: one
            for order, one in enumerate(storage.parts)
        }
        present[number] = placed
        parts = tuple(present[order] for order in sorted(present))
        return self._updated(node, parts, "buffers", source)

    def appended(self, node: Node, part: Part, offset: int) -> Update:
        """Return the mutation that adds a part after the last row of ragged data.

        Raises
        ------
        ConflictError
            ``revision-conflict``: the last row is another one.
        """
        source, storage = _own(node)
        structure = node.structure
        if not isinstance(structure, RaggedStructure):
            raise InvalidRequestError(ErrorKind.WRONG_FAMILY, f"{node.path!r} is not ragged")
        rows = structure.shape[0] or 0
        if offset != rows:
            raise ConflictError(
                ErrorKind.REVISION_CONFLICT,
                f"rows can only be added after the last: offset={rows}, not {offset}; "
                "somebody may have added some, so describe the node again",
            )
        present = sum(one.length for one in storage.parts)
        if present != rows:
            raise ConflictError(
                ErrorKind.REVISION_CONFLICT,
                f"{present} of {rows} rows of {node.path!r} were written so far; "
                "write the others first",
            )
        lengths = block_lengths(node)
        size = structure.size + self._elements(part)
        if storage.format == "buffers" or not storage.parts:
            form, added = "buffers", msgspec.structs.replace(part, partition=len(lengths))
        else:
            form, added = storage.format, self._as_table(node, part, storage)
        longer = msgspec.structs.replace(
            structure,
            shape=(rows + part.length, *structure.shape[1:]),
            chunks=((*lengths, part.length), *structure.chunks[1:]),
            size=size,
        )
        update = self._updated(node, (*storage.parts, added), form, source)
        return msgspec.structs.replace(update, structure=longer)

    def append(self, node: Node, reader: pa.RecordBatchReader) -> Append:
        """Write rows after the last of awkward data, in the form that the others have.

        Raises
        ------
        InvalidRequestError
            ``wrong-family``: it is not awkward; ``bad-body``: rows of another type.
        """
        _, storage = _own(node)
        if node.family != "awkward":
            raise InvalidRequestError(
                ErrorKind.WRONG_FAMILY,
                f"{node.path!r} is {node.family}; rows are added over HTTP, PATCH ragged/full",
            )
        if storage.format == "buffers":
            part = self.batches(node, reader)
        else:
            part = self._table_part(node, reader.schema, reader, storage)
        return Append(path=node.path, id=node.id, parts=(part,), form=form_of(node))

    def discard(self, part: Part) -> None:
        """Remove a part that found no place."""
        remove(self._objects, part.name)

    def _updated(
        self, node: Node, parts: tuple[Part, ...], form: Any, source: DataSource | None = None
    ) -> Update:
        source = source or _own(node)[0]
        storage = TableStorage(format=form, parts=parts)
        mimetype = AWKWARD_BUFFERS if form == "buffers" else source.mimetype
        replaced = msgspec.structs.replace(source, storage=storage, mimetype=mimetype)
        return Update(
            path=node.path,
            id=node.id,
            expected_revision=node.revision,
            data_sources=(replaced,),
        )

    def _writer(self, node: Node, document: dict[str, Any]) -> BufferWriter:
        _own(node)
        return BufferWriter(self._objects, f"data/{node.id}/{uuid.uuid4().hex[:12]}.zip", document)

    def _elements(self, part: Part) -> int:
        with self._opened(part) as buffers:
            leaf = list(buffers.form.nodes())[-1]
            (member,) = buffers.members(leaf.buffers)
            return member.size // leaf.dtype.itemsize

    @contextmanager
    def _opened(self, part: Part) -> Iterator[StoredBuffers]:
        with self._objects.open_input(part.name) as file:
            yield StoredBuffers(file, part.name)

    def _as_table(self, node: Node, part: Part, storage: TableStorage) -> Part:
        """Write a part anew as Arrow lists, as the others of its node are."""
        try:
            with self._opened(part) as buffers:
                tables = chain(
                    [arrow_of(array_of(buffers.document, 0, NOTHING), plain=True)],
                    (
                        arrow_of(array_of(buffers.document, rows, window), plain=True)
                        for rows, window in windows(buffers.form, part.length, buffers)
                    ),
                )
                first = next(tables)
                return self._table_part(node, first.schema, tables, storage)
        finally:
            self._objects.delete([part.name])

    def _table_part(
        self,
        node: Node,
        schema: pa.Schema,
        tables: Iterable[pa.Table | pa.RecordBatch],
        storage: TableStorage,
    ) -> Part:
        name = f"data/{node.id}/{uuid.uuid4().hex[:12]}.parquet"
        with (
            removed_on_failure(self._objects, name),
            TableWriter(self._objects, name, schema) as writer,
        ):
            for table in tables:
                writer.write(table if table.schema.equals(schema) else table.cast(schema))
            written, _ = writer.finish()
            if storage.parts and written.format != storage.format:
                raise InvalidRequestError(
                    ErrorKind.BAD_REQUEST,
                    f"{node.path!r} is stored as {storage.format}; write it whole instead",
                )
        return written.parts[0]


def block_lengths(node: Node) -> tuple[int, ...]:
    """Return the number of rows of each block of ragged data."""
    structure = node.structure
    if not isinstance(structure, RaggedStructure):
        raise InvalidRequestError(
            ErrorKind.WRONG_FAMILY, f"{node.path!r} is a {node.family}, not ragged"
        )
    rows, sizes = structure.shape[0] or 0, structure.chunks[0]
    if isinstance(sizes, tuple):
        return sizes
    whole, rest = divmod(rows, sizes or 1)
    return (sizes or 1,) * whole + ((rest,) if rest or not whole else ())


def _is_undivided(storage: TableStorage, lengths: tuple[int, ...]) -> bool:
    return len(lengths) > 1 and any(part.partition is None for part in storage.parts)


def _length(node: Node) -> int:
    structure = node.structure
    if isinstance(structure, AwkwardStructure):
        return structure.length
    return (structure.shape[0] or 0) if isinstance(structure, RaggedStructure) else 0


def _check_length(part: Part, wanted: int) -> None:
    if part.length != wanted:
        raise InvalidRequestError(
            ErrorKind.BAD_BODY, f"{part.length} rows sent where {wanted} are declared"
        )


def _own(node: Node) -> tuple[DataSource, TableStorage]:
    source = node.data_sources[0] if node.data_sources else None
    if (
        node.family not in ("awkward", "ragged")
        or source is None
        or not isinstance(source.storage, TableStorage)
        or source.storage.assets
        or source.storage.columns
        or "/" in node.id
    ):
        raise InvalidRequestError(
            ErrorKind.WRONG_FAMILY,
            f"{node.path!r} is neither awkward nor ragged data that were written here; "
            "it cannot be changed so",
        )
    return source, source.storage
