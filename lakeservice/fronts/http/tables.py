"""Routes of tables: read and write, whole or by partition, all or some columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from lakeservice.fronts.http.arrays import with_file_name
from lakeservice.fronts.http.call import Reply
from lakeservice.fronts.http.documents import document
from lakeservice.fronts.http.etags import entity_tag
from lakeservice.fronts.http.negotiation import chosen
from lakeservice.fronts.http.table_bodies import uploaded_table
from lakeservice.fronts.http.table_forms import TABLE_FORMS
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.structures import TableStructure

if TYPE_CHECKING:
    import pyarrow as pa

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
    partition: int | None

    def read(self, columns: tuple[str, ...] | None = None) -> pa.RecordBatchReader:
        """Return a fresh reader, of these columns where they are named."""
        return self.service.read_table(
            self.node,
            columns=self.columns if columns is None else columns,
            where=self.where,
            limit=self.limit,
            partition=self.partition,
        )


def full(call: Call) -> Reply:
    """Return a table, with the columns named by ``column=``."""
    return _reply(call, _columns_in_query(call), None)


def full_by_body(call: Call) -> Reply:
    """Return a table, with the columns that the body lists."""
    return _reply(call, _columns_in_body(call), None)


def partition(call: Call) -> Reply:
    """Return one partition of a table."""
    return _reply(call, _columns_in_query(call), _partition(call))


def partition_by_body(call: Call) -> Reply:
    """Return one partition of a table, with the columns that the body lists."""
    return _reply(call, _columns_in_body(call), _partition(call))


def _reply(call: Call, columns: tuple[str, ...] | None, number: int | None) -> Reply:
    node = call.service.describe(call.path, as_of=call.as_of)
    form = chosen(TABLE_FORMS, call.params, call.headers)
    asked = Asked(
        service=call.service,
        node=node,
        columns=columns,
        where=call.params.get("where") or None,
        limit=call.integer("limit"),
        partition=number,
    )
    question = (columns, asked.where, asked.limit, number, form.media_type)
    tag = entity_tag(node.id, node.revision, node.version, question)
    call.unless_known(tag)
    return with_file_name(call, Reply(form.write(asked), form.sent_as)).tagged(tag)


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
            update = call.service.writer.replace_table(node, reader, number)
        call.commit(update, trusted=True)
    return document(call, None)


def append(call: Call) -> Reply:
    """Write rows after the last of a table that exists."""
    _partition(call)
    if call.repeated(call.path) is None:
        node = call.service.describe(call.path)
        with uploaded_table(call, _declared(node)) as reader:
            appended = call.service.writer.append_table(node, reader)
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
