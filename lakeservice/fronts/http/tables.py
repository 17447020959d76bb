"""Routes of tables: read and write, whole or by partition, all or some columns."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from lakeservice.export.arrow import ARROW_FILE
from lakeservice.fronts.http.announcing import announce_only, delivery_of, keeps
from lakeservice.fronts.http.documents import document
from lakeservice.fronts.http.exports import described, exported, exporter_for
from lakeservice.fronts.http.operations import AS_OF, FILE_NAME, FORMAT, Operation, Parameter
from lakeservice.fronts.http.partitions import parts_of, stored_parts, told_partitions
from lakeservice.fronts.http.table_bodies import FORMS, UNNAMED_INDEX, uploaded_table
from lakeservice.service.sources import TableRows
from schemas.errors import ErrorKind, InvalidRequestError, UnavailableError
from schemas.structures import TableStructure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from lakeservice.fronts.http.call import Call, Reply
    from lakeservice.service.events import Delivery
    from lakeservice.service.table_changes import Rows
    from schemas.commit import Append, Update
    from schemas.entry import Node


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
    node = described(call)
    _declared(node)
    form = exporter_for(call, node)
    if columns is not None and form.media_type == ARROW_FILE:
        columns = _with_index(node, columns)
    source = TableRows(
        service=call.service,
        node=node,
        options=call.params,
        columns=columns,
        where=call.params.get("where") or None,
        limit=call.integer("limit"),
        parts=None if number is None else _parts(call, node, number),
    )
    return exported(call, source, form)


def _parts(call: Call, node: Node, number: int) -> range:
    told = call.integer("of")
    known = max(told or 1, told_partitions(node), stored_parts(node) if told is None else 1)
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
        delivery = delivery_of(call, partition=number, media_type=ARROW_FILE)
        if not keeps(call):
            return _announced(call, node, delivery)
        changes = call.service.changes
        with _rows(call, node) as rows:
            changes.apply(
                call.service.describe,
                call.path,
                lambda now: changes.tables.replaced(now, rows, number),
                _commit(call, replace(delivery, parts=(rows.part,))),
            )
    return document(call, None)


def append(call: Call) -> Reply:
    """Write rows after the last of a partition of a table that exists."""
    number = _partition(call)
    if call.repeated(call.path) is None:
        node = call.service.describe(call.path)
        delivery = delivery_of(call, partition=number, append=True, media_type=ARROW_FILE)
        if not keeps(call):
            return _announced(call, node, delivery)
        with _rows(call, node) as rows:
            written = replace(delivery, parts=(rows.part,))
            call.service.changes.append(
                call.service.describe, call.path, number, rows, _commit(call, written)
            )
    return document(call, None)


@contextmanager
def _rows(call: Call, node: Node) -> Iterator[Rows]:
    """Write the rows that a client sends; they are removed where they are refused."""
    with uploaded_table(call, _declared(node)) as reader:
        rows = call.service.changes.tables.rows(node, reader)
    try:
        yield rows
    except UnavailableError:  # they may be in the log all the same
        raise
    except BaseException:
        call.service.changes.tables.discard(rows)
        raise


def _commit(call: Call, delivery: Delivery) -> Callable[[Update | Append], None]:
    def commit(mutation: Update | Append) -> None:
        call.commit(mutation, trusted=True, note=delivery)

    return commit


def _announced(call: Call, node: Node, delivery: Delivery) -> Reply:
    """Tell subscribers of rows that fit the table, and keep nothing of them."""
    with uploaded_table(call, _declared(node)) as reader:
        for _ in reader:
            pass
    announce_only(call, node, delivery)
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
    # The name that Tiled's clients use now, and the one that they used before.
    columns, fields = call.params.getlist("column"), call.params.getlist("field")
    if columns and fields:
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST,
            "both 'column' and 'field' name columns; say 'column', 'field' is its old name",
        )
    return tuple(columns or fields) or None


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


COLUMN = Parameter("column", "texts", "Names of columns; all where it is left out.")
WHERE = Parameter("where", "text", "Condition on the rows: ``energy > 12000 and ok = true``.")
LIMIT = Parameter("limit", "integer", "Most rows to send.")
PERSIST = Parameter("persist", "flag", "Keep the data; false only sends it to subscribers.")
PARTITION = Parameter("partition", "integer", "Number of the partition, from 0.", required=True)
OF = Parameter("of", "integer", "Number of partitions that the client was told.")
READ = (COLUMN, WHERE, LIMIT, FORMAT, FILE_NAME, AS_OF)

OPERATIONS = (
    Operation(
        method="GET",
        path="/table/full/{path:path}",
        work=full,
        scope="read:data",
        params=READ,
        family="table",
    ),
    Operation(
        method="POST",
        path="/table/full/{path:path}",
        work=full_by_body,
        scope="read:data",
        params=READ,
        body=list[str] | None,
        family="table",
    ),
    Operation(
        method="PUT",
        path="/table/full/{path:path}",
        work=put_full,
        scope="write:data",
        params=(PERSIST,),
        uploads=FORMS,
    ),
    Operation(
        method="GET",
        path="/table/partition/{path:path}",
        work=partition,
        scope="read:data",
        params=(PARTITION, OF, *READ),
        family="table",
    ),
    Operation(
        method="POST",
        path="/table/partition/{path:path}",
        work=partition_by_body,
        scope="read:data",
        params=(PARTITION, OF, *READ),
        body=list[str] | None,
        family="table",
    ),
    Operation(
        method="PUT",
        path="/table/partition/{path:path}",
        work=put_partition,
        scope="write:data",
        params=(PARTITION, PERSIST),
        uploads=FORMS,
    ),
    Operation(
        method="PATCH",
        path="/table/partition/{path:path}",
        work=append,
        scope="write:data",
        params=(PARTITION, PERSIST),
        uploads=FORMS,
    ),
)
