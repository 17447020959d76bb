"""Routes of earlier metadata: list the revisions of a node, forget one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from lakeservice.fronts.http.documents import document
from lakeservice.fronts.http.envelope import envelope, spec_documents
from lakeservice.fronts.http.links import node_link, page_link
from lakeservice.fronts.http.listings import read_page
from lakeservice.fronts.http.operations import AS_OF, Operation, Parameter
from lakeservice.service.history import earlier
from schemas.commit import Update
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from lakeservice.fronts.http.call import Call, Reply
    from lakeservice.service.history import Earlier


class RevisionShape(msgspec.Struct):
    """What a node said of itself before."""

    revision_number: int
    attributes: dict[str, Any]


class RevisionsAnswer(msgspec.Struct):
    """A page of revisions, the oldest first; ``meta.count`` is over all pages."""

    data: list[RevisionShape]
    error: Any = None
    links: dict[str, Any] | None = None
    meta: dict[str, Any] | None = None


def revisions(call: Call) -> Reply:
    """List earlier metadata and specs of a node, the oldest first."""
    node = call.service.describe(call.path, as_of=call.as_of)
    page = read_page(call)
    address, params = node_link(call.base, "revisions", call.path), call.params.multi_items()
    stop = page.offset + page.limit
    listed = [
        _revision(one)
        for one in earlier(call.service.lake.log, node, node.history[page.offset : stop])
    ]
    more = page.limit and stop < len(node.history)
    links = {
        "self": page_link(address, params, offset=page.offset, limit=page.limit),
        "first": page_link(address, params, limit=page.limit),
        "next": page_link(address, params, offset=stop, limit=page.limit) if more else None,
    }
    return document(call, envelope(listed, links, {"count": len(node.history)}))


def forget(call: Call) -> Reply:
    """Forget one revision; it is not listed any more, and as_of still shows what was then."""
    number = call.integer("number")
    if number is None:
        raise InvalidRequestError(
            ErrorKind.BAD_PARAMETER, "say which revision to forget: number=1; list them first"
        )
    if call.repeated(call.path) is None:
        node = call.service.describe(call.path)
        call.commit(Update(path=call.path, id=node.id if call.path else None, forget=(number,)))
    return document(call, None)


def _revision(one: Earlier) -> dict[str, Any]:
    time = datetime.fromtimestamp(one.time_ns // 1_000_000_000, UTC)
    return {
        "revision_number": one.number,
        "attributes": {
            "metadata": one.metadata,
            "specs": spec_documents(one.specs),
            "time_updated": time.isoformat(sep=" "),
        },
    }


OPERATIONS = (
    Operation(
        method="GET",
        path="/revisions/{path:path}",
        work=revisions,
        answer=RevisionsAnswer,
        scope="read:metadata",
        params=(
            Parameter("page[limit]", "integer", "Revisions on a page."),
            Parameter("page[offset]", "integer", "Revisions before the page."),
            AS_OF,
        ),
    ),
    Operation(
        method="DELETE",
        path="/revisions/{path:path}",
        work=forget,
        scope="delete:revision",
        params=(Parameter("number", "integer", "The revision's number.", required=True),),
    ),
)
