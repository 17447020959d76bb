"""The vocabulary: a number for each dotted key that some metadata has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakeservice.catalog.values import KIND_BITS

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME, FAMILY, SPEC, SPECS, WORD, TAG = range(6)
"""Keys of our own: the node's name, its family, each spec, all specs as JSON, each word,
each access tag."""
_FIRST = 16
"""The first number of a metadata key."""


class Branch:
    """A place in the tree of all keys, so that metadata are walked without joining keys."""

    __slots__ = ("attribute", "children", "dotted", "prefix")

    def __init__(self, attribute: int, prefix: str, *, dotted: bool) -> None:
        self.attribute = attribute
        """Attribute number of the key with kind 0."""
        self.prefix = prefix
        """What all keys below begin with."""
        self.dotted = dotted
        """Whether a name above or here holds a dot, so that another place may have the same key."""
        self.children: dict[str, Branch] = {}


class Keys:
    """Numbers of keys; they are given once and stay."""

    def __init__(self, known: Mapping[str, int] | None = None) -> None:
        self._numbers = dict(known or {})
        self._next = max(self._numbers.values(), default=_FIRST - 1) + 1
        self._new: list[tuple[str, int]] = []
        self.tree = Branch(-1, "", dotted=False)

    def __len__(self) -> int:
        return len(self._numbers)

    def number(self, key: str) -> int | None:
        """Return the number of a key; None if no metadata ever had it."""
        return self._numbers.get(key)

    def grow(self, branch: Branch, name: str) -> Branch:
        """Return the place of a name below another place, which must not be there yet."""
        key = branch.prefix + name
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = self._next
            self._next += 1
            self._new.append((key, number))
        child = Branch(number << KIND_BITS, f"{key}.", dotted="." in name)
        branch.children[name] = child
        return child

    def new(self) -> list[tuple[str, int]]:
        """Return the keys that `mark_kept` has not been told about."""
        return list(self._new)

    def mark_kept(self, kept: list[tuple[str, int]]) -> None:
        """Note that the first of the new keys are in the database now."""
        del self._new[: len(kept)]
