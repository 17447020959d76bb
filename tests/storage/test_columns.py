"""Tables whose columns are arrays in files: read as any other table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from lakeservice.storage.columns import to_arrow
from lakeservice.storage.files import FileReader
from lakeservice.storage.objects import Objects
from lakeservice.storage.tables import StoredTable
from schemas.chunks import ArrayStorage, ChunkLayout, Column, Contiguous, Inline, TableStorage
from schemas.entry import Asset
from schemas.errors import CorruptError
from schemas.query import Comparison
from schemas.structures import ArrayStructure, DataType

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 150_000
COLUMNS = {
    "x": np.linspace(0, 1, COUNT),
    "counts": np.arange(COUNT, dtype=">u4"),
    "good": np.arange(COUNT) % 3 == 0,
    "name": np.array([f"n{number % 7}" for number in range(COUNT)], "S2"),
    "time": np.arange(COUNT).astype("M8[ms]"),
}


def column(name: str, values: np.ndarray[Any, Any], offset: int) -> Column:
    dtype = values.dtype
    chunks = (40_000,)
    return Column(
        name=name,
        structure=ArrayStructure.from_numpy((COUNT,), dtype.newbyteorder("="), chunks),
        storage=ArrayStorage(
            layout=ChunkLayout(
                data_type=DataType.from_numpy(dtype), chunk_shape=chunks, edge="clipped"
            ),
            location=Contiguous(offset=offset),
        ),
    )


@pytest.fixture
def table(tmp_path: Path) -> StoredTable:
    path = tmp_path / "columns.raw"
    columns, payload = [], b""
    for name, values in COLUMNS.items():
        columns.append(column(name, values, len(payload)))
        payload += values.tobytes()
    path.write_bytes(payload)
    asset = Asset(data_uri=path.as_uri())
    storage = TableStorage(columns=tuple(columns))
    return StoredTable(Objects.open("memory://"), storage, [asset], fetch_files=FileReader())


def test_all_columns_come_with_all_rows(table: StoredTable) -> None:
    assert (table.rows, table.npartitions) == (COUNT, 1)
    rows = table.batches().read_all()
    assert rows.schema == table.schema
    for name in ("x", "counts", "good", "time"):
        np.testing.assert_array_equal(rows[name].to_numpy(), COLUMNS[name])
    assert rows["name"].to_pylist() == COLUMNS["name"].astype("U").tolist()


def test_projection_conditions_limits_and_ranges(table: StoredTable) -> None:
    where = Comparison(key="counts", operator="lt", value=10)
    rows = table.batches(columns=["good", "x"], where=where).read_all()
    assert rows.column_names == ["good", "x"]
    np.testing.assert_array_equal(rows["x"], COLUMNS["x"][:10])
    assert table.batches(limit=7).read_all().num_rows == 7
    part = table.batches(columns=["counts"], rows=(99_990, 100_010)).read_all()
    np.testing.assert_array_equal(part["counts"], np.arange(99_990, 100_010))


def test_columns_of_different_lengths_are_refused() -> None:
    short = Column(
        name="y",
        structure=ArrayStructure.from_numpy((3,), np.dtype("i4")),
        storage=ArrayStorage(
            layout=ChunkLayout(data_type=DataType(kind="i", itemsize=4), chunk_shape=(3,)),
            location=Inline(payload=bytes(12)),
        ),
    )
    storage = TableStorage(columns=(column("x", COLUMNS["x"], 0), short))
    with pytest.raises(CorruptError, match="not of one length"):
        StoredTable(Objects.open("memory://"), storage, (), fetch_files=FileReader())


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.array([1.5, np.nan], ">f4"), pa.float32()),
        (np.array([1.5], "f2"), pa.float16()),
        (np.array([1.5], np.longdouble), pa.float64()),
        (np.array(["a", "bc"], "U2"), pa.string()),
        (np.array([b"\xe9"], "S1"), pa.string()),
        (np.array([b"ab"], "V2"), pa.binary(2)),
        (np.array([1], "M8[D]"), pa.int64()),
        (np.array([1], "m8[us]"), pa.duration("us")),
    ],
)
def test_elements_become_arrow_values(values: np.ndarray[Any, Any], kind: pa.DataType) -> None:
    found = to_arrow(values)
    assert found.type == kind
    if kind in (pa.float32(), pa.float16(), pa.float64()):
        np.testing.assert_array_equal(np.array(found.to_pylist()), values)
