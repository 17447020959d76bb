"""What a query may be: refused here before anything is done with it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from schemas.errors import ErrorKind, InvalidRequestError
from schemas.query import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_TEXT_BYTES,
    And,
    Not,
    Or,
    Query,
    SortKey,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.query import Page

MAX_SORT_KEYS = 16
"""Most keys to sort by."""


def check_query(query: Query) -> None:
    """Refuse a query that is too large, too deep, or not of the declared types.

    Raises
    ------
    InvalidRequestError
        ``bad-query``.
    """
    conditions = 0
    level: Sequence[Query] = [query]
    for _ in range(MAX_DEPTH + 2):
        if not level:
            break
        conditions += sum(not isinstance(one, And | Or | Not) for one in level)
        if conditions > MAX_CONDITIONS:
            raise bad_query(f"more than {MAX_CONDITIONS} conditions; ask in several queries")
        level = [inner for one in level for inner in _inside(one)]
    else:
        raise bad_query(f"and, or, not are nested more than {MAX_DEPTH} deep")
    try:
        size = len(msgspec.json.encode(query))
        msgspec.convert(msgspec.to_builtins(query), Query)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise bad_query(f"not a query: {error}") from None
    if size > MAX_TEXT_BYTES:
        raise bad_query(f"a query of {size} bytes; at most {MAX_TEXT_BYTES} are allowed")


def check_page(sort: Sequence[SortKey], page: Page) -> None:
    """Refuse a page or an order that cannot be.

    Raises
    ------
    InvalidRequestError
        ``bad-request``: a negative limit or offset; ``bad-sort``: too many keys.
    """
    if page.limit < 0 or page.offset < 0:
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST,
            f"limit {page.limit} and offset {page.offset} must not be negative",
        )
    if len(sort) > MAX_SORT_KEYS:
        raise InvalidRequestError(
            ErrorKind.BAD_SORT, f"{len(sort)} keys to sort by; at most {MAX_SORT_KEYS} are allowed"
        )


def bad_query(message: str) -> InvalidRequestError:
    """Return the error for a query that cannot be answered."""
    return InvalidRequestError(ErrorKind.BAD_QUERY, message)


def is_nan(value: Any) -> bool:
    """Tell whether a value is not a number, and so equals nothing."""
    return isinstance(value, float) and math.isnan(value)


def _inside(query: Query) -> Sequence[Query]:
    if isinstance(query, And | Or):
        return query.queries
    return (query.query,) if isinstance(query, Not) else ()
