"""Matching: the meaning of a query on one node, for nodes that no index holds."""

from __future__ import annotations

import functools
import operator
import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from lakeservice.catalog.limits import bad_query, is_nan
from lakeservice.catalog.values import halves, kind_of, same, texts_in, value_at, words
from schemas import query as asked

if TYPE_CHECKING:
    from collections.abc import Callable

    from schemas.entry import Node
    from schemas.query import Query

__all__ = ["matches", "value_at"]

_COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}


def matches(query: Query, node: Node) -> bool:
    """Tell whether a query holds for a node, as it would in a search of the catalog.

    The query must have passed `check_query`.

    Raises
    ------
    InvalidRequestError
        ``bad-query``: a pattern that is no regular expression.
    """
    return _MEANINGS[type(query)](query, node)


def _and(query: asked.And, node: Node) -> bool:
    return all(matches(inner, node) for inner in query.queries)


def _or(query: asked.Or, node: Node) -> bool:
    return any(matches(inner, node) for inner in query.queries)


def _not(query: asked.Not, node: Node) -> bool:
    return not matches(query.query, node)


def _eq(query: asked.Eq, node: Node) -> bool:
    found, value = value_at(node.metadata, query.key)
    return found and same(value, query.value)


def _not_eq(query: asked.NotEq, node: Node) -> bool:
    found, value = value_at(node.metadata, query.key)
    return found and not same(value, query.value)


def _comparison(query: asked.Comparison, node: Node) -> bool:
    found, value = value_at(node.metadata, query.key)
    if not found or kind_of(value) != kind_of(query.value) or is_nan(query.value):
        return False
    compare, wanted = _COMPARED[query.operator], query.value
    if isinstance(wanted, str):
        return compare(value, wanted)
    return compare(halves(value), halves(wanted))


def _in(query: asked.In, node: Node) -> bool:
    found, value = value_at(node.metadata, query.key)
    return found and any(same(value, other) for other in query.values)


def _not_in(query: asked.NotIn, node: Node) -> bool:
    found, value = value_at(node.metadata, query.key)
    return found and not any(same(value, other) for other in query.values)


def _contains(query: asked.Contains, node: Node) -> bool:
    _, value = value_at(node.metadata, query.key)
    if isinstance(value, str):
        return isinstance(query.value, str) and query.value in value
    return isinstance(value, list) and any(same(inner, query.value) for inner in value)


def _like(query: asked.Like, node: Node) -> bool:
    _, value = value_at(node.metadata, query.key)
    return isinstance(value, str) and _like_pattern(query.pattern).fullmatch(value) is not None


def _regex(query: asked.Regex, node: Node) -> bool:
    _, value = value_at(node.metadata, query.key)
    try:
        # Arrow's kernel is RE2, the engine that the index uses.
        found = pc.match_substring_regex(
            pa.scalar(value if isinstance(value, str) else ""),
            query.pattern,
            ignore_case=not query.case_sensitive,
        )
    except pa.ArrowInvalid as error:
        raise bad_query(
            f"{query.pattern!r} is no regular expression in RE2's syntax: {error}"
        ) from None
    return isinstance(value, str) and bool(found.as_py())


def _key_present(query: asked.KeyPresent, node: Node) -> bool:
    return value_at(node.metadata, query.key)[0] == query.exists


def _full_text(query: asked.FullText, node: Node) -> bool:
    missing = set(words(query.text))
    for text in texts_in(node.metadata):
        if not missing:
            break
        missing -= words(text)
    return not missing


def _specs(query: asked.Specs, node: Node) -> bool:
    names = {spec.name for spec in node.specs}
    return names.issuperset(query.include) and names.isdisjoint(query.exclude)


def _family(query: asked.Family, node: Node) -> bool:
    return node.family == query.value


def _lookup(query: asked.Lookup, node: Node) -> bool:
    return node.name in query.names


def _access_tags(query: asked.AccessTags, node: Node) -> bool:
    return not set(query.tags).isdisjoint(node.access_tags)


_MEANINGS: dict[type, Callable[[Any, Node], bool]] = {
    asked.And: _and,
    asked.Or: _or,
    asked.Not: _not,
    asked.Eq: _eq,
    asked.NotEq: _not_eq,
    asked.Comparison: _comparison,
    asked.In: _in,
    asked.NotIn: _not_in,
    asked.Contains: _contains,
    asked.Like: _like,
    asked.Regex: _regex,
    asked.KeyPresent: _key_present,
    asked.FullText: _full_text,
    asked.Specs: _specs,
    asked.Family: _family,
    asked.Lookup: _lookup,
    asked.AccessTags: _access_tags,
}


@functools.lru_cache(maxsize=64)
def _like_pattern(pattern: str) -> re.Pattern[str]:
    parts = {"%": ".*", "_": "."}
    return re.compile("".join(parts.get(c) or re.escape(c) for c in pattern), re.DOTALL)
