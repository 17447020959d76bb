from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ErrorKind, InvalidRequestError
from schemas.path import (
    MAX_PATH_BYTES,
    MAX_SEGMENT_BYTES,
    ancestors_of,
    clean_path,
    join_path,
    name_of,
    parent_of,
)

SEGMENTS = st.text(
    st.characters(exclude_characters="/", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8
).filter(lambda segment: segment not in (".", ".."))
PATHS = st.lists(SEGMENTS, min_size=1, max_size=5).map("/".join)


@given(PATHS)
def test_parent_and_name_are_those_of_a_posix_path(path: str) -> None:
    truth = PurePosixPath("/", path)
    assert name_of(path) == truth.name
    assert parent_of(path) == str(truth.parent)[1:]
    assert list(ancestors_of(path)) == [str(above)[1:] for above in truth.parents][:-1]
    assert join_path(parent_of(path), name_of(path)) == path


@given(st.lists(SEGMENTS, max_size=5), st.data())
def test_empty_segments_are_collapsed(segments: list[str], data: st.DataObject) -> None:
    slashes = st.integers(1, 3).map("/".__mul__)
    untidy = "".join(data.draw(slashes) + segment for segment in segments) + data.draw(slashes)
    assert clean_path(untidy) == "/".join(segments)


@given(st.text(max_size=40))
def test_any_text_has_one_normal_form_or_is_a_bad_path(text: str) -> None:
    try:
        clean = clean_path(text)
    except InvalidRequestError as error:
        assert error.kind is ErrorKind.BAD_PATH
    else:
        assert clean_path(clean) == clean
        assert not {"", ".", ".."} & set(clean.split("/")) or clean == ""


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "a/../b",
        "a/.",
        "a/\x00b",
        "a\nb",
        "a\x7f",
        "\ud800",
        "a" * 10_000,
        "é" * (MAX_SEGMENT_BYTES // 2 + 1),
        "/".join(["ä" * 400] * 6),
    ],
)
def test_a_path_that_could_harm_is_refused(path: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        clean_path(path)
    assert caught.value.kind is ErrorKind.BAD_PATH
    assert len(str(caught.value)) < 4 * MAX_SEGMENT_BYTES


def test_the_longest_path_is_allowed() -> None:
    path = "/".join(["a" * 1023] * 4)
    assert len(path) == MAX_PATH_BYTES - 1
    assert clean_path(path) == path


def test_unicode_is_kept_as_it_came() -> None:
    assert clean_path("/Messung/é/é") == "Messung/é/é"
