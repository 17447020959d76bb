"""Routes of tables: read and write, whole or by partition, all or some columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

from lakeservice.fronts.http.arrays import with_file_name
from lakeservice.fronts.http.call import Reply
from lakeservice.fronts.http.documents import document
from lakeservice.fronts.http.etags import entity_tag
from lakeservice.fronts.http.negotiation import chosen
from lakeservice.fronts.http.partitions import parts_of, stored_parts
from lakeservice.fronts.http.table_bodies import UNNAMED_INDEX, uploaded_table
from lakeservice.fronts.http.table_forms import ARROW_FILE, TABLE_FORMS
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.structures import TableStructure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.fronts.http.call import Call
    from lakeservice.service.service import Service
    from schemas.entry import Node


@dataclass(frozen=True)
class Asked:
    """The rows and columns of a table that a request asks for."""

    service: Service
    node: Node
    columns: tuple[str, ...] | None
    where: str | None
    limit: int | None
    parts: range | None
    """Stored parts; None for all."""

    def read(self, columns: tuple[str, ...] | None = None) -> pa.RecordBatchReader:
        """Return a fresh reader, of these columns where they are named."""
        wanted = self.columns if columns is None else columns
        if self.parts is None:
            return self._reader(wanted, self.limit, None)
        if not self.parts:
            return self._reader(wanted, 0, None)
        first = self._reader(wanted, self.limit, self.parts[0])
        if len(self.parts) == 1:
            return first
        batches = self._one_after_another(wanted, first, self.parts)
        return pa.RecordBatchReader.from_batches(first.schema, batches)

    def _one_after_another(
        self, columns: tuple[str, ...] | None, first: pa.RecordBatchReader, parts: range
    ) -> Iterator[pa.RecordBatch]:
        left = self.limit
        for part in parts:
            with first if part == parts[0] else self._reader(columns, left, part) as reader:
                for batch in reader:
                    left = None if left is None else left - batch.num_rows
                    yield batch

    def _reader(
        self, columns: tuple[str, ...] | None, limit: int | None, part: int | None
    ) -> pa.RecordBatchReader:
        return self.service.read_table(
            self.node, columns=columns, where=self.where, limit=limit, partition=part
        )


def full(call: Call) -> Reply:
    """Return a table, with the columns named by ``column=``."""
    return _reply(call, _columns_in_query(call), whole=True)


def full_by_body(call: Call) -> Reply:
    """Return a table, with the columns that the body lists."""
    return _reply(call, _columns_in_body(call), whole=True)


def partition(call: Call) -> Reply:
    """Return one partition of a table."""
    return _reply(call, _columns_in_query(call), whole=False)


def partition_by_body(call: Call) -> Reply:
    """Return one partition of a table, with the columns that the body lists."""
    return _reply(call, _columns_in_body(call), whole=False)


def _reply(call: Call, columns: tuple[str, ...] | None, *, whole: bool) -> Reply:
    number = None if whole else _partition(call)
    node = call.service.describe(call.path, as_of=call.as_of)
    form = chosen(TABLE_FORMS, call.params, call.headers)
    parts = None if number is None else _parts(call, node, number)
    if columns is not None and form.media_type == ARROW_FILE:
        columns = _with_index(node, columns)
    asked = Asked(
        service=call.service,
        node=node,
        columns=columns,
        where=call.params.get("where") or None,
        limit=call.integer("limit"),
        parts=parts,
    )
    question = (columns, asked.where, asked.limit, parts, form.media_type)
    tag = entity_tag(node.id, node.revision, node.version, question)
    call.unless_known(tag)
    return with_file_name(call, Reply(form.write(asked), form.sent_as)).tagged(tag)


def _parts(call: Call, node: Node, number: int) -> range:
    told = call.integer("of")
    known = told if told is not None else max(1, stored_parts(node))
    if number >= known:
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST,
            f"partition {number} of {node.path!r}, which has {known}; the first is 0",
        )
    return parts_of(node, number, told)


def _with_index(node: Node, columns: tuple[str, ...]) -> tuple[str, ...]:
    """Add the unnamed index of pandas, by which its readers know the rows."""
    present = node.structure.columns if isinstance(node.structure, TableStructure) else ()
    index = [name for name in present if UNNAMED_INDEX.fullmatch(name) and name not in columns]
    return (*columns, *index)


def put_full(call: Call) -> Reply:
    """Write all rows of a table that exists."""
    return _replaced(call, None)


def put_partition(call: Call) -> Reply:
    """Write all rows of one partition of a table that exists."""
    return _replaced(call, _partition(call))


def _replaced(call: Call, number: int | None) -> Reply:
    if call.repeated(call.path) is None:
        node = call.service.describe(call.path)
        with uploaded_table(call, _declared(node)) as reader:
            update = call.service.changes.replace_table(node, reader, number)
        if number is not None:
            # The other partitions are named again by this change: nobody else's may be lost.
            update = msgspec.structs.replace(update, expected_revision=node.revision)
        call.commit(update, trusted=True)
    return document(call, None)


def append(call: Call) -> Reply:
    """Write rows after the last of a table that exists."""
    _partition(call)
    if call.repeated(call.path) is None:
        node = call.service.describe(call.path)
        with uploaded_table(call, _declared(node)) as reader:
            appended = call.service.changes.append_table(node, reader)
        call.commit(appended, trusted=True)
    return document(call, None)


def _declared(node: Node) -> pa.Schema:
    if not isinstance(node.structure, TableStructure):
        raise InvalidRequestError(
            ErrorKind.WRONG_FAMILY, f"{node.path!r} is a {node.family}, not a table"
        )
    return node.structure.to_arrow()


def _partition(call: Call) -> int:
    number = call.integer("partition")
    if number is None:
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST, "name the partition: partition=0 is the first"
        )
    return number


def _columns_in_query(call: Call) -> tuple[str, ...] | None:
    # The names that Tiled's clients used before, and the one that they use now.
    given = call.params.getlist("column") or call.params.getlist("field")
    return tuple(given) or None


def _columns_in_body(call: Call) -> tuple[str, ...] | None:
    payload = call.body.whole()
    if not payload.strip():
        return _columns_in_query(call)
    try:
        listed = msgspec.json.decode(payload, type=list[str] | None)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequestError(
            ErrorKind.BAD_BODY, f"the body is a JSON list of column names: {error}"
        ) from None
    return tuple(listed) if listed else None
