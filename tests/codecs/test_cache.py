"""The cache of decoded chunks: kept on the second touch, never beyond its limit."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lakeservice.codecs.cache import ChunkCache
from lakeservice.codecs.memory import empty_apart

CHUNK = np.arange(100, dtype="u1")


def test_a_chunk_is_worth_keeping_when_it_is_touched_again() -> None:
    cache = ChunkCache(1000)
    assert not cache.is_worth("a", 100)
    assert cache.is_worth("a", 100)
    assert cache.get("a", 1) is None
    cache.put("a", 1, CHUNK.copy())
    kept = cache.get("a", 1)
    assert kept is not None
    assert np.array_equal(kept, CHUNK)
    assert not kept.flags.writeable


def test_chunks_that_are_passed_over_once_are_forgotten_in_their_order() -> None:
    cache = ChunkCache(1000)
    for _ in range(3):
        assert not any(cache.is_worth(number, 100) for number in range(11))


def test_a_chunk_with_another_stamp_is_another_chunk() -> None:
    cache = ChunkCache(1000)
    cache.put("a", "old", CHUNK.copy())
    assert cache.get("a", "new") is None
    assert "a" not in cache
    assert cache.size_bytes == 0


def test_the_limit_holds_and_the_least_used_go_first() -> None:
    cache = ChunkCache(1000)
    for number in range(10):
        cache.put(number, 0, CHUNK.copy())
    assert cache.get(0, 0) is not None
    cache.put(10, 0, CHUNK.copy())
    assert cache.size_bytes == 1000
    assert 0 in cache
    assert 1 not in cache


def test_a_chunk_that_would_push_out_most_others_is_not_kept() -> None:
    cache = ChunkCache(1000)
    assert not any(cache.is_worth("large", 251) for _ in range(3))
    cache.put("large", 0, np.zeros(251, "u1"))
    assert len(cache) == 0
    nothing = ChunkCache(0)
    nothing.put("a", 0, CHUNK.copy())
    assert len(nothing) == 0


def test_threads_find_what_belongs_to_their_keys() -> None:
    cache = ChunkCache(2000)

    def work(seed: int) -> None:
        chosen = random.Random(seed)
        for _ in range(2000):
            key = chosen.randrange(40)
            found = cache.get(key, key)
            if found is not None:
                assert (found == key).all()
            elif cache.is_worth(key, 100):
                cache.put(key, key, np.full(100, key, "u1"))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert 0 < cache.size_bytes <= 2000
    assert cache.size_bytes == 100 * len(cache)
    cache.clear()
    assert cache.size_bytes == len(cache) == 0


def test_very_many_small_chunks_can_be_kept() -> None:
    cache = ChunkCache(64 << 20)
    for number in range(70_000):  # more than a process may have maps of memory
        cache.put(number, None, empty_apart((100,), np.dtype("u1")))
    assert len(cache) == 70_000
    assert empty_apart((1 << 20,), np.dtype("<f8")).nbytes == 8 << 20
    assert empty_apart((0, 3), np.dtype("<f8")).shape == (0, 3)
