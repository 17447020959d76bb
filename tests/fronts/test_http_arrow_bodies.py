from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeservice.fronts.http import arrow_bodies
from lakeservice.fronts.http.arrow_bodies import CheckedMessages
from schemas.errors import LakeError, TooLargeError

TABLE = pa.table(
    {
        "i": pa.array(range(1000)),
        "s": pa.array(["a", None] * 500),
        "d": pa.array(["u", "v"] * 500).dictionary_encode(),
        "l": pa.array([[1, 2], []] * 500),
    }
)


def sent(table: pa.Table, compression: str | None, rows: int | None = None) -> bytes:
    out = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(out, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=rows)
    return out.getvalue()


def read(payload: bytes) -> pa.Table:
    return pa.ipc.open_stream(CheckedMessages(io.BytesIO(payload))).read_all()


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_a_good_stream_is_handed_on_as_it_is(compression: str | None) -> None:
    assert read(sent(TABLE, compression, 300)).equals(TABLE)


@pytest.mark.parametrize("size", [1, 3, 7, 4096])
def test_reads_of_any_size_give_the_same_bytes(size: int) -> None:
    payload = sent(TABLE, "zstd", 300)
    stream = CheckedMessages(io.BytesIO(payload))
    assert b"".join(iter(lambda: stream.read(size), b"")) == payload


@pytest.mark.parametrize("column", ["plain", "dictionary"])
def test_a_batch_that_grows_beyond_bounds_is_refused_before_it_does(
    monkeypatch: pytest.MonkeyPatch, column: str
) -> None:
    monkeypatch.setattr(arrow_bodies, "MAX_BATCH_BYTES", 1 << 20)
    zeros: Any = pa.array(np.zeros(1 << 18))
    if column == "dictionary":
        zeros = pa.DictionaryArray.from_arrays(pa.array([0]), zeros)
    with pytest.raises(TooLargeError, match="several batches"):
        read(sent(pa.table({"x": zeros}), "zstd"))
    assert read(sent(pa.table({"x": zeros}), None)).num_rows == len(zeros)


def test_a_lie_about_the_size_is_believed_before_memory_is_taken() -> None:
    payload = sent(pa.table({"x": np.zeros(4096)}), "zstd")
    honest, lie = struct.pack("<q", 4096 * 8), struct.pack("<q", 1 << 40)
    assert payload.count(honest) >= 1
    with pytest.raises(TooLargeError):
        read(payload.replace(honest, lie))


def test_a_body_that_ends_before_its_size_ends_the_stream() -> None:
    payload = sent(pa.table({"x": np.zeros(4096)}), None)
    honest, lie = struct.pack("<q", 4096 * 8), struct.pack("<q", 1 << 60)
    stream = CheckedMessages(io.BytesIO(payload.replace(honest, lie)))
    assert b"".join(iter(lambda: stream.read(1000), b"")).count(lie) == payload.count(honest)


@given(st.data())
def test_damaged_streams_are_refused_and_nothing_else_is_raised(data: st.DataObject) -> None:
    payload = bytearray(sent(TABLE.slice(0, 20), data.draw(st.sampled_from([None, "zstd"]))))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(payload)))
    stream = CheckedMessages(io.BytesIO(bytes(payload[:cut])))
    try:
        while stream.read(1000):
            pass
    except LakeError as error:
        assert error.message
