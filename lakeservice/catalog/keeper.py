"""The keeper: one thread that does what can wait, and stops when it is told."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_IDLE_S = 1.0
"""With nothing to do for so long, work that only tidies up is done as well."""
_PAUSE_S = 0.05

logger = logging.getLogger(__name__)


class Keeper:
    """Calls its work in the background after notices, and once more when all is quiet.

    Parameters
    ----------
    work
        Called with whether all is quiet; comes back soon after `close` was called.
    """

    def __init__(self, work: Callable[[bool], None]) -> None:
        self._work = work
        self._notice = threading.Event()
        self._mutex = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def notify(self) -> None:
        """Say that there may be something to do; the thread begins with the first notice."""
        self._notice.set()
        if self._thread is None:
            with self._mutex:
                if self._thread is None and not self._stop.is_set():
                    self._thread = threading.Thread(
                        target=self._run, name="catalog-keeper", daemon=True
                    )
                    self._thread.start()

    def close(self) -> None:
        """End the work and the thread."""
        self._stop.set()
        self._notice.set()
        with self._mutex:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        quiet = True
        while not self._stop.is_set():
            noticed = self._notice.wait(None if quiet else _IDLE_S)
            self._notice.clear()
            quiet = not noticed
            if noticed:
                # Notices come with every commit; once in a while is enough.
                self._stop.wait(_PAUSE_S)
            if self._stop.is_set():
                break
            try:
                self._work(quiet)
            except Exception:
                # Nothing is lost: the same work is found again at the next notice.
                logger.exception("the index could not be tidied up")
