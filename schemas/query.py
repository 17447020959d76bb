"""Queries: a tree of conditions on metadata, the same for text, HTTP, Flight and Python.

A key is a dotted path into the metadata, ``start.sample.temp``. A condition on a
key that a node does not have is false, also for `NotEq` and `NotIn`; `Not` is the
plain complement. Numbers compare with numbers, text with text, booleans with
booleans; a comparison across these types is false.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from schemas.errors import ErrorKind, InvalidRequestError
from schemas.structures import StructureFamily

Value = bool | int | float | str | None
Operator = Literal["lt", "le", "gt", "ge"]


class Eq(msgspec.Struct, frozen=True, tag="eq", tag_field="op"):
    """The value at ``key`` equals ``value``; a list or object compares as a whole."""

    key: str
    value: Any


class NotEq(msgspec.Struct, frozen=True, tag="noteq", tag_field="op"):
    """There is a value at ``key`` and it is not ``value``."""

    key: str
    value: Any


class Comparison(msgspec.Struct, frozen=True, tag="comparison", tag_field="op"):
    """The value at ``key`` is below or above ``value``; text compares by code point."""

    key: str
    operator: Operator
    value: int | float | str


class In(msgspec.Struct, frozen=True, tag="in", tag_field="op"):
    """The value at ``key`` is one of ``values``."""

    key: str
    values: tuple[Any, ...]


class NotIn(msgspec.Struct, frozen=True, tag="notin", tag_field="op"):
    """There is a value at ``key`` and it is none of ``values``."""

    key: str
    values: tuple[Any, ...]


class Contains(msgspec.Struct, frozen=True, tag="contains", tag_field="op"):
    """The list at ``key`` holds ``value``, or the text at ``key`` holds it as a part."""

    key: str
    value: Value


class Like(msgspec.Struct, frozen=True, tag="like", tag_field="op"):
    """The text at ``key`` matches an SQL pattern: ``%`` any text, ``_`` any one character."""

    key: str
    pattern: str


class Regex(msgspec.Struct, frozen=True, tag="regex", tag_field="op"):
    """A match of the regular expression (RE2 syntax) is found in the text at ``key``."""

    key: str
    pattern: str
    case_sensitive: bool = True


class KeyPresent(msgspec.Struct, frozen=True, tag="keypresent", tag_field="op"):
    """There is a value (null counts, an object too) at ``key``, or there is none."""

    key: str
    exists: bool = True


class FullText(msgspec.Struct, frozen=True, tag="fulltext", tag_field="op"):
    """Every word of ``text`` is found, as a whole word in any case, in some text value."""

    text: str


class Specs(msgspec.Struct, frozen=True, tag="specs", tag_field="op"):
    """The node promises every spec of ``include`` and none of ``exclude``, by name."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class Family(msgspec.Struct, frozen=True, tag="structure_family", tag_field="op"):
    """The node is of this structure family."""

    value: StructureFamily


class Lookup(msgspec.Struct, frozen=True, tag="lookup", tag_field="op"):
    """The node's own name, the last segment of its path, is one of ``names``."""

    names: tuple[str, ...]


class AccessTags(msgspec.Struct, frozen=True, tag="access_tags", tag_field="op"):
    """The node carries at least one of ``tags``."""

    tags: tuple[str, ...]


class And(msgspec.Struct, frozen=True, tag="and", tag_field="op"):
    """All of ``queries`` hold; true when there are none."""

    queries: tuple[Query, ...]


class Or(msgspec.Struct, frozen=True, tag="or", tag_field="op"):
    """Any of ``queries`` holds; false when there are none."""

    queries: tuple[Query, ...]


class Not(msgspec.Struct, frozen=True, tag="not", tag_field="op"):
    """``query`` does not hold."""

    query: Query


Query = (
    Eq
    | NotEq
    | Comparison
    | In
    | NotIn
    | Contains
    | Like
    | Regex
    | KeyPresent
    | FullText
    | Specs
    | Family
    | Lookup
    | AccessTags
    | And
    | Or
    | Not
)

EVERYTHING = And(())
"""The query that every node answers."""
MAX_TEXT_BYTES = 65536
"""Longest query, as text or as JSON, in bytes."""
MAX_DEPTH = 64
"""Deepest nesting of and, or, not."""
MAX_CONDITIONS = 1024
"""Most conditions in one query."""


def check_query(query: Query) -> None:
    """Refuse a tree that is too deep or too large to be answered.

    Raises
    ------
    InvalidRequestError
        ``bad-query``: deeper than `MAX_DEPTH`, or more than `MAX_CONDITIONS`.
    """
    level, count = [query], 0
    for _ in range(MAX_DEPTH):
        if not level:
            return
        below: list[Query] = []
        for node in level:
            if isinstance(node, And | Or):
                below.extend(node.queries)
            elif isinstance(node, Not):
                below.append(node.query)
            else:
                count += 1
        if count + len(below) > MAX_CONDITIONS:
            raise _bad(f"more than {MAX_CONDITIONS} conditions; ask for a list with 'in' instead")
        level = below
    if level:
        raise _bad(f"more than {MAX_DEPTH} levels of and, or, not; write the query flatter")


def query_of_json(payload: bytes | str) -> Query:
    """Return the query that a JSON document stands for.

    Raises
    ------
    InvalidRequestError
        ``bad-query``: not JSON, not a query, longer than `MAX_TEXT_BYTES`, or as
        in `check_query`.
    """
    if len(payload) > MAX_TEXT_BYTES:
        raise _bad(f"a query of {len(payload)} bytes; at most {MAX_TEXT_BYTES} are allowed")
    try:
        query: Query = msgspec.json.decode(payload, type=Query)
    except RecursionError:
        raise _bad(
            f"more than {MAX_DEPTH} levels of and, or, not; write the query flatter"
        ) from None
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise _bad(f"this is no query: {error}") from None
    check_query(query)
    return query


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_QUERY, message)


class SortKey(msgspec.Struct, frozen=True):
    """One key to sort by: a metadata key, ``id`` (the node's name) or ``""`` (order of creation).

    Numbers come before text, text before booleans; nodes without the key come last
    in either direction.
    """

    key: str
    descending: bool = False


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a listing is asked for."""

    limit: int = 100
    offset: int = 0
    cursor: str | None = None
    """Where the page before ended; a cursor stays valid while entries come and go."""
