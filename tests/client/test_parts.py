"""Splitting a selection into parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeservice.client.parts import side_by_side, split, use_of_chunks
from schemas.selection import Selection, parse_selection, select
from schemas.structures import ArrayStructure


@st.composite
def selections(draw: st.DrawFn) -> tuple[ArrayStructure, Selection]:
    shape = tuple(draw(st.lists(st.integers(1, 12), min_size=1, max_size=3)))
    chunks: list[Any] = []
    for length in shape:
        if draw(st.booleans()):
            chunks.append(draw(st.integers(1, length + 2)))
        else:
            cuts = sorted(draw(st.sets(st.integers(1, length), max_size=4)) | {length})
            chunks.append(tuple(int(n) for n in np.diff([0, *cuts])))
    index = tuple(
        draw(
            st.integers(-length, length - 1) | st.slices(length).filter(lambda part: part.step != 0)
        )
        for length in shape
    )
    structure = ArrayStructure.from_numpy(shape, np.dtype("u1"), tuple(chunks))
    return structure, select(index, shape)


@settings(deadline=None)
@given(selections(), st.integers(1, 60))
def test_parts_put_together_are_the_whole(
    case: tuple[ArrayStructure, Selection], target: int
) -> None:
    structure, selection = case
    array = np.arange(np.prod(structure.shape)).reshape(structure.shape)
    expected = array[selection.as_index()]
    found = np.full_like(expected, -1)
    for part, rows in split(selection, structure, target):
        assert parse_selection(part.to_text(), structure.shape) == part
        if rows is None:
            found[...] = array[part.as_index()]
        else:
            found[rows] = array[part.as_index()]
    assert np.array_equal(found, expected)


@settings(deadline=None)
@given(selections(), st.integers(1, 60))
def test_no_chunk_of_the_cut_axis_is_in_two_parts(
    case: tuple[ArrayStructure, Selection], target: int
) -> None:
    structure, selection = case
    cut = next((n for n, axis in enumerate(selection.axes) if not axis.drop), None)
    if cut is None:
        return
    chunk_of = np.repeat(
        np.arange(len(structure.explicit_chunks()[cut])), structure.explicit_chunks()[cut]
    )
    held = [
        set(chunk_of[part.axes[cut].as_slice()]) for part, _ in split(selection, structure, target)
    ]
    assert sum(len(chunks) for chunks in held) == len(set().union(*held))


@pytest.mark.parametrize(
    ("index", "fraction"),
    [
        ((), 1.0),
        (slice(0, 10), 1.0),
        (slice(0, 5), 0.5),
        ((slice(None), slice(0, 10)), 0.1),
        ((slice(None, None, 10), slice(None)), 0.1),
        ((slice(None, None, 20), slice(None)), 0.1),
        ((slice(None, None, -1), slice(None)), 1.0),
        (3, 0.1),
    ],
)
def test_use_of_chunks_is_wanted_over_touched(index: Any, fraction: float) -> None:
    structure = ArrayStructure.from_numpy((100, 100), np.dtype("u2"), (10, 100))
    assert use_of_chunks(select(index, structure.shape), structure) == pytest.approx(fraction)


def test_the_first_failure_ends_the_others_and_is_raised() -> None:
    structure = ArrayStructure.from_numpy((1000, 4), np.dtype("u1"), (1, 4))
    parts = split(select(None, structure.shape), structure, 4)
    assert len(parts) == 1000
    done = []

    def read(_: Selection, rows: slice | None, __: int) -> None:
        done.append(rows)
        if len(done) == 5:
            raise ValueError("the fifth")

    with pytest.raises(ValueError, match="the fifth"):
        side_by_side(read, parts, 2)
    assert len(done) < 10
