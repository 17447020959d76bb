"""Memory of batches: used again, but never under anybody's hands."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lakeservice.client.loader.slabs import Slabs
from schemas.errors import InvalidRequestError

if TYPE_CHECKING:
    from .conftest import DataSet


def address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])


def test_memory_is_used_again_when_the_last_view_is_gone() -> None:
    slabs = Slabs(4096, 2)
    first = slabs.array((4, 8), np.dtype("f8"))
    place = address(first)
    view = first[1:].reshape(-1)[::2]
    del first
    other = slabs.array((4, 8), np.dtype("f8"))
    assert address(other) != place
    del view
    assert address(slabs.array((2, 2), np.dtype("u1"))) == place


def test_buffers_and_dlpack_keep_memory_as_views_do() -> None:
    slabs = Slabs(4096, 2)
    first: Any = slabs.array((8,), np.dtype("u1"))
    held: Any = memoryview(first)
    del first
    other = slabs.array((8,), np.dtype("u1"))
    assert slabs.made == 2
    held = np.from_dlpack(slabs.array((8,), np.dtype("u1")))
    del other
    slabs.array((8,), np.dtype("u1"))
    assert slabs.made == 3
    assert held.size == 8


def test_tensors_keep_memory_as_views_do() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    slabs = Slabs(4096, 9)
    held = [
        torch.from_numpy(slabs.array((8,), np.dtype("u1")))[2:],
        torch.from_dlpack(slabs.array((8,), np.dtype("u1"))),
        torch.as_tensor(slabs.array((8,), np.dtype("u1"))),
    ]
    slabs.array((8,), np.dtype("u1"))
    assert slabs.made == 4
    del held
    gc.collect()
    several = [slabs.array((8,), np.dtype("u1")) for _ in range(4)]
    assert (slabs.made, len(several)) == (4, 4)


def test_a_loader_allocates_as_many_batches_as_it_promises(frames: DataSet) -> None:
    for prefetch in (0, 1, 3):
        loader = frames.home.loader(frames.nodes, batch_size=2, prefetch=prefetch)
        for _ in range(2):
            for batch in loader:
                assert np.array_equal(batch.data, frames.expected(batch))
        assert loader._slabs is not None
        assert loader._slabs.made <= prefetch + 2


def test_batches_that_are_kept_stay_as_they_are(frames: DataSet) -> None:
    loader = frames.home.loader(frames.nodes, batch_size=3, prefetch=2, shuffle=True)
    kept = []
    for number, batch in enumerate(loader):
        if number % 2:
            kept.append(batch)
    assert all(np.array_equal(batch.data, frames.expected(batch)) for batch in kept)


def test_memory_may_be_the_callers(frames: DataSet) -> None:
    given: list[Any] = []

    def allocate(size: int) -> Any:
        given.append(bytearray(size))
        return given[-1]

    loader = frames.home.loader(frames.nodes, batch_size=4, prefetch=1, allocate=allocate)
    for batch in loader:
        assert any(np.shares_memory(batch.data, np.frombuffer(each, "u1")) for each in given)
    assert {len(each) for each in given} == {4 * 6 * 5 * 2}


@pytest.mark.parametrize("wrong", [lambda size: bytearray(size - 1), bytes])
def test_memory_that_is_too_small_or_read_only_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"allocate\(100\) gave"):
        Slabs(100, 1, wrong).array((100,), np.dtype("u1"))
