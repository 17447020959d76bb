from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeservice.export.array_text import CSV, JSON, check_csv
from lakeservice.export.raw import NPY, RAW
from schemas.errors import ErrorKind, InvalidRequestError
from tests.export import memory
from tests.export.memory import Array, InMemoryArray

if TYPE_CHECKING:
    from lakeservice.export.exporter import Exporter

FORMS = {one.media_type.rpartition("/")[2]: one for one in (RAW, NPY, JSON, CSV)}


def written(form: Exporter, array: Array, level: int = 0, length: int = 1 << 30) -> bytes:
    return memory.written(form, InMemoryArray(array=array, level=level, length=length))


SAMPLES: list[Array] = [
    np.arange(24).reshape(2, 3, 4),
    np.arange(24, dtype=">u2").reshape(4, 6),
    np.array(3.5),
    np.array([], "f4"),
    np.empty((3, 0, 2)),
    np.array([True, False]),
    np.array(["a", "äö€", ""], "U3"),
    np.array([b"ab", b"c"], "S2"),
    np.array([1 + 2j, 0], "c16"),
    np.array(["2020-01-01", "NaT"], "M8[ns]"),
    np.array([1, 2], "m8[s]"),
    np.array([(1, 2.5, b"x"), (2, 0.1, b"y")], [("a", "<i4"), ("b", "<f8"), ("c", "S1")]),
    np.array([0.1, np.nan, np.inf], "f4"),
    np.zeros((2, 2), "f2"),
]


@pytest.mark.parametrize("array", SAMPLES, ids=lambda a: f"{a.dtype.str}{a.shape}")
def test_raw_bytes_are_those_of_numpy(array: Array) -> None:
    assert written(FORMS["octet-stream"], array, 0, 1) == array.tobytes()


@pytest.mark.parametrize("array", SAMPLES, ids=lambda a: f"{a.dtype.str}{a.shape}")
def test_an_npy_file_loads_in_numpy(array: Array) -> None:
    back = np.load(io.BytesIO(written(FORMS["x-npy"], array, 0, 1)))
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


def test_blocks_that_are_not_contiguous_are_written_in_order() -> None:
    array = np.arange(24).reshape(4, 6)[::-2, ::3]
    assert written(FORMS["octet-stream"], array) == array.tobytes()


@given(st.data())
def test_json_is_the_nested_lists_of_numpy_however_it_is_cut(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(0, 4), max_size=4)))
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    level = data.draw(st.integers(0, max(0, len(shape) - 1)))
    length = data.draw(st.integers(1, 3))
    assert json.loads(written(FORMS["json"], array, level, length)) == array.tolist()


def test_json_of_what_json_does_not_know() -> None:
    def told(array: Array) -> Any:
        return json.loads(written(FORMS["json"], array))

    assert told(np.array([1 + 2j])) == [[1.0, 2.0]]
    assert told(np.array(1 + 2j)) == [1.0, 2.0]
    assert told(np.array([np.nan, np.inf, 1.0])) == [None, None, 1.0]
    assert told(np.array(["2020-01-01", "NaT"], "M8[D]")) == ["2020-01-01", "NaT"]
    assert told(np.array([5], "m8[s]")) == [5]
    assert told(np.array([b"ab"])) == ["ab"]
    assert told(np.array([True])) == [True]
    record = np.array([(1, 2 + 1j, [1, 2])], [("a", "i4"), ("c", "c8"), ("s", "i2", 2)])
    assert told(record) == [[1, [2.0, 1.0], [1, 2]]]


@given(st.integers(0, 5), st.integers(1, 5), st.integers(0, 1), st.integers(1, 3))
def test_csv_has_a_line_for_each_row_however_it_is_cut(
    rows: int, width: int, level: int, length: int
) -> None:
    array = np.arange(rows * width).reshape(rows, width) / 7
    text = written(FORMS["csv"], array, level, length).decode()
    assert [[float(cell) for cell in line] for line in csv.reader(io.StringIO(text))] == (
        array.tolist()
    )


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.array([1, 2]), "1\n2\n"),
        (np.array(7), "7\n"),
        (np.array([[0.1, 1]], "f4"), "0.1,1.0\n"),
        (np.array([["a,b", 'q"', "c"]]), '"a,b","q""",c\n'),
        (np.array([b"x"]), "x\n"),
        (np.array([True]), "True\n"),
        (np.array([(1, 2.5)], [("a", "i4"), ("b", "f8")]), "a,b\n1,2.5\n"),
        (np.array(["2020-01-01"], "M8[D]"), "2020-01-01\n"),
    ],
)
def test_csv_of_each_kind(array: Array, text: str) -> None:
    assert written(FORMS["csv"], array) == text.encode()


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((1, 2, 3), "f8"), ((2, 2), [("a", "i4")]), ((2,), [("a", "i4", (2,))])],
)
def test_csv_refuses_what_has_no_lines_and_columns(shape: tuple[int, ...], dtype: Any) -> None:
    with pytest.raises(InvalidRequestError, match="lines and columns") as caught:
        check_csv(InMemoryArray(array=np.zeros(shape, dtype)))
    assert caught.value.kind is ErrorKind.UNKNOWN_FORMAT
