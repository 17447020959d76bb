"""Where memory comes from: kept by the C library for the next message, or from the system."""

from __future__ import annotations

import math
import mmap
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK = (32 << 20) - (64 << 10)
_APART_BYTES = 128 << 10  # less is not worth pages of its own, of which a process has some 65 000


def keep_freed() -> None:
    """Let the C library keep blocks of some MB that are freed, for this process.

    glibc gives such a block back to the system at once, and the next one is cleared page
    by page, until the process has freed a larger one of up to 32 MB (``man mallopt``,
    ``M_MMAP_THRESHOLD``). So one is freed here; it is never touched, and costs nothing.
    Messages of stored chunks come with a tenth less work then.
    """
    np.empty(_BLOCK, np.uint8)


def empty_apart(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an array for values that stay, in memory of its own.

    It goes back to the system with the array. Blocks that stay in the C library's memory,
    in between those that come and go, hold many times their own size of it.
    """
    size = math.prod(shape) * dtype.itemsize
    if size < _APART_BYTES:
        return np.empty(shape, dtype)
    return np.ndarray(shape, dtype, mmap.mmap(-1, size))
