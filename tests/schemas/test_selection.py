from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from schemas.errors import ErrorKind, InvalidRequestError
from schemas.selection import MAX_TEXT, Axis, Selection, parse_selection, select

if TYPE_CHECKING:
    from types import EllipsisType

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
BOUNDS = st.none() | st.integers(-8, 8)
STEPS = st.none() | st.integers(-3, 3)
PARTS = st.integers(-7, 7) | st.builds(slice, BOUNDS, BOUNDS, STEPS) | st.just(...)
INDICES = st.lists(PARTS, max_size=5).map(tuple)


def numbered(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(math.prod(shape)).reshape(shape)


def as_text(part: int | slice | EllipsisType) -> str:
    if isinstance(part, slice):
        return ":".join("" if n is None else str(n) for n in (part.start, part.stop, part.step))
    return "..." if part is ... else str(part)


@given(SHAPES, INDICES)
def test_a_selection_is_what_numpy_gives_or_refuses(
    shape: tuple[int, ...], index: tuple[int | slice | EllipsisType, ...]
) -> None:
    array = numbered(shape)
    try:
        expected = array[index]
    except (IndexError, ValueError):
        with pytest.raises(InvalidRequestError) as caught:
            select(index, shape)
        assert caught.value.kind is ErrorKind.BAD_SLICE
        return
    selection = select(index, shape)
    chosen = array[selection.as_index()]
    np.testing.assert_array_equal(chosen, expected)
    assert selection.shape == np.shape(expected)
    assert selection.size == np.size(expected)
    kept = array[tuple(axis.as_slice() for axis in selection.axes)]
    assert selection.kept_shape == kept.shape
    np.testing.assert_array_equal(kept.reshape(selection.shape), expected)


@given(SHAPES, INDICES)
def test_text_means_what_the_same_text_means_to_numpy(
    shape: tuple[int, ...], index: tuple[int | slice | EllipsisType, ...]
) -> None:
    text = ",".join(as_text(part) for part in index)
    try:
        selection = select(index, shape)
    except InvalidRequestError:
        with pytest.raises(InvalidRequestError):
            parse_selection(text, shape)
        return
    assert parse_selection(text, shape) == selection
    assert parse_selection(f"[ {text} ]", shape) == selection


@given(SHAPES.flatmap(lambda shape: st.tuples(st.just(shape), hnp.basic_indices(shape))))
def test_a_selection_survives_text_and_json(asked: tuple[tuple[int, ...], object]) -> None:
    shape, index = asked
    selection = select(index, shape)
    assert parse_selection(selection.to_text(), shape) == selection
    assert msgspec.json.decode(msgspec.json.encode(selection), type=Selection) == selection


@given(st.text(alphabet="0123456789:-,.[]() e_x", max_size=30) | st.text(max_size=20))
def test_any_text_is_a_selection_or_a_bad_slice(text: str) -> None:
    try:
        selection = parse_selection(text, (4, 3))
    except InvalidRequestError as error:
        assert error.kind is ErrorKind.BAD_SLICE
    else:
        assert numbered((4, 3))[selection.as_index()].shape == selection.shape


@pytest.mark.parametrize("text", [None, "", "  ", "[]", "()", "...", ":", ":,:", "[:, ...]"])
def test_nothing_and_everything_are_the_whole_array(text: str | None) -> None:
    selection = parse_selection(text, (4, 3))
    assert selection.is_whole((4, 3))
    assert selection.shape == (4, 3)


def test_one_element_has_one_form_whatever_the_step() -> None:
    for part in (slice(2, 3), slice(2, None, 7), slice(2, 1, -1), slice(-3, -2, 10**30)):
        assert select(part, (5,)).axes == (Axis(2, 1),)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ((0, 0, 0), "3 slices for an array of 2 axes"),
        ((..., ...), "one '...'"),
        (4, "index 4 is out of range on axis 0, which has length 4"),
        ((0, -4), "index -4 is out of range on axis 1"),
        (slice(None, None, 0), "step cannot be zero"),
        ([0, 1], "read the enclosing slice and index the result"),
        (np.array([True, False, True, True]), "only integers, slices"),
        (None, None),
        ((None, 0), "not NoneType"),
        (True, "not bool"),
        (1.0, "1.0 is neither an integer nor a slice"),
        (slice(0, 1.5), "axis 0"),
    ],
)
def test_an_index_that_cannot_be_says_why(index: object, message: str | None) -> None:
    if message is None:
        assert select(index, (4, 3)).is_whole((4, 3))
        return
    with pytest.raises(InvalidRequestError, match=message.replace(".", r"\.")) as caught:
        select(index, (4, 3))
    assert caught.value.kind is ErrorKind.BAD_SLICE


def test_numpy_integers_choose_like_python_ones() -> None:
    assert select(np.int16(-1), (4, 3)) == select(-1, (4, 3))


def test_a_very_long_text_is_refused_before_it_is_read() -> None:
    with pytest.raises(InvalidRequestError, match="at most 2048"):
        parse_selection("0," * MAX_TEXT, (4, 3))


@pytest.mark.parametrize("text", ["[0", "0]", "(0]", "1:2:3:4", "a", "1.5", "0x1", "None", ","])
def test_text_that_is_no_selection_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_selection(text, (4, 3))
    assert caught.value.kind is ErrorKind.BAD_SLICE
