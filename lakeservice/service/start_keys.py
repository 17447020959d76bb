"""Bare keys of Bluesky's start documents: ``plan_name`` for ``start.plan_name``.

Programs that look for runs name what the start document holds without saying
``start.``. On a run, a key that its metadata do not have is looked up there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from schemas.query import (
    And,
    Comparison,
    Contains,
    Eq,
    In,
    KeyPresent,
    Like,
    Not,
    NotEq,
    NotIn,
    Or,
    Query,
    Regex,
    SortKey,
    Specs,
)

if TYPE_CHECKING:
    from collections.abc import Callable

START = "start."
RUN = Specs(include=("BlueskyRun",))
_KEYED = Comparison | Contains | Eq | In | KeyPresent | Like | NotEq | NotIn | Regex


def with_start_keys(query: Query, knows: Callable[[str], bool]) -> Query:
    """Return a query in which bare keys also mean what the start document of a run has.

    Parameters
    ----------
    knows
        Tells whether any metadata ever had a key; what nobody has is not asked for.
    """
    if isinstance(query, And | Or):
        inner = tuple(with_start_keys(one, knows) for one in query.queries)
        return query if inner == query.queries else type(query)(inner)
    if isinstance(query, Not):
        return Not(with_start_keys(query.query, knows))
    if isinstance(query, KeyPresent) and not query.exists:
        return Not(with_start_keys(KeyPresent(query.key), knows))
    if not isinstance(query, _KEYED) or not knows(START + query.key):
        return query
    there = msgspec.structs.replace(query, key=START + query.key)
    if not knows(query.key):
        return And((RUN, there))
    return Or((query, And((RUN, Not(KeyPresent(query.key)), there))))


def start_key(key: str, knows: Callable[[str], bool], is_there: Callable[[str], bool]) -> str:
    """Return the key that a whole listing is sorted by, or whose values are wanted.

    Parameters
    ----------
    is_there
        Tells whether any node of the listing has a key.
    """
    if key in ("", "id") or not knows(START + key):
        return key
    return key if knows(key) and is_there(key) else START + key


def sorted_by_start(
    sort: tuple[SortKey, ...], knows: Callable[[str], bool], is_there: Callable[[str], bool]
) -> tuple[SortKey, ...]:
    """Return sort keys with bare keys of start documents written out."""
    return tuple(
        msgspec.structs.replace(one, key=start_key(one.key, knows, is_there)) for one in sort
    )
