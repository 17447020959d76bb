"""Arrays, sparse and nested data as uploads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import awkward as ak
import dask.array as da
import numpy as np
import pytest
import sparse

from lakeservice.client.sending import (
    appended_rows,
    default_chunks,
    written_array,
    written_awkward,
    written_sparse,
)
from lakeservice.client.tensors import elements
from schemas.errors import ErrorKind, InvalidRequestError, TooLargeError
from schemas.structures import ArrayStructure, AwkwardStructure, SparseStructure

if TYPE_CHECKING:
    from lakeservice.client.uploads import Upload


def sent(upload: Upload) -> np.ndarray[Any, Any]:
    structure: Any = upload.request
    structure = structure.structure
    parts = [elements(batch.column(0), structure.dtype) for batch in upload.batches()]
    return np.concatenate(parts).reshape(structure.shape)


@pytest.mark.parametrize(
    ("shape", "itemsize", "chunks"),
    [
        ((100, 2167, 2070), 4, (1, 2167, 2070)),
        ((45, 20, 1080, 1280), 2, (1, 1, 1080, 1280)),
        ((1000, 100, 100), 2, (209, 100, 100)),
        ((1000, 512, 512), 2, (1, 512, 512)),
        ((10, 20_000, 20_000), 2, (1, 104, 20_000)),
        ((50_000_000,), 8, (524_288,)),
        ((100_000, 1000), 8, (524, 1000)),
        ((3,), 8, (3,)),
        ((0, 5), 8, (1, 5)),
        ((), 8, ()),
    ],
)
def test_chunks_nobody_chose_are_frames_or_some_mb(
    shape: tuple[int, ...], itemsize: int, chunks: tuple[int, ...]
) -> None:
    assert default_chunks(shape, itemsize) == chunks


def test_blocks_of_rows_are_one_array() -> None:
    array = np.arange(60).reshape(10, 6)
    for data in (
        array,
        np.split(array, [3, 4, 9]),
        da.from_array(array, chunks=(4, 3)),
        list(array[:, None]),
    ):
        upload = written_array("a", data, shape=(10, 6), dtype=array.dtype)
        assert upload.repeatable
        assert np.array_equal(sent(upload), array)
        assert np.array_equal(sent(upload), array)


def test_an_iterator_can_be_sent_once_and_says_so() -> None:
    array = np.arange(60).reshape(10, 6)
    upload = written_array("a", iter(np.split(array, 5)), shape=(10, 6), dtype="i8")
    assert not upload.repeatable
    assert np.array_equal(sent(upload), array)


def test_lists_and_numbers_are_arrays() -> None:
    assert sent(written_array("a", [[1, 2], [3, 4]])).tolist() == [[1, 2], [3, 4]]
    assert sent(written_array("a", 2.5)).tolist() == 2.5
    assert sent(written_array("a", 3, dtype="u2")).dtype == "u2"


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([np.zeros((2, 6))], "2 rows instead of 10"),
        ([np.zeros((11, 6))], "11 rows instead of 10"),
        ([np.zeros((10, 5))], "rows have shape"),
        ([np.zeros((10, 6), complex)], "but the array is float64"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(blocks: list[Any], message: str) -> None:
    upload = written_array("a", blocks, shape=(10, 6), dtype="f8")
    with pytest.raises(InvalidRequestError, match=message) as caught:
        list(upload.batches())
    assert caught.value.kind is ErrorKind.BAD_BODY


def test_blocks_need_a_shape_and_a_dtype() -> None:
    with pytest.raises(InvalidRequestError, match="shape= and dtype="):
        written_array("a", iter([np.zeros(3)]))


def test_objects_and_rows_beyond_a_message_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="Python objects"):
        written_array("a", np.array([object()]))
    huge = np.broadcast_to(np.uint8(0), (1, 1 << 31))
    with pytest.raises(TooLargeError, match="one row of the first axis"):
        written_array("a", huge)


def test_one_row_is_appended_as_rows_of_one() -> None:
    structure = ArrayStructure.from_numpy((4, 3), np.dtype("f8"))
    upload = appended_rows("a", structure, [1, 2, 3])
    (batch,) = upload.batches()
    assert elements(batch.column(0), np.dtype("f8")).tolist() == [1, 2, 3]
    assert batch.num_rows == 1


def test_sparse_arrays_are_coordinates_and_values() -> None:
    array = sparse.random((4, 5, 6), density=0.2, random_state=1)
    for upload in (
        written_sparse("s", array),
        written_sparse("s", array.data, coords=array.coords, shape=array.shape),
    ):
        structure: Any = upload.request
        structure = structure.structure
        assert isinstance(structure, SparseStructure)
        assert structure.shape == (4, 5, 6)
        (batch,) = upload.batches()
        found = sparse.COO(
            np.stack([batch.column(f"dim{n}").to_numpy() for n in range(3)]),
            batch.column("data").to_numpy(),
            shape=structure.shape,
        )
        assert np.array_equal(found.todense(), array.todense())


@pytest.mark.parametrize(
    ("coords", "shape", "message"),
    [
        ([[0, 9]], (5,), "outside its length 5"),
        ([[0, -1]], (5,), "outside its length 5"),
        ([[0]], (5,), "for .* values"),
        (None, None, "a sparse array is"),
    ],
)
def test_coordinates_that_contradict_the_shape_are_refused(
    coords: Any, shape: Any, message: str
) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        written_sparse("s", np.array([1.0, 2.0]), coords=coords, shape=shape)


def test_nested_data_keeps_its_form() -> None:
    array = ak.Array([{"x": 1, "y": [1.0, 2.0]}, {"x": 2, "y": []}])
    upload = written_awkward("a", array)
    structure: Any = upload.request
    structure = structure.structure
    assert isinstance(structure, AwkwardStructure)
    assert structure.length == 2
    assert structure.form["fields"] == ["x", "y"]
    (batch,) = upload.batches()
    assert batch.to_pylist() == array.to_list()


def test_a_mask_is_not_dropped_in_silence() -> None:
    masked = np.ma.masked_less(np.arange(4), 2)
    with pytest.raises(InvalidRequestError, match="has no mask"):
        written_array("a", masked)
    assert sent(written_array("a", np.ma.array([1, 2]))).tolist() == [1, 2]
