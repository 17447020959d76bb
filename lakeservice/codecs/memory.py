"""Where memory comes from: kept by the C library for the next message, or from the system."""

from __future__ import annotations

import ctypes
import math
import mmap
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ARENA_MAX = -8  # M_ARENA_MAX of malloc.h
_BLOCK = (32 << 20) - (64 << 10)
_APART_BYTES = 128 << 10  # less is not worth pages of its own, of which a process has some 65 000
_LARGE_BYTES = 4 << 20  # NumPy asks for large pages from here on, too


def keep_freed() -> None:
    """Let the C library keep blocks of some MB that are freed, for this process.

    glibc gives such a block back to the system at once, and the next one is cleared page
    by page, until the process has freed a larger one of up to 32 MB (``man mallopt``,
    ``M_MMAP_THRESHOLD``). So one is freed here; it is never touched, and costs nothing.
    Messages of stored chunks come with a tenth less work then.
    """
    np.empty(_BLOCK, np.uint8)


def share_arenas() -> None:
    """Let all threads take memory from two places, for this process; glibc only.

    Each thread that decodes or sends would else have its own place, up to eight for each
    core, and each of them keeps what was freed in it: gRPC makes threads again and again.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 2)


def empty_apart(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an array for values that stay, in memory of its own.

    It goes back to the system with the array. Blocks that stay in the C library's memory,
    in between those that come and go, hold many times their own size of it.
    """
    size = math.prod(shape) * dtype.itemsize
    if size < _APART_BYTES:
        return np.empty(shape, dtype)
    memory = mmap.mmap(-1, size)
    if size >= _LARGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # this system has no large pages
            memory.madvise(mmap.MADV_HUGEPAGE)
    return np.ndarray(shape, dtype, memory)
