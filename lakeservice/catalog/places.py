"""Where each node stands in the tree, in arrays by the number of the node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lakeservice.catalog.lookup import Lookup
from schemas.path import parent_of

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT_NUMBER = 0
GONE = -1
"""The record of a node that does not exist, or not yet."""

Bools = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class View:
    """The tree at one version; nothing in it changes any more."""

    version: int
    alive: Bools
    """By node: whether it exists."""
    parent: npt.NDArray[np.int32]
    """By node: the number of the container that holds it; -1 for the root."""
    seq: Numbers
    """By node: its order of creation over the whole lake; it rises with the number."""
    record: npt.NDArray[np.int32]
    """By node: the record that holds its attributes."""
    document: Numbers
    """By node: the number of its document."""
    owner: npt.NDArray[np.int32]
    """By record: its node."""
    unchanged: bool
    """Whether every record has the number of its node, because none was ever replaced."""

    @property
    def count(self) -> int:
        """Number of nodes that ever were; the size of every mask."""
        return len(self.alive)

    def owners(self, records: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int32], Bools]:
        """Return the node of each record, and whether it is the node's present record."""
        if self.unchanged and (not records.size or records.max() < len(self.owner)):
            return records, np.ones(len(records), np.bool_)
        known = records < len(self.owner)
        nodes: npt.NDArray[np.int32] = self.owner[np.where(known, records, 0)]
        known &= self.record[nodes] == records
        return nodes, known

    def holders(self, records: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Return the nodes whose present record is among some; records of the past are left out."""
        if self.unchanged and (not records.size or records.max() < len(self.owner)):
            return records
        nodes, present = self.owners(records)
        return nodes[present]

    def below(self, number: int, levels: int | None = 1) -> Bools:
        """Return which nodes lie so many levels below a container; None is all of them."""
        if levels is None and number == ROOT_NUMBER:
            every = self.alive.copy()
            every[ROOT_NUMBER] = False
            return every
        children: Bools = self.parent == number
        children[ROOT_NUMBER] = False
        mask = children
        while levels is None or levels > 1:
            wider = mask[self.parent] | children
            wider[ROOT_NUMBER] = False
            if np.array_equal(wider, mask):
                break
            mask, levels = wider, None if levels is None else levels - 1
        return mask & self.alive


class Places:
    """All nodes that ever were: their parents, children and documents.

    Numbers are given in the order of creation and never again. The root is
    number 0 and is always there.
    """

    def __init__(self, secret: bytes) -> None:
        self.paths = Lookup(secret)
        self.count = 0
        self.records = 0
        """Records given so far."""
        self._alive = np.zeros(1024, np.bool_)
        self._parent = np.zeros(1024, np.int32)
        self._children = np.zeros(1024, np.int32)
        self._seq = np.zeros(1024, np.int64)
        self._record = np.zeros(1024, np.int32)
        self._document = np.zeros(1024, np.int64)
        self._owner = np.zeros(1024, np.int32)
        self._unchanged = True
        self._shared: dict[str, int] = {}
        """By array: how many of its elements a view may be looking at."""
        self._last_parent = ("", ROOT_NUMBER)
        self._append(GONE, 0)
        self.new_record(ROOT_NUMBER)

    def find(self, path: str) -> int | None:
        """Return the number of the node at a path; None if there is none."""
        if not path:
            return ROOT_NUMBER
        for number in self.paths.find(path):
            if self._alive[number]:
                return number
        return None

    def find_many(self, paths: Sequence[str]) -> list[int | None]:
        """Return the number of the node at each of many paths."""
        alive = self._alive
        return [
            next((number for number in numbers if alive[number]), None) if path else ROOT_NUMBER
            for path, numbers in zip(paths, self.paths.find_many(paths), strict=True)
        ]

    def add(self, path: str, seq: int) -> int | None:
        """Add a node and return its number; None if there is nothing that could hold it."""
        above = parent_of(path)
        if above != self._last_parent[0]:
            parent = self.find(above)
            if parent is None:
                return None
            self._last_parent = (above, parent)
        number = self._append(self._last_parent[1], seq)
        self._children[self._last_parent[1]] += 1
        self.paths.add(path, number)
        return number

    def remove(self, number: int) -> list[int]:
        """Remove a node and all below it; return their numbers."""
        gone = [number]
        self._children[self._parent[number]] -= 1
        level = np.array([number])
        while self._children[level].any():
            holds = self._children[level] > 0
            inside = self._alive[: self.count] & np.isin(
                self._parent[: self.count], level[holds], kind="table"
            )
            level = np.flatnonzero(inside)
            gone.extend(level.tolist())
        self._own("_alive", min(gone))
        self._alive[gone] = False
        self._children[gone] = 0
        self._last_parent = ("", ROOT_NUMBER)
        return gone

    def children(self, number: int) -> int:
        """Return how many children a node has."""
        return int(self._children[number])

    def parent(self, number: int) -> int:
        """Return the number of the container that holds a node."""
        return int(self._parent[number])

    def document(self, number: int) -> int:
        """Return the number of a node's document; -1 if it has none yet."""
        return int(self._document[number])

    def record(self, number: int) -> int:
        """Return the record of a node's attributes; `GONE` if it has none yet."""
        return int(self._record[number])

    def set_document(self, number: int, document: int) -> None:
        """Note where a node's document is."""
        self._own("_document", number)
        self._document[number] = document

    def new_record(self, number: int) -> int:
        """Give a node a new record for its attributes."""
        record = self.records
        if record == len(self._owner):
            self._owner = _doubled(self._owner)
        self._owner[record] = number
        self._own("_record", number)
        self._record[number] = record
        self._unchanged &= record == number
        self.records += 1
        return record

    def stale_records(self) -> npt.NDArray[np.int32]:
        """Return the records whose node is gone or has another one now."""
        owner = self._owner[: self.records]
        records = np.arange(self.records, dtype=np.int32)
        gone = ~self._alive[owner] | (self._record[owner] != records)
        stale: npt.NDArray[np.int32] = records[gone]
        return stale

    def superseded(self, documents: dict[str, npt.NDArray[Any]]) -> list[int]:
        """Return those of the documents of nodes that are not the last of their node."""
        last = self._document[documents["node"]] == documents["number"]
        found: list[int] = documents["number"][~last].tolist()
        return found

    def columns(self, first: int) -> dict[str, npt.NDArray[Any]]:
        """Return what has to be kept of the nodes from a number on."""
        return {
            "number": np.arange(first, self.count, dtype=np.int32),
            "parent": self._parent[first : self.count].copy(),
            "seq": self._seq[first : self.count].copy(),
        }

    def load(
        self,
        nodes: dict[str, npt.NDArray[Any]],
        documents: dict[str, npt.NDArray[Any]],
    ) -> None:
        """Take over what was kept.

        Parameters
        ----------
        nodes
            ``parent``, ``seq`` and ``hash`` of all nodes after the root, in order.
        documents
            ``number``, ``node`` and ``record`` of all documents, in order; a
            node whose last document has record -1 is gone.
        """
        self.count = 1 + len(nodes["seq"])
        size = max(1024, self.count)
        for name in ("_alive", "_parent", "_children", "_seq", "_record", "_document"):
            setattr(self, name, np.zeros(size, getattr(self, name).dtype))
        self._parent[0] = GONE
        self._parent[1 : self.count] = nodes["parent"]
        self._seq[1 : self.count] = nodes["seq"]
        self._record[1:] = GONE
        self._document[:] = GONE
        # Where a node occurs several times, the last assignment is the one that stays.
        self._document[documents["node"]] = documents["number"]
        self._record[documents["node"]] = documents["record"]
        self._alive[: self.count] = self._record[: self.count] != GONE
        living = self._parent[1 : self.count][self._alive[1 : self.count]]
        self._children[: self.count] = np.bincount(living, minlength=self.count)
        given = documents["record"] != GONE
        records = documents["record"][given]
        self.records = 1 + int(records.max(initial=0))
        self._owner = np.zeros(max(1024, self.records), np.int32)
        self._owner[records] = documents["node"][given]
        self._unchanged = bool(
            np.array_equal(self._owner[: self.records], np.arange(self.records, dtype=np.int32))
        )
        self.paths.stage(nodes["hash"], np.arange(1, self.count, dtype=np.int64))
        self.paths.settle(self.paths.sort(), self.count)

    def view(self, version: int) -> View:
        """Return the tree as it is now."""
        count = self.count
        self._shared = dict.fromkeys(("_alive", "_record", "_document"), count)
        return View(
            version=version,
            alive=self._alive[:count],
            parent=self._parent[:count],
            seq=self._seq[:count],
            record=self._record[:count],
            document=self._document[:count],
            owner=self._owner[: self.records],
            unchanged=self._unchanged,
        )

    def _own(self, name: str, number: int) -> None:
        """Make an array our own before an element changes that a view may be looking at."""
        if number < self._shared.get(name, 0):
            setattr(self, name, getattr(self, name).copy())
            self._shared[name] = 0

    def _append(self, parent: int, seq: int) -> int:
        number = self.count
        if number == len(self._alive):
            for name in ("_alive", "_parent", "_children", "_seq", "_record", "_document"):
                setattr(self, name, _doubled(getattr(self, name)))
        self._alive[number] = True
        self._parent[number] = parent
        self._children[number] = 0
        self._seq[number] = seq
        self._record[number] = GONE
        self._document[number] = GONE
        self.count += 1
        return number


def _doubled(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.concatenate([array, np.zeros_like(array)])
