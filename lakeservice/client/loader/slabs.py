"""Memory of batches: used again when nobody refers to it any more."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]

_ALIGNMENT = 4096


class Slabs:
    """Pieces of memory of one size; fresh pages cost more than what is decoded into them.

    Parameters
    ----------
    size
        Bytes of each.
    kept
        Most pieces that are kept while nobody uses them.
    allocate
        Returns writable memory of so many bytes: an array, or anything with a buffer.
    """

    def __init__(self, size: int, kept: int, allocate: Callable[[int], Any] | None = None) -> None:
        self.size = size
        self.made = 0
        """Pieces that were allocated so far."""
        self._kept = kept
        self._allocate = allocate or _aligned
        self._free: deque[Bytes] = deque()
        self._lock = threading.Lock()

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an array in a piece of memory that goes back when its last view is gone.

        Views, tensors made of it (``torch.from_numpy``, DLPack) and buffers count as
        views. Its elements are whatever was there.
        """
        try:
            memory = self._free.popleft()
        except IndexError:
            memory = self._fresh()
        whole = np.asarray(_Lease(memory, self))
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return whole[:size].view(dtype).reshape(shape) if size else np.empty(shape, dtype)

    def _fresh(self) -> Bytes:
        with self._lock:
            self.made += 1
        memory = np.frombuffer(self._allocate(self.size), np.uint8)
        if memory.size < self.size or not memory.flags.writeable:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST,
                f"allocate({self.size}) gave {memory.size} bytes, "
                f"{'writable' if memory.flags.writeable else 'read-only'}",
            )
        return memory

    def give_back(self, memory: Bytes) -> None:
        """Keep a piece that nobody refers to any more, or let it go where there are enough."""
        if len(self._free) < self._kept:
            self._free.append(memory)


class _Lease:
    """Owner of an array's memory: what NumPy keeps alive as long as there is a view."""

    def __init__(self, memory: Bytes, slabs: Slabs) -> None:
        self._memory = memory
        self._slabs = slabs
        self.__array_interface__ = memory.__array_interface__

    def __del__(self) -> None:
        self._slabs.give_back(self._memory)


def _aligned(size: int) -> Bytes:
    """Return memory that begins at a page."""
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.__array_interface__["data"][0] % _ALIGNMENT
    return memory[start : start + size]
