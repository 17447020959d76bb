"""Numbers by text for millions of texts, in sixteen bytes each."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LEAST = 20_000
"""Texts that are kept as they are before any are hashed."""
_GROWTH = 4
_MANY = 16


class Settled(NamedTuple):
    """Hashes in order, and the number that belongs to each."""

    hashes: npt.NDArray[np.uint64]
    numbers: npt.NDArray[np.int64]


class Lookup:
    """A dictionary from texts to numbers that keeps 64-bit hashes instead of the texts.

    What was added lately lies in a plain dictionary; from time to time it moves
    into arrays sorted by hash. The hash is keyed by a secret, so nobody can
    choose texts that collide; whoever must be certain compares the text.

    Parameters
    ----------
    secret
        Key of the hash, up to 64 bytes.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._recent: dict[str, int] = {}
        self._settled = Settled(np.zeros(0, np.uint64), np.zeros(0, np.int64))
        self._staged: list[Settled] = []

    def hash_of(self, text: str) -> int:
        """Return the hash that stands for a text."""
        digest = hashlib.blake2b(text.encode(), digest_size=8, key=self._secret).digest()
        return int.from_bytes(digest, "little")

    def hashes_of(self, texts: Iterable[str]) -> npt.NDArray[np.uint64]:
        """Return the hashes of many texts."""
        return np.array([self.hash_of(text) for text in texts], np.uint64)

    def add(self, text: str, number: int) -> None:
        """Set the number of a text."""
        self._recent[text] = number

    def find(self, text: str) -> list[int]:
        """Return the numbers that a text may have, the newest first; usually one or none."""
        recent = self._recent.get(text)
        found = [] if recent is None else [recent]
        hashes = self._settled.hashes
        if hashes.size:
            wanted = np.uint64(self.hash_of(text))
            at = int(hashes.searchsorted(wanted, "left"))
            while at < hashes.size and hashes[at] == wanted:
                found.append(int(self._settled.numbers[at]))
                at += 1
        return sorted(found, reverse=True) if len(found) > 1 else found

    def find_many(self, texts: Sequence[str]) -> list[list[int]]:
        """Return what `find` returns for each of many texts."""
        settled = self._settled
        if len(texts) < _MANY or not settled.hashes.size:
            return [self.find(text) for text in texts]
        hashes = self.hashes_of(texts)
        lefts = settled.hashes.searchsorted(hashes, "left")
        rights = settled.hashes.searchsorted(hashes, "right")
        hit = (rights > lefts).tolist()
        found: list[list[int]] = []
        for position, text in enumerate(texts):
            recent = self._recent.get(text)
            numbers = [] if recent is None else [recent]
            if hit[position]:
                numbers.extend(settled.numbers[lefts[position] : rights[position]].tolist())
                numbers.sort(reverse=True)
            found.append(numbers)
        return found

    def stage(self, hashes: npt.NDArray[np.uint64], numbers: npt.NDArray[np.int64]) -> None:
        """Hand over the hashes of texts that were added, in the order in which they were."""
        self._staged.append(Settled(hashes, numbers))

    @property
    def is_long(self) -> bool:
        """Whether so much was staged that it is time to settle it."""
        staged = sum(part.hashes.size for part in self._staged)
        return staged > max(_LEAST, self._settled.hashes.size // _GROWTH)

    def sort(self) -> Settled:
        """Return everything settled and staged, sorted; changes nothing, and may take long."""
        parts = [self._settled, *self._staged]
        hashes = np.concatenate([part.hashes for part in parts])
        order = np.argsort(hashes, kind="stable")
        return Settled(hashes[order], np.concatenate([part.numbers for part in parts])[order])

    def settle(self, settled: Settled, newest: int) -> None:
        """Take over what `sort` returned, and forget the texts of numbers up to ``newest``."""
        self._settled = settled
        self._staged.clear()
        self._recent = {text: at for text, at in self._recent.items() if at > newest}
