"""Commits of other servers reach those who listen here, for as long as anybody does."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from schemas.errors import LakeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakeservice.service.live import Hub, Subscription
    from schemas.entry import Node

logger = logging.getLogger(__name__)

FOLLOW_S = 0.2
"""Seconds between two looks at the log."""


class Following:
    """Looks for commits of others in a thread while somebody listens; thread-safe.

    Parameters
    ----------
    hub
        Whom they listen to.
    follow
        Applies what is new in the log; the hub is told by it.
    """

    def __init__(self, hub: Hub, follow: Callable[[], int]) -> None:
        self._hub = hub
        self._follow = follow
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    def listen(self, node: Node, wake: Callable[[], None]) -> Subscription:
        """Return a subscription to a node; see `Hub.listen`."""
        subscription = self._hub.listen(node, wake)
        with self._lock:
            if self._thread is None and not self._ended.is_set():
                self._thread = threading.Thread(target=self._run, name="live", daemon=True)
                self._thread.start()
        return subscription

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while not self._ended.wait(FOLLOW_S):
            with self._lock:
                if not self._hub.listeners:
                    self._thread = None
                    return
            try:
                self._follow()
            except LakeError as error:
                logger.warning("the log could not be followed: %s", error)
            except Exception:
                logger.exception("the log could not be followed")
