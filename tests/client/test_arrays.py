"""Arrays through a server: written, sliced, grown, labelled."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeservice.client import Array, Container, Lake
from schemas.errors import (
    ConflictError,
    ErrorKind,
    InvalidRequestError,
    NotFoundError,
)

RANDOM = np.random.default_rng(7)
STACK = RANDOM.poisson(3, (30, 64, 80)).astype("u2")
DTYPES = [
    "?", "i1", "<u2", ">u2", "<f2", ">f8", "<c16", "S7", "<U5", ">U2", "<M8[us]", "<m8[D]",
    [("x", "<f8"), ("n", ">i4", (2,)), ("s", "S3")],
]  # fmt: skip


@pytest.fixture(scope="module")
def stack(lake: Lake) -> Array:
    node = lake.write_array(
        "arrays/stack",
        STACK,
        chunks=(4, 32, 50),
        dims=("frame", "y", "x"),
        metadata={"exposure_s": 0.1},
        specs=["NXdetector"],
    )
    assert isinstance(node, Array)
    return node


def values(dtype: Any, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    kind = np.dtype(dtype)
    if kind.kind in "SU":
        return RANDOM.integers(0, 10**5, shape).astype(str).astype(kind)
    if kind.kind == "V":
        made = np.zeros(shape, kind)
        made["x"], made["n"], made["s"] = RANDOM.random(shape), 7, b"ab"
        return made
    return RANDOM.integers(-100, 100, shape).astype(kind)


def test_a_node_says_what_it_is_without_reading(stack: Array) -> None:
    assert (stack.shape, stack.dtype, stack.ndim) == ((30, 64, 80), np.dtype("<u2"), 3)
    assert (stack.dims, stack.chunks) == (("frame", "y", "x"), (4, 32, 50))
    assert (stack.size, stack.nbytes, len(stack)) == (STACK.size, STACK.nbytes, 30)
    assert stack.metadata == {"exposure_s": 0.1}
    assert [spec.name for spec in stack.specs] == ["NXdetector"]
    assert (stack.path, stack.name, stack.family) == ("arrays/stack", "stack", "array")


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_indexing_is_that_of_numpy(stack: Array, data: st.DataObject) -> None:
    index = tuple(
        data.draw(st.integers(-length, length - 1) | st.slices(length)) for length in STACK.shape
    )[: data.draw(st.integers(0, 3))]
    delivery: Any = data.draw(st.sampled_from(["auto", "encoded", "decoded"]))
    expected = STACK[index]
    found = stack.read(index, delivery=delivery)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected)


def test_one_element_is_a_scalar_and_ellipsis_works(stack: Array) -> None:
    assert stack[3, 4, 5] == STACK[3, 4, 5]
    assert isinstance(stack[3, 4, 5], np.uint16)
    assert np.array_equal(stack[..., 5], STACK[..., 5])
    assert np.array_equal(stack.read("::-7, 3, ..."), STACK[::-7, 3])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (9,), (5, 6), (0, 4), (4, 0)], ids=str)
def test_every_dtype_comes_back_bit_by_bit(home: Container, dtype: Any, shape: Any) -> None:
    array = values(dtype, shape)
    node = home.write_array("a", array)
    for delivery in ("decoded", "encoded"):
        found = node.read(delivery=delivery)
        assert (found.shape, found.dtype) == (array.shape, array.dtype)
        assert found.tobytes() == array.tobytes()


def test_reading_fills_the_array_it_is_given(stack: Array) -> None:
    place = np.zeros((30, 64, 160), "u2")[..., ::2]
    for delivery in ("decoded", "encoded"):
        place[...] = 0
        assert stack.read(out=place, delivery=delivery) is place
        assert np.array_equal(place, STACK)
        assert stack.last_delivery == delivery


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((30, 64, 80), "u4"),
        np.zeros((30, 64), "u2"),
        np.broadcast_to(np.uint16(1), STACK.shape),
    ],
)
def test_a_place_that_does_not_fit_is_refused(stack: Array, out: np.ndarray[Any, Any]) -> None:
    with pytest.raises(InvalidRequestError, match="the answer needs a writeable array"):
        stack.read(out=out)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (30, "index 30 is out of range on axis 0, which has length 30"),
        ((0, 0, 0, 0), "4 slices for an array of 3 axes"),
        ([1, 2], "only integers, slices"),
        (STACK > 3, "only integers, slices"),
        (None, None),
    ],
)
def test_what_is_no_basic_index_is_refused(stack: Array, index: Any, message: str | None) -> None:
    if message is None:
        assert np.array_equal(stack.read(index), STACK)
        return
    with pytest.raises(InvalidRequestError, match=message) as caught:
        stack[index]
    assert caught.value.kind is ErrorKind.BAD_SLICE


def test_large_answers_come_as_stored_chunks_in_parallel_parts(
    home: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = RANDOM.poisson(3, (101, 400, 400)).astype("u2")
    node = home.write_array("a", array, chunks=(2, 400, 400))
    monkeypatch.setattr(node, "_remote_only", node.version)  # as on another machine
    assert np.array_equal(node[...], array)
    assert node.last_delivery == "encoded"
    assert np.array_equal(node[::-1], array[::-1])
    assert np.array_equal(node[5:, 3], array[5:, 3])
    assert np.array_equal(node[:, :250, :250], array[:, :250, :250])
    assert node.last_delivery == "decoded"
    assert np.array_equal(node.read(delivery="decoded"), array)


def test_rows_are_appended(home: Container) -> None:
    array = RANDOM.random((11, 3, 4))
    node = home.write_array("a", array[:2], chunks=(2, 3, 4))
    node.append(array[2:7])
    assert node.shape == (7, 3, 4)
    node.append(array[7])
    node.append([array[8:9], array[9:]])
    for delivery in ("decoded", "encoded"):
        assert np.array_equal(node.read(delivery=delivery), array)


def test_blocks_and_iterators_are_written_as_they_come(home: Container) -> None:
    array = RANDOM.random((40, 30))
    node = home.write_array("once", iter(np.split(array, 8)), shape=array.shape, dtype="f8")
    assert np.array_equal(node, array)
    lazily = da.from_array(array, chunks=(7, 11))
    assert np.array_equal(home.write_array("dask", lazily), array)


def test_blocks_that_do_not_fit_leave_nothing_behind(home: Container) -> None:
    with pytest.raises(InvalidRequestError, match="2 rows instead of 10"):
        home.write_array("a", [np.zeros((2, 3))], shape=(10, 3), dtype="f8")
    assert "a" not in home


def test_a_node_becomes_a_numpy_array_and_iterates(stack: Array) -> None:
    assert np.array_equal(np.asarray(stack), STACK)
    assert np.asarray(stack, "f4").dtype == "f4"
    assert all(np.array_equal(frame, STACK[n]) for n, frame in enumerate(stack))
    with pytest.raises(ValueError, match="only by a copy"):
        np.asarray(stack, copy=False)


def test_xarray_reads_when_a_value_is_asked_for(stack: Array) -> None:
    labelled = stack.to_xarray()
    assert labelled.dims == ("frame", "y", "x")
    assert labelled.attrs == {"exposure_s": 0.1}
    part = labelled.isel(frame=slice(2, 20, 3), y=[1, 5, 3]).sum("x")
    assert np.array_equal(part, STACK[2:20:3, [1, 5, 3]].sum(-1))
    assert np.array_equal(pickle.loads(pickle.dumps(labelled))[3], STACK[3])


def test_a_container_is_a_dataset_of_its_arrays(home: Container) -> None:
    home.write_array("a", STACK, dims=("frame", "y", "x"))
    home.write_array("i0", np.arange(30.0), dims=("frame",))
    home.write_array("odd", np.arange(7), dims=("frame",))
    home.write_array("bare", np.eye(2))
    home.create_container("below")
    dataset = home.to_xarray()
    assert isinstance(dataset, xr.Dataset)
    assert set(dataset) == {"a", "i0", "odd", "bare"}
    assert dataset["odd"].dims == ("odd_dim_0",)
    assert np.array_equal(
        (dataset["a"] * dataset["i0"]).sum("frame"), (STACK.T * np.arange(30.0)).sum(-1).T
    )


def test_dask_computes_on_blocks_of_stored_chunks(stack: Array) -> None:
    lazily = stack.to_dask(chunks=(8, 64, 80))
    assert lazily.chunks[0] == (8, 8, 8, 6)
    elsewhere = pickle.loads(pickle.dumps(lazily.mean(axis=0)))
    assert np.allclose(elsewhere.compute(scheduler="threads"), STACK.mean(axis=0))


def test_dask_blocks_hold_whole_chunks_and_are_named_by_version(stack: Array) -> None:
    lazily = stack.to_dask()
    assert lazily.numblocks == (1, 1, 1)
    assert lazily.name == stack.to_dask().name


def test_a_node_that_was_replaced_says_so(home: Container) -> None:
    old = home.write_array("a", np.zeros((10, 10)))
    assert old.shape == (10, 10)
    old.delete()
    home.write_array("a", np.ones((4, 4), "u1"))
    stale = Array(old._remote, old.path, None)
    assert stale.shape == (4, 4)
    again = home.write_array("b", np.zeros((10, 10)))
    assert again.shape == (10, 10)
    home["b"].delete()
    home.write_array("b", np.ones((4, 4), "u1"))
    with pytest.raises(ConflictError, match=r"refresh\(\)"):
        again.read()
    assert again.refresh().read().sum() == 16


def test_a_node_that_is_gone_is_not_found(home: Container) -> None:
    node = home.write_array("a", np.zeros(3))
    assert node.shape == (3,)
    home["a"].delete()
    with pytest.raises(NotFoundError):
        node.read()


def test_many_threads_share_a_node(stack: Array) -> None:
    with ThreadPoolExecutor(8) as pool:
        frames = list(pool.map(lambda n: stack[n % 30], range(200)))
    assert all(np.array_equal(frame, STACK[n % 30]) for n, frame in enumerate(frames))


def test_a_progress_bar_is_shown_when_asked_for(
    stack: Array, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.read(progress=True)
    assert "arrays/stack" in capsys.readouterr().out
    stack.read()
    assert capsys.readouterr().out == ""


def test_an_array_looks_like_what_it_is(stack: Array) -> None:
    assert repr(stack) == "<Array 'arrays/stack' 30 × 64 × 80 uint16 (frame, y, x) 307.2 kB>"
    html = stack._repr_html_()
    assert "arrays/stack" in html
    assert "exposure_s" in html


def test_a_large_write_to_a_taken_path_is_refused_with_the_reason(home: Container) -> None:
    home.create_container("a")
    with pytest.raises(ConflictError, match="there is a node") as caught:
        home.write_array("a", np.zeros((200, 1000, 100)))
    assert caught.value.kind is ErrorKind.PATH_TAKEN


def test_a_stale_node_does_not_delete_the_one_that_replaced_it(home: Container) -> None:
    old = home.write_array("a", np.zeros(3))
    assert old.id
    home["a"].delete()
    home.write_array("a", np.ones(3))
    with pytest.raises((ConflictError, NotFoundError)):
        old.delete()
    assert home["a"].read().sum() == 3
