"""Containers as HDF5: h5py reads what NumPy and Arrow hold."""

from __future__ import annotations

import io
import json
import time
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pyarrow as pa
import pytest

from lakeservice.export.container_hdf5 import CONTAINER, TABLE, prepare
from schemas.entry import Spec
from schemas.errors import CorruptError, ErrorKind
from tests.export.memory import InMemoryArray, InMemoryContainer, InMemoryTable, written

if TYPE_CHECKING:
    from collections.abc import Iterator

RNG = np.random.default_rng(7)
ARRAYS: dict[str, Any] = {
    "stack": RNG.integers(0, 60_000, (5, 4, 3)).astype("<u2"),
    "big-endian": np.arange(6, dtype=">f4").reshape(2, 3),
    "scalar": np.array(3.5),
    "empty": np.empty((0, 3)),
    "complex": np.array([1 + 2j, -1j]),
    "flags": np.array([True, False]),
    "bytes": np.array([b"ab", b"c"]),
    "half": np.array([1.5, -2.0], "f2"),
}
TABLE_OF_ALL = pa.table(
    {
        "whole": [1, 2, 3, 4, 5],
        "holes": pa.array([1, None, 3, 4, 5]),
        "text": ["a", "bb", None, "ü", "日本"],
        "double": [1.0, None, 3.0, 4.0, 5.0],
        "pair": [[1, 2]] * 5,
        "lists": [[1], [], [1, 2], None, [3]],
        "category": pa.array(["a", "b", "a", "b", None]).dictionary_encode(),
        "when": pa.array([0, 1, 2, 3, None], pa.timestamp("ns")),
        "day": pa.array([0, 1, 2, 3, None], pa.date32()),
        "object": [{"a": 1}] * 5,
    }
)


def opened(payload: bytes) -> Any:
    return h5py.File(io.BytesIO(payload))


def arrays(name: str = "deep") -> InMemoryContainer:
    below = [
        InMemoryArray(name=key, array=value, metadata={"unit": "mm"}, length=2)
        for key, value in ARRAYS.items()
    ]
    return InMemoryContainer(name=name, below=below)


@pytest.fixture(scope="module")
def file() -> Any:
    metadata = {"uid": "x", "numbers": [1, 2], "nested": {"b": [1, {"c": None}]}, "huge": 2**70}
    table = InMemoryTable(name="table", table=TABLE_OF_ALL)
    nothing = InMemoryTable(name="nothing", table=TABLE_OF_ALL.slice(0, 0))
    hollow = InMemoryContainer(name="hollow", specs=(Spec("NXentry"),))
    return opened(
        written(
            CONTAINER,
            InMemoryContainer(metadata=metadata, below=[arrays(), table, nothing, hollow]),
        )
    )


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_comes_back_with_its_type_and_metadata(file: Any, name: str) -> None:
    dataset = file["deep"][name]
    assert dataset.dtype == ARRAYS[name].dtype
    assert np.array_equal(dataset[()], ARRAYS[name])
    assert dataset.attrs["unit"] == "mm"


def test_unicode_becomes_text_in_utf8() -> None:
    words = np.array([["ab", "ü"], ["", "日本語"]])
    source = InMemoryContainer(below=[InMemoryArray(name="words", array=words)])
    read = opened(written(CONTAINER, source))["words"].asstr()[()]
    assert read.tolist() == words.tolist()


def test_times_are_whole_numbers_with_a_unit() -> None:
    times = np.array(["2024-01-01T00:00:01", "NaT"], "M8[s]")
    source = InMemoryContainer(below=[InMemoryArray(name="times", array=times)])
    dataset = opened(written(CONTAINER, source))["times"]
    assert dataset.attrs["units"] == "seconds since 1970-01-01 00:00:00"
    assert np.array_equal(dataset[()].view("M8[s]"), times, equal_nan=True)


def test_a_record_keeps_its_fields() -> None:
    kind = [("name", "U10"), ("age", "i4"), ("weight", "f4", (2,))]
    pets = np.array([("Rex", 9, (1, 2)), ("Fidö", 3, (3, 4))], dtype=kind)
    source = InMemoryContainer(below=[InMemoryArray(name="pets", array=pets)])
    read = opened(written(CONTAINER, source))["pets"][()]
    assert [one.decode() for one in read["name"]] == ["Rex", "Fidö"]
    assert read["age"].tolist() == [9, 3]
    assert read["weight"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("name", ["whole", "pair"])
def test_numbers_of_a_table_keep_their_type(file: Any, name: str) -> None:
    dataset = file["table"][name]
    assert dataset.dtype == np.dtype("<i8")
    assert dataset[()].tolist() == TABLE_OF_ALL[name].to_pylist()


@pytest.mark.parametrize("name", ["holes", "double"])
def test_a_number_that_is_missing_is_not_a_number(file: Any, name: str) -> None:
    want = TABLE_OF_ALL[name].to_pandas().to_numpy()
    assert np.array_equal(file["table"][name][()], want, equal_nan=True)


@pytest.mark.parametrize("name", ["text", "category"])
def test_text_of_a_table_comes_back(file: Any, name: str) -> None:
    want = [value or "" for value in TABLE_OF_ALL[name].to_pylist()]
    assert file["table"][name].asstr()[()].tolist() == want


@pytest.mark.parametrize("name", ["lists", "object"])
def test_what_hdf5_does_not_know_is_json(file: Any, name: str) -> None:
    read = [json.loads(one or "null") for one in file["table"][name].asstr()[()]]
    assert read == TABLE_OF_ALL[name].to_pylist()


def test_text_of_very_different_lengths_does_not_fill_the_disk() -> None:
    texts = ["x" * 2_000_000, *["y"] * 50]
    payload = written(TABLE, InMemoryTable(name="logs", table=pa.table({"log": texts})))
    assert len(payload) < 4_000_000
    assert opened(payload)["logs/log"].asstr()[()].tolist() == texts


def test_a_table_without_rows_has_its_columns(file: Any) -> None:
    assert list(file["nothing"]) == TABLE_OF_ALL.column_names
    assert all(len(file["nothing"][name]) == 0 for name in TABLE_OF_ALL.column_names)


def test_metadata_are_attributes_and_nested_ones_are_json(file: Any) -> None:
    assert file.attrs["uid"] == "x"
    assert file.attrs["numbers"].tolist() == [1, 2]
    assert json.loads(file.attrs["nested"]) == {"b": [1, {"c": None}]}
    assert file.attrs["huge"] == str(2**70)


def test_groups_keep_the_order_of_the_tree(file: Any) -> None:
    assert list(file) == ["deep", "table", "nothing", "hollow"]


def test_viewers_are_led_to_a_plot(file: Any) -> None:
    group = file[file.attrs["default"]]
    assert group.attrs["NX_class"] == "NXdata"
    assert len(group[group.attrs["signal"]]) == len(group[group.attrs["axes"][0]]) > 0
    assert file["hollow"].attrs["NX_class"] == "NXentry"


def test_any_range_of_the_file_is_that_of_the_whole() -> None:
    prepared = prepare(arrays())
    whole = b"".join(prepared.pieces())
    assert prepared.size == len(whole)
    for start, stop in ((0, 10), (100, 3_000), (len(whole) - 7, len(whole)), (0, len(whole))):
        assert b"".join(prepared.pieces(start, stop)) == whole[start:stop]


def test_the_same_data_give_the_same_bytes_at_another_time() -> None:
    source = InMemoryContainer(
        metadata={"text": "x", "numbers": [1.5]},
        below=[arrays(), InMemoryTable(name="table", table=TABLE_OF_ALL)],
    )
    first = written(CONTAINER, source)
    time.sleep(1.1)  # HDF5 would keep times in whole seconds
    assert written(CONTAINER, source) == first


def test_names_that_hdf5_does_not_know_are_made_free() -> None:
    rows = pa.table({name: [number] for number, name in enumerate(["", ".", "a/b", "a_b", "_"])})
    file = opened(written(TABLE, InMemoryTable(name="t", table=rows)))
    assert [int(one[0]) for one in file["t"].values()] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("kind", ["V8", "g", "G", "S0", "M8[25s]", "m8[D]"])
def test_rare_types_can_be_written(kind: str) -> None:
    array = np.zeros(3, kind)
    file = opened(
        written(CONTAINER, InMemoryContainer(below=[InMemoryArray(name="a", array=array)]))
    )
    assert file["a"].shape == (3,)


def test_an_array_that_cannot_be_read_is_told_of() -> None:
    broken = InMemoryArray(name="lost", array=np.ones(3), problem="its file is gone")
    file = opened(written(CONTAINER, InMemoryContainer(below=[broken])))
    assert file["lost"].attrs["problem"] == "its file is gone"


def test_what_cannot_be_looked_into_does_not_stop_the_rest() -> None:
    class Broken(InMemoryContainer):
        def children(self) -> Iterator[Any]:
            raise CorruptError(ErrorKind.ASSET_MISSING, "a link that leads nowhere")

    below = [Broken(name="link", problem="a link that leads nowhere"), arrays()]
    file = opened(written(CONTAINER, InMemoryContainer(below=below)))
    assert file["link"].attrs["problem"] == "a link that leads nowhere"
    assert "stack" in file["deep"]


def test_a_summary_of_a_group_is_not_an_attribute_too() -> None:
    metadata = {"deep": {"unit": "mm"}, "other": {"a": 1}}
    file = opened(written(CONTAINER, InMemoryContainer(metadata=metadata, below=[arrays()])))
    assert "deep" not in file.attrs
    assert "other" in file.attrs


def test_long_metadata_are_kept() -> None:
    metadata = {
        "log": "x" * 200_000,
        "many": list(range(20_000)),
        **{f"k{i}": i for i in range(40)},
    }
    file = opened(written(CONTAINER, InMemoryContainer(metadata=metadata)))
    assert file.attrs["log"] == metadata["log"]
    assert json.loads(file.attrs["many"]) == metadata["many"]
    assert file.attrs["k39"] == 39
