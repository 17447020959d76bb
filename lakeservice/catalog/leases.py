"""Leases: who reads tables that are about to go, so that they go only afterwards."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Leases:
    """Readers enter and leave; what was retired is done once all who entered before have left."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._epoch = 0
        self._readers: Counter[int] = Counter()
        self._retired: list[tuple[int, Callable[[], None]]] = []

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Read in here."""
        with self._mutex:
            epoch = self._epoch
            self._readers[epoch] += 1
        try:
            yield
        finally:
            with self._mutex:
                self._readers[epoch] -= 1
                if not self._readers[epoch]:
                    del self._readers[epoch]

    def retire(self, action: Callable[[], None]) -> None:
        """Do something once nobody reads any more who may have begun before now."""
        with self._mutex:
            self._retired.append((self._epoch, action))
            self._epoch += 1

    def clear(self) -> None:
        """Do what nobody stands in the way of any more."""
        with self._mutex:
            oldest = min(self._readers, default=self._epoch)
            due = [action for epoch, action in self._retired if epoch < oldest]
            self._retired = [entry for entry in self._retired if entry[0] >= oldest]
        for action in due:
            action()
