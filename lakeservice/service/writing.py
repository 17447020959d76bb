"""Writing new nodes: their data first, then the mutation that makes them visible."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from lakeservice.storage.array_writer import ArrayWriter
from lakeservice.storage.forms import numbered_form
from lakeservice.storage.layout import data_prefix, new_id
from lakeservice.storage.table_writer import TableWriter
from schemas.chunks import TableStorage
from schemas.commit import Create
from schemas.entry import DataSource, Node, Spec
from schemas.errors import (
    ConflictError,
    ErrorKind,
    InvalidRequestError,
    UnavailableError,
)
from schemas.path import clean_path, parent_of
from schemas.structures import (
    ArrayStructure,
    AwkwardStructure,
    ContainerStructure,
    RaggedStructure,
    Structure,
    TableStructure,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    import pyarrow as pa

    from lakeservice.service.nodes import Nodes
    from lakeservice.storage.objects import Objects

ZARR = "application/x-zarr"
PARQUET = "application/x-parquet"


@dataclass(frozen=True)
class Draft:
    """What a client wants to exist: a node without its data."""

    path: str
    structure: Structure
    metadata: dict[str, Any]
    specs: tuple[Spec, ...] = ()
    access_tags: tuple[str, ...] = ()
    parents: bool = False
    mimetype: str | None = None
    """What a client wants a table to be told as; None for what it is stored as."""


class Writer:
    """Writes the data of new nodes into the lake; thread-safe.

    Parameters
    ----------
    objects
        The lake's objects.
    nodes
        What exists now; asked before an upload starts, and again by the commit.
    """

    def __init__(self, objects: Objects, nodes: Nodes) -> None:
        self._objects = objects
        self._nodes = nodes

    def array(self, draft: Draft, rows: Iterable[np.ndarray[Any, Any]]) -> Create:
        """Write an array and return the mutation that makes it visible.

        Parameters
        ----------
        rows
            Consecutive rows of the first axis, in blocks of any length.

        Raises
        ------
        InvalidRequestError
            ``bad-structure``, or ``bad-body`` where the rows are not what the structure says.
        ConflictError
            ``path-taken``: found before anything is uploaded.
        """
        structure = draft.structure
        if not isinstance(structure, ArrayStructure):
            raise InvalidRequestError(
                ErrorKind.BAD_STRUCTURE, "the stream is an array; its structure must be one too"
            )
        structure.check()
        path = self._free(draft.path, parents=draft.parents)
        node_id = new_id()
        with (
            removed_on_failure(self._objects, data_prefix(node_id)),
            ArrayWriter(self._objects, f"data/{node_id}/0", structure) as writer,
        ):
            for block in rows:
                writer.write(block)
            storage = writer.finish()
        source = DataSource(mimetype=ZARR, storage=storage)
        return self._create(draft, path, node_id, writer.structure, source)

    def table(self, draft: Draft, reader: pa.RecordBatchReader) -> Create:
        """Write a table, or the Arrow form of the draft's structure; returns the mutation."""
        path = self._free(draft.path, parents=draft.parents)
        node_id = new_id()
        name = f"data/{node_id}/0.parquet"
        with (
            removed_on_failure(self._objects, data_prefix(node_id)),
            TableWriter(self._objects, name, reader.schema) as writer,
        ):
            for batch in reader:
                writer.write(batch)
            storage, rows = writer.finish()
            structure = with_keys(draft.structure)
            _check_rows(structure, rows)
        if isinstance(structure, ContainerStructure | TableStructure):
            structure = TableStructure.from_arrow(reader.schema, rows=rows)
        source = DataSource(mimetype=PARQUET, storage=storage)
        return self._create(draft, path, node_id, structure, source)

    def empty(self, draft: Draft) -> Create:
        """Return the mutation for a node whose data is written later, block by block."""
        path = self._free(draft.path, parents=draft.parents)
        node_id = new_id()
        structure = with_keys(draft.structure)
        source: DataSource | None = None
        with removed_on_failure(self._objects, data_prefix(node_id)):
            if isinstance(structure, ArrayStructure):
                structure.check()
                writer = ArrayWriter(self._objects, f"data/{node_id}/0", structure)
                storage = writer.finish(sparse=True)
                structure, source = writer.structure, DataSource(mimetype=ZARR, storage=storage)
            elif isinstance(structure, TableStructure):
                structure.to_arrow()
                source = DataSource(mimetype=draft.mimetype or PARQUET, storage=TableStorage())
                structure = msgspec.structs.replace(structure, rows=0)
            elif not isinstance(structure, ContainerStructure):
                source = DataSource(mimetype=PARQUET, storage=TableStorage())
        return self._create(draft, path, node_id, structure, source)

    def _free(self, path: str, *, parents: bool) -> str:
        path = clean_path(path)
        if not path:
            raise ConflictError(ErrorKind.PATH_TAKEN, "the root exists already; name a path in it")
        parent = parent_of(path)
        found = self._nodes.nodes([path, parent])
        if path in found:
            raise ConflictError(
                ErrorKind.PATH_TAKEN,
                f"there is a node {path!r} already; delete it or choose another",
            )
        if parent and not parents and parent not in found:
            self._nodes.describe(parent)  # tells how far the path leads
        holder = found.get(parent)
        if holder is not None and not isinstance(holder.structure, ContainerStructure):
            raise ConflictError(
                ErrorKind.PARENT_NOT_CONTAINER,
                f"{parent!r} is a {holder.family}; only containers hold other nodes",
            )
        return path

    def _create(
        self, draft: Draft, path: str, node_id: str, structure: Structure, source: DataSource | None
    ) -> Create:
        node = Node(
            path=path,
            id=node_id,
            structure=structure,
            metadata=draft.metadata,
            specs=draft.specs,
            access_tags=draft.access_tags,
            data_sources=(source,) if source else (),
        )
        return Create(node=node, parents=draft.parents)


def _check_rows(structure: Structure, rows: int) -> None:
    wanted: int | None = rows
    if isinstance(structure, AwkwardStructure):
        wanted = structure.length
    elif isinstance(structure, RaggedStructure):
        wanted = structure.shape[0] if structure.shape else None
    if wanted != rows:
        raise InvalidRequestError(
            ErrorKind.BAD_BODY, f"{rows} rows sent, but the structure says {wanted}"
        )


def with_keys(structure: Structure) -> Structure:
    """Return a structure in which every node of an awkward form has the key of its buffers."""
    if isinstance(structure, AwkwardStructure):
        return msgspec.structs.replace(structure, form=numbered_form(structure.form))
    return structure


@contextlib.contextmanager
def removed_on_failure(objects: Objects, name: str) -> Iterator[None]:
    """Remove an object, or all objects below a prefix, where the block fails."""
    try:
        yield
    except BaseException:
        remove(objects, name)
        raise


def remove(objects: Objects, name: str) -> None:
    """Remove an object, or all objects below a prefix; what resists is left to ``check``."""
    with contextlib.suppress(UnavailableError):
        objects.delete([name, *(below for below, _ in objects.list(name))])
