"""Routes that list: search, search-deep, distinct."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from lakeservice.fronts.http.documents import document, document_type
from lakeservice.fronts.http.envelope import envelope, spec_documents
from lakeservice.fronts.http.etags import entity_tag
from lakeservice.fronts.http.items import SHOWN, Items, read_shown
from lakeservice.fronts.http.links import HIDDEN, node_link, page_link
from lakeservice.fronts.http.listings import read_condition, read_search
from lakeservice.fronts.http.operations import AS_OF, Operation, Parameter
from lakeservice.fronts.http.shapes import DistinctAnswer, ListingAnswer
from lakeservice.service.listing import Listing
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.ticket import Search

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakeservice.fronts.http.call import Call, Reply

MAX_DISTINCT_KEYS = 64
"""Most metadata keys in one question for distinct values."""


def search(call: Call) -> Reply:
    """List the children of a container that match."""
    return _listing(call, "search", deep=False)


def search_deep(call: Call) -> Reply:
    """List everything below a container that matches."""
    return _listing(call, "search-deep", deep=True)


def _listing(call: Call, route: str, *, deep: bool) -> Reply:
    asked = read_search(call, deep=deep)
    _check_container(call)
    tag = _state_tag(call)
    shown = read_shown(call, levels=None if deep else "max_depth")
    only_count = shown.count_alone or asked.page.limit == 0
    address = node_link(call.base, route, call.path)
    params = call.params.multi_items()
    limit = asked.page.limit
    following = None
    found = Listing(count=call.service.count(asked)) if only_count else call.service.search(asked)
    if found.cursor is not None:
        following = page_link(address, params, cursor=found.cursor, limit=limit)
    this: dict[str, str | int] = {"limit": limit}
    if asked.page.cursor:
        this["cursor"] = asked.page.cursor
    elif asked.page.offset:
        this["offset"] = asked.page.offset
    listed = Items(call, shown).of(found.nodes)
    links = {
        "self": page_link(address, params, **this),
        "first": page_link(address, params, limit=limit),
        "next": following,
    }
    return document(call, envelope(listed, links, {"count": found.count})).tagged(tag)


def distinct(call: Call) -> Reply:
    """List the different values of metadata keys, families and specs below a container."""
    keys = [key.removeprefix("metadata.") for key in call.params.getlist("metadata")]
    if len(keys) > MAX_DISTINCT_KEYS:
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST,
            f"distinct values of {len(keys)} keys; at most {MAX_DISTINCT_KEYS} at a time",
        )
    families = call.flag("structure_families", False)
    specs = call.flag("specs", False)
    counts = call.flag("counts", False)
    _check_container(call)
    tag = _state_tag(call)
    asked = Search(under=call.path, query=read_condition(call), as_of=call.as_of)
    found = call.service.distinct(asked, keys, families=families, specs=specs, counts=counts)
    content = {
        "metadata": {key: _values(found.metadata.get(key, ()), counts) for key in keys},
        "structure_families": _values(found.families, counts) if families else None,
        "specs": [
            {"value": spec_documents(value), "count": count if counts else None}
            for value, count in found.specs
        ]
        if specs
        else None,
    }
    return document(call, content).tagged(tag)


def _check_container(call: Call) -> None:
    node = call.service.describe(call.path, as_of=call.as_of)
    if node.family != "container":
        raise InvalidRequestError(
            ErrorKind.WRONG_FAMILY,
            f"{node.path!r} is a {node.family}, not a container; there is nothing in it to search",
        )


def _values(found: Sequence[Any], counts: bool) -> list[dict[str, Any]]:
    return [{"value": value, "count": count if counts else None} for value, count in found]


def _state_tag(call: Call) -> str:
    """Return the tag of an answer that depends on all entries, and stop if it is known."""
    version = call.as_of if call.as_of is not None else call.service.refresh()
    question = msgspec.json.encode(
        [pair for pair in call.params.multi_items() if pair[0] not in HIDDEN]
    )
    media_type = document_type(call.headers.get("accept"))
    tag = entity_tag(call.service.lake.id, version, call.base, call.path, question, media_type)
    call.unless_known(tag)
    return tag


LISTED = (
    Parameter("sort", "texts", "Keys to sort by, in their order; a minus runs backwards."),
    Parameter("page[limit]", "integer", "Nodes on a page."),
    Parameter("page[offset]", "integer", "Nodes before the page."),
    Parameter("page[cursor]", "text", "Where the page before ended."),
    Parameter("q", "text", "Condition as text: ``energy_ev > 12000 and sample = 'x'``."),
    *SHOWN,
    AS_OF,
)
"""Filters come besides, as ``filter[NAME][condition][FIELD]=…``."""

OPERATIONS = (
    Operation(
        method="GET",
        path="/search/{path:path}",
        work=search,
        answer=ListingAnswer,
        scope="read:metadata",
        params=LISTED,
    ),
    Operation(
        method="GET",
        path="/search-deep/{path:path}",
        work=search_deep,
        answer=ListingAnswer,
        scope="read:metadata",
        params=LISTED,
    ),
    Operation(
        method="GET",
        path="/distinct/{path:path}",
        work=distinct,
        answer=DistinctAnswer,
        scope="read:metadata",
        params=(
            Parameter("metadata", "texts", "Metadata keys whose values are wanted."),
            Parameter("structure_families", "flag", "List the structure families."),
            Parameter("specs", "flag", "List the specs."),
            Parameter("counts", "flag", "Count the nodes of each value."),
            AS_OF,
        ),
    ),
)
