"""Decoded chunks that were asked for more than once lately, up to a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Hashable

    from numpy.typing import NDArray

_LARGEST = 4  # a chunk above this part of all memory would push out too many others


class ChunkCache:
    """Decoded chunks by key, those used last; thread-safe.

    A chunk is worth keeping when it is touched a second time before others of as many
    bytes as are kept: reads that pass over an array once put nothing in and cost nothing.

    Parameters
    ----------
    limit_bytes
        Most bytes of chunks that are kept; 0 keeps none.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[Hashable, NDArray[Any]]] = OrderedDict()
        self._held = 0
        self._touched: OrderedDict[Hashable, int] = OrderedDict()
        self._seen = 0

    @property
    def size_bytes(self) -> int:
        """Bytes of the chunks that are kept."""
        return self._held

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._kept

    def get(self, key: Hashable, stamp: Hashable) -> NDArray[Any] | None:
        """Return a chunk, not to be written to; None where it is not kept.

        Parameters
        ----------
        key
            Which chunk of which version of which node.
        stamp
            What tells the stored bytes from others in the same place, as they are now:
            a chunk that was kept with another stamp is forgotten.
        """
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            if found[0] != stamp:
                self._forget(key)
                return None
            self._kept.move_to_end(key)
            return found[1]

    def may_keep(self, size_bytes: int) -> bool:
        """Tell whether a chunk of some decoded size is small enough to be kept."""
        return size_bytes * _LARGEST <= self.limit_bytes

    def is_worth(self, key: Hashable, size_bytes: int) -> bool:
        """Note that a chunk was touched; tell whether it is to be kept, being so again."""
        if not self.may_keep(size_bytes):
            return False
        with self._lock:
            before = self._touched.pop(key, None)
            if before is not None:
                self._seen -= before
                return True
            self._touched[key] = size_bytes
            self._seen += size_bytes
            while self._seen > self.limit_bytes:
                self._seen -= self._touched.popitem(last=False)[1]
            return False

    def put(self, key: Hashable, stamp: Hashable, chunk: NDArray[Any]) -> None:
        """Keep a chunk, which nobody writes to any more."""
        if not self.may_keep(chunk.nbytes):
            return
        chunk.flags.writeable = False
        with self._lock:
            self._forget(key)
            self._kept[key] = stamp, chunk
            self._held += chunk.nbytes
            while self._held > self.limit_bytes:
                self._forget(next(iter(self._kept)))

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
            self._touched.clear()
            self._held = self._seen = 0

    def restart(self) -> None:
        """Begin anew in a forked child, where a thread that is gone may hold the lock."""
        self._lock = threading.Lock()
        self.clear()

    def _forget(self, key: Hashable) -> None:
        found = self._kept.pop(key, None)
        if found is not None:
            self._held -= found[1].nbytes
