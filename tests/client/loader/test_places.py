"""Rows of several arrays in one array: each row in the place that was said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from schemas.errors import InvalidRequestError

if TYPE_CHECKING:
    from lakeservice.client import Container


@pytest.mark.parametrize("delivery", ["direct", "decoded"])
@pytest.mark.parametrize("chunks", [(1, 8, 9), (4, 8, 9), (3, 5, 4)])
def test_rows_and_selections_go_to_their_places(
    home: Container, delivery: Any, chunks: tuple[int, ...]
) -> None:
    array = np.random.default_rng(0).integers(0, 60000, (20, 8, 9)).astype("u2")
    node = home.write_array("a", array, chunks=chunks)
    out = np.full((30, 8, 9), 7, "u2")
    expected = out.copy()
    rows, places = np.array([19, 3, 4, 5, 3, 0]), np.array([2, 29, 28, 27, 0, 5])
    expected[places] = array[rows]
    assert node.take(rows, out, delivery, places=places) is out
    assert np.array_equal(out, expected)
    corners = [(3, slice(0, 4)), (7, slice(2, 6)), (7, slice(1, 5))]
    small = np.zeros((5, 4, 9), "u2")
    node.take(corners, small, delivery, places=np.array([4, 0, 1]))
    assert np.array_equal(small[[4, 0, 1]], [array[corner] for corner in corners])
    assert not small[2:4].any()


@pytest.mark.parametrize(
    "places", [np.array([0]), np.array([0, 4]), np.array([-1, 0]), np.array([0.0, 1.0])]
)
def test_places_that_are_not_there_are_refused(home: Container, places: Any) -> None:
    node = home.write_array("a", np.zeros((5, 2)))
    with pytest.raises(InvalidRequestError, match="2 integers, which number the rows of out"):
        node.take([0, 1], np.zeros((4, 2)), places=places)
    with pytest.raises(InvalidRequestError, match="number the rows of out"):
        node.take([0, 1], places=np.array([0, 1]))
