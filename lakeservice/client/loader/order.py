"""The order of samples in an epoch: computed where it is looked at, from counters."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Literal

import numpy as np

from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

Shuffle = Literal["full"] | bool
MAX_BLOCKS = 1 << 22
"""Blocks that are permuted at most; where there are more, neighbours stay together."""
_BLOCKS, _WINDOW, _SAMPLES = range(3)  # what a stream of random numbers is for
_KEPT = 3


class Order:
    """Which sample comes when, for any place in any epoch.

    Parameters
    ----------
    lengths
        Number of samples of each node; shape (node,).
    block_rows
        How many consecutive samples of a node lie together in storage; shape (node,).
    shuffle
        False: node after node. True: blocks are permuted over all nodes, then samples
        within windows of that sequence. ``"full"``: a uniform permutation.
    seed
        From 0 to 2**64 - 1.
    window
        Samples that are permuted with one another.

    Notes
    -----
    Random numbers are the raw output of Philox, keyed by seed and epoch, with the number
    of the window in its counter, and a permutation is the stable argsort of them: it
    depends on neither NumPy's version nor on what was asked before. Memory is some
    windows, and 12 bytes per block; ``"full"`` takes 8 bytes per sample.
    """

    def __init__(
        self,
        lengths: Integers,
        block_rows: Integers,
        *,
        shuffle: Shuffle = False,
        seed: int = 0,
        window: int = 4096,
    ) -> None:
        if not (shuffle is True or shuffle is False or shuffle == "full"):
            raise _bad(f"shuffle={shuffle!r}; there are False, True and 'full'")
        if window < 1:
            raise _bad(f"a window of {window} samples; it must be 1 or more")
        if not 0 <= seed < 1 << 64:
            raise _bad(f"a seed of {seed}; it must be from 0 to 2**64 - 1")
        self.shuffle, self.seed, self.window = shuffle, seed, window
        self._firsts = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
        self.samples = int(self._firsts[-1])
        """Number of samples in an epoch."""
        self._lengths = np.asarray(lengths, np.int64)
        self._block_rows = np.maximum(1, np.asarray(block_rows, np.int64))
        while int(self._blocks_per_node().sum()) > max(MAX_BLOCKS, len(self._lengths)):
            self._block_rows *= 2
        self._first_blocks = np.concatenate(([0], np.cumsum(self._blocks_per_node())))
        self._kept: dict[tuple[int, int, int], tuple[Integers, Integers]] = {}
        self._lock = threading.Lock()

    def take(self, epoch: int, start: int, stop: int) -> Integers:
        """Return the samples at the places ``start`` to ``stop`` of an epoch.

        Returns
        -------
        numpy.ndarray
            Number of the node, and row in it; shape (stop - start, 2).
        """
        places = np.arange(start, stop, dtype=np.int64)
        if not self.shuffle or not places.size:
            return self._located(places)
        if self.shuffle == "full":
            return self._located(self._permuted(epoch, _SAMPLES, 0, self.samples)[places])
        sequence = np.empty_like(places)
        for number in range(start // self.window, (stop - 1) // self.window + 1):
            first = number * self.window
            size = min(self.window, self.samples - first)
            order = self._permuted(epoch, _WINDOW, number, size)
            low, high = max(start, first), min(stop, first + size)
            sequence[low - start : high - start] = first + order[low - first : high - first]
        return self._in_blocks(epoch, sequence)

    def block_of(self, samples: Integers) -> Integers:
        """Return the number of the block that holds each sample; shape (n,)."""
        nodes, rows = samples[:, 0], samples[:, 1]
        return self._first_blocks[nodes] + rows // self._block_rows[nodes]

    def place_of(self, samples: Integers) -> Integers:
        """Return the place of each sample where nothing is shuffled; shape (n,)."""
        return self._firsts[samples[:, 0]] + samples[:, 1]

    def sequential(self, places: Integers) -> Integers:
        """Return the samples at places where nothing is shuffled; shape (n, 2)."""
        return self._located(places)

    def _blocks_per_node(self) -> Integers:
        return -(-self._lengths // self._block_rows)

    def _located(self, places: Integers) -> Integers:
        nodes = np.searchsorted(self._firsts, places, side="right") - 1
        return np.stack((nodes, places - self._firsts[nodes]), axis=1)

    def _in_blocks(self, epoch: int, sequence: Integers) -> Integers:
        """Return the samples at these places of the sequence of permuted blocks."""
        blocks, firsts = self._once((epoch, _BLOCKS, 0), lambda: self._block_sequence(epoch))
        found = np.searchsorted(firsts, sequence, side="right") - 1
        block = blocks[found]
        nodes = np.searchsorted(self._first_blocks, block, side="right") - 1
        first_row = (block - self._first_blocks[nodes]) * self._block_rows[nodes]
        return np.stack((nodes, first_row + sequence - firsts[found]), axis=1)

    def _block_sequence(self, epoch: int) -> tuple[Integers, Integers]:
        """Return the permuted blocks, and the place in the sequence where each begins."""
        count = int(self._first_blocks[-1])
        blocks = permutation(self.seed, epoch, _BLOCKS, 0, count).astype(np.uint32)
        nodes = np.searchsorted(self._first_blocks, blocks, side="right") - 1
        rows = self._block_rows[nodes]
        left = self._lengths[nodes] - (blocks - self._first_blocks[nodes]) * rows
        firsts = np.zeros(count, np.int64)
        np.cumsum(np.minimum(rows, left)[:-1], out=firsts[1:])
        return blocks, firsts  # type: ignore[return-value]

    def _permuted(self, epoch: int, use: int, number: int, size: int) -> Integers:
        def made() -> tuple[Integers, Integers]:
            return (permutation(self.seed, epoch, use, number, size),) * 2

        return self._once((epoch, use, number), made)[0]

    def _once(
        self, key: tuple[int, int, int], make: Callable[[], tuple[Integers, Integers]]
    ) -> tuple[Integers, Integers]:
        """Keep what was made last: the blocks of an epoch, and some windows."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                alike = [kept for kept in self._kept if kept[1] == key[1]]
                if len(alike) >= (_KEPT if key[1] == _WINDOW else 1):
                    del self._kept[alike[0]]
                found = self._kept[key] = make()
            return found


def permutation(seed: int, epoch: int, use: int, number: int, size: int) -> Integers:
    """Return a uniform permutation of ``size`` numbers, the same for the same arguments."""
    key = np.array([seed, epoch], np.uint64)
    counter = np.array([0, 0, number, use], np.uint64)
    raw = np.random.Philox(key=key, counter=counter).random_raw(size)
    return np.argsort(raw, kind="stable")


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_REQUEST, message)
