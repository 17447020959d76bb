"""Tables, sparse and nested data through a server."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import sparse

from lakeservice.client import Awkward, Container, Lake, Sparse, Table
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.query import Comparison

ROWS = 300_000
RANDOM = np.random.default_rng(3)
MONITOR = pa.table(
    {
        "time_s": np.arange(ROWS) / 1000,
        "ring_ma": RANDOM.normal(300, 2, ROWS).astype("f4"),
        "shutter": np.where(np.arange(ROWS) % 7, "open", "closed"),
        "counts": pa.array(RANDOM.integers(0, 99, ROWS), mask=np.arange(ROWS) % 11 == 0),
    }
)


@pytest.fixture(scope="module")
def monitor(lake: Lake) -> Table:
    node = lake.write_table("tables/monitor", MONITOR, metadata={"beamline": "I22"})
    assert isinstance(node, Table)
    return node


def test_a_table_says_what_it_is(monitor: Table) -> None:
    assert monitor.columns == ("time_s", "ring_ma", "shutter", "counts")
    assert (len(monitor), monitor.shape) == (ROWS, (ROWS, 4))
    assert monitor.schema.field("ring_ma").type == pa.float32()
    assert "ring_ma" in monitor
    assert "energy" not in monitor
    assert repr(monitor) == (
        "<Table 'tables/monitor' 300000 rows (time_s, ring_ma, shutter, counts)>"
    )


def test_every_form_holds_the_same_rows(monitor: Table) -> None:
    table = monitor.to_arrow()
    assert table.to_pydict() == MONITOR.to_pydict()
    assert b"lake.table" not in (table.schema.metadata or {})
    assert monitor.read().equals(table)
    frame = monitor.to_polars()
    assert isinstance(frame, pl.DataFrame)
    assert frame["ring_ma"].to_list() == MONITOR["ring_ma"].to_pylist()
    pandas = monitor.to_pandas()
    assert isinstance(pandas, pd.DataFrame)
    assert np.array_equal(pandas["time_s"], MONITOR["time_s"])


def test_a_column_of_categories_comes_back(home: Container) -> None:
    values = ["open", "closed", "open"]
    node = home.write_table("t", {"shutter": pa.array(values).dictionary_encode()})
    assert node.to_arrow()["shutter"].to_pylist() == values
    assert list(node["shutter"]) == values


def test_columns_and_limits_are_those_asked_for(monitor: Table) -> None:
    table = monitor.to_arrow(["counts", "time_s"], limit=5)
    assert table.column_names == ["counts", "time_s"]
    assert table["time_s"].to_pylist() == MONITOR["time_s"].to_pylist()[:5]
    assert monitor[["time_s"]].column_names == ["time_s"]


def test_a_column_is_a_numpy_array(monitor: Table) -> None:
    found = monitor["ring_ma"]
    assert isinstance(found, np.ndarray)
    assert found.dtype == "f4"
    assert np.array_equal(found, MONITOR["ring_ma"])
    assert list(monitor["shutter"][:2]) == ["closed", "open"]


def test_batches_stream_all_rows_in_order(monitor: Table) -> None:
    batches = list(monitor.batches(["time_s"]))
    assert len(batches) > 1
    assert np.array_equal(pa.Table.from_batches(batches)["time_s"], MONITOR["time_s"])


def test_a_stream_may_be_left_early(monitor: Table) -> None:
    for _ in range(20):
        first = next(monitor.batches())
        assert first.num_rows > 0


def test_a_condition_keeps_the_rows_that_hold(monitor: Table) -> None:
    times = np.asarray(MONITOR["time_s"])
    found = monitor.to_arrow(["time_s"], Comparison("time_s", "ge", 200.0))
    assert np.array_equal(found["time_s"], times[times >= 200])


def test_an_unknown_column_is_refused_by_kind(monitor: Table) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        monitor.to_arrow(["energy"])
    assert caught.value.kind is ErrorKind.UNKNOWN_COLUMN


def test_rows_are_appended_in_any_form(home: Container) -> None:
    node = home.write_table("t", {"x": [1.0, 2.0], "s": ["a", "b"]})
    node.append({"s": ["c"], "x": [3]})
    node.append(pd.DataFrame({"x": [4.0], "s": ["d"]}))
    assert len(node) == 4
    assert node.to_arrow().to_pydict() == {"x": [1, 2, 3, 4], "s": ["a", "b", "c", "d"]}
    with pytest.raises(InvalidRequestError, match="the table has"):
        node.append({"y": [1.0]})


def test_an_empty_table_has_columns(home: Container) -> None:
    node = home.write_table("t", MONITOR.slice(0, 0))
    assert len(node) == 0
    assert node.to_arrow().column_names == MONITOR.column_names


def test_a_stream_that_fails_leaves_nothing_behind(home: Container) -> None:
    def batches() -> Any:
        yield {"x": [1.0]}
        yield {"x": [2.0]}
        raise OSError("the detector is gone")

    with pytest.raises(OSError, match="the detector is gone"):
        home.write_table("t", batches())
    assert "t" not in home
    node = home.write_table("u", {"x": [0.0]})
    with pytest.raises(OSError, match="the detector is gone"):
        node.append(batches())
    assert len(node.refresh()) == 1


def test_a_sparse_array_reads_what_a_selection_holds(home: Container) -> None:
    array = sparse.random((40, 50, 60), density=0.01, random_state=1)
    node = home.write_sparse("s", array, dims=("x", "y", "t"), metadata={"a": 1})
    assert isinstance(node, Sparse)
    assert (node.shape, node.dtype, node.dims) == ((40, 50, 60), np.dtype("f8"), ("x", "y", "t"))
    dense = array.todense()
    assert np.array_equal(node.read().todense(), dense)
    for index in (np.s_[3:20:2, ::-1, 7], np.s_[...], np.s_[5], np.s_[0:0], np.s_[1, 2, :]):
        found = node[index]
        assert np.array_equal(found.todense(), dense[index])
    coordinates, values = node.coordinates()
    assert np.array_equal(coordinates, array.coords)
    assert np.array_equal(values, array.data)


def test_sparse_values_without_an_arrow_type_come_back(home: Container) -> None:
    array = sparse.COO(np.array([[0, 2], [1, 0]]), np.array([1 + 2j, -1j]), shape=(3, 2))
    node = home.write_sparse("s", array)
    assert np.array_equal(node.read().todense(), array.todense())


@pytest.mark.parametrize(
    "nested",
    [
        [[1, 2], [], [3]],
        [{"x": 1, "y": [1.0, 2.0]}, {"x": 2, "y": []}],
        [[{"a": 1.5}], []],
        ["one", "two"],
        [[["a", None], []], [["b"]]],
    ],
    ids=str,
)
def test_nested_data_comes_back_with_its_type(home: Container, nested: list[Any]) -> None:
    array = ak.Array(nested)
    node = home.write_awkward("a", array)
    assert isinstance(node, Awkward)
    assert len(node) == len(nested)
    found = node.read()
    assert found.to_list() == nested
    assert found.type == array.type
    assert node[0].to_list() == nested[0] if isinstance(nested[0], list) else node[0] is not None


def test_fields_of_records_are_read_alone(home: Container) -> None:
    node = home.write_awkward("a", [{"x": 1, "y": [1.0, 2.0]}, {"x": 2, "y": []}])
    assert node.read(["y"]).to_list() == [{"y": [1.0, 2.0]}, {"y": []}]


def test_a_column_below_a_table_is_an_array_that_the_server_decodes(
    monitor: Table, lake: Lake
) -> None:
    column = lake["tables/monitor/time_s"]
    assert column.nbytes > 2 << 20
    for _ in range(2):
        assert np.array_equal(column[...], MONITOR["time_s"])
        assert column.last_delivery == "decoded"
    assert np.array_equal(column[5:100:7], np.asarray(MONITOR["time_s"])[5:100:7])
    with pytest.raises(InvalidRequestError) as caught:
        column.read(delivery="encoded")
    assert caught.value.kind is ErrorKind.WRONG_FAMILY
