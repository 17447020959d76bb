"""Slices over every wire mean what NumPy means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.whole.conftest import Running

RNG = np.random.default_rng(5)
ARRAYS = {
    "frames": (RNG.poisson(3, (7, 11, 13)).astype("u2"), (2, 11, 13)),
    "volume": (RNG.normal(size=(5, 6, 4)), (2, 4, 3)),
    "line": (np.arange(101, dtype="i8") - 50, (17,)),
    "big_endian": (RNG.integers(0, 9, (4, 5)).astype(">i4"), (3, 2)),
    "times": (np.arange(9).astype("M8[s]").reshape(3, 3), (2, 3)),
    "words": (np.array([["ab", "çd"], ["", "xyz"]]), (1, 2)),
    "flags": (RNG.random((4, 3)) > 0.5, (4, 1)),
    "waves": (RNG.normal(size=(3, 4)) + 1j, (1, 4)),
    "records": (np.array([(1, 2.5), (3, -1.0)], dtype=[("a", "<i2"), ("b", "<f8")]), (1,)),
}


@pytest.fixture(scope="module")
def written(running: Running) -> dict[str, np.ndarray[Any, Any]]:
    running.lake.create_container("slices")
    for name, (array, chunks) in ARRAYS.items():
        running.lake.write_array(f"slices/{name}", array, chunks=chunks)
    return {name: array for name, (array, _) in ARRAYS.items()}


def axis_text(length: int) -> st.SearchStrategy[str]:
    bound = st.one_of(st.just(""), st.integers(-length - 2, length + 2).map(str))
    step = st.one_of(st.just(""), st.integers(-4, 4).filter(bool).map(str))
    ranges = st.tuples(bound, bound, step).map(":".join)
    return st.one_of(ranges, st.integers(-length, length - 1).map(str))


def numpy_index(text: str) -> Any:
    return eval(f"np.s_[{text}]", {"np": np})  # the text is NumPy's own syntax


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_slice_of_any_array_is_numpys(
    data: st.DataObject,
    read: Callable[[str, str | None], np.ndarray[Any, Any]],
    written: dict[str, np.ndarray[Any, Any]],
) -> None:
    name = data.draw(st.sampled_from(sorted(written)))
    array = written[name]
    axes = data.draw(st.integers(0, array.ndim))
    text = ",".join(data.draw(axis_text(array.shape[axis])) for axis in range(axes))
    expected = array[numpy_index(text)] if text else array
    answer = read(f"slices/{name}", text or None)
    np.testing.assert_array_equal(answer, expected)
    assert answer.dtype == array.dtype
    assert answer.shape == np.shape(expected)
