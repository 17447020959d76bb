"""Lending: memory that all requests of a process share; who comes late gets little."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


LOOKING = threading.BoundedSemaphore(max(2, os.cpu_count() or 1))
"""Held while a band of elements is looked at, in whichever thread: that takes several times the
memory of the band, and more at once than there are cores would not be faster."""


class Lending:
    """Bytes to be lent; nobody waits for them.

    Parameters
    ----------
    size
        Bytes that are lent at once, but for the least that everybody gets.
    least
        What everybody gets, however much is lent.
    """

    def __init__(self, size: int, least: int) -> None:
        self._left = size
        self._least = least
        self._lock = threading.Lock()

    @contextmanager
    def lent(self, wanted: int) -> Iterator[int]:
        """Lend as many bytes as are wanted, or fewer; gives how many."""
        with self._lock:
            given = max(self._least, min(wanted, self._left))
            self._left -= given
        try:
            yield given
        finally:
            with self._lock:
                self._left += given
