"""Arrays as record batches and back."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from lakeservice.client.tensors import Rows, elements, receive
from schemas.errors import ConflictError, CorruptError

DTYPES = [
    "u1", "<i2", ">u4", "<f2", "<f4", ">f8", "?", "<c8", "S5", "<U3", "<M8[ns]", "<m8[s]",
    [("x", "<f4"), ("n", ">i2", (2,))],
]  # fmt: skip


class Chunk(NamedTuple):
    """A record batch as a Flight reader hands it out."""

    data: pa.RecordBatch


class Stream(list[Chunk]):
    """Record batches with a schema, as a Flight reader has them."""

    def __init__(self, schema: pa.Schema, batches: list[pa.RecordBatch]) -> None:
        super().__init__(Chunk(batch) for batch in batches)
        self.schema = schema


def through_ipc(schema: pa.Schema, batches: list[pa.RecordBatch]) -> Stream:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    with pa.ipc.open_stream(sink.getvalue()) as reader:
        return Stream(reader.schema, list(reader))


def sample(shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
    kind = np.dtype(dtype)
    raw = np.random.default_rng(1).integers(0, 256, (*shape, kind.itemsize), np.uint8)
    if kind.kind == "b":
        raw &= 1
    if kind.kind == "U":
        raw = np.frombuffer("aé€".encode("utf-32-le") * int(np.prod(shape)), np.uint8)
    return np.frombuffer(raw.tobytes(), kind).reshape(shape)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 4), (2, 3, 4), (3, 1, 2, 2)], ids=str)
def test_every_dtype_and_shape_comes_back_bit_by_bit(shape: tuple[int, ...], dtype: Any) -> None:
    array = sample(shape, dtype)
    rows = Rows(shape, array.dtype)
    stream = through_ipc(rows.schema, list(rows.batches(array)))
    out = np.empty(shape, array.dtype)
    receive(stream, out)
    assert out.tobytes() == array.tobytes()


def test_rows_of_any_memory_layout_are_sent_in_c_order() -> None:
    array = np.arange(60).reshape(5, 4, 3).transpose(2, 1, 0)[::-1]
    rows = Rows(array.shape, array.dtype)
    out = np.empty(array.shape, array.dtype)
    receive(through_ipc(rows.schema, list(rows.batches(array))), out)
    assert np.array_equal(out, array)


def test_an_answer_fits_into_a_strided_place() -> None:
    array = np.arange(24).reshape(4, 6)
    rows = Rows(array.shape, array.dtype)
    place = np.zeros((8, 12), array.dtype)
    receive(through_ipc(rows.schema, list(rows.batches(array))), place[::2, ::-2])
    assert np.array_equal(place[::2, ::-2], array)


def test_batches_may_cut_rows_anywhere() -> None:
    array = np.arange(24)
    rows = Rows((24,), array.dtype)
    batches = [batch for part in np.split(array, [5, 7, 20]) for batch in rows.batches(part)]
    metadata = Rows((2, 12), array.dtype).schema.metadata
    schema = rows.schema.with_metadata(metadata)
    stream = Stream(schema, [batch.replace_schema_metadata(metadata) for batch in batches])
    for place in (np.zeros((2, 12), int), np.zeros((2, 24), int)[:, ::2]):
        receive(stream, place)
        assert np.array_equal(place, array.reshape(2, 12))


@pytest.mark.parametrize("rows_sent", [0, 2, 4])
def test_too_few_or_too_many_rows_are_never_an_array(rows_sent: int) -> None:
    array = np.zeros((rows_sent, 5), "u2")
    rows = Rows((3, 5), array.dtype)
    stream = through_ipc(rows.schema, list(rows.batches(array)))
    with pytest.raises(CorruptError, match="elements instead of 15"):
        receive(stream, np.empty((3, 5), "u2"))


def test_another_shape_or_dtype_than_expected_is_a_conflict() -> None:
    array = np.zeros((3, 5), "u2")
    rows = Rows(array.shape, array.dtype)
    stream = through_ipc(rows.schema, list(rows.batches(array)))
    with pytest.raises(ConflictError, match="refresh"):
        receive(stream, np.empty((3, 5), "u4"))
    with pytest.raises(ConflictError, match="refresh"):
        receive(stream, np.empty((5, 3), "u2"))


def test_a_stream_that_is_no_array_is_refused() -> None:
    schema = pa.schema([pa.field("x", pa.int8())])
    with pytest.raises(CorruptError, match="does not say which array"):
        receive(Stream(schema, []), np.empty(3))


def test_elements_of_a_slice_of_a_column_are_those_of_the_slice() -> None:
    array = np.arange(24, dtype="u4").reshape(6, 4)
    batch = next(Rows(array.shape, array.dtype).batches(array))
    column = batch.slice(2, 3).column(0)
    assert np.array_equal(elements(column, array.dtype).reshape(3, 4), array[2:5])


def test_bytes_that_are_no_whole_elements_are_refused() -> None:
    with pytest.raises(CorruptError, match="no whole elements"):
        elements(pa.array(np.arange(3, dtype="u1")), np.dtype("u2"))
