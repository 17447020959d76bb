"""Routes of ragged data: read whole or in slices, write whole or by blocks of rows, add rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lakeservice.fronts.http.announcing import announce_only, delivery_of, keeps
from lakeservice.fronts.http.arrays import SLICE
from lakeservice.fronts.http.documents import document
from lakeservice.fronts.http.exports import described, exported
from lakeservice.fronts.http.operations import (
    AS_OF,
    FILE_NAME,
    FORMAT,
    PERSIST,
    Operation,
    Parameter,
)
from lakeservice.fronts.http.placing import placed
from lakeservice.fronts.http.structures import structure_document
from lakeservice.fronts.http.zipped import ZIP, sent_as, uploaded_archive
from lakeservice.service.nested_changes import block_lengths
from lakeservice.service.ragged_source import RaggedRows
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.selection import parse_index, parse_selection

if TYPE_CHECKING:
    from types import EllipsisType

    from lakeservice.fronts.http.call import Call, Reply
    from schemas.chunks import Part
    from schemas.commit import Update
    from schemas.entry import Node

JSON = "application/json"


def full(call: Call) -> Reply:
    """Return ragged data, or a slice of them."""
    node = _ragged(described(call))
    return _reply(call, node, parse_index(call.params.get("slice")))


def block(call: Call) -> Reply:
    """Return one block of rows, or a slice of it."""
    node = _ragged(described(call))
    number = _block(node, call.params.get("block"))
    lengths = block_lengths(node)
    start = sum(lengths[:number])
    first, *rest = parse_index(call.params.get("slice")) or (slice(None),)
    if first is ...:
        first, rest = slice(None), [first, *rest]
    (rows,) = parse_selection(_text(first), (lengths[number],)).axes
    moved: int | slice
    if rows.drop:
        moved = start + rows.start
    else:
        stop = start + rows.start + rows.count * rows.step
        moved = slice(start + rows.start, stop if stop >= 0 else None, rows.step)
    return _reply(call, node, (moved, *rest))


def _reply(call: Call, node: Node, index: tuple[int | slice | EllipsisType, ...]) -> Reply:
    source = RaggedRows(service=call.service, node=node, options=call.params, index=index)
    source.verify()
    return exported(call, source)


def put_full(call: Call) -> Reply:
    """Write all rows of ragged data that exist: buffers in a ZIP archive, or lists as JSON."""
    if call.repeated(call.path) is not None:
        return document(call, None)
    node = _ragged(call.service.describe(call.path))
    sent_as(call, ZIP, JSON)
    structure: Any = node.structure
    delivery = delivery_of(call, media_type=ZIP, shape=structure.shape)
    if not keeps(call):
        announce_only(call, node, delivery)
        return document(call, None)
    part = _written(call, node)
    changes = call.service.nested
    placed(call, node, part, lambda now: changes.replaced(now, part), delivery)
    return document(call, None)


def put_block(call: Call) -> Reply:
    """Write one block of rows of ragged data that exist."""
    if call.repeated(call.path) is not None:
        return document(call, None)
    node = _ragged(call.service.describe(call.path))
    sent_as(call, ZIP, JSON)
    number = _block(node, call.params.get("block"))
    structure: Any = node.structure
    lengths = block_lengths(node)
    shape = (lengths[number], *structure.shape[1:])
    delivery = delivery_of(call, media_type=ZIP, shape=shape, block=(number,))
    if not keeps(call):
        announce_only(call, node, delivery)
        return document(call, None)
    part = _written(call, node)
    changes = call.service.nested

    def place(now: Node) -> Update:
        return changes.block(now, part, number)

    placed(call, node, part, place, delivery)
    return document(call, None)


def append(call: Call) -> Reply:
    """Add rows after the last; returns the structure as it is then."""
    node = _ragged(call.service.describe(call.path))
    if call.repeated(call.path) is not None:
        return document(call, structure_document(node.structure))
    sent_as(call, ZIP, JSON)
    if not call.flag("extend", False):
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST,
            "rows of ragged data are not overwritten, only added. Use ?extend=true",
        )
    if not keeps(call):
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST,
            "extend=true with persist=false: rows that are not kept cannot make data longer",
        )
    offset = _offset(call)
    structure: Any = node.structure
    part = _written(call, node)
    shape = (part.length, *structure.shape[1:])
    delivery = delivery_of(call, media_type=ZIP, shape=shape, offset=(offset,))
    changes = call.service.nested

    def place(now: Node) -> Update:
        return changes.appended(now, part, offset)

    longer = placed(call, node, part, place, delivery)
    return document(call, structure_document(longer.structure))


def _written(call: Call, node: Node) -> Part:
    changes = call.service.nested
    if sent_as(call, ZIP, JSON) == ZIP:
        with uploaded_archive(call) as upload:
            return changes.sent(node, upload)
    rows = call.document()
    if not isinstance(rows, list):
        raise InvalidRequestError(ErrorKind.BAD_BODY, "ragged data as JSON are a list of lists")
    return changes.rows(node, rows)


def _offset(call: Call) -> int:
    text = (call.params.get("offset") or "").strip()
    numbers = text.split(",")
    if not all(re.fullmatch(r"[0-9]{1,18}", part.strip()) for part in numbers):
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST, f"offset={text[:40]!r}; write the number of rows there are"
        )
    first, *rest = (int(part) for part in numbers)
    if any(rest):
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST, f"offset={text[:40]!r}; rows are added on the first axis only"
        )
    return first


def _block(node: Node, text: str | None) -> int:
    count = len(block_lengths(node))
    given = (text or "").partition(",")
    axes = parse_selection(given[0], (count,)).axes
    if not text or not axes[0].drop or given[2].replace(",", "").strip("0 "):
        raise InvalidRequestError(
            ErrorKind.BAD_SLICE, f"block={(text or '')[:80]!r}; write one number below {count}"
        )
    return axes[0].start


def _text(part: int | slice | EllipsisType) -> str:
    if isinstance(part, slice):
        bounds = (part.start, part.stop, part.step)
        return ":".join("" if bound is None else str(bound) for bound in bounds)
    return str(part)


def _ragged(node: Node) -> Node:
    if node.family != "ragged":
        raise InvalidRequestError(
            ErrorKind.WRONG_FAMILY, f"{node.path!r} is a {node.family}, not ragged data"
        )
    return node


BLOCK = Parameter("block", "text", "Number of the block of rows: ``0``.", required=True)
READ = (SLICE, FORMAT, FILE_NAME, AS_OF)

OPERATIONS = (
    Operation(
        method="GET",
        path="/ragged/full/{path:path}",
        work=full,
        scope="read:data",
        params=READ,
        family="ragged",
    ),
    Operation(
        method="PUT",
        path="/ragged/full/{path:path}",
        work=put_full,
        scope="write:data",
        params=(PERSIST,),
        uploads=(ZIP, JSON),
    ),
    Operation(
        method="PATCH",
        path="/ragged/full/{path:path}",
        work=append,
        scope="write:data",
        params=(
            Parameter("offset", "text", "Number of rows that there are.", required=True),
            Parameter("shape", "text", "Number of rows that are sent; the data tell it too."),
            Parameter("extend", "flag", "Must be true: rows are only added."),
            PERSIST,
        ),
        uploads=(ZIP, JSON),
        answer=dict[str, Any],
    ),
    Operation(
        method="GET",
        path="/ragged/block/{path:path}",
        work=block,
        scope="read:data",
        params=(BLOCK, *READ),
        family="ragged",
    ),
    Operation(
        method="PUT",
        path="/ragged/block/{path:path}",
        work=put_block,
        scope="write:data",
        params=(BLOCK, PERSIST),
        uploads=(ZIP, JSON),
    ),
)
