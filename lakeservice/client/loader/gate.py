"""Forks wait for batches that are being made: a child would inherit their locks and streams."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT_S = 30.0
"""How long a fork waits, in s, before it goes on as if nothing were running."""


class Gate:
    """Work that threads do between forks; a fork waits for it, and it for a fork."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside: set[int] = set()
        self._closed = False

    @contextmanager
    def passed(self) -> Iterator[None]:
        """Do something inside which no other thread forks."""
        me = threading.get_ident()
        with self._changed:
            nested = me in self._inside
            while self._closed and not nested:
                self._changed.wait()
            self._inside.add(me)
        try:
            yield
        finally:
            if not nested:
                with self._changed:
                    self._inside.discard(me)
                    self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in, and wait until all others are out."""
        me = {threading.get_ident()}
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: self._inside <= me, WAIT_S)

    def open(self) -> None:
        """Let all in again."""
        with self._changed:
            self._closed = False
            self._changed.notify_all()

    def restart(self) -> None:
        """Begin anew in a forked child, where the other threads are gone."""
        self._changed = threading.Condition()
        self._inside = set()
        self._closed = False


GATE = Gate()
"""The gate of this process."""

if hasattr(os, "register_at_fork"):
    # What is registered last comes first: connections find that nothing runs.
    os.register_at_fork(before=GATE.close, after_in_parent=GATE.open, after_in_child=GATE.restart)
