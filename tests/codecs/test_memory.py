"""Memory for values that stay."""

from __future__ import annotations

import numpy as np
import pytest

from lakeservice.codecs.memory import empty_apart


@pytest.mark.parametrize("dtype", ["<u2", ">f8", "?", "M8[ns]", "S3", [("a", "<i4"), ("b", "<f8")]])
def test_an_array_apart_holds_what_is_written_to_it(dtype: object) -> None:
    values = np.zeros((3, 4), np.dtype(dtype))  # type: ignore[call-overload]
    values.view(np.uint8).reshape(-1)[:] = np.arange(values.nbytes) % 2
    apart = empty_apart(values.shape, values.dtype)
    apart[...] = values
    assert apart.dtype == values.dtype
    assert apart.tobytes() == values.tobytes()


def test_an_array_apart_may_be_empty() -> None:
    assert empty_apart((0, 4), np.dtype("u2")).shape == (0, 4)
