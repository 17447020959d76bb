"""Every delivery of every array gives what NumPy gives."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from schemas.errors import InvalidRequestError
from tests.whole.conftest import run_server
from tests.whole.making import Maker, make_hdf5, make_ours, make_zarr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from tests.whole.conftest import Running

INLINE = "does not lie in files"
DELIVERIES = ("decoded", "encoded", "direct", "auto")
SEED = 4
READS = int(os.environ.get("LAKE_TEST_READS", "300"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from run_server(tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="module")
def truths(served: Running, tmp_path_factory: pytest.TempPathFactory) -> dict[str, NDArray[Any]]:
    folder, make = tmp_path_factory.mktemp("files"), Maker(SEED)
    return {
        **make_ours(served, make, 48),
        **make_zarr(served, make, folder),
        **make_hdf5(served, make, folder),
    }


def assert_same(answer: NDArray[Any], truth: NDArray[Any], what: str) -> None:
    assert answer.shape == truth.shape, what
    assert answer.dtype.newbyteorder("=") == truth.dtype.newbyteorder("="), what
    np.testing.assert_array_equal(answer, truth, what)


def cut(truth: NDArray[Any], index: Any) -> NDArray[Any]:
    """Return what NumPy gives, in the array's own type also for one element."""
    return np.asarray(truth[index], truth.dtype)


def answered(read: Callable[..., Any], asked: Any, delivery: str) -> Any:
    """Return an answer; None for small arrays in entries, which cannot come from files."""
    try:
        return read(asked, delivery=delivery)
    except InvalidRequestError as error:
        if delivery != "direct" or INLINE not in error.message:
            raise
        return None


@pytest.mark.parametrize("seed", range(4))
def test_every_delivery_gives_what_numpy_gives(
    served: Running, truths: dict[str, NDArray[Any]], seed: int
) -> None:
    make = Maker(seed)
    for _ in range(READS // 4):
        path = make.one_of(sorted(truths))
        compare(served.lake[path], truths[path], make.index(truths[path].shape))


def compare(node: Any, truth: NDArray[Any], index: Any) -> None:
    """Read a selection in every delivery, and compare it with NumPy's."""
    for delivery in DELIVERIES:
        found = answered(node.read, index, delivery)
        if found is None:
            continue
        assert_same(np.asarray(found), cut(truth, index), f"{node.path}{index} {delivery}")
        assert node.dtype == found.dtype
        if np.size(truth[index]) and delivery != "auto":
            assert node.last_delivery == delivery


@pytest.mark.parametrize("seed", range(4))
def test_taking_many_slices_gives_what_numpy_gives(
    served: Running, truths: dict[str, NDArray[Any]], seed: int
) -> None:
    make = Maker(seed)
    for _ in range(READS // 12):
        path = make.one_of(sorted(truths))
        truth = truths[path]
        chosen = [make.index(truth.shape) for _ in range(make.whole(0, 6))]
        rows = [make.whole(-len(truth), len(truth) - 1) for _ in range(make.whole(0, 9))]
        compare_taken(served.lake[path], truth, chosen, np.array(rows, np.int64))


def compare_taken(
    node: Any, truth: NDArray[Any], chosen: list[Any], rows: NDArray[np.int64]
) -> None:
    """Take selections and rows in every delivery, and compare them with NumPy's."""
    for delivery in ("decoded", "direct", "auto"):
        found = answered(node.take, chosen, delivery)
        if found is None:
            continue
        for answer, index in zip(found, chosen, strict=True):
            assert_same(
                np.asarray(answer), cut(truth, index), f"{node.path}{index} take {delivery}"
            )
        taken = answered(node.take, rows, delivery)
        if taken is not None:
            assert_same(taken, truth[rows], f"{node.path} rows {rows} {delivery}")


def test_every_array_is_whole_in_every_delivery(
    served: Running, truths: dict[str, NDArray[Any]]
) -> None:
    seen = dict.fromkeys(DELIVERIES, 0)
    for path, truth in truths.items():
        for delivery in DELIVERIES:
            found = answered(served.lake[path].read, None, delivery)
            if found is not None:
                assert_same(found, truth, f"{path} {delivery}")
            seen[delivery] += found is not None
    assert min(seen.values()) > 0.8 * len(truths)
    assert {truth.dtype.kind for truth in truths.values()} == set("biufcmMSUV")
