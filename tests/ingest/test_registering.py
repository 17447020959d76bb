"""What is registered reads as NumPy would put it together, whatever shape was declared."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.registering import Registrar, media_type_of
from ingest.reshaping import cut_of
from lakeservice.storage.arrays import StoredArray
from lakeservice.storage.files import FileReader
from lakeservice.storage.objects import Objects
from schemas.chunks import ArrayStorage
from schemas.entry import Asset
from schemas.errors import ErrorKind, LakeError
from schemas.registration import Registered, Registration
from schemas.selection import select
from schemas.structures import ArrayStructure, ContainerStructure, Structure, TableStructure


def register(
    folder: Path, paths: list[Path], mimetype: str, declared: Structure, **parameters: Any
) -> Registered:
    assets = tuple(
        Asset(data_uri=f"file://localhost{path}", num=number, parameter="data_uris")
        for number, path in enumerate(paths)
    )
    asked = Registration(
        lake=str(folder / "lake"),
        node_id="n1",
        generation="g1",
        mimetype=mimetype,
        declared=declared,
        parameters=parameters,
        assets=assets,
        roots=(str(folder),),
    )
    return Registrar().register(asked, Objects.open(asked.lake))


def read(folder: Path, found: Registered) -> np.ndarray[Any, Any]:
    assert isinstance(found.structure, ArrayStructure)
    assert isinstance(found.source.storage, ArrayStorage)
    objects = Objects.open(str(folder / "lake"))
    stored = StoredArray(
        objects,
        found.structure,
        found.source.storage,
        found.source.assets,
        fetch_files=FileReader(),
    )
    shape = found.structure.shape
    return np.asarray(stored.read(select((), shape))).reshape(shape)


@st.composite
def factored(draw: st.DrawFn, total: int) -> tuple[int, ...]:
    """Draw a shape of so many elements."""
    shape: list[int] = []
    while total > 1 and len(shape) < 3:
        divisors = [n for n in range(1, total + 1) if total % n == 0]
        shape.append(draw(st.sampled_from(divisors)))
        total //= shape[-1]
    return (*shape, total)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_hdf5_files_read_as_declared(data: st.DataObject) -> None:
    row = data.draw(st.lists(st.integers(1, 4), max_size=2).map(tuple), "row")
    lengths = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=3), "lengths")
    whole = np.arange(sum(lengths) * math.prod(row), dtype="<i4").reshape(-1, *row)
    options: dict[str, Any] = {}
    if data.draw(st.booleans(), "chunked"):
        limits = (min(lengths), *row)
        options["chunks"] = tuple(data.draw(st.integers(1, n)) for n in limits)
        options["compression"] = data.draw(st.sampled_from([None, "gzip"]), "compression")
    declared_shape = data.draw(factored(whole.size), "declared")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = []
        for number, part in enumerate(np.split(whole, np.cumsum(lengths)[:-1])):
            paths.append(folder / f"{number}.h5")
            with h5py.File(paths[-1], "w") as file:
                file.create_dataset("a/b", data=part, **options)
        declared = ArrayStructure.from_numpy(declared_shape, whole.dtype)
        found = register(folder, paths, "application/x-hdf5", declared, dataset="a/b")
        np.testing.assert_array_equal(read(folder, found), whole.reshape(declared_shape))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_chunks_of_another_shape_are_the_chunks_that_are_stored(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))
    chunks = tuple(data.draw(st.integers(1, length)) for length in shape)
    wanted = data.draw(factored(math.prod(shape)))
    cut = cut_of(shape, chunks, wanted)
    if cut is None:
        return
    numbers = np.arange(math.prod(shape))
    assert list(pieces(numbers.reshape(wanted), cut)) == list(
        pieces(numbers.reshape(shape), chunks)
    )


def pieces(array: np.ndarray[Any, Any], chunks: tuple[int, ...]) -> list[list[int]]:
    """Return the elements of each chunk, chunks in C order."""
    counts = [-(-length // chunk) for length, chunk in zip(array.shape, chunks, strict=True)]
    found = []
    for position in np.ndindex(*counts):
        index = tuple(slice(n * c, (n + 1) * c) for n, c in zip(position, chunks, strict=True))
        found.append(array[index].ravel().tolist())
    return found


@pytest.mark.parametrize(
    ("text", "selection"),
    [
        ("(:, 0:2)", np.s_[:, 0:2]),
        ("2:5", np.s_[2:5]),
        (":4", np.s_[:4]),
        ("1::2,1", np.s_[1::2, 1]),
    ],
)
def test_a_slice_of_a_dataset_is_what_numpy_would_take(
    tmp_path: Path, text: str, selection: Any
) -> None:
    whole = np.arange(24).reshape(6, 4)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = whole
    declared = TableStructure(arrow_schema="", columns=())
    found = register(
        tmp_path, [tmp_path / "a.h5"], "application/x-hdf5", declared, dataset="x", slice=text
    )
    np.testing.assert_array_equal(read(tmp_path, found), whole[selection])


def test_records_of_text_have_the_declared_type(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("A,B,C\nred,10.0,0\ngreen,20.5,1\n")
    dtype = np.dtype([("A", "<U8"), ("B", "<f8"), ("C", "<i8")])
    found = register(
        tmp_path,
        [tmp_path / "a.csv"],
        "text/csv;header=absent",
        ArrayStructure.from_numpy((2, 1), dtype),
        skiprows=1,
    )
    assert read(tmp_path, found).ravel().tolist() == [("red", 10.0, 0), ("green", 20.5, 1)]


def test_a_group_of_a_file_is_a_container_of_its_own(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a/b/x"] = np.arange(3)
        file["other"] = np.arange(4)
    found = register(
        tmp_path, [tmp_path / "a.h5"], "application/x-hdf5", ContainerStructure(), dataset="a"
    )
    assert found.structure == ContainerStructure()
    assert found.source.tree is not None


def test_files_that_do_not_continue_one_another_are_refused(tmp_path: Path) -> None:
    for number, shape in enumerate([(2, 3), (2, 4)]):
        with h5py.File(tmp_path / f"{number}.h5", "w") as file:
            file["x"] = np.zeros(shape)
    declared = ArrayStructure.from_numpy((4, 3), np.dtype("<f8"))
    paths = [tmp_path / "0.h5", tmp_path / "1.h5"]
    with pytest.raises(LakeError, match="does not continue") as caught:
        register(tmp_path, paths, "application/x-hdf5", declared, dataset="x")
    assert caught.value.kind is ErrorKind.BAD_STRUCTURE


@pytest.mark.parametrize(
    ("mimetype", "plain"),
    [
        ("multipart/related;type=image/tiff", "image/tiff"),
        ("text/csv; header=absent", "text/csv"),
        ("application/x-hdf5", "application/x-hdf5"),
    ],
)
def test_the_type_of_one_file_is_found_in_a_media_type(mimetype: str, plain: str) -> None:
    assert media_type_of(mimetype) == plain
