"""How much of the chunks that it touches a selection uses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lakeservice.client.parts import use_of_chunks
from schemas.selection import select
from schemas.structures import ArrayStructure


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
