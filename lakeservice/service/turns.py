"""Turns: changes of one node that would undo each other wait for each other."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Door:
    """Lets in many who share, or one alone."""

    def __init__(self) -> None:
        self.sharing = 0
        self.alone = False
        self.waiting = 0


class Turns:
    """Who may change the data of a node now, in this process; thread-safe.

    Servers do not know of each other's turns: a change that depends on the state it was
    made from is also committed only together with that state.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._doors: dict[str, _Door] = {}

    @contextmanager
    def shared(self, node_id: str) -> Iterator[None]:
        """Change something that nobody else changes, beside others who do the same."""
        with self._inside(node_id, alone=False):
            yield

    @contextmanager
    def alone(self, node_id: str) -> Iterator[None]:
        """Read, change and commit while nobody else changes the node."""
        with self._inside(node_id, alone=True):
            yield

    @contextmanager
    def _inside(self, node_id: str, *, alone: bool) -> Iterator[None]:
        with self._changed:
            door = self._doors.setdefault(node_id, _Door())
            door.waiting += 1
            try:
                self._changed.wait_for(lambda: not door.alone and not (alone and door.sharing))
            finally:
                door.waiting -= 1
            door.alone = alone
            door.sharing += not alone
        try:
            yield
        finally:
            with self._changed:
                door.alone = False
                door.sharing -= not alone
                if not (door.sharing or door.waiting):
                    self._doors.pop(node_id, None)
                self._changed.notify_all()
