"""Labels: from metadata or tables, paired with samples in order, text as text."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from schemas.errors import ConflictError, InvalidRequestError

if TYPE_CHECKING:
    from lakeservice.client import Container

    from .conftest import DataSet

LENGTHS = (7, 0, 12, 1, 20)


def classes_of(batch: Any) -> list[str]:
    return ["ring" if node % 2 else "blank" for node in batch.indices[:, 0].tolist()]


def test_a_metadata_key_is_the_label_of_all_samples_of_a_node(frames: DataSet) -> None:
    loader = frames.home.loader(
        frames.nodes, batch_size=9, shuffle=True, labels={"kind": "sample.class", "at": "angle"}
    )
    for batch in loader:
        assert list(batch) == ["data", "kind", "at"]
        assert batch["kind"].tolist() == classes_of(batch)
        assert batch["at"].dtype == np.float64
        assert np.array_equal(batch.labels["at"], batch.indices[:, 0] / 2)


def test_classes_count_the_values_of_a_label(frames: DataSet) -> None:
    frames.home.write_table("kinds", {"kind": ["ring", "blank"] * 20})
    settings: Any = {"batch_size": 9, "shuffle": True, "classes": ["blank", "ring"]}
    for batch in frames.home.loader(frames.nodes, labels="sample.class", **settings):
        assert batch["label"].dtype == np.int64
        assert np.array_equal(batch["label"], batch.indices[:, 0] % 2)
    loader = frames.home.loader(frames.nodes, labels=("kinds", "kind"), **settings)
    starts = np.cumsum((0, *LENGTHS))
    for batch in loader:
        places = starts[batch.indices[:, 0]] + batch.indices[:, 1]
        assert np.array_equal(batch["label"], 1 - places % 2)
    for wrong in ("sample.class", ("kinds", "kind")):
        with pytest.raises(InvalidRequestError, match=r"'ring'.*classes are"):
            frames.home.loader(
                frames.nodes, labels=wrong, **{**settings, "classes": ["blank"]}
            ).batch(0)


COLUMNS: dict[str, Any] = {
    "number": np.arange(40, dtype="i2"),
    "share": np.linspace(0, 1, 40),
    "name": [f"shot {n}" for n in range(40)],
    "vector": pa.array([[n, n / 2] for n in range(40)], pa.list_(pa.float32(), 2)),
    "kind": pa.array(["a", "b"] * 20).dictionary_encode(),
}


@pytest.mark.parametrize("column", COLUMNS)
def test_the_rows_of_a_table_are_the_samples_in_order(frames: DataSet, column: str) -> None:
    frames.home.write_table("shots", pa.table(COLUMNS))
    loader = frames.home.loader(
        frames.nodes, batch_size=7, shuffle=True, window=11, labels=("shots", column)
    )
    expected = pa.table(COLUMNS).column(column).to_pylist()
    starts = np.cumsum((0, *LENGTHS))
    for batch in pickle.loads(pickle.dumps(loader)):
        places = starts[batch.indices[:, 0]] + batch.indices[:, 1]
        assert batch["label"].tolist() == [expected[place] for place in places]


def test_tables_may_lie_beside_the_arrays(home: Container) -> None:
    for run in range(3):
        home.write_array(f"run{run}/frames", np.full((4 + run, 2, 2), run, "u1"))
        home.write_table(f"run{run}/log/shots", {"energy": [run * 10 + n for n in range(4 + run)]})
    paths = [f"run{run}/frames" for run in range(3)]
    loader = home.loader(paths, batch_size=4, shuffle="full", labels=("./log/shots", "energy"))
    for batch in loader:
        assert batch["label"].tolist() == [n * 10 + row for n, row in batch.indices.tolist()]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("sample.mass", "/n0' has no metadata 'sample.mass'"),
        (("shots", "energy"), "/shots' has no column 'energy'; there are number"),
        (("short", "number"), "/short' has 3 rows, and 5 nodes 40 samples"),
        (("n0", "number"), "/n0': its family is array, not table"),
        (("nowhere", "number"), "nowhere"),
        (7, "a label 7; it is a metadata key or a pair"),
        ({"a": ("shots",)}, "it is a metadata key or a pair"),
    ],
)
def test_labels_that_are_not_there_are_named(frames: DataSet, labels: Any, message: str) -> None:
    frames.home.write_table("shots", {"number": list(range(40))})
    frames.home.write_table("short", {"number": [1, 2, 3]})
    with pytest.raises(Exception, match=message):
        frames.home.loader(frames.nodes, batch_size=4, labels=labels)


def test_missing_whole_numbers_are_refused_and_missing_text_is_none(frames: DataSet) -> None:
    gaps = pa.table({"n": pa.array([None, *range(39)]), "t": pa.array([None, *["x"] * 39])})
    frames.home.write_table("gaps", gaps)
    with pytest.raises(InvalidRequestError, match=r"column 'n' of .* has 1 missing values"):
        frames.home.loader(frames.nodes, batch_size=4, labels=("gaps", "n")).batch(0)
    loader = frames.home.loader(frames.nodes, batch_size=2, labels=("gaps", "t"))
    assert loader.batch(0)["label"].tolist() == [None, "x"]


def test_classes_may_be_an_array_and_have_to_be_of_the_column_s_type(frames: DataSet) -> None:
    frames.home.write_table("kinds", {"kind": ["ring", "blank"] * 20, "number": list(range(40))})
    classes: Any = np.array(["blank", "ring"])
    for labels in ("sample.class", ("kinds", "kind")):
        loader = frames.home.loader(frames.nodes, batch_size=2, labels=labels, classes=classes)
        assert set(loader.batch(0)["label"].tolist()) <= {0, 1}
    with pytest.raises(InvalidRequestError, match=r"column 'number' .* is int64; classes are"):
        frames.home.loader(
            frames.nodes, batch_size=2, labels=("kinds", "number"), classes=["blank"]
        ).batch(0)


def test_a_table_of_labels_that_changes_is_named(frames: DataSet) -> None:
    frames.home.write_table("shots", {"number": list(range(40))})
    loader = frames.home.loader(frames.nodes, batch_size=4, labels=("shots", "number"))
    frames.home["shots"].append({"number": [40]})
    with pytest.raises(ConflictError, match="/shots' has changed"):
        loader.batch(0)
