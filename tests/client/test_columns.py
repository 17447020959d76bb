"""Tables in any form, as Arrow batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from lakeservice.client.columns import BATCH_ROWS, cast_stream, stream_of
from schemas.errors import ErrorKind, InvalidRequestError

EXPECTED = {"x": [1.5, 2.5, 3.5], "n": [1, 2, 3]}
TABLE = pa.table(EXPECTED)
RECORDS = np.array([(1.5, 1), (2.5, 2), (3.5, 3)], [("x", "f8"), ("n", "i8")])


@pytest.mark.parametrize(
    "rows",
    [
        TABLE,
        TABLE.to_batches()[0],
        TABLE.to_reader(),
        pd.DataFrame(EXPECTED),
        pl.DataFrame(EXPECTED),
        pl.LazyFrame(EXPECTED),
        EXPECTED,
        {name: np.array(values) for name, values in EXPECTED.items()},
        TABLE.to_pylist(),
        RECORDS,
        TABLE.to_batches(),
        iter(TABLE.to_batches(max_chunksize=1)),
    ],
    ids=lambda rows: type(rows).__name__,
)
def test_every_form_of_a_table_is_the_same_rows(rows: Any) -> None:
    stream = stream_of(rows)
    found = pa.Table.from_batches(stream.batches(), schema=stream.schema)
    assert found.to_pydict() == EXPECTED


def test_columns_of_several_axes_are_lists_of_fixed_length() -> None:
    image = np.arange(24, dtype=">u2").reshape(4, 2, 3)
    stream = stream_of({"image": image})
    column = pa.Table.from_batches(stream.batches(), schema=stream.schema)["image"]
    assert column.to_pylist() == image.tolist()


def test_what_can_be_run_through_once_says_so() -> None:
    assert not stream_of(TABLE.to_reader()).repeatable
    assert not stream_of(iter(TABLE.to_batches())).repeatable
    assert stream_of(TABLE).repeatable
    again = stream_of([TABLE, TABLE])
    assert again.repeatable
    for _ in range(2):
        assert sum(batch.num_rows for batch in again.batches()) == 6


def test_batches_are_of_bounded_size() -> None:
    stream = stream_of({"n": np.arange(3 * BATCH_ROWS + 5)})
    sizes = [batch.num_rows for batch in stream.batches()]
    assert sum(sizes) == 3 * BATCH_ROWS + 5
    assert max(sizes) <= BATCH_ROWS


def test_an_empty_table_keeps_its_columns() -> None:
    stream = stream_of(TABLE.slice(0, 0))
    assert stream.schema == TABLE.schema
    assert list(stream.batches()) == []


def test_rows_are_cast_to_the_columns_of_a_table() -> None:
    wanted = pa.schema([("n", pa.int16()), ("x", pa.float64())])
    stream = cast_stream(stream_of(EXPECTED), wanted)
    found = pa.Table.from_batches(stream.batches(), schema=wanted)
    assert found.to_pydict() == {"n": [1, 2, 3], "x": [1.5, 2.5, 3.5]}


def test_other_columns_or_values_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"have columns \['x', 'n'\]") as caught:
        cast_stream(stream_of(EXPECTED), pa.schema([("y", pa.int8())]))
    assert caught.value.kind is ErrorKind.BAD_BODY
    tight = pa.schema([("x", pa.float64()), ("n", pa.int8())])
    stream = cast_stream(stream_of({"x": [0.0], "n": [1000]}), tight)
    with pytest.raises(InvalidRequestError, match="do not fit"):
        list(stream.batches())


@pytest.mark.parametrize("rows", [3, "text", {"a": [1, 2], "b": [1]}, [], {"a": 5}], ids=str)
def test_what_is_no_table_is_refused(rows: Any) -> None:
    with pytest.raises(InvalidRequestError):
        stream_of(rows)
