"""Orders of samples: exact permutations, the same however they are asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeservice.client.loader.order import Order
from lakeservice.client.loader.randomness import randomness
from lakeservice.client.loader.steps import Steps
from schemas.errors import InvalidRequestError

lengths = st.lists(st.integers(0, 60), min_size=1, max_size=8).filter(any)
shuffles: st.SearchStrategy[Any] = st.sampled_from([False, True, "full"])


@st.composite
def orders(draw: st.DrawFn) -> tuple[Order, list[int]]:
    drawn = draw(lengths)
    blocks = draw(st.lists(st.integers(1, 20), min_size=len(drawn), max_size=len(drawn)))
    order = Order(
        np.array(drawn),
        np.array(blocks),
        shuffle=draw(shuffles),
        seed=draw(st.integers(0, 2**64 - 1)),
        window=draw(st.integers(1, 100)),
    )
    return order, drawn


@given(orders(), st.integers(1, 70), st.integers(1, 9), st.integers(0, 5))
def test_all_ranks_together_get_every_sample_once(
    made: tuple[Order, list[int]], batch_size: int, world_size: int, epoch: int
) -> None:
    order, drawn = made
    expected = [(node, row) for node, length in enumerate(drawn) for row in range(length)]
    ranks = [Steps(order.samples, batch_size, rank, world_size) for rank in range(world_size)]
    assert len({len(steps) for steps in ranks}) == 1
    found = []
    for step in range(len(ranks[0])):
        shares = [steps.indices(order, epoch, step) for steps in ranks]
        batch = np.concatenate(shares)
        alone = Steps(order.samples, batch_size).indices(order, epoch, step)
        assert batch.tolist() == alone.tolist()
        cut = np.array_split(alone, world_size)
        assert all(np.array_equal(share, part) for share, part in zip(shares, cut, strict=True))
        found += [tuple(sample) for sample in batch.tolist()]
    assert sorted(found) == expected
    if not order.shuffle:
        assert found == expected


@given(orders(), st.data())
def test_a_place_has_the_same_sample_whatever_was_asked_before(
    made: tuple[Order, list[int]], data: st.DataObject
) -> None:
    order, drawn = made
    whole = order.take(3, 0, order.samples)
    fresh = Order(
        np.array(drawn),
        order._block_rows,
        shuffle=order.shuffle,
        seed=order.seed,
        window=order.window,
    )
    for _ in range(3):
        start = data.draw(st.integers(0, order.samples))
        stop = data.draw(st.integers(start, order.samples))
        assert np.array_equal(fresh.take(3, start, stop), whole[start:stop])
        fresh.take(data.draw(st.integers(0, 4)), 0, min(5, order.samples))
    assert np.array_equal(order.sequential(order.place_of(whole)), whole)


def test_a_window_holds_the_samples_of_its_blocks_only() -> None:
    order = Order(np.array([1000, 500]), np.array([10, 10]), shuffle=True, window=100)
    for start in range(0, 1500, 100):
        window = order.take(0, start, start + 100)
        assert np.unique(order.block_of(window)).size == 10


def test_seeds_and_epochs_give_other_orders() -> None:
    def order(seed: int, epoch: int, shuffle: Any) -> list[list[int]]:
        made = Order(np.array([500]), np.array([4]), shuffle=shuffle, seed=seed, window=64)
        return made.take(epoch, 0, 500).tolist()  # type: ignore[no-any-return]

    for shuffle in (True, "full"):
        found = [order(seed, epoch, shuffle) for seed in (0, 1) for epoch in (0, 1)]
        assert all(found[i] != found[j] for i in range(4) for j in range(i))


def test_the_order_never_changes_between_versions_of_this_package() -> None:
    # A checkpoint of last year goes on with the batches of last year.
    order = Order(np.array([7, 5]), np.array([2, 2]), shuffle=True, seed=42, window=6)
    assert order.place_of(order.take(1, 0, 12)).tolist() == REMEMBERED
    full = Order(np.array([7, 5]), np.array([2, 2]), shuffle="full", seed=42)
    assert full.place_of(full.take(1, 0, 12)).tolist() == REMEMBERED_FULL


REMEMBERED = [9, 10, 6, 0, 8, 7, 5, 1, 11, 3, 2, 4]
REMEMBERED_FULL = [4, 0, 2, 3, 9, 8, 6, 5, 7, 10, 1, 11]


def test_every_place_is_as_likely_in_a_full_shuffle() -> None:
    count = np.zeros((8, 8))
    order = Order(np.array([8]), np.array([1]), shuffle="full", seed=3)
    for epoch in range(4000):
        count[np.arange(8), order.take(epoch, 0, 8)[:, 1]] += 1
    # chi squared with 49 degrees of freedom exceeds 95 once in ten thousand times
    assert ((count - 500) ** 2 / 500).sum() < 95


def test_more_blocks_than_are_permuted_are_taken_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lakeservice.client.loader.order.MAX_BLOCKS", 10)
    order = Order(np.array([100, 33]), np.array([1, 1]), shuffle=True, window=7)
    assert order._first_blocks[-1] <= 10
    assert sorted(order.place_of(order.take(0, 0, 133)).tolist()) == list(range(133))


def test_a_larger_window_is_more_random_and_a_full_shuffle_is_as_random_as_chance() -> None:
    def measured(shuffle: Any, window: int = 1) -> Any:
        order = Order(np.full(20, 500), np.full(20, 10), shuffle=shuffle, window=window)
        return randomness(order, 0, 50, 1000)

    none, some, more = measured(False), measured(True, 100), measured(True, 2000)
    full = measured("full")
    assert none.displacement == 0
    assert none.from_one_block > some.from_one_block > more.from_one_block
    assert none.nodes_per_batch < some.nodes_per_batch < more.nodes_per_batch
    assert full.displacement == pytest.approx(1, abs=0.03)
    assert full.from_one_block == pytest.approx(full.from_one_block_uniform, abs=0.002)
    assert full.nodes_per_batch == pytest.approx(full.nodes_per_batch_uniform, rel=0.02)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shuffle": "yes"}, "'full'"),
        ({"window": 0}, "window of 0"),
        ({"seed": -1}, "seed of -1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        Order(np.array([3]), np.array([1]), **wrong)


def test_ranks_and_batches_that_cannot_be_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="batch_size=0"):
        Steps(10, 0)
    with pytest.raises(InvalidRequestError, match="rank=2 of world_size=2"):
        Steps(10, 5, 2, 2)
