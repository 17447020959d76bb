"""The C library's memory: kept for the next message, instead of given back and cleared again."""

from __future__ import annotations

import numpy as np

_BLOCK = (32 << 20) - (64 << 10)


def keep_freed() -> None:
    """Let the C library keep blocks of some MB that are freed, for this process.

    glibc gives such a block back to the system at once, and the next one is cleared page
    by page, until the process has freed a larger one of up to 32 MB (``man mallopt``,
    ``M_MMAP_THRESHOLD``). So one is freed here; it is never touched, and costs nothing.
    Messages of stored chunks come with a tenth less work then.
    """
    np.empty(_BLOCK, np.uint8)
