"""Which stored objects the entries of a lake refer to, now and ever."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from lakeservice.storage.commits import MemoryState
from lakeservice.storage.mutations import stored_names, stored_parts
from schemas.chunks import ArrayStorage
from schemas.commit import Applied, Commit
from schemas.structures import ArrayStructure, TableStructure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lakeservice.storage.log import Log
    from schemas.chunks import Part
    from schemas.entry import DataSource, Node


@dataclass(frozen=True)
class Expected:
    """A stored object or prefix that a living entry needs."""

    path: str
    """The entry."""
    is_array: bool = False
    """Whether it is a Zarr array, not a single object."""
    size_bytes: int | None = None
    """Size of a single object, where it was recorded."""
    chunks: int | None = None
    """Number of chunks of an array whose every chunk was written; None where some may lack."""


class References:
    """What a log refers to, gathered commit by commit; without metadata, to be small."""

    def __init__(self) -> None:
        self._state = MemoryState()
        self._keys: set[str] = set()
        self._whole: set[str] = set()
        """Ids of files: all that lies below them is theirs."""

    def __len__(self) -> int:
        return len(self._state)

    @property
    def version(self) -> int:
        """The version taken in last."""
        return self._state.version

    def start(self, version: int, nodes: Iterable[Node]) -> None:
        """Begin with the nodes of a snapshot instead of the first commits."""
        applied = tuple(
            Applied(op="create", path=node.path, id=node.id, revision=node.revision, node=node)
            for node in nodes
        )
        self._state.version = version - 1
        self._take(Commit(version=version, writer="", time_ns=0, applied=applied))

    def follow(self, log: Log) -> None:
        """Take in what the log has beyond the version taken in last."""
        for commit in log.follow(self.version):
            self._take(commit)

    def covers(self, key: str) -> bool:
        """Tell whether any entry, living or gone, refers to ``data/<id>/<segment>``."""
        return key in self._keys or key.split("/")[1] in self._whole

    def has(self, node: Node) -> bool:
        """Tell whether an entry is living, in this very revision."""
        present = self._state.nodes([node.path]).get(node.path)
        return present is not None and (present.id, present.revision) == (node.id, node.revision)

    def expected(self) -> dict[str, Expected]:
        """Return what living entries need, by ``data/<id>/<segment>``."""
        return {
            _key_of(name): wanted
            for node in self._state
            for source in node.data_sources
            for name, wanted in _wanted(node, source)
        }

    def trees(self) -> Iterator[tuple[str, str]]:
        """Yield path and tree of each living file."""
        for node in self._state:
            for source in node.data_sources:
                if source.tree is not None:
                    yield node.path, source.tree

    def arrays(self) -> Iterator[tuple[str, ArrayStructure, ArrayStorage]]:
        """Yield the path of each living array that has chunks of its own, and where they lie."""
        for node in self._state:
            for source in node.data_sources:
                storage, structure = source.storage, node.structure
                if isinstance(storage, ArrayStorage) and isinstance(structure, ArrayStructure):
                    yield node.path, structure, storage

    def _take(self, commit: Commit) -> None:
        replace = msgspec.structs.replace
        lines = []
        for line in commit.applied:
            self._keys.update(_key_of(part.name) for part in line.parts)
            if line.node is None:
                lines.append(line)
                continue
            for source in line.node.data_sources:
                self._keys.update(_key_of(name) for name in stored_names(source))
                if source.tree is not None:
                    self._whole.add(line.node.id)
            lines.append(replace(line, node=_bare(line.node)))
        self._state.apply([replace(commit, requests=(), applied=tuple(lines))])


def _bare(node: Node) -> Node:
    structure = node.structure
    if isinstance(structure, TableStructure):
        structure = msgspec.structs.replace(structure, arrow_schema="", columns=())
    sources = tuple(
        msgspec.structs.replace(source, parameters={}, properties={}, assets=())
        for source in node.data_sources
    )
    return msgspec.structs.replace(
        node, metadata={}, specs=(), structure=structure, data_sources=sources
    )


def _key_of(name: str) -> str:
    return "/".join(name.split("/", 3)[:3])


def _wanted(node: Node, source: DataSource) -> Iterator[tuple[str, Expected]]:
    parts = {part.name: part for part in stored_parts(source)}
    for name in stored_names(source):
        part = parts.get(name)
        if part is None:
            yield name, Expected(node.path)
        elif isinstance(source.storage, ArrayStorage):
            chunks = _chunk_count(node, source.storage, part) if part.complete else None
            yield name, Expected(node.path, is_array=True, chunks=chunks)
        else:
            yield name, Expected(node.path, size_bytes=part.size_bytes)


def _chunk_count(node: Node, storage: ArrayStorage, part: Part) -> int | None:
    if not isinstance(node.structure, ArrayStructure):
        return None
    if part.within is not None:
        return math.prod(part.within)
    shape = (part.length, *node.structure.shape[1:]) if node.structure.shape else ()
    return math.prod(
        -(-length // chunk) for length, chunk in zip(shape, storage.layout.chunk_shape, strict=True)
    )
