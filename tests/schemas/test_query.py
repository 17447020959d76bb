from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ErrorKind, InvalidRequestError
from schemas.query import (
    EVERYTHING,
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_TEXT_BYTES,
    And,
    Comparison,
    Contains,
    Eq,
    Family,
    FullText,
    In,
    KeyPresent,
    Like,
    Lookup,
    Not,
    NotEq,
    NotIn,
    Or,
    Query,
    Regex,
    Specs,
    check_query,
    query_of_json,
)
from schemas.structures import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Callable

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBERS = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.none() | st.booleans() | NUMBERS | TEXTS
WHOLE = VALUES | st.lists(VALUES, max_size=3) | st.dictionaries(TEXTS, VALUES, max_size=2)
CONDITIONS: st.SearchStrategy[Query] = st.one_of(
    st.builds(Eq, TEXTS, WHOLE),
    st.builds(NotEq, TEXTS, WHOLE),
    st.builds(Comparison, TEXTS, st.sampled_from(["lt", "le", "gt", "ge"]), NUMBERS | TEXTS),
    st.builds(In, TEXTS, st.lists(WHOLE, max_size=3).map(tuple)),
    st.builds(NotIn, TEXTS, st.lists(WHOLE, max_size=3).map(tuple)),
    st.builds(Contains, TEXTS, VALUES),
    st.builds(Like, TEXTS, TEXTS),
    st.builds(Regex, TEXTS, TEXTS, st.booleans()),
    st.builds(KeyPresent, TEXTS, st.booleans()),
    st.builds(FullText, TEXTS),
    st.builds(
        Specs, st.lists(TEXTS, max_size=2).map(tuple), st.lists(TEXTS, max_size=2).map(tuple)
    ),
    st.builds(Family, st.sampled_from(FAMILIES)),
    st.builds(Lookup, st.lists(TEXTS, max_size=3).map(tuple)),
)
QUERIES: st.SearchStrategy[Query] = st.recursive(
    CONDITIONS,
    lambda below: st.one_of(
        st.builds(And, st.lists(below, max_size=3).map(tuple)),
        st.builds(Or, st.lists(below, max_size=3).map(tuple)),
        st.builds(Not, below),
    ),
    max_leaves=8,
)


def nested(depth: int) -> Query:
    query: Query = Eq("a", 1)
    for _ in range(depth):
        query = Not(query)
    return query


@given(QUERIES)
def test_a_query_comes_back_from_json(query: Query) -> None:
    assert query_of_json(msgspec.json.encode(query)) == query


@given(st.text(max_size=30) | st.recursive(VALUES, st.lists, max_leaves=4).map(json.dumps))
def test_any_other_document_is_a_bad_query(text: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        query_of_json(text)
    assert caught.value.kind is ErrorKind.BAD_QUERY


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nested(MAX_DEPTH), "flatter"),
        (lambda: Or(tuple(Eq("a", n) for n in range(MAX_CONDITIONS + 1))), "'in' instead"),
        (lambda: And((And(()),) * (MAX_CONDITIONS + 1)), "conditions"),
    ],
)
def test_a_tree_past_the_limits_is_refused(make: Callable[[], Query], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message) as caught:
        check_query(make())
    assert caught.value.kind is ErrorKind.BAD_QUERY


def test_a_tree_at_the_limits_is_allowed() -> None:
    check_query(nested(MAX_DEPTH - 1))
    check_query(Or(tuple(Eq("a", n) for n in range(MAX_CONDITIONS))))
    check_query(EVERYTHING)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"op":"not","query":' * 3000 + b'{"op":"fulltext","text":""}' + b"}" * 3000,
        b'{"op":"fulltext","text":"' + b"a" * MAX_TEXT_BYTES + b'"}',
        b'{"op":"fulltext","text":"\xff"}',
        b"",
    ],
)
def test_a_hostile_document_is_a_bad_query(payload: bytes) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        query_of_json(payload)
    assert caught.value.kind is ErrorKind.BAD_QUERY
    assert len(str(caught.value)) < 500


def test_a_value_keeps_its_type() -> None:
    values: list[Any] = [1, 1.0, True, "1", None]
    for value in values:
        again = query_of_json(msgspec.json.encode(Eq("a", value)))
        assert isinstance(again, Eq)
        assert type(again.value) is type(value)
