"""Memory that is lent, and streams that share it."""

from __future__ import annotations

import gc
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from lakeservice.codecs.engine import Engine
from lakeservice.storage.objects import Objects
from lakeservice.storage.outgoing import Lender, blocks
from lakeservice.testing import random_array
from schemas.selection import select
from schemas.structures import ArrayStructure
from tests.storage.test_arrays import write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VIEWS: dict[str, Callable[[Any], Any]] = {
    "itself": lambda lent: lent,
    "a part": lambda lent: lent[10:20],
    "an array": lambda lent: np.frombuffer(lent, np.uint8),
    "a view of an array": lambda lent: np.frombuffer(lent, np.uint8).view("<u2").reshape(2, -1)[1:],
    "an Arrow buffer": pa.py_buffer,
    "a slice of an Arrow buffer": lambda lent: pa.py_buffer(lent).slice(3, 5),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_memory_is_not_lent_again_while_anything_looks_at_it(view: Callable[[Any], Any]) -> None:
    lender = Lender()
    lent = lender.lend(1000)
    start = np.frombuffer(lent, np.uint8).ctypes.data
    held = view(lent)
    del lent
    gc.collect()
    others = [lender.lend(1000) for _ in range(4)]
    assert start not in [np.frombuffer(other, np.uint8).ctypes.data for other in others]
    del held
    gc.collect()
    assert np.frombuffer(lender.lend(1000), np.uint8).ctypes.data == start


def test_what_is_kept_is_bounded() -> None:
    lender = Lender()
    lent = [lender.lend(8 << 20) for _ in range(40)]
    del lent
    gc.collect()
    assert sum(memory.size for memory in lender._kept) <= 64 << 20
    assert lender.array((0, 3), np.dtype("u2")).shape == (0, 3)


def test_streams_that_run_together_are_each_right(tmp_path: Path) -> None:
    array = random_array((60, 40, 50), np.dtype("<u2"), 3)
    structure = ArrayStructure.from_numpy(array.shape, array.dtype, (1, 40, 50))
    found = write(Objects.open(str(tmp_path)), array, structure)
    whole = select(None, array.shape)
    streams = [found.blocks(whole, target_bytes=8000) for _ in range(Engine.shared().threads + 3)]
    held: list[list[Any]] = [[] for _ in streams]
    for number, stream in itertools.cycle(enumerate(streams)):
        block = next(stream, None)
        if block is None:
            break
        held[number].append(block)
    for kept, stream in zip(held, streams, strict=True):
        np.testing.assert_array_equal(np.concatenate([*kept, *stream]), array)
    chunks = list(found.encoded(whole))  # all held at once
    for chunk in chunks:
        assert chunk.encoded is not None
        decoded = found.chain.decode(chunk.encoded, chunk.shape)
        np.testing.assert_array_equal(decoded[0], array[chunk.position[0]])


def test_a_stream_that_is_left_counts_no_more() -> None:
    for _ in range(20):
        stream = blocks((1, lambda: 7) for _ in range(10))
        assert next(stream) == 7
        stream.close()  # type: ignore[attr-defined]
    assert list(blocks((1, lambda: 7) for _ in range(3))) == [7, 7, 7]
