"""Nodes by path: the catalog behind a cache, and the trees inside files."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa

from lakeservice.storage.trees import read_tree
from schemas.entry import DataSource, InnerNode, InnerTree, Node
from schemas.errors import ErrorKind, NotFoundError
from schemas.path import ancestors_of, clean_path, join_path, parent_of
from schemas.structures import ArrayStructure, DataType, Structure, TableStructure

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from lakeservice.catalog import Catalog
    from lakeservice.storage.objects import Objects
    from schemas.commit import Commit

ROOT = Node(path="", id="root")
"""The container that holds everything; it exists before anybody writes."""
NODE_CACHE = 50_000
GATHERED_ARRAY_BYTES = 100 << 20
"""Smaller arrays are read in one piece by Tiled's client, whatever their chunks."""
BLOCK_BYTES = 16 << 20
"""Largest block that chunks of such an array are gathered to, decoded."""
TREE_CACHE = 256
INNER_CACHE = 4096


class FileTree:
    """The nodes inside one file, by path and by parent."""

    def __init__(self, tree: InnerTree) -> None:
        self.nodes: dict[str, InnerNode] = {node.path: node for node in tree.nodes}
        self.children: dict[str, list[str]] = {}
        for path in self.nodes:
            self.children.setdefault(parent_of(path), []).append(path)

    def below(self, path: str) -> Iterator[str]:
        """Yield every path below ``path``, parents before children."""
        for child in self.children.get(path, ()):
            yield child
            yield from self.below(child)


class Nodes:
    """Answers by path, from memory where nothing has changed; it is the committer's state.

    Entries come from the catalog; what lies inside a registered or converted
    file comes from the file's tree; a column of a table is an array below it.
    """

    def __init__(self, catalog: Catalog, objects: Objects) -> None:
        self.catalog = catalog
        self._objects = objects
        self._lock = threading.Lock()
        self._cache: OrderedDict[str, Node] = OrderedDict()
        self._trees: OrderedDict[str, FileTree] = OrderedDict()
        self._inner: OrderedDict[str, Node] = OrderedDict()
        self._generation = 0

    @property
    def version(self) -> int:
        """Log version that has been applied."""
        return self.catalog.version

    def apply(self, commits: Sequence[Commit]) -> None:
        """Apply commits to the catalog and forget what they changed."""
        self.catalog.apply(commits)
        with self._lock:
            self._generation += 1
            self._inner.clear()
            for commit in commits:
                for applied in commit.applied:
                    if applied.op == "delete":
                        self._cache.clear()
                    else:
                        self._cache.pop(applied.path, None)

    def nodes(self, paths: Sequence[str]) -> dict[str, Node]:
        """Return the live entries at these paths; paths without an entry are left out."""
        with self._lock:
            found = {path: self._cache[path] for path in paths if path in self._cache}
            generation = self._generation
        missing = [path for path in paths if path not in found]
        if missing:
            fresh = self.catalog.nodes(missing)
            found.update(fresh)
            with self._lock:
                if generation == self._generation:
                    self._cache.update(fresh)
                    while len(self._cache) > NODE_CACHE:
                        self._cache.popitem(last=False)
        return found

    def has_children(self, path: str, without: Collection[str] = ()) -> bool:
        """Tell whether entries other than ``without`` lie directly below ``path``."""
        return self.catalog.has_children(path, without)

    def answered_in(self, key: str) -> int | None:
        """Return the log version that answered an idempotency key."""
        return self.catalog.answered_in(key)

    def describe(self, path: str, catalog: Catalog | None = None) -> Node:
        """Return the node at a path, be it an entry, inside a file, or a column of a table.

        Parameters
        ----------
        catalog
            Another state of the lake to answer from; None for the present.

        Raises
        ------
        NotFoundError
            ``node-not-found``: nothing lies there; the message names the nearest container.
        """
        path = clean_path(path)
        with self._lock:
            known = self._inner.get(path) if catalog is None else None
            generation = self._generation
        if known is not None:
            return known
        source = self.nodes if catalog is None else catalog.nodes
        found = source([path])
        if path in found:
            return found[path]
        if not path:
            return ROOT
        above = list(ancestors_of(path))
        entries = source(above)
        nearest = next((entries[key] for key in above if key in entries), ROOT)
        inner = path[len(nearest.path) :].strip("/")
        node = self._inside(nearest, inner)
        if node is not None:
            if catalog is None:
                self._keep_inner(path, node, generation)
            return node
        where = f"in {nearest.path!r}" if nearest.path else "in the lake"
        raise NotFoundError(
            ErrorKind.NODE_NOT_FOUND,
            f"no node {path!r}; {inner.split('/')[0]!r} is not {where}: list or search it",
        )

    def _keep_inner(self, path: str, node: Node, generation: int) -> None:
        """Remember a node inside a file, until the next commit: no index knows its path."""
        with self._lock:
            if generation == self._generation:
                self._inner[path] = node
                while len(self._inner) > INNER_CACHE:
                    self._inner.popitem(last=False)

    def _inside(self, entry: Node, inner: str) -> Node | None:
        tree = self.tree(entry)
        if tree is not None:
            if inner in tree.nodes:
                return inner_node(entry, tree.nodes[inner])
            table = tree.nodes.get(parent_of(inner))
            if table is None:
                return None
            return column_node(inner_node(entry, table), inner.rpartition("/")[2])
        return column_node(entry, inner)

    def tree(self, entry: Node) -> FileTree | None:
        """Return the tree inside a file's entry; None where the entry is no such file."""
        name = next((source.tree for source in entry.data_sources if source.tree), None)
        if name is None:
            return None
        with self._lock:
            if name in self._trees:
                self._trees.move_to_end(name)
                return self._trees[name]
        tree = FileTree(read_tree(self._objects, name))
        with self._lock:
            self._trees[name] = tree
            while len(self._trees) > TREE_CACHE:
                self._trees.popitem(last=False)
        return tree

    def entry(self, node: Node) -> Node:
        """Return the entry that a node is or lies in."""
        _, slash, inner = node.id.partition("/")
        if not slash:
            return node
        path = node.path[: len(node.path) - len(inner) - 1]
        return self.nodes([path]).get(path, node)

    def locate(self, node: Node) -> tuple[Node, str] | None:
        """Return the file entry and the path inside it that a node stands for.

        None where the node is not a file with a tree and not inside one.
        """
        if node.data_sources and node.data_sources[0].tree:
            return node, ""
        entry_id, slash, inner = node.id.partition("/")
        if not slash:
            return None
        entry_path = node.path[: len(node.path) - len(inner) - 1]
        entry = self.nodes([entry_path]).get(entry_path)
        if entry is None or entry.id != entry_id or self.tree(entry) is None:
            return None
        return entry, inner


def gathered(structure: Structure) -> Structure:
    """Return a large array as one that clients read in blocks of several chunks.

    A client that reads it whole asks for block after block, and each question costs
    it more than a chunk of a frame or less. The blocks are chunks in sequence, so that
    they are answered as they are stored. Nobody writes blocks of what lies in a file.
    """
    if (
        not isinstance(structure, ArrayStructure)
        or structure.blocks is not None
        or structure.size_bytes < GATHERED_ARRAY_BYTES
    ):
        return structure
    blocks = list(structure.chunks)
    size = structure.data_type.itemsize
    for chunk in structure.chunks:
        if not isinstance(chunk, int):
            return structure
        size *= chunk
    for axis in reversed(range(len(blocks))):
        chunk, length = structure.chunks[axis], structure.shape[axis]
        if not isinstance(chunk, int) or chunk >= length:
            continue
        factor = max(1, min(BLOCK_BYTES // size, -(-length // chunk)))
        blocks[axis] = chunk * factor
        size *= factor
        if chunk * factor < length:
            break
    if tuple(blocks) == structure.chunks:
        return structure
    return msgspec.structs.replace(structure, blocks=tuple(blocks))


def inner_node(entry: Node, inner: InnerNode) -> Node:
    """Return a node inside a file as a node like any other."""
    source = entry.data_sources[0]
    properties = {} if inner.problem is None else {"problem": inner.problem}
    return Node(
        path=join_path(entry.path, inner.path),
        id=f"{entry.id}/{inner.path}",
        structure=gathered(inner.structure),
        metadata=inner.metadata,
        specs=inner.specs,
        data_sources=(
            DataSource(
                mimetype=source.mimetype,
                management=source.management,
                parameters={**source.parameters, "inner": inner.path},
                properties=properties,
                assets=source.assets,
                storage=inner.storage,
                declared=source.declared,
            ),
        ),
        access_tags=entry.access_tags,
        revision=entry.revision,
        seq=entry.seq,
        version=entry.version,
        created_ns=entry.created_ns,
        updated_ns=entry.updated_ns,
    )


def column_node(table: Node, column: str) -> Node | None:
    """Return one column of a table as a 1-D array; None where it has no such column.

    Columns of lists and structures have no NumPy dtype; they can be read as a table
    only, and are not found here. How long the longest text of a column is, `Reader.sized`
    finds out.
    """
    structure = table.structure
    if not isinstance(structure, TableStructure) or column not in structure.columns:
        return None
    kind = structure.to_arrow().field(column).type
    try:
        data_type = DataType.from_numpy(_text(kind) or _dtype(kind.to_pandas_dtype()))
    except (NotImplementedError, TypeError, ValueError):
        return None
    rows = structure.rows or 0
    return Node(
        path=join_path(table.path, column),
        id=f"{table.id}/{column}",
        structure=ArrayStructure(data_type=data_type, shape=(rows,), chunks=(max(1, rows),)),
        metadata=dict(table.metadata.get(column, {}))
        if isinstance(table.metadata.get(column), dict)
        else {},
        data_sources=(
            DataSource(
                mimetype=table.data_sources[0].mimetype,
                management=table.data_sources[0].management,
                parameters={"table": table.path, "column": column},
                assets=table.data_sources[0].assets,
                storage=table.data_sources[0].storage,
                declared=table.data_sources[0].declared,
            ),
        )
        if table.data_sources
        else (),
        access_tags=table.access_tags,
        revision=table.revision,
        seq=table.seq,
        version=table.version,
        created_ns=table.created_ns,
        updated_ns=table.updated_ns,
    )


def _text(kind: pa.DataType) -> np.dtype[Any] | None:
    """Return a dtype for columns of text, which is to be sized; None for others."""
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return np.dtype("<U1") if is_text or pa.types.is_string_view(kind) else None


def _dtype(kind: object) -> np.dtype[Any]:
    return np.dtype(kind)  # type: ignore[call-overload,no-any-return]
