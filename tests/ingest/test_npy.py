"""NPY and NPZ files, against NumPy."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ingest.formats.npy import NpyFormat
from ingest.formats.npz import NpzFormat
from ingest.layouts import TARGET_BYTES
from ingest.testing import FormatSuite, ScratchLake, assert_same_values, take_alone
from schemas.chunks import ArrayStorage, Contiguous

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pytest

CUBE = np.arange(4 * 5 * 6, dtype="<u2").reshape(4, 5, 6)
RECORDS = np.array(
    [(1, 2.5, b"ab"), (3, -1.0, b"c")], dtype=[("n", "<i4"), ("x", ">f8"), ("s", "S3")]
)


class TestNpy(FormatSuite):
    format = NpyFormat()

    def sample(self, folder: Path) -> Path:
        path = folder / "cube.npy"
        np.save(path, CUBE)
        return path

    def expected(self) -> Mapping[str, Any]:
        return {"": CUBE}


class TestNpyInFortranOrder(TestNpy):
    def sample(self, folder: Path) -> Path:
        path = folder / "cube.npy"
        np.save(path, np.asfortranarray(CUBE))
        return path


class TestNpyBigEndian(TestNpy):
    def sample(self, folder: Path) -> Path:
        path = folder / "cube.npy"
        np.save(path, CUBE.astype(">u2"))
        return path


class TestNpyOfRecords(FormatSuite):
    format = NpyFormat()

    def sample(self, folder: Path) -> Path:
        path = folder / "records.npy"
        np.save(path, RECORDS)
        return path

    def expected(self) -> Mapping[str, Any]:
        return {"": RECORDS}


class TestNpz(FormatSuite):
    format = NpzFormat()

    def sample(self, folder: Path) -> Path:
        path = folder / "several.npz"
        np.savez(path, cube=CUBE, fortran=np.asfortranarray(CUBE), one=np.float32(2.5))
        return path

    def expected(self) -> Mapping[str, Any]:
        return {"cube": CUBE, "fortran": CUBE, "one": np.float32(2.5)}


class TestNpzDeflated(TestNpz):
    def sample(self, folder: Path) -> Path:
        path = folder / "several.npz"
        np.savez_compressed(path, cube=CUBE, fortran=np.asfortranarray(CUBE), one=np.float32(2.5))
        return path


@settings(max_examples=25, deadline=None)
@given(
    array=hnp.arrays(
        st.sampled_from(["?", "<i2", ">i4", "<f4", ">c8", "<M8[s]", "S3", "<U2"]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    ),
    fortran=st.booleans(),
)
def test_any_array_comes_back_as_numpy_saved_it(
    tmp_path_factory: pytest.TempPathFactory, array: np.ndarray[Any, Any], fortran: bool
) -> None:
    folder = tmp_path_factory.mktemp("npy")
    np.save(folder / "a.npy", np.asfortranarray(array) if fortran else array)
    lake = ScratchLake(folder / "lake")
    assert not lake.ingest(folder / "a.npy").failed
    assert_same_values(lake.read("a"), np.load(folder / "a.npy"))


def test_a_large_array_is_cut_into_whole_frames_of_a_few_megabytes(tmp_path: Path) -> None:
    np.save(tmp_path / "stack.npy", np.zeros((40, 512, 512), "u2"))
    lake = ScratchLake(tmp_path / "lake")
    lake.ingest(tmp_path / "stack.npy")
    chunks = lake.node("stack").structure.chunks  # type: ignore[union-attr]
    assert chunks == (TARGET_BYTES // (512 * 512 * 2), 512, 512)


def test_a_large_array_in_fortran_order_is_cut_along_its_slowest_axis(tmp_path: Path) -> None:
    array = np.asfortranarray(np.arange(600 * 1000 * 10, dtype="u2").reshape(600, 1000, 10))
    np.save(tmp_path / "stack.npy", array)
    lake = ScratchLake(tmp_path / "lake")
    lake.ingest(tmp_path / "stack.npy")
    assert lake.node("stack").structure.chunks == (600, 1000, 3)  # type: ignore[union-attr]
    assert_same_values(lake.read("stack"), array)


def test_python_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    outcome = take_alone(tmp_path / "objects.npy", tmp_path / "lake")
    assert "Python objects" in (outcome.reason or "")


def test_a_file_that_is_shorter_than_its_header_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.npy"
    np.save(path, CUBE)
    path.write_bytes(path.read_bytes()[:-1])
    reason = take_alone(path, tmp_path / "lake").reason
    assert reason is not None
    assert "368" in reason
    assert "367" in reason


def test_stored_members_of_an_npz_are_read_where_they_lie(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=CUBE)
    lake = ScratchLake(tmp_path / "lake")
    lake.ingest(tmp_path / "a.npz")
    storage = lake.inner("a")["x"].storage
    assert isinstance(storage, ArrayStorage)
    assert isinstance(storage.location, Contiguous)
    assert "converted" not in lake.node("a").data_sources[0].properties


def test_deflated_members_of_an_npz_are_converted_and_the_entry_says_so(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=CUBE)
    lake = ScratchLake(tmp_path / "lake")
    lake.ingest(tmp_path / "a.npz")
    assert lake.node("a").data_sources[0].properties["converted"] == 1


def test_members_that_are_no_arrays_are_named(tmp_path: Path) -> None:
    payload = io.BytesIO()
    np.save(payload, CUBE)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", payload.getvalue())
        archive.writestr("readme.txt", "hello")
        archive.writestr("sub/y.npy", payload.getvalue())
    lake = ScratchLake(tmp_path / "lake")
    summary = lake.ingest(tmp_path / "a.npz")
    assert [problem.reason for problem in summary.problems] == [
        "'readme.txt' is not an array of its own"
    ]
    assert sorted(lake.inner("a")) == ["sub", "sub/y", "x"]
    assert_same_values(lake.read("a", "sub/y"), CUBE)
