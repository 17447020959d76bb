"""Which nodes a loader reads: from nodes, paths, search results or the text of a query."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from lakeservice.client.array import Array
from lakeservice.client.listing import SearchResult
from lakeservice.client.table import Table
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from lakeservice.client.node import LakeNode

_ASKING = 8  # nodes that are looked up at once


def chosen(container: Any, wanted: Any) -> list[Any]:
    """Return the nodes that are meant, described, in their order: all arrays, or all tables.

    Parameters
    ----------
    container
        Paths and queries are below it.
    wanted
        As `Container.loader` takes it.

    Of a query or a search the arrays are taken, and the tables where there is no array.

    Raises
    ------
    InvalidRequestError
        ``bad-request``: nothing is left. ``wrong-family``: a node that was named is
        neither an array nor a table, or there are both.
    NotFoundError
        There is no node at a path.
    """
    if isinstance(wanted, str):
        nodes = _loadable(container.search(wanted))
        told = f"the query {wanted!r} finds no array and no table below {container.path!r}"
    elif isinstance(wanted, SearchResult):
        nodes = _loadable(wanted)
        told = "the search finds no array and no table"
    else:
        named = [wanted] if isinstance(wanted, Array | Table) else list(wanted)
        nodes = _named(container, named)
        told = "the list of nodes is empty"
    if not nodes:
        raise InvalidRequestError(ErrorKind.BAD_REQUEST, f"nothing to load: {told}")
    for node in nodes:
        if _lake_of(node) != _lake_of(container):
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST,
                f"{node.path!r} is of another lake, or of another version of it, than what it is "
                "loaded from: use the loader of the lake that it was looked up in",
            )
    return nodes


def _lake_of(node: Any) -> tuple[Any, int | None]:
    remote = node._remote  # noqa: SLF001
    return remote.connection.address, remote.as_of


def _loadable(found: SearchResult) -> list[Any]:
    nodes = [node for node in found if isinstance(node, Array | Table)]
    arrays = [node for node in nodes if isinstance(node, Array)]
    return arrays or nodes


def _named(container: Any, named: list[LakeNode | str]) -> list[Any]:
    def described(node: LakeNode | str) -> LakeNode:
        if isinstance(node, str):
            return container[node]  # type: ignore[no-any-return]
        _ = node.version  # asks where nobody has asked yet
        return copy.copy(node)  # what it knows now, whatever becomes of the original

    if len(named) > 1:
        with ThreadPoolExecutor(_ASKING, thread_name_prefix="lake-loader") as pool:
            nodes = list(pool.map(described, named))
    else:
        nodes = [described(node) for node in named]
    for node in nodes:
        if not isinstance(node, Array | Table):
            raise InvalidRequestError(
                ErrorKind.WRONG_FAMILY,
                f"the family of {node.path!r} is {node.family}; a loader reads arrays or tables",
            )
        if type(node) is not type(nodes[0]):
            raise InvalidRequestError(
                ErrorKind.WRONG_FAMILY,
                f"the family of {node.path!r} is {node.family}, and that of {nodes[0].path!r} "
                f"{nodes[0].family}; a loader reads one family",
            )
    return nodes
