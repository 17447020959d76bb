"""Routes of containers: everything below one in a single file, and the older route for any node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lakeservice.export.container_json import DATA
from lakeservice.fronts.http import arrays, ragged, tables
from lakeservice.fronts.http.exports import described, exported, exporter_for
from lakeservice.fronts.http.operations import AS_OF, FILE_NAME, FORMAT, Operation, Parameter
from lakeservice.service.sources import ContainerRows, source_of
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from lakeservice.fronts.http.call import Call, Reply
    from schemas.entry import Node


def full(call: Call) -> Reply:
    """Return a container and all that is below it, or the children named by ``field=``."""
    return _reply(call, _fields_in_query(call))


def full_by_body(call: Call) -> Reply:
    """Return a container and all that is below it, or the children that the body lists."""
    return _reply(call, _fields_in_body(call))


def _reply(call: Call, fields: tuple[str, ...]) -> Reply:
    node = described(call)
    if node.family != "container":
        raise InvalidRequestError(
            ErrorKind.WRONG_FAMILY,
            f"{node.path!r} is no container, its family is {node.family}; "
            f"ask {node.family}/full/ for it",
        )
    return _container(call, node, fields)


def _container(call: Call, node: Node, fields: tuple[str, ...]) -> Reply:
    source = ContainerRows(
        service=call.service, node=node, options=call.params, fields=fields, as_of=call.as_of
    )
    missing = set(fields) - {child.name for child in source.children()} if fields else ()
    if missing:
        raise InvalidRequestError(
            ErrorKind.UNKNOWN_COLUMN,
            f"{node.path!r} has no child {', '.join(sorted(missing))[:200]!r}; "
            "list them with search/, or leave field out for all",
        )
    form = exporter_for(call, node)
    if call.params.get("include") == "data" and form.media_type == DATA.media_type:
        form = DATA
    return exported(call, source, form)


def node_full(call: Call) -> Reply:
    """Return any node in the form that is asked for; the older name of the routes by family."""
    node = described(call)
    match node.family:
        case "container":
            return _container(call, node, _fields_in_query(call))
        case "table":
            return tables.full(call)
        case "array" | "sparse":
            return arrays.full(call)
        case "ragged":
            return ragged.full(call)
    return exported(call, source_of(call.service, node, options=call.params, as_of=call.as_of))


def _fields_in_query(call: Call) -> tuple[str, ...]:
    return tuple(name for name in call.params.getlist("field") if name)


def _fields_in_body(call: Call) -> tuple[str, ...]:
    payload = call.body.whole()
    if not payload.strip():
        return _fields_in_query(call)
    try:
        listed = msgspec.json.decode(payload, type=list[str] | None)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequestError(
            ErrorKind.BAD_BODY, f"the body is a JSON list of names of children: {error}"
        ) from None
    return tuple(listed or ())


FIELD = Parameter("field", "texts", "Names of children; all where it is left out.")
INCLUDE = Parameter("include", "text", "``data`` for the values of all columns as one JSON object.")
READ = (FIELD, INCLUDE, FORMAT, FILE_NAME, AS_OF)

OPERATIONS = (
    Operation(
        method="GET",
        path="/container/full/{path:path}",
        work=full,
        scope="read:data",
        params=READ,
        family="container",
    ),
    Operation(
        method="POST",
        path="/container/full/{path:path}",
        work=full_by_body,
        scope="read:data",
        params=READ,
        body=list[str] | None,
        family="container",
    ),
    Operation(
        method="GET",
        path="/node/full/{path:path}",
        work=node_full,
        scope="read:data",
        params=(*READ, Parameter("slice", "text", "Part of an array: ``0:10,:,5``.")),
        family=("container", "array", "table", "sparse", "awkward", "ragged"),
    ),
)
