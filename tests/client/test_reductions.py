"""Reductions on the server give NumPy's numbers, shapes and dtypes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lakeservice.client import Array
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakeservice.client import Container, Lake

STACK = np.random.default_rng(5).poisson(40, (9, 31, 47)).astype("u2")


@pytest.fixture(scope="module")
def node(lake: Lake) -> Array:
    made = lake.write_array("reductions/stack", STACK, chunks=(1, 31, 47), dims=("t", "y", "x"))
    assert isinstance(made, Array)
    return made


@pytest.mark.parametrize("how", ["mean", "sum", "min", "max", "std", "var"])
@pytest.mark.parametrize("axis", [None, 0, -1, (1, 2), (0, 1, 2), ()])
def test_methods_answer_as_those_of_numpy(node: Array, how: str, axis: Any) -> None:
    found, expected = getattr(node, how)(axis), getattr(STACK, how)(axis)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert (found.dtype, np.shape(found)) == (expected.dtype, expected.shape)
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    "function", [np.mean, np.sum, np.min, np.max, np.std, np.var], ids=lambda one: one.__name__
)
def test_functions_of_numpy_ask_the_server(
    node: Array, function: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = function(STACK, axis=0)
    monkeypatch.setattr(Array, "read", None)  # nothing is read to be reduced here
    np.testing.assert_allclose(function(node, axis=0), expected, rtol=1e-12)
    out = np.empty_like(expected)
    assert function(node, axis=0, out=out) is out
    np.testing.assert_allclose(out, expected, rtol=1e-12)


def test_a_region_through_time_is_summed(node: Array) -> None:
    region = np.s_[:, 10:20, 30:]
    np.testing.assert_array_equal(
        node.sum(axis=(1, 2), selection=region), STACK[region].sum(axis=(1, 2))
    )
    np.testing.assert_array_equal(node.max(0, selection="::2, 3"), STACK[::2, 3].max(0))


def test_keepdims_ddof_dtype_and_out_are_as_in_numpy(node: Array) -> None:
    assert node.mean((0, 2), keepdims=True).shape == (1, 31, 1)
    np.testing.assert_allclose(node.std(0, ddof=1), STACK.std(0, ddof=1))
    assert node.mean(0, dtype="f4").dtype == np.float32
    with pytest.raises(InvalidRequestError, match=r"out is int8 of shape \(2,\)") as caught:
        node.sum(0, out=np.empty(2, "i1"))
    assert caught.value.kind is ErrorKind.BAD_REQUEST


def test_bins_are_means_of_what_is_there(node: Array) -> None:
    found = node.bin((1, 4, 5))
    assert found.shape == (9, 8, 10)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found[:, :7, :9], block_means(STACK[:, :28, :45], (1, 4, 5)))
    np.testing.assert_allclose(found[3, 7, 9], STACK[3, 28:, 45:].mean())
    assert node.bin(2, "max").shape == (5, 16, 24)
    assert node.bin((3, 31), "sum", selection=np.s_[..., 0])[0, 0] == STACK[:3, :, 0].sum()


def block_means(array: np.ndarray[Any, Any], factors: tuple[int, ...]) -> np.ndarray[Any, Any]:
    pairs = zip(array.shape, factors, strict=True)
    split = array.reshape([n for length, f in pairs for n in (length // f, f)])
    means: np.ndarray[Any, Any] = split.mean(axis=tuple(range(1, split.ndim, 2)))
    return means


@pytest.mark.parametrize(
    ("bins", "limits"), [(10, None), (np.int64(7), (20.5, 60.0)), ([0.0, 10, 40, 41, 100], None)]
)
def test_a_histogram_is_that_of_numpy(node: Array, bins: Any, limits: Any) -> None:
    counts, edges = node.histogram(bins, limits)
    expected, expected_edges = np.histogram(STACK, bins, limits)
    np.testing.assert_array_equal(counts, expected)
    np.testing.assert_array_equal(edges, expected_edges)
    assert counts.dtype == expected.dtype


def test_what_cannot_be_is_refused_with_what_is_there(node: Array, home: Container) -> None:
    with pytest.raises(InvalidRequestError, match="axis 3 of a selection of 3 axes"):
        node.mean(3)
    with pytest.raises(InvalidRequestError, match="2 factors for a selection of 3 axes"):
        node.bin((2, 2))
    with pytest.raises(InvalidRequestError, match="there are mean, sum"):
        node.bin(2, "median")  # type: ignore[arg-type]
    text = home.write_array("text", np.array(["a", "b"]))
    assert isinstance(text, Array)
    with pytest.raises(InvalidRequestError, match="sum of <U1 is not defined"):
        text.sum()


def test_the_past_is_reduced_as_it_was(lake: Lake, home: Container) -> None:
    made = home.write_array("log", np.arange(6.0).reshape(2, 3), chunks=(1, 3))
    assert isinstance(made, Array)
    before = lake.as_of(made.version)[made.path]
    made.append(np.full((1, 3), 100.0))
    assert isinstance(before, Array)
    assert before.max() == 5
    assert made.max() == 100
