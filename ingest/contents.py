"""The nodes of one file: where their bytes lie, or what they are converted to."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np

from ingest.conversion import convert_array, convert_table, inline_array
from ingest.found import ChunkRows, Columns
from lakeservice.storage.chunk_index import write_chunk_index
from lakeservice.storage.trees import write_tree
from schemas.chunks import (
    CHUNK_INDEX_COLUMNS,
    ArrayStorage,
    Column,
    Contiguous,
    Indexed,
    TableStorage,
)
from schemas.entry import InnerNode, InnerTree
from schemas.errors import ErrorKind, InvalidRequestError, LakeError, UnavailableError
from schemas.path import ancestors_of, clean_path
from schemas.structures import ArrayStructure, ContainerStructure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ingest.found import Found, Item, ReadBatches, ReadRows
    from ingest.names import Names
    from lakeservice.storage.objects import Objects
    from schemas.entry import Asset
    from schemas.structures import Structure

MOST_ASSETS = 256
"""Assets that an entry names itself; more would make every answer about it large."""
_INLINE_BYTES = 16 << 10  # converted arrays up to this size lie in the tree itself
_MOST_INLINE = 4 << 20
Storage = ArrayStorage | TableStorage | None


@dataclasses.dataclass(frozen=True)
class Tree:
    """The tree object of a file, written."""

    name: str
    problems: tuple[str, ...]


class Contents:
    """Writes the data objects of one file.

    Parameters
    ----------
    names
        Names of what is written.
    convert
        Copy every array and table; otherwise only what is not addressable.
    """

    def __init__(
        self, objects: Objects, names: Names, *, convert: bool, beat: Callable[[], None]
    ) -> None:
        self._objects = objects
        self._names = names
        self._convert = convert
        self._beat = beat
        self._rows: list[ChunkRows] = []
        self._row_count = 0
        self._inline_bytes = 0
        self._whole_assets = {0}
        self._added: dict[str, InnerNode] = {}
        self._index_of: dict[int, Indexed] = {}
        self._copy_of: dict[int, tuple[Structure, Storage]] = {}
        self.converted = 0
        """Number of arrays and tables whose values were copied."""

    def add(self, item: Item) -> tuple[Structure, Storage]:
        """Return structure and storage of one node, converting it where that is needed.

        Raises
        ------
        Exception
            Whatever the reader of the format raises.
        """
        structure, location = item.structure, item.location
        if isinstance(structure, ContainerStructure):
            return structure, None
        if location is not None and not (self._convert and item.read is not None):
            if isinstance(location, TableStorage):
                self._whole_assets.update(location.assets)
                return structure, location
            if isinstance(location, Columns):
                return structure, self._columns(location)
            if item.layout is None:
                raise _bad(item, "has a location but no layout")
            if isinstance(location, Contiguous):
                self._whole_assets.add(location.asset)
            stored = self._indexed(location) if isinstance(location, ChunkRows) else location
            return structure, ArrayStorage(layout=item.layout, location=stored)
        if item.read is None:
            raise _bad(item, "has neither a location nor a reader")
        copied = self._copy_of.get(id(item.read))
        if copied is None:
            copied = self._copy_of[id(item.read)] = self._copied(item, structure)
        if isinstance(structure, ArrayStructure) and isinstance(copied[0], ArrayStructure):
            return msgspec.structs.replace(copied[0], dims=structure.dims), copied[1]
        return copied

    def _copied(self, item: Item, structure: Structure) -> tuple[Structure, Storage]:
        """Convert an item; others that share its reader are the same data by another name."""
        number = self.converted
        self.converted += 1
        if isinstance(structure, ArrayStructure):
            read = cast("ReadRows", item.read)
            size = structure.size_bytes
            if item.path and size <= _INLINE_BYTES and self._inline_bytes + size <= _MOST_INLINE:
                self._inline_bytes += size
                return inline_array(structure, read)
            name = self._names.inner(number) if item.path else self._names.array
            return convert_array(self._objects, name, structure, read, self._beat)
        name = f"{self._names.inner(number)}.parquet" if item.path else self._names.table
        return convert_table(
            self._objects, name, structure, cast("ReadBatches", item.read), self._beat
        )

    def tree(self, found: Found) -> Tree:
        """Write the tree of a file with several nodes; one that fails is there, with a problem."""
        nodes: dict[str, InnerNode] = {}
        problems = list(found.problems)
        for item in found.items:
            try:
                path = clean_path(item.path)
            except LakeError as error:
                problems.append(str(error))
                continue
            if not path or path in nodes:
                problems.append(f"two nodes are called {path!r}" if path else "a node has no name")
                continue
            for above in sorted(ancestors_of(path), key=len):
                nodes.setdefault(above, InnerNode(path=above))
            node = self._inner(item, path)
            nodes[path] = self._added[item.path] = node
            if node.problem is not None:
                problems.append(f"{path}: {node.problem}")
        tree = InnerTree(nodes=tuple(nodes.values()), problems=tuple(problems))
        name = self._names.tree
        write_tree(self._objects, name, tree)
        return Tree(name, tree.problems)

    def _inner(self, item: Item, path: str) -> InnerNode:
        structure: Structure = item.structure
        storage: Storage = None
        problem = item.problem
        if problem is None:
            try:
                structure, storage = self.add(item)
            except UnavailableError:
                raise
            except Exception as error:  # readers of foreign formats raise whatever they like
                problem = str(error) or type(error).__name__
        return InnerNode(
            path=path,
            structure=structure,
            metadata=item.metadata,
            specs=item.specs,
            storage=storage,
            problem=problem,
        )

    def _columns(self, location: Columns) -> TableStorage:
        columns = []
        for name, path in location.paths.items():
            node = self._added[path]
            if not isinstance(node.structure, ArrayStructure) or not isinstance(
                node.storage, ArrayStorage
            ):
                raise InvalidRequestError(
                    ErrorKind.BAD_STRUCTURE, f"column {name!r} cannot be read: {node.problem}"
                )
            columns.append(Column(name=name, structure=node.structure, storage=node.storage))
        return TableStorage(columns=tuple(columns))

    def _indexed(self, rows: ChunkRows) -> Indexed:
        known = self._index_of.get(id(rows))  # an array with several names
        if known is None:
            name = self._names.chunk_index
            known = Indexed(index=name, first=self._row_count, count=len(rows))
            self._index_of[id(rows)] = known
            self._rows.append(rows)
            self._row_count += len(rows)
        return known

    def finish(self, assets: Sequence[Asset]) -> tuple[Asset, ...]:
        """Write the chunk index of all arrays, if there is one to write.

        Returns
        -------
        tuple of Asset
            What the entry has to name itself; of very many assets, those that only
            chunks refer to are in the index.
        """
        numbered = [
            asset if asset.num == num else msgspec.structs.replace(asset, num=num)
            for num, asset in enumerate(assets)
        ]
        if not self._rows:
            return tuple(numbered)
        far: list[Asset] = []
        if len(numbered) > MOST_ASSETS:
            far = [asset for asset in numbered if asset.num not in self._whole_assets]
        columns = {
            column: np.concatenate([cast("Any", getattr(rows, column)) for rows in self._rows])
            for column in CHUNK_INDEX_COLUMNS
        }
        write_chunk_index(self._objects, self._names.chunk_index, columns, far)
        return (
            tuple(numbered)
            if not far
            else tuple(asset for asset in numbered if asset.num in self._whole_assets)
        )


def _bad(item: Item, what: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_STRUCTURE, f"node {item.path!r} {what}")
