"""Text files as arrays hold the numbers that the text says, or are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from ingest.delimited import Delimited
from schemas.errors import InvalidRequestError
from schemas.structures import ArrayStructure

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "dtype"), [("1,2\n,4\n", "i8"), ("1,2\n1.5,4\n", "i4"), ("1,2\n3,400\n", "u1")]
)
def test_cells_that_a_whole_number_cannot_say_are_refused(
    tmp_path: Path, text: str, dtype: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    files = Delimited([path], {}, header=False)
    item = files.array(ArrayStructure.from_numpy((2, 2), np.dtype(dtype)))
    assert item.read is not None
    with pytest.raises(InvalidRequestError, match="cells"):
        list(item.read())


def test_empty_cells_of_floats_are_not_a_number(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("1,2\n,4\n")
    item = Delimited([path], {}, header=False).array(
        ArrayStructure.from_numpy((2, 2), np.dtype("f8"))
    )
    assert item.read is not None
    np.testing.assert_array_equal(np.concatenate(list(item.read())), [[1, 2], [np.nan, 4]])
