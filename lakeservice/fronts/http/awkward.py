"""Routes of awkward data: whole, or the buffers of some nodes of their form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lakeservice.fronts.http.announcing import announce_only, delivery_of, keeps
from lakeservice.fronts.http.documents import document
from lakeservice.fronts.http.exports import described, exported, exporter_for
from lakeservice.fronts.http.operations import (
    AS_OF,
    FILE_NAME,
    FORMAT,
    PERSIST,
    Operation,
    Parameter,
)
from lakeservice.fronts.http.placing import placed
from lakeservice.fronts.http.zipped import ZIP, sent_as, uploaded_archive
from lakeservice.service.nested_source import NestedRows
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from lakeservice.fronts.http.call import Call, Reply
    from schemas.entry import Node


def full(call: Call) -> Reply:
    """Return awkward data: the buffers in a ZIP archive, or rows as JSON, Arrow, Parquet."""
    node = _awkward(described(call))
    return exported(call, NestedRows(service=call.service, node=node, options=call.params))


def buffers(call: Call) -> Reply:
    """Return the buffers of the form's nodes named by ``form_key=``; all where none is named."""
    return _buffers(call, call.params.getlist("form_key"))


def buffers_by_body(call: Call) -> Reply:
    """Return the buffers of the form's nodes that the body lists, however many they are."""
    payload = call.body.whole()
    if not payload.strip():
        return buffers(call)
    try:
        keys = msgspec.json.decode(payload, type=list[str] | None)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequestError(
            ErrorKind.BAD_BODY, f"the body is a JSON list of form keys: {error}"
        ) from None
    return buffers(call) if keys is None else _buffers(call, keys, listed=True)


def _buffers(call: Call, keys: list[str], *, listed: bool = False) -> Reply:
    node = _awkward(described(call))
    form = exporter_for(call, node)
    if form.media_type != ZIP:
        raise InvalidRequestError(
            ErrorKind.UNKNOWN_FORMAT,
            f"buffers are sent as {ZIP}; ask awkward/full for {form.media_type}",
        )
    source = NestedRows(
        service=call.service,
        node=node,
        options=call.params,
        keys=tuple(keys) if keys or listed else None,
    )
    return exported(call, source, form)


def put_full(call: Call) -> Reply:
    """Write awkward data that exist: a ZIP archive with one file for each buffer of the form."""
    if call.repeated(call.path) is not None:
        return document(call, None)
    node = _awkward(call.service.describe(call.path))
    sent_as(call, ZIP)
    delivery = delivery_of(call, media_type=ZIP)
    if not keeps(call):
        announce_only(call, node, delivery)
        return document(call, None)
    changes = call.service.nested
    with uploaded_archive(call) as upload:
        part = changes.sent(node, upload)
    placed(call, node, part, lambda now: changes.replaced(now, part), delivery)
    return document(call, None)


def _awkward(node: Node) -> Node:
    if node.family != "awkward":
        raise InvalidRequestError(
            ErrorKind.WRONG_FAMILY, f"{node.path!r} is a {node.family}, not awkward data"
        )
    return node


FORM_KEY = Parameter("form_key", "texts", "Key of a node of the form, as its description says.")
READ = (FORMAT, FILE_NAME, AS_OF)

OPERATIONS = (
    Operation(
        method="GET",
        path="/awkward/full/{path:path}",
        work=full,
        scope="read:data",
        params=READ,
        family="awkward",
    ),
    Operation(
        method="PUT",
        path="/awkward/full/{path:path}",
        work=put_full,
        scope="write:data",
        params=(PERSIST,),
        uploads=(ZIP,),
    ),
    Operation(
        method="GET",
        path="/awkward/buffers/{path:path}",
        work=buffers,
        scope="read:data",
        params=(FORM_KEY, *READ),
        family="awkward",
    ),
    Operation(
        method="POST",
        path="/awkward/buffers/{path:path}",
        work=buffers_by_body,
        scope="read:data",
        params=(FORM_KEY, *READ),
        body=list[str] | None,
        family="awkward",
    ),
)
