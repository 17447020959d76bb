"""Nodes as sources for exporters: what to read is decided here, how it is written there."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lakeservice.service.nested_source import NestedRows
from lakeservice.service.node_source import NodeSource
from lakeservice.service.partitions import rows_before, with_range_index
from lakeservice.service.sparse_source import SparseRows
from schemas.errors import AccessError, ErrorKind, InvalidRequestError, NotFoundError
from schemas.path import join_path
from schemas.query import Page
from schemas.selection import Selection, select
from schemas.ticket import Search

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np

    from lakeservice.export.exporter import Piece
    from lakeservice.export.sources import Source
    from lakeservice.service.service import Service
    from schemas.entry import Node

CHILDREN = 500
"""Children of a container that are looked up at a time."""


@dataclass(frozen=True, kw_only=True)
class ArrayRows(NodeSource):
    """A selection of an array, as an `ArraySource`."""

    selection: Selection

    @property
    def identity(self) -> tuple[object, ...]:
        """What the bytes depend on."""
        return (*super().identity, self.selection.to_text())

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the selection, without dropped axes."""
        return self.selection.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of an element; records are packed."""
        return self.service.reader.structure(self.node).data_type.packed().to_numpy()

    @property
    def dims(self) -> tuple[str, ...] | None:
        """Names of the axes that are left."""
        dims = self.service.reader.structure(self.node).dims
        if dims is None:
            return None
        pairs = zip(dims, self.selection.axes, strict=True)
        return tuple(name for name, axis in pairs if not axis.drop)

    def blocks(self) -> Iterator[np.ndarray[Any, Any]]:
        """Yield all elements in C order, in blocks of bounded size."""
        dtype = self.dtype
        for block in self.service.read_array(self.node, self.selection):
            yield block.astype(dtype, copy=False)

    def read(self, index: Any = ()) -> np.ndarray[Any, Any]:
        """Return a part as one array in memory."""
        part = self.selection.part(select(index, self.shape))
        return self.service.read_array_whole(self.node, part).astype(self.dtype, copy=False)


@dataclass(frozen=True, kw_only=True)
class TableRows(NodeSource):
    """The rows and columns of a table that a request asks for, as a `TableSource`."""

    columns: tuple[str, ...] | None = None
    where: str | None = None
    limit: int | None = None
    parts: range | None = None
    """Stored parts; None for all."""

    @property
    def identity(self) -> tuple[object, ...]:
        """What the bytes depend on."""
        return (*super().identity, self.columns, self.where, self.limit, self.parts)

    def read(self, columns: tuple[str, ...] | None = None) -> pa.RecordBatchReader:
        """Return a fresh reader, of these columns where they are named."""
        wanted = self.columns if columns is None else columns
        if self.parts is None:
            return self._reader(wanted, self.limit, None)
        reader = self._partition(wanted)
        if self.where is not None or self.limit is not None:
            return reader
        return with_range_index(reader, rows_before(self.node, self.parts))

    def _partition(self, wanted: tuple[str, ...] | None) -> pa.RecordBatchReader:
        if not self.parts:
            return self._reader(wanted, 0, None)
        first = self._reader(wanted, self.limit, self.parts[0])
        if len(self.parts) == 1:
            return first
        batches = self._one_after_another(wanted, first, self.parts)
        return pa.RecordBatchReader.from_batches(first.schema, batches)

    def _one_after_another(
        self, columns: tuple[str, ...] | None, first: pa.RecordBatchReader, parts: range
    ) -> Iterator[pa.RecordBatch]:
        left = self.limit
        for part in parts:
            with first if part == parts[0] else self._reader(columns, left, part) as reader:
                for batch in reader:
                    left = None if left is None else left - batch.num_rows
                    yield batch

    def _reader(
        self, columns: tuple[str, ...] | None, limit: int | None, part: int | None
    ) -> pa.RecordBatchReader:
        return self.service.read_table(
            self.node, columns=columns, where=self.where, limit=limit, partition=part
        )


@dataclass(frozen=True, kw_only=True)
class ContainerRows(NodeSource):
    """A container and what is below it, as a `ContainerSource`."""

    fields: tuple[str, ...] = ()
    """Names of the children that are asked for; all where there are none."""
    as_of: int | None = None

    @property
    def identity(self) -> tuple[object, ...]:
        """What the bytes depend on: every entry below, so the state of the lake."""
        version = self.service.nodes.version if self.as_of is None else self.as_of
        return (*super().identity, version, self.fields)

    def children(self) -> Iterator[Source]:
        """Yield a source for each child in the container's order, or as they are asked for."""
        for node in self._named() if self.fields else self._all():
            yield source_of(self.service, node, options=self.options, as_of=self.as_of)

    def _named(self) -> Iterator[Node]:
        for name in dict.fromkeys(self.fields):
            if "/" not in name:
                with contextlib.suppress(NotFoundError):
                    path = join_path(self.node.path, name)
                    yield self.service.describe(path, as_of=self.as_of)

    def _all(self) -> Iterator[Node]:
        page = Page(limit=CHILDREN)
        while True:
            asked = Search(under=self.node.path, page=page, as_of=self.as_of)
            found = self.service.search(asked)
            yield from found.nodes
            if found.cursor is None:
                return
            page = Page(limit=CHILDREN, cursor=found.cursor)


@dataclass(frozen=True, kw_only=True)
class FileRows(NodeSource):
    """A file that is given away as it is, as a `FileSource`."""

    def file(self) -> tuple[str, Iterator[Piece]] | None:
        """Return the file's name and its bytes; None where there is not one, or not for others."""
        behind = [
            one for source in self.node.data_sources for one in self.service.assets.of(source)
        ]
        if len(behind) != 1 or behind[0].asset.is_directory:
            return None
        try:
            name, length, read = self.service.assets.bytes_of(self.node, behind[0].id, None)
        except AccessError:
            return None
        return name, read(0, length)


def source_of(
    service: Service,
    node: Node,
    *,
    options: Mapping[str, str] | None = None,
    as_of: int | None = None,
) -> NodeSource:
    """Return a whole node as the source for exporters of its family.

    Raises
    ------
    InvalidRequestError
        ``wrong-family``: a node that no exporter can read.
    """
    asked = options or {}
    match node.family:
        case "array":
            selection = select((), service.reader.structure(node).shape)
            return ArrayRows(service=service, node=node, options=asked, selection=selection)
        case "table":
            return TableRows(service=service, node=node, options=asked)
        case "sparse":
            return SparseRows(service=service, node=node, options=asked)
        case "awkward" | "ragged":
            return NestedRows(service=service, node=node, options=asked)
        case "container":
            return ContainerRows(service=service, node=node, options=asked, as_of=as_of)
        case "bytes":
            return FileRows(service=service, node=node, options=asked)
    raise InvalidRequestError(
        ErrorKind.WRONG_FAMILY, f"{node.path!r} is a {node.family}, which no exporter reads"
    )
