"""Nested data as buffers: Awkward Array says what is right."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeservice.storage import windows as windows_module
from lakeservice.storage.archives import ArchiveReader, archive_bytes, archived
from lakeservice.storage.forms import numbered_form, parse_form
from lakeservice.storage.intake import BufferWriter
from lakeservice.storage.nested import StoredNested, arrow_of
from lakeservice.storage.objects import Objects
from schemas.chunks import TableStorage
from schemas.errors import ErrorKind, InvalidRequestError, LakeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

Layouts = ak.contents


def bits(values: list[int]) -> Any:
    return ak.index.IndexU8(np.packbits(values, bitorder="little"))


ARRAYS: dict[str, Any] = {
    "records": ak.Array([[{"x": 1.1, "y": [1]}, {"x": 2.2, "y": [1, 2]}], [], [{"x": 3, "y": []}]]),
    "missing": ak.Array([1, None, 3, None, None, 6]),
    "texts": ak.Array(["a", "bcd", "", "é"]),
    "union": ak.Array([{"a": 1, "b": True, "c": None}, {"a": "three", "b": {"x": 1, "y": 2}}]),
    "empty records": ak.Array([{}, {}, {}]),
    "unknown": ak.Array([{"a": []}, {"a": []}]),
    "regular": ak.from_numpy(np.arange(30).reshape(2, 3, 5), regulararray=True),
    "inner shape": ak.from_numpy(np.arange(30).reshape(2, 3, 5)),
    "bit mask": ak.Array(
        Layouts.BitMaskedArray(
            bits([1, 0, 1, 1, 0, 0, 1, 1, 0, 1, 1]),
            Layouts.NumpyArray(np.arange(11)),
            valid_when=True,
            length=11,
            lsb_order=True,
        )
    ),
    "byte mask": ak.Array(
        Layouts.ByteMaskedArray(
            ak.index.Index8(np.array([1, 0, 1, 1, 0], np.int8)),
            Layouts.NumpyArray(np.arange(5)),
            valid_when=False,
        )
    ),
    "lists in any order": ak.Array(
        Layouts.ListArray(
            ak.index.Index64(np.array([2, 0, 0])),
            ak.index.Index64(np.array([4, 0, 3])),
            Layouts.NumpyArray(np.arange(5)),
        )
    ),
    "indexed": ak.Array(
        Layouts.IndexedArray(
            ak.index.Index64(np.array([2, 0, 0, 4, 4])), Layouts.NumpyArray(np.arange(5))
        )
    ),
    "tuples": ak.Array([(1, [2.5]), (3, [])]),
    "times": ak.Array(np.array(["2020-01-01", "2021-01-01"], "M8[D]")),
    "no rows": ak.Array([]),
}


def sent(array: Any) -> tuple[dict[str, Any], int, bytes]:
    """Form, length and archive, as Tiled's client makes them."""
    form, length, buffers = ak.to_buffers(array)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, buffer in buffers.items():
            archive.writestr(name, buffer.tobytes())
    return numbered_form(form.to_dict()), length, file.getvalue()


def stored(array: Any, times: int = 1) -> StoredNested:
    form, length, payload = sent(array)
    objects = Objects.open("memory://")
    writer = BufferWriter(objects, "data/x/0.zip", form)
    part = writer.take(ArchiveReader(io.BytesIO(payload)), length)
    storage = TableStorage(format="buffers", parts=(part,) * times)
    return StoredNested(objects, storage, form, length * times, lambda *_: [])


def received(nested: StoredNested) -> list[Any]:
    with nested.members() as members:
        payload = b"".join(archived(members))
        assert len(payload) == archive_bytes(members)
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        assert archive.testzip() is None
        buffers = {name: archive.read(name) for name in archive.namelist()}
    form = ak.forms.from_dict(nested.document)
    rows: list[Any] = ak.from_buffers(form, nested.length, buffers).to_list()
    return rows


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("rows", [1, 2, 65_536])
def test_every_form_comes_back_whole_and_in_windows(
    name: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows_module, "WINDOW_ROWS", rows)
    wanted = ARRAYS[name].to_list()
    assert received(stored(ARRAYS[name])) == wanted
    nested = stored(ARRAYS[name], times=2)
    assert received(nested) == wanted * 2
    assert [row for array in nested.arrays() for row in array.to_list()] == wanted * 2


@pytest.mark.parametrize("name", ARRAYS)
def test_arrow_lists_become_buffers_of_the_declared_form(name: str) -> None:
    form, length, _ = sent(ARRAYS[name])
    table = arrow_of(ARRAYS[name], plain=True)

    def batches(start: int, stop: int) -> Iterable[pa.RecordBatch]:
        found: list[pa.RecordBatch] = table.slice(start, stop - start).to_batches(max_chunksize=2)
        return found

    objects = Objects.open("memory://")
    part = BufferWriter(objects, "data/x/0.zip", form).take(
        ArchiveReader(io.BytesIO(sent(ARRAYS[name])[2])), length
    )
    storage = TableStorage(format="arrow", parts=(part,))
    nested = StoredNested(objects, storage, form, length, batches)
    assert received(nested) == ARRAYS[name].to_list()


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 40), 1 << 40),
    st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8"), max_size=5),
)
rows = st.lists(
    st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.fixed_dictionaries({"x": inner, "y": inner})
        ),
        max_leaves=6,
    ),
    max_size=5,
)


@settings(max_examples=40, deadline=None)
@given(rows)
def test_whatever_awkward_holds_comes_back(values: list[Any]) -> None:
    array = ak.Array(values)
    nested = stored(array, times=2)
    assert received(nested) == array.to_list() * 2
    assert [row for part in nested.arrays() for row in part.to_list()] == array.to_list() * 2


def refused(form: dict[str, Any], length: int, buffers: dict[str, Any]) -> LakeError:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, buffer in buffers.items():
            archive.writestr(name, np.asarray(buffer).tobytes())
    objects = Objects.open("memory://")
    with pytest.raises(LakeError) as caught:
        BufferWriter(objects, "data/x/0.zip", form).take(ArchiveReader(file), length)
    assert list(objects.list("data")) == []
    return caught.value


LISTS = {"class": "ListOffsetArray", "offsets": "i64", "content": "int64"}
UNION = {"class": "UnionArray", "tags": "i8", "index": "i64", "contents": ["int64", "float64"]}


@pytest.mark.parametrize(
    ("form", "length", "buffers", "told"),
    [
        (LISTS, 2, {"node0-offsets": [0, 2, 1], "node1-data": [1, 2]}, "backwards"),
        (LISTS, 2, {"node0-offsets": [-1, 0, 1], "node1-data": [1]}, "negative"),
        (LISTS, 2, {"node0-offsets": [0, 1, 1 << 60], "node1-data": [1]}, "too short"),
        (LISTS, 2, {"node0-offsets": [0, 1], "node1-data": [1]}, "too short"),
        (LISTS, 1 << 61, {"node0-offsets": [0, 1], "node1-data": [1]}, "too short"),
        (LISTS, 1, {"node0-offsets": [0, 1]}, "missing"),
        (LISTS, 1, {"node0-offsets": [0, 0], "node1-data": [], "../x": []}, "no buffer"),
        (UNION, 1, {"node0-tags": np.array([7], np.int8), "node0-index": [0]}, "does not have"),
        (UNION, 1, {"node0-tags": np.array([0], np.int8), "node0-index": [-1]}, "does not have"),
        (
            {"class": "IndexedArray", "index": "i64", "content": "int64"},
            1,
            {"node0-index": [-1], "node1-data": [1]},
            "negative",
        ),
        (
            {"class": "ListArray", "starts": "i64", "stops": "i64", "content": "int64"},
            1,
            {"node0-starts": [2], "node0-stops": [1], "node1-data": [1, 2]},
            "before they begin",
        ),
    ],
)
def test_buffers_that_lead_nowhere_are_refused(
    form: dict[str, Any], length: int, buffers: dict[str, Any], told: str
) -> None:
    error = refused(numbered_form(form), length, buffers)
    assert error.kind is ErrorKind.BAD_BODY
    assert told in error.message


def test_lists_that_share_their_elements_do_not_fill_the_memory() -> None:
    count = 1 << 16
    form = {"class": "ListArray", "starts": "i64", "stops": "i64", "content": "int64"}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("node0-starts", np.zeros(count, np.int64).tobytes())
        archive.writestr("node0-stops", np.full(count, count, np.int64).tobytes())
        archive.writestr("node1-data", np.arange(count).tobytes())
    objects = Objects.open("memory://")
    document = numbered_form(form)
    part = BufferWriter(objects, "data/x/0.zip", document).take(ArchiveReader(file), count)
    storage = TableStorage(format="buffers", parts=(part,))
    nested = StoredNested(objects, storage, document, count, lambda *_: [])
    rows, _ = next(nested.windows())  # all of it would be 32 GB when written out
    assert rows * count * 8 <= 2 * windows_module.WINDOW_BYTES


@pytest.mark.parametrize(
    "form",
    [
        {"class": "NoSuchArray"},
        {"class": "NumpyArray", "primitive": "object"},
        {"class": "RegularArray", "size": -1, "content": "int64"},
        {"class": "RecordArray", "fields": ["a"], "contents": []},
        {"class": "ListOffsetArray", "offsets": "i64"},
        {"class": "NumpyArray", "primitive": "int64", "form_key": "../../x"},
        [],
        "no type",
    ],
)
def test_what_is_no_form_is_refused(form: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_form(form)
    assert caught.value.kind is ErrorKind.BAD_STRUCTURE


def test_a_form_that_is_too_deep_is_refused() -> None:
    form: Any = "int64"
    for _ in range(500):
        form = {"class": "ListOffsetArray", "offsets": "i64", "content": form}
    with pytest.raises(InvalidRequestError, match="deeper than 64"):
        parse_form(form)
