"""Listing what lies inside one file: the same questions, answered from its tree."""

from __future__ import annotations

import base64
import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lakeservice.catalog.matching import matches, value_at
from lakeservice.service.nodes import FileTree, inner_node
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.entry import Node
    from schemas.query import Query, SortKey
    from schemas.ticket import Search


@dataclass(frozen=True)
class Listing:
    """A page of nodes."""

    nodes: Sequence[Node] = field(default_factory=tuple)
    cursor: str | None = None
    """Where the next page begins; None at the end."""
    count: int | None = None
    """All that match, where it was asked for."""


def list_inside(entry: Node, tree: FileTree, inner: str, query: Query, search: Search) -> Listing:
    """Return a page of the nodes below ``inner`` in a file that match.

    Raises
    ------
    InvalidRequestError
        ``bad-cursor``: not one that a page of this listing gave.
    """
    paths = tree.below(inner) if search.deep else tree.children.get(inner, ())
    if search.deep and search.max_depth is not None:
        deepest = search.max_depth + (inner.count("/") + 1 if inner else 0)
        paths = (path for path in paths if path.count("/") < deepest)
    found = [inner_node(entry, tree.nodes[path]) for path in paths]
    found = [node for node in found if matches(query, node)]
    for sort_key in reversed(search.sort):
        if sort_key.key == "" and sort_key.descending:
            found.reverse()
        found.sort(key=functools.partial(_rank, sort_key=sort_key), reverse=sort_key.descending)
        if sort_key.key not in ("", "id"):
            found.sort(key=functools.partial(_absent, sort_key=sort_key))
    start = _position(search.page.cursor) if search.page.cursor else search.page.offset
    stop = start + search.page.limit
    return Listing(
        nodes=found[start:stop],
        cursor=_cursor(stop) if stop < len(found) and search.page.limit else None,
        count=len(found) if search.count else None,
    )


def _rank(node: Node, sort_key: SortKey) -> tuple[int, Any]:
    if sort_key.key == "id":
        return (0, node.name)
    if sort_key.key == "":
        return (0, 0)  # the file's own order, which the sort keeps
    found, value = value_at(node.metadata, sort_key.key)
    if not found:
        return (3, 0)
    if isinstance(value, bool):
        return (2, value)
    if isinstance(value, int | float):
        return (0, value)
    return (1, value) if isinstance(value, str) else (3, 0)


def _absent(node: Node, sort_key: SortKey) -> bool:
    return _rank(node, sort_key)[0] == 3


def _cursor(position: int) -> str:
    return base64.urlsafe_b64encode(b"i%d" % position).decode()


def _position(cursor: str) -> int:
    try:
        text = base64.urlsafe_b64decode(cursor.encode()).decode()
        if text[:1] == "i":
            return int(text[1:])
    except (ValueError, UnicodeError):
        pass
    raise InvalidRequestError(
        ErrorKind.BAD_CURSOR, "this cursor does not belong to this listing; begin without one"
    )
