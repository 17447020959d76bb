"""What commits do to nodes: the fold, and the state that a committer needs."""

from __future__ import annotations

import hashlib
from operator import itemgetter
from typing import TYPE_CHECKING, Protocol

import msgspec

from lakeservice.storage.layout import ROOT_ID
from schemas.chunks import ArrayStorage, TableStorage, ZarrParts
from schemas.entry import Node
from schemas.errors import CorruptError, ErrorKind
from schemas.path import parent_of
from schemas.structures import ArrayStructure, AwkwardStructure, Structure, TableStructure

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from schemas.chunks import Part
    from schemas.commit import Applied, Commit
    from schemas.entry import DataSource
    from schemas.structures import Chunks

ROOT = Node(path="", id=ROOT_ID)
"""The container at the empty path, before anybody has updated it."""


class State(Protocol):
    """All nodes at one version, as far as a committer has to know them.

    ``apply`` is called by one thread at a time, with the commit that follows
    ``version``; the others may be called at any time.
    """

    @property
    def version(self) -> int:
        """The version of the last commit applied; 0 for none."""

    def apply(self, commits: Sequence[Commit]) -> None:
        """Take over consecutive commits, the first being ``version + 1``.

        A delete removes the node and everything below its path; it is one line
        whatever was there. An append changes its node as `fold` says.
        """

    def nodes(self, paths: Sequence[str]) -> dict[str, Node]:
        """Return those of the nodes that exist; the root only if somebody has updated it."""

    def has_children(self, path: str, without: Collection[str] = ()) -> bool:
        """Tell whether a node has children other than the paths in ``without``."""

    def answered_in(self, key: str) -> int | None:
        """Return the version that answered an idempotency key; None if none did."""


class MemoryState:
    """A state in dictionaries: for tests and for tools that go through a log once."""

    def __init__(self) -> None:
        self.version = 0
        self._nodes: dict[str, Node] = {}
        self._children: dict[str, set[str]] = {}
        self._answered: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(list(self._nodes.values()))

    def apply(self, commits: Sequence[Commit]) -> None:
        """Take over consecutive commits.

        Raises
        ------
        CorruptError
            ``corrupt-object``: they do not follow the last one, or contradict it.
        """
        for commit in commits:
            if commit.version != self.version + 1:
                raise CorruptError(
                    ErrorKind.CORRUPT_OBJECT,
                    f"version {commit.version} of the log does not follow {self.version}",
                )
            for applied in commit.applied:
                self._apply(applied)
            for request in commit.requests:
                if request.key is not None:
                    self._answered[request.key] = commit.version
            self.version = commit.version

    def nodes(self, paths: Sequence[str]) -> dict[str, Node]:
        """Return those of the nodes that exist."""
        found = ((path, self._nodes.get(path)) for path in paths)
        return {path: node for path, node in found if node is not None}

    def has_children(self, path: str, without: Collection[str] = ()) -> bool:
        """Tell whether a node has children other than the paths in ``without``."""
        children = self._children.get(path, set())
        return len(children) > len(without) or any(child not in without for child in children)

    def answered_in(self, key: str) -> int | None:
        """Return the version that answered an idempotency key; None if none did."""
        return self._answered.get(key)

    def _apply(self, applied: Applied) -> None:
        path = applied.path
        node = fold(self._nodes.get(path), applied)
        if node is not None:
            self._nodes[path] = node
            if path:
                self._children.setdefault(parent_of(path), set()).add(path)
            return
        self._children.get(parent_of(path), set()).discard(path)
        pending = [path]
        while pending:
            gone = pending.pop()
            self._nodes.pop(gone, None)
            pending.extend(self._children.pop(gone, ()))


def fold(node: Node | None, applied: Applied) -> Node | None:
    """Return a node after one line of the log; None where it is gone.

    Parameters
    ----------
    node
        The node before; None where there was none.
    applied
        A line about the node's own path. That a delete takes along what is below
        its path is the state's part.

    Raises
    ------
    CorruptError
        ``corrupt-object``: an append to a node that cannot take parts.
    """
    if applied.op == "delete":
        return None
    if applied.op != "append":
        return applied.node
    if node is None or not takes_parts(node):
        raise CorruptError(
            ErrorKind.CORRUPT_OBJECT,
            f"version {applied.version} of the log appends to {applied.path!r}, "
            "which holds no stored data",
        )
    source = node.data_sources[0]
    return msgspec.structs.replace(
        node,
        structure=_longer(node.structure, source, applied.parts),
        data_sources=(_with_parts(source, applied.parts), *node.data_sources[1:]),
        revision=applied.revision,
        version=applied.version,
        updated_ns=applied.time_ns,
    )


def takes_parts(node: Node) -> bool:
    """Tell whether parts can be appended: its first data source holds parts in the lake."""
    if not node.data_sources:
        return False
    storage = node.data_sources[0].storage
    if isinstance(storage, ArrayStorage):
        return isinstance(storage.location, ZarrParts) and isinstance(
            node.structure, ArrayStructure
        )
    return isinstance(storage, TableStorage) and not storage.assets


def form_of(node: Node) -> str:
    """Return a digest of what a node's parts are written in: what rows of it have in common.

    It stays the same when rows are added, and is another when the data were written anew
    with other chunks, codecs, columns or types.
    """
    storage, structure = node.data_sources[0].storage, node.structure
    digest = hashlib.sha256()
    if isinstance(storage, ArrayStorage):
        digest.update(msgspec.json.encode(storage.layout))
    if isinstance(storage, TableStorage):
        digest.update(storage.format.encode())
    if isinstance(structure, TableStructure):
        digest.update(structure.to_arrow().remove_metadata().serialize())
    if isinstance(structure, AwkwardStructure):
        digest.update(msgspec.json.encode(structure.form, order="sorted"))
    return digest.hexdigest()[:32]


def _with_parts(source: DataSource, parts: tuple[Part, ...]) -> DataSource:
    storage = source.storage
    replace = msgspec.structs.replace
    if isinstance(storage, TableStorage):
        return replace(source, storage=replace(storage, parts=_in_order(storage.parts, parts)))
    if isinstance(storage, ArrayStorage) and isinstance(storage.location, ZarrParts):
        location = replace(storage.location, parts=storage.location.parts + parts)
        return replace(source, storage=replace(storage, location=location))
    return source


def _in_order(present: tuple[Part, ...], added: tuple[Part, ...]) -> tuple[Part, ...]:
    """Return parts in the order of their rows: by partition, in each as they came."""
    if all(part.partition is None for part in added):
        return present + added
    last, numbered = 0, []
    for part in present + added:
        last = last if part.partition is None else part.partition
        numbered.append((last, part))
    numbered.sort(key=itemgetter(0))
    return tuple(part for _, part in numbered)


def _partitions(structure: TableStructure, source: DataSource, added: tuple[Part, ...]) -> int:
    """Return how many partitions a table has with these parts."""
    present = source.storage.parts if isinstance(source.storage, TableStorage) else ()
    numbers = [part.partition for part in present + added if part.partition is not None]
    if numbers:
        return max(structure.npartitions, *(number + 1 for number in numbers))
    return structure.npartitions + len(added)


def _longer(structure: Structure, source: DataSource, parts: tuple[Part, ...]) -> Structure:
    added = sum(part.length for part in parts)
    replace = msgspec.structs.replace
    if isinstance(structure, TableStructure):
        rows = None if structure.rows is None else structure.rows + added
        return replace(structure, rows=rows, npartitions=_partitions(structure, source, parts))
    if isinstance(structure, AwkwardStructure):
        return replace(structure, length=structure.length + added)
    if isinstance(structure, ArrayStructure) and isinstance(source.storage, ArrayStorage):
        stored = source.storage.layout.chunk_shape[0]
        lengths = [part.length for part in parts]
        return replace(
            structure,
            shape=(structure.shape[0] + added, *structure.shape[1:]),
            blocks=_regular(structure.blocks),
            chunks=(_grown(structure, stored, lengths), *structure.chunks[1:]),
        )
    return structure


def _regular(blocks: Chunks | None) -> Chunks | None:
    """Return a grid that goes on by itself where an array grows; None for others."""
    return blocks if blocks and all(isinstance(size, int) for size in blocks) else None


def _grown(structure: ArrayStructure, stored: int, lengths: Sequence[int]) -> int | tuple[int, ...]:
    """Return the chunks of the first axis; one number as long as only the last chunk is cut."""
    length, sizes = structure.shape[0], structure.chunks[0]
    if isinstance(sizes, int):
        before = [length, *lengths[:-1]]
        if sizes == stored and all(rows % stored == 0 for rows in before):
            return stored
        sizes = _cut(length, sizes)
    explicit = [size for size in sizes if size]
    for rows in lengths:
        explicit.extend(_cut(rows, stored))
    return tuple(explicit) or (0,)


def _cut(length: int, size: int) -> tuple[int, ...]:
    whole, rest = divmod(length, size)
    return (size,) * whole + ((rest,) if rest else ())
