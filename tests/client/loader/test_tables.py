"""Loaders over tables: rows of chosen columns, and no more memory than two windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from schemas.errors import ConflictError, InvalidRequestError

if TYPE_CHECKING:
    from lakeservice.client import Container

LENGTHS = (100, 0, 350, 7)


@pytest.fixture
def tables(home: Container) -> list[Any]:
    made = []
    for number, length in enumerate(LENGTHS):
        rows = {
            "energy": np.arange(length) + 1000.5 * number,
            "hit": np.arange(length) % 3 == 0,
            "detector": pa.array([f"d{row % 5}" for row in range(length)], pa.string()),
            "position": pa.array([[row, number] for row in range(length)], pa.list_(pa.int32(), 2)),
            "other": np.zeros(length),
        }
        made.append(home.write_table(f"t{number}", pa.table(rows)))
    return made


@pytest.mark.parametrize("shuffle", [False, True, "full"])
def test_rows_are_samples(home: Container, tables: list[Any], shuffle: Any) -> None:
    columns = ("energy", "hit", "detector", "position")
    loader = home.loader(tables, batch_size=64, shuffle=shuffle, window=120, columns=columns)
    assert (loader.samples, loader.sample_shape) == (457, None)
    seen = []
    for batch in loader:
        nodes, rows = batch.indices[:, 0], batch.indices[:, 1]
        assert tuple(batch.data) == columns
        assert np.array_equal(batch.data["energy"], rows + 1000.5 * nodes)
        assert np.array_equal(batch.data["hit"], rows % 3 == 0)
        assert batch.data["detector"].tolist() == [f"d{row % 5}" for row in rows]
        assert np.array_equal(batch.data["position"], np.stack((rows, nodes), axis=1))
        seen += [tuple(sample) for sample in batch.indices.tolist()]
    assert sorted(seen) == [(n, row) for n, length in enumerate(LENGTHS) for row in range(length)]


def test_memory_is_that_of_two_windows(home: Container, tables: list[Any]) -> None:
    loader = home.loader(tables, batch_size=16, shuffle=True, window=40, prefetch=2)
    list(loader)
    rows: Any = loader._source
    assert 0 < rows.most_rows <= 2 * 40 + 2 * 10


def test_no_share_of_a_batch_has_columns_all_the_same(home: Container, tables: list[Any]) -> None:
    loader = home.loader(tables[:1], batch_size=99, rank=1, world_size=2, columns="energy")
    last = list(loader)[-1]
    assert {name: values.shape for name, values in last.data.items()} == {"energy": (0,)}


def test_all_columns_are_taken_where_none_is_chosen(home: Container, tables: list[Any]) -> None:
    batch = home.loader(tables, batch_size=5).batch(0)
    assert list(batch.data) == ["energy", "hit", "detector", "position", "other"]


def test_tables_that_do_not_fit_together_are_named(home: Container, tables: list[Any]) -> None:
    other = home.write_table("other", {"energy": [1, 2]})
    with pytest.raises(InvalidRequestError, match=r"column 'energy' of .*/other' is int64; double"):
        home.loader([tables[0], other], batch_size=2, columns=["energy"])
    with pytest.raises(InvalidRequestError, match="/other' has no column 'hit'"):
        home.loader([tables[0], other], batch_size=2, columns=["hit"])
    array = home.write_array("array", np.zeros((3, 2)))
    with pytest.raises(InvalidRequestError, match=r"'hit'.* is an array"):
        home.loader(array, batch_size=2, columns=["hit"])


@pytest.mark.parametrize("labels", [True, False])
def test_whole_numbers_that_are_missing_in_vectors_are_refused(
    home: Container, labels: bool
) -> None:
    vectors = pa.array([[1, 2], [3, None]], pa.list_(pa.int32(), 2))
    gaps = home.write_table("gaps", pa.table({"v": vectors}))
    whole = home.write_table("whole", pa.table({"v": pa.array([[5, 6]], vectors.type)}))
    if labels:
        loader = home.loader(home.write_array("a", np.zeros(2)), batch_size=2, labels=("gaps", "v"))
    else:
        loader = home.loader([whole, gaps], batch_size=3)
    with pytest.raises(InvalidRequestError, match=r"'v' of .* has 1 missing values"):
        loader.batch(0)


def test_a_table_that_changes_is_named(home: Container, tables: list[Any]) -> None:
    loader = home.loader(tables, batch_size=5, columns=["energy"])
    loader.batch(0)
    tables[0].append(tables[0].to_arrow(limit=1))
    with pytest.raises(ConflictError, match="/t0' has changed"):
        loader.batch(0)
