"""Nodes as they were planned, so that a long read of one ends although the node is changed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schemas.entry import Node

_KEPT = 256


class PlannedNodes:
    """Versions of nodes that tickets were made for lately; thread-safe.

    The data of a version stays where it is when the node is changed, so that whoever
    still knows the version can read it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._nodes: OrderedDict[tuple[str, str, int], Node] = OrderedDict()

    def keep(self, node: Node) -> None:
        """Remember a version; the ones that were not asked for longest are forgotten."""
        key = node.path, node.id, node.version
        with self._lock:
            self._nodes[key] = node
            self._nodes.move_to_end(key)
            while len(self._nodes) > _KEPT:
                self._nodes.popitem(last=False)

    def get(self, path: str, identity: str, version: int) -> Node | None:
        """Return a version that was planned; None where it is forgotten."""
        key = path, identity, version
        with self._lock:
            found = self._nodes.get(key)
            if found is not None:
                self._nodes.move_to_end(key)
            return found
