"""What the tests of HDF5 share: a file described, and its arrays read without HDF5."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from ingest.contents import Contents
from ingest.formats.hdf5 import Hdf5Format
from ingest.found import ChunkRows, Columns
from ingest.source import Source
from lakeservice.storage.arrays import StoredArray
from lakeservice.storage.chunk_index import write_chunk_index
from lakeservice.storage.files import FileReader
from lakeservice.storage.objects import Objects
from lakeservice.storage.tables import StoredTable
from lakeservice.storage.trees import read_tree
from schemas.chunks import CHUNK_INDEX_COLUMNS, ArrayStorage, Indexed, TableStorage
from schemas.selection import select
from schemas.structures import ArrayStructure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

    from ingest.found import Found, Item, ReadBatches, ReadRows


@dataclasses.dataclass
class Described:
    """A file as the lake would know it."""

    found: Found

    @property
    def items(self) -> dict[str, Item]:
        return {item.path: item for item in self.found.items}

    @property
    def metadata(self) -> dict[str, Any]:
        return self.found.metadata

    def array(self, path: str) -> ArrayStructure:
        structure = self.items[path].structure
        assert isinstance(structure, ArrayStructure)
        return structure

    def is_addressable(self, path: str) -> bool:
        return self.items[path].location is not None

    def read(self, path: str, index: Any = None) -> NDArray[Any]:
        """Read an array by byte ranges where it is addressable, else as it would be converted."""
        item = self.items[path]
        assert item.problem is None, item.problem
        structure = self.array(path)
        structure.check()
        if item.location is None:
            blocks = list(cast("ReadRows", item.read)())
            whole = np.concatenate(blocks) if structure.shape else blocks[0]
            assert whole.dtype == structure.dtype
            values: NDArray[Any] = whole.reshape(structure.shape)[() if index is None else index]
            return values
        objects = Objects.open("memory://")
        stored = StoredArray(
            objects,
            structure,
            _stored(objects, item),
            self.found.assets,
            fetch_files=FileReader(),
        )
        selection = select(index, structure.shape)
        return stored.read(selection).reshape(selection.shape)

    def rows(self, path: str) -> pa.Table:
        """Read a table by the byte ranges of its columns, or as it would be converted."""
        item = self.items[path]
        if not isinstance(item.location, Columns):
            with cast("ReadBatches", item.read)() as reader:
                return reader.read_all()
        lake = Objects.open("memory://")
        contents = Contents(lake, "file", convert=False, beat=lambda: None)
        nodes = read_tree(lake, contents.tree(self.found).name).nodes
        assets = contents.finish(self.found.assets)
        storage = next(node.storage for node in nodes if node.path == path)
        assert isinstance(storage, TableStorage)
        table = StoredTable(lake, storage, assets, fetch_files=FileReader())
        return table.batches().read_all()


def _stored(objects: Objects, item: Item) -> ArrayStorage:
    location = item.location
    assert item.layout is not None
    assert location is not None
    if isinstance(location, ChunkRows):
        assert (np.diff(location.chunk) > 0).all()
        columns = {name: getattr(location, name) for name in CHUNK_INDEX_COLUMNS}
        write_chunk_index(objects, "chunks.parquet", columns)
        where: Any = Indexed(index="chunks.parquet", first=0, count=len(location))
    else:
        where = location
    return ArrayStorage(layout=item.layout, location=where)


@pytest.fixture
def describe() -> Iterator[Callable[[Path], Described]]:
    """Describes files; they are closed at the end of the test."""
    opened: list[Found] = []

    def describe(path: Path) -> Described:
        opened.append(Hdf5Format().open(Source.of(path)))
        return Described(opened[-1])

    yield describe
    for found in opened:
        found.close()
