from __future__ import annotations

import copy
from typing import Any

import pytest

from lakeservice.fronts.http.patches import json_patched, merge_patched
from schemas.errors import ErrorKind, InvalidRequestError

# Appendix A of RFC 7396.
MERGES: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("document", "patch", "result"), MERGES)
def test_merge_patches_do_what_the_rfc_says(document: Any, patch: Any, result: Any) -> None:
    before = copy.deepcopy(document)
    assert merge_patched(document, patch) == result
    assert document == before


# Appendix A of RFC 6902, and the corners of RFC 6901.
PATCHES: list[tuple[Any, list[dict[str, Any]], Any]] = [
    (
        {"foo": "bar"},
        [{"op": "add", "path": "/baz", "value": "qux"}],
        {"foo": "bar", "baz": "qux"},
    ),
    (
        {"foo": ["bar", "baz"]},
        [{"op": "add", "path": "/foo/1", "value": "qux"}],
        {"foo": ["bar", "qux", "baz"]},
    ),
    ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
    ({"foo": [1, 2, 3]}, [{"op": "remove", "path": "/foo/1"}], {"foo": [1, 3]}),
    ({"baz": "qux"}, [{"op": "replace", "path": "/baz", "value": "boo"}], {"baz": "boo"}),
    (
        {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
        [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
        {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
    ),
    (
        {"foo": ["all", "grass", "cows", "eat"]},
        [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
        {"foo": ["all", "cows", "eat", "grass"]},
    ),
    (
        {"baz": "qux", "foo": ["a", 2, "c"]},
        [
            {"op": "test", "path": "/baz", "value": "qux"},
            {"op": "test", "path": "/foo/1", "value": 2},
        ],
        {"baz": "qux", "foo": ["a", 2, "c"]},
    ),
    (
        {"foo": "bar"},
        [{"op": "add", "path": "/child", "value": {"grandchild": {}}}],
        {"foo": "bar", "child": {"grandchild": {}}},
    ),
    ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
    (
        {"foo": ["bar"]},
        [{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}],
        {"foo": ["bar", ["abc", "def"]]},
    ),
    ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
    ({"a": 1}, [{"op": "copy", "from": "", "path": "/a"}], {"a": {"a": 1}}),
    ({"": 1}, [{"op": "test", "path": "/", "value": 1.0}], {"": 1}),
    ({"a": 1}, [], {"a": 1}),
]


@pytest.mark.parametrize(("document", "operations", "result"), PATCHES)
def test_json_patches_do_what_the_rfc_says(document: Any, operations: Any, result: Any) -> None:
    before = copy.deepcopy(document)
    assert json_patched(document, operations) == result
    assert document == before


REFUSED: list[tuple[Any, str]] = [
    ({"op": "add"}, "a list"),
    ([1], "operation 0 .* not an object"),
    ([{"op": "add", "path": "/b"}], "no value"),
    ([{"op": "add", "path": "b", "value": 1}], "begins with a slash"),
    ([{"op": "add", "value": 1}], "'path' must"),
    ([{"op": "move", "path": "/b"}], "'from' must"),
    ([{"op": "paint", "path": "/a"}], "no operation 'paint'"),
    ([{"op": "remove", "path": "/nope"}], "nothing at 'nope'"),
    ([{"op": "replace", "path": "/nope", "value": 1}], "nothing at"),
    ([{"op": "add", "path": "/nope/deeper", "value": 1}], "nothing at"),
    ([{"op": "add", "path": "/a/b", "value": 1}], "nothing can be added"),
    ([{"op": "add", "path": "/l/3", "value": 1}], "past the end"),
    ([{"op": "add", "path": "/l/01", "value": 1}], "not a position"),
    ([{"op": "remove", "path": "/l/-"}], "not a position"),
    ([{"op": "remove", "path": "/l/2"}], "past the end"),
    ([{"op": "remove", "path": ""}], "whole document"),
    ([{"op": "move", "from": "/o", "path": "/o/x"}], "into itself"),
    ([{"op": "test", "path": "/a", "value": 2}], "is another"),
    ([{"op": "test", "path": "/a", "value": True}], "is another"),
    ([{"op": "test", "path": "/o", "value": []}], "is another"),
    ([{"op": "add", "path": "/z", "value": 1}, {"op": "remove", "path": "/y"}], "operation 1"),
]


@pytest.mark.parametrize(("operations", "told"), REFUSED)
def test_a_patch_that_does_not_apply_is_refused_and_changes_nothing(
    operations: Any, told: str
) -> None:
    document = {"a": 1, "l": [1, 2], "o": {}}
    with pytest.raises(InvalidRequestError, match=told) as caught:
        json_patched(document, operations)
    assert caught.value.kind is ErrorKind.BAD_METADATA
    assert document == {"a": 1, "l": [1, 2], "o": {}}


def test_copies_of_copies_end_before_they_fill_the_memory() -> None:
    operations = [{"op": "copy", "from": "", "path": f"/c{number}"} for number in range(60)]
    with pytest.raises(InvalidRequestError, match="copies add more than"):
        json_patched({"a": 1}, operations)
