"""Changes that are not in a state yet, seen as if they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from schemas.path import ancestors_of, parent_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from schemas.entry import Node


class Tree(Protocol):
    """Nodes by path: a state, or an overlay over one."""

    def nodes(self, paths: Sequence[str]) -> dict[str, Node]:
        """Return those of the nodes that exist."""

    def has_children(self, path: str, without: Collection[str] = ()) -> bool:
        """Tell whether a node has children other than the paths in ``without``."""


class Overlay:
    """A tree with changes on top; overlays stack, and merge downwards."""

    def __init__(self, below: Tree) -> None:
        self._below = below
        self._known: dict[str, Node | None] = {}
        self._changes: list[tuple[str, Node | None]] = []
        self._latest: dict[str, int] = {}
        """Position of the latest change of each path."""
        self._cleared: dict[str, int] = {}
        """Position of the latest removal of each path, with all that was below it."""
        self._touched: dict[str, set[str]] = {}
        """Changed paths by parent."""

    def prefetch(self, paths: Iterable[str]) -> None:
        """Look up many nodes of the tree below at once, so that `get` need not."""
        wanted = [path for path in paths if path not in self._known]
        found = self._below.nodes(wanted) if wanted else {}
        self._known.update((path, found.get(path)) for path in wanted)

    def get(self, path: str) -> Node | None:
        """Return the node at a path; None if there is none."""
        latest, cleared = self._latest.get(path, -1), self._cleared_at(path)
        if latest >= 0 and latest >= cleared:
            return self._changes[latest][1]
        if cleared >= 0:
            return None
        if path not in self._known:
            self._known[path] = self._below.nodes([path]).get(path)
        return self._known[path]

    def nodes(self, paths: Sequence[str]) -> dict[str, Node]:
        """Return those of the nodes that exist."""
        found = ((path, self.get(path)) for path in paths)
        return {path: node for path, node in found if node is not None}

    def has_children(self, path: str, without: Collection[str] = ()) -> bool:
        """Tell whether a node has children other than the paths in ``without``."""
        touched = self._touched.get(path, set())
        if any(self.get(child) is not None for child in touched if child not in without):
            return True
        if self._cleared_at(path) >= 0:
            return False
        return self._below.has_children(path, touched.union(without))

    def put(self, node: Node) -> None:
        """Set a node at its path."""
        self._change(node.path, node)

    def remove(self, path: str) -> None:
        """Remove a node and everything below it."""
        self._cleared[path] = len(self._changes)
        self._change(path, None)

    def merge_into(self, other: Overlay) -> None:
        """Make the same changes in another overlay, the one below."""
        for path, node in self._changes:
            if node is None:
                other.remove(path)
            else:
                other.put(node)

    def _change(self, path: str, node: Node | None) -> None:
        self._latest[path] = len(self._changes)
        self._changes.append((path, node))
        if path:
            self._touched.setdefault(parent_of(path), set()).add(path)

    def _cleared_at(self, path: str) -> int:
        if not self._cleared:
            return -1
        above = (self._cleared.get(ancestor, -1) for ancestor in ancestors_of(path))
        return max(self._cleared.get(path, -1), *above, -1)
