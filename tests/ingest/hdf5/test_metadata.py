"""What becomes searchable: attributes, single values and short texts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.ingest.hdf5.conftest import Described

    Describe = Callable[[Path], Described]


def test_the_files_metadata_nests_as_the_file_does(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["creator"] = "me"
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        entry.attrs["title"] = "of the group"
        entry["title"] = "of the dataset"
        sample = entry.create_group("sample")
        sample["distance"] = np.array([5.5], "f4")
        sample["distance"].attrs["units"] = np.bytes_("mm")
        sample["image"] = np.zeros((4, 4))
        sample["image"].attrs["signal"] = 1
        entry.create_group("nothing")
    described = describe(path)
    assert described.metadata == {
        "creator": "me",
        "entry": {
            "NX_class": "NXentry",
            "@title": "of the group",
            "title": "of the dataset",
            "sample": {"distance": 5.5, "distance@units": "mm", "image@signal": 1},
            "nothing": {},
        },
    }
    items = described.items
    assert items["entry"].metadata == {"NX_class": "NXentry", "title": "of the group"}
    assert items["entry/sample/distance"].metadata == {"units": "mm"}
    assert items["entry/sample/image"].metadata == {"signal": 1}


ATTRIBUTES: dict[str, tuple[Any, Any]] = {
    "float": (np.float32(1.5), 1.5),
    "nan": (np.nan, "nan"),
    "minus infinity": (-np.inf, "-inf"),
    "big integer": (np.uint64(2**64 - 1), 2**64 - 1),
    "big-endian": (np.array([1, 2], ">i2"), [1, 2]),
    "grid": (np.arange(6).reshape(2, 3), [[0, 1, 2], [3, 4, 5]]),
    "one of one": ([7], 7),
    "none of some": (np.zeros((0,), "f4"), []),
    "bool": (True, True),
    "bytes": (np.bytes_("abc"), "abc"),
    "latin": (np.bytes_(b"\xe5ngstr\xf6m"), "ångström"),
    "text": ("é ☃", "é ☃"),
    "texts": (["a", "bc"], ["a", "bc"]),
    "complex": (1 + 2j, [1.0, 2.0]),
    "record": (np.array((1, 2.5), [("a", "i4"), ("b", "f8")]), {"a": 1, "b": 2.5}),
    "empty": (h5py.Empty("f4"), None),
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_become_json(name: str, tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    value, expected = ATTRIBUTES[name]
    with h5py.File(path, "w") as file:
        file.attrs[name] = value
    metadata = describe(path).metadata
    assert metadata == {name: expected}
    json.dumps(metadata, allow_nan=False)


def test_what_is_data_rather_than_metadata_is_left_out(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["list"] = np.arange(65)
        file.attrs["short list"] = np.arange(64)
        file.attrs["configuration"] = "x" * 5000
        file["group/x"] = 1
        file["group"].attrs["configuration"] = "x" * 5000
    described = describe(path)
    assert described.metadata == {"short list": list(range(64)), "group": {"x": 1}}
    assert described.items["group"].metadata == {"configuration": "x" * 5000}


def test_attributes_in_dense_storage_and_odd_names(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        for number in range(100):
            file.attrs[f"n{number}"] = number
        file.attrs["größe/x y"] = 1
        file.attrs["large"] = "y" * 70_000
    metadata = describe(path).metadata
    assert metadata["größe/x y"] == 1
    assert all(metadata[f"n{number}"] == number for number in range(100))


def test_a_file_of_endless_values_is_cut(
    tmp_path: Path, describe: Describe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.formats.hdf5_tree.MOST_VALUES", 50)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for number in range(60):
            file[f"v{number}"] = number
    described = describe(path)
    assert len(described.metadata) == 50
    assert described.found.problems == ["only the first 50 values are searchable"]
    assert len(described.items) == 60


def test_a_table_of_columns_of_one_length(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        scan = file.create_group("scan")
        scan["x"] = np.linspace(0, 1, 100_000)
        scan.create_dataset(
            "counts", data=np.arange(100_000, dtype=">u4"), chunks=(777,), compression="gzip"
        )
        scan.create_dataset("good", data=np.arange(100_000) % 3 == 0)
        scan["image"] = np.zeros((3, 3))
        scan["title"] = "t"
        lone = file.create_group("lone")
        lone["a"] = np.arange(4)
        lone["b"] = np.arange(5)
        detector = file.create_group("detector")
        detector.attrs["NX_class"] = "NXdetector"
        detector["a"] = detector["b"] = np.arange(4)
    described = describe(path)
    tables = [name for name in described.items if name.endswith("@table")]
    assert tables == ["scan@table"]
    rows = described.rows("scan@table")
    assert rows.column_names == ["counts", "good", "x"]
    np.testing.assert_array_equal(rows["counts"], np.arange(100_000))
    np.testing.assert_array_equal(rows["x"], np.linspace(0, 1, 100_000))
    np.testing.assert_array_equal(rows["good"], np.arange(100_000) % 3 == 0)


def test_a_table_gives_way_to_a_group_of_its_name(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["scan/a"] = file["scan/b"] = np.arange(4)
        file["scan@table"] = 5
    described = describe(path)
    assert len(described.items) == len(described.found.items)
    assert described.read("scan@table") == 5
