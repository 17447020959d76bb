"""What a listing asks for, from the query of its URL: condition, order, page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakeservice.catalog import parse_query
from lakeservice.fronts.http.filters import read_filters
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.query import EVERYTHING, And, Page, Query, SortKey
from schemas.ticket import Search

if TYPE_CHECKING:
    from lakeservice.fronts.http.call import Call

PAGE_LIMIT = 100
"""Nodes on a page, unless asked."""
MAX_PAGE_LIMIT = 300
"""Most nodes on a page."""
NAMES_LIMIT = 1000
"""Nodes on a page where nothing but their names is asked for: programs take it for all of them."""
MAX_SORT_KEYS = 16
MAX_LEVELS = 64
"""Most levels that a deep search can be limited to."""


def read_search(call: Call, *, deep: bool) -> Search:
    """Return the search that a request stands for.

    Raises
    ------
    InvalidRequestError
        ``bad-query``, ``bad-sort``, ``bad-request``.
    """
    return Search(
        under=call.path,
        query=read_condition(call),
        sort=read_sort(call.params.getlist("sort")),
        page=read_page(call),
        deep=deep,
        max_depth=read_levels(call) if deep else None,
        count=True,
        as_of=call.as_of,
    )


def read_levels(call: Call) -> int | None:
    """Return how many levels a deep search goes down; None for all.

    Raises
    ------
    InvalidRequestError
        ``bad-parameter``: not from 1 to `MAX_LEVELS`.
    """
    levels = call.integer("max_depth")
    if levels is not None and not 1 <= levels <= MAX_LEVELS:
        raise InvalidRequestError(
            ErrorKind.BAD_PARAMETER,
            f"max_depth={levels}; a deep search goes 1 to {MAX_LEVELS} down",
        )
    return levels


def read_condition(call: Call) -> Query:
    """Return the condition of the filters and of the text query ``q``, together."""
    filters = read_filters(call.params.multi_items())
    text = call.params.get("q", "").strip()
    if not text:
        return filters
    query = parse_query(text)
    return query if filters == EVERYTHING else And((query, filters))


def read_sort(given: list[str]) -> tuple[SortKey, ...]:
    """Return sort keys; ``-`` in front runs backwards, an empty key is the order of creation.

    Raises
    ------
    InvalidRequestError
        ``bad-sort``: too many keys, or a key behind the empty one, which leaves no ties.
    """
    keys = []
    for text in given:
        # A plus sign in a URL arrives as a space.
        name = text.strip().removeprefix("+")
        descending = name.startswith("-")
        name = name.removeprefix("-").removeprefix("metadata.")
        if name.startswith(("-", "+")):
            raise InvalidRequestError(
                ErrorKind.BAD_SORT, f"sort={text[:80]!r} has two signs; write one or none"
            )
        keys.append(SortKey(name, descending))
    if len(keys) > MAX_SORT_KEYS:
        raise InvalidRequestError(
            ErrorKind.BAD_SORT, f"{len(keys)} sort keys; at most {MAX_SORT_KEYS} are allowed"
        )
    if any(key.key == "" for key in keys[:-1]):
        raise InvalidRequestError(
            ErrorKind.BAD_SORT, "the empty sort key, order of creation, can only be the last"
        )
    return () if keys == [SortKey("")] else tuple(keys)


def read_page(call: Call) -> Page:
    """Return which page is asked for.

    Raises
    ------
    InvalidRequestError
        ``bad-parameter``: not a number, or a page above `MAX_PAGE_LIMIT`.
    """
    names_only = call.params.getlist("fields") == [""]
    most = NAMES_LIMIT if names_only else MAX_PAGE_LIMIT
    limit = call.integer("page[limit]", NAMES_LIMIT if names_only else PAGE_LIMIT)
    if limit is None or limit > most:
        raise InvalidRequestError(
            ErrorKind.BAD_PARAMETER, f"page[limit]={limit}; at most {most} nodes fit on a page"
        )
    offset = call.integer("page[offset]", 0)
    return Page(limit=limit, offset=offset or 0, cursor=call.params.get("page[cursor]") or None)
