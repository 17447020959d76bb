"""Snapshots in the background, whenever the log has grown by enough."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lakeservice.catalog import Catalog

logger = logging.getLogger(__name__)


class Snapshots:
    """Writes a snapshot each time the log has grown by ``every`` commits.

    Any server may do so, and several at once: a snapshot is only a shortcut.
    """

    def __init__(self, catalog: Catalog, every: int) -> None:
        self._catalog = catalog
        self._every = every
        self._last = catalog.version
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def consider(self) -> None:
        """Begin a snapshot if it is time for one; returns at once."""
        version = self._catalog.version
        if version - self._last < self._every or not self._lock.acquire(blocking=False):
            return
        self._last = version
        self._thread = threading.Thread(target=self._write, name="snapshot", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Wait for the one that is being written."""
        if self._thread is not None:
            self._thread.join()

    def _write(self) -> None:
        try:
            self._catalog.write_snapshot()
        except Exception:
            logger.exception("a snapshot could not be written; the log has all of it")
        finally:
            self._lock.release()
