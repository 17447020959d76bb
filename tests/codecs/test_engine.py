"""Threads that decode: every task runs, errors come out, positions are named."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from lakeservice.codecs import Chain, Engine, Grid
from schemas.chunks import ChunkLayout, Codec
from schemas.errors import CorruptError
from schemas.selection import select
from schemas.structures import DataType

LAYOUT = ChunkLayout(
    data_type=DataType.from_numpy(np.dtype("<u2")),
    chunk_shape=(2, 7),
    codecs=(Codec("bytes"), Codec("zstd")),
)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_every_task_runs_once(threads: int, count: int) -> None:
    done: list[int] = []
    engine = Engine(threads)
    engine.run((lambda number=number: done.append(number)) for number in range(count))  # type: ignore[misc]
    engine.close()
    assert sorted(done) == list(range(count))


def test_a_failure_is_raised_and_ends_the_rest() -> None:
    engine = Engine(3)
    started: list[int] = []

    def task(number: int) -> None:
        started.append(number)
        if number == 5:
            raise RuntimeError("the fifth")

    def endless() -> Any:
        number = 0
        while True:
            yield lambda number=number: task(number)
            number += 1

    with pytest.raises(RuntimeError, match="the fifth"):
        engine.run(endless())
    engine.close()
    assert 5 in started


def test_tasks_may_run_tasks_of_their_own() -> None:
    engine = Engine(2)
    done: list[int] = []
    lock = threading.Lock()

    def inner(number: int) -> None:
        with lock:
            done.append(number)

    def outer(number: int) -> None:
        engine.run((lambda one=one: inner(one)) for one in range(10 * number, 10 * number + 10))  # type: ignore[misc]

    engine.run((lambda number=number: outer(number)) for number in range(6))  # type: ignore[misc]
    engine.close()
    assert sorted(done) == list(range(60))


def test_an_array_is_filled_from_its_chunks_and_absent_ones_are_fill() -> None:
    array = np.arange(5 * 20, dtype="<u2").reshape(5, 20)
    chain, grid = Chain.of(LAYOUT), Grid((5, 20), (2, 7))
    selection = select(np.s_[::-1, 3:19:2], array.shape)
    truth = array.copy()
    truth[2:4, 7:14] = 0
    jobs = []
    for piece in grid.pieces(selection):
        inside = zip(piece.origin, piece.shape, strict=True)
        chunk = array[tuple(slice(start, start + length) for start, length in inside)]
        encoded = None if piece.position == (1, 1) else chain.encode(chunk)
        jobs.append((piece, encoded, 0))
    out = np.full(selection.kept_shape, 99, "<u2")
    Engine.shared().fill(out, jobs, chain)
    assert np.array_equal(out, truth[::-1, 3:19:2])


def test_a_corrupt_chunk_is_named_by_its_position() -> None:
    chain, grid = Chain.of(LAYOUT), Grid((5, 20), (2, 7))
    good = chain.encode(np.zeros((2, 7), "<u2"))
    jobs = [
        (piece, b"nonsense" if piece.position == (1, 2) else good, 0)
        for piece in grid.pieces(select(None, (5, 20)))
    ]
    with pytest.raises(CorruptError, match=r"chunk \(1, 2\)"):
        Engine.shared().fill(np.empty((5, 20), "<u2"), jobs, chain)
