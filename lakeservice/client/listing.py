"""Lists of nodes that are fetched page by page, as they are looked at."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import msgspec

from lakeservice.client.display import html_table
from lakeservice.client.families import node_of
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.query import Page, Query, SortKey

if TYPE_CHECKING:
    from lakeservice.client.node import LakeNode
    from lakeservice.client.remote import Remote
    from schemas.ticket import Search

FIRST_PAGE = 100
NEXT_PAGE = 1000
"""Nodes asked for at first, and at a time when somebody goes on."""
_SHOWN = 10


class SearchResult(Sequence[Any]):
    """The nodes that a search found, in order; fetched as far as they are looked at.

    Parameters
    ----------
    remote
        Where the lake answers.
    search
        What is asked, without a page.
    limit
        At most so many nodes; None for all.
    """

    def __init__(self, remote: Remote, search: Search, limit: int | None = None) -> None:
        if limit is not None and limit < 0:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST, f"a limit of {limit}; it must not be negative"
            )
        self._remote = remote
        self._search = search
        self._limit = limit
        self._nodes: list[LakeNode] = []
        self._cursor: str | None = None
        self._complete = limit == 0
        self._count: int | None = None
        self._lock = threading.RLock()

    def __reduce__(self) -> tuple[Any, ...]:
        return SearchResult, (self._remote, self._search, self._limit)

    def __len__(self) -> int:
        with self._lock:
            if self._complete:
                return len(self._nodes)
            if self._count is None:
                self._count = self._remote.count(self._search)
            found = self._count
        return found if self._limit is None else min(found, self._limit)

    def __bool__(self) -> bool:
        return self._have(1)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            if index.stop is None or any(
                n is not None and n < 0 for n in (index.start, index.stop)
            ):
                self._have(None)
            else:
                self._have(index.stop)
            return self._nodes[index]
        wanted = None if index < 0 else index + 1
        self._have(wanted)
        try:
            return self._nodes[index]
        except IndexError:
            raise IndexError(f"result {index} of {len(self._nodes)}") from None

    def __iter__(self) -> Iterator[Any]:
        position = 0
        while self._have(position + 1):
            yield self._nodes[position]
            position += 1

    @property
    def paths(self) -> list[str]:
        """Paths of all nodes found."""
        return [node.path for node in self]

    def to_pandas(self) -> Any:
        """Return path, family and flattened metadata of all nodes as a data frame."""
        from lakeservice.client.optional import needed  # pandas takes half a second

        rows = [{"path": node.path, "family": node.family, **node.metadata} for node in self]
        return needed("pandas", "pandas").json_normalize(rows)

    def _have(self, wanted: int | None) -> bool:
        """Fetch until there are so many (None: all); tell whether there are."""
        with self._lock:
            while not self._complete and (wanted is None or len(self._nodes) < wanted):
                self._fetch()
            return wanted is None or len(self._nodes) >= wanted

    def _fetch(self) -> None:
        size = NEXT_PAGE if self._nodes else FIRST_PAGE
        if self._limit is not None:
            size = min(size, self._limit - len(self._nodes))
        page = Page(limit=size, cursor=self._cursor)
        head, found = self._remote.search(msgspec.structs.replace(self._search, page=page))
        self._nodes.extend(node_of(self._remote, node) for node in found)
        self._cursor = head.cursor
        self._complete = head.cursor is None or (
            self._limit is not None and len(self._nodes) >= self._limit
        )

    def __repr__(self) -> str:
        self._have(_SHOWN)
        lines = [f"  {node!r}" for node in self._nodes[:_SHOWN]]
        count = len(self)
        if count > len(lines):
            lines.append(f"  … {count - len(lines)} more")
        return "\n".join([f"<SearchResult of {count}>", *lines])

    def _repr_html_(self) -> str:
        self._have(_SHOWN)
        shown = self._nodes[:_SHOWN]
        count = len(self)
        note = f"{len(shown)} of {count} nodes" if count > len(shown) else f"{count} nodes"
        rows = ((node.path, node.family, _summary(node.metadata)) for node in shown)
        return html_table(("path", "family", "metadata"), rows, note)


def _summary(metadata: dict[str, Any]) -> str:
    text = ", ".join(f"{key}: {value}" for key, value in list(metadata.items())[:6])
    return text if len(text) <= 120 else text[:120] + "…"


def sort_keys(sort: str | SortKey | Iterable[str | SortKey] | None) -> tuple[SortKey, ...]:
    """Return what to sort by; a name with ``-`` in front sorts from the largest down."""
    if sort is None:
        return ()
    if isinstance(sort, str | SortKey):
        sort = (sort,)
    return tuple(
        key if isinstance(key, SortKey) else SortKey(key.removeprefix("-"), key.startswith("-"))
        for key in sort
    )


def query_of(query: str | Query | None) -> str | Query | None:
    """Return a query as it is sent: text without anything in it asks for everything."""
    if isinstance(query, str) and not query.strip():
        return None
    return query
