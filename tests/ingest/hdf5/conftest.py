"""What the tests of HDF5 share: a file described, and its arrays read without HDF5."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from ingest.formats.hdf5 import Hdf5Format
from ingest.found import ChunkRows, Columns
from ingest.source import Source
from lakeservice.storage.arrays import StoredArray
from lakeservice.storage.chunk_index import write_chunk_index
from lakeservice.storage.files import FileReader
from lakeservice.storage.objects import Objects
from lakeservice.storage.tables import StoredTable
from schemas.chunks import (
    CHUNK_INDEX_COLUMNS,
    ArrayStorage,
    ChunkLayout,
    Column,
    Indexed,
    Inline,
    TableStorage,
)
from schemas.selection import select
from schemas.structures import ArrayStructure, DataType

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
            self._stored(objects, path),
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
        columns = tuple(
            Column(name=name, structure=self.array(path), storage=self._stored(lake, path))
            for name, path in item.location.paths.items()
        )
        table = StoredTable(
            lake, TableStorage(columns=columns), self.found.assets, fetch_files=FileReader()
        )
        return table.batches().read_all()

    def _stored(self, objects: Objects, path: str) -> ArrayStorage:
        item = self.items[path]
        where: Any = item.location
        layout = item.layout
        if where is None or layout is None:
            values = self.read(path)
            where = Inline(payload=values.tobytes())
            layout = ChunkLayout(
                data_type=DataType.from_numpy(values.dtype), chunk_shape=values.shape
            )
        elif isinstance(where, ChunkRows):
            assert (np.diff(where.chunk) > 0).all()
            index = f"{len(list(objects.list('')))}.parquet"
            columns = {name: getattr(where, name) for name in CHUNK_INDEX_COLUMNS}
            write_chunk_index(objects, index, columns)
            where = Indexed(index=index, first=0, count=len(where))
        return ArrayStorage(layout=layout, location=where)


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
