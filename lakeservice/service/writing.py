"""Writing: data objects first, the commit last; what is not committed is removed."""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec

from lakeservice.codecs.grid import Grid
from lakeservice.storage.array_writer import ArrayWriter
from lakeservice.storage.block_writer import BlockWriter
from lakeservice.storage.layout import new_id
from lakeservice.storage.mutations import stored_parts
from lakeservice.storage.table_writer import TableWriter
from schemas.chunks import ArrayStorage, Part, TableStorage, ZarrParts
from schemas.commit import Append, Applied, Create, Mutation, Update
from schemas.entry import DataSource, Node, Spec
from schemas.errors import (
    AccessError,
    ConflictError,
    ErrorKind,
    InvalidRequestError,
    LakeError,
    UnavailableError,
)
from schemas.path import clean_path, parent_of
from schemas.structures import (
    ArrayStructure,
    ContainerStructure,
    Structure,
    TableStructure,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    import pyarrow as pa

    from lakeservice.service.nodes import Nodes
    from lakeservice.storage.committer import Committer
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


class Writer:
    """Writes data of nodes into the lake; thread-safe.

    Parameters
    ----------
    objects
        The lake's objects.
    nodes
        What exists now; asked before an upload starts, and again by the commit.
    committer
        Makes it visible.
    roots
        Folders (as ``file://`` URIs) in which clients may register files.
    """

    def __init__(
        self, objects: Objects, nodes: Nodes, committer: Committer, roots: Sequence[str] = ()
    ) -> None:
        self._objects = objects
        self._nodes = nodes
        self._committer = committer
        self._roots = tuple(root.rstrip("/") + "/" for root in roots)

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
        with self._removed_on_failure(node_id):
            writer = ArrayWriter(self._objects, f"data/{node_id}/0", structure)
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
            self._removed_on_failure(node_id),
            TableWriter(self._objects, name, reader.schema) as writer,
        ):
            for batch in reader:
                writer.write(batch)
            storage, rows = writer.finish()
        structure = draft.structure
        if isinstance(structure, ContainerStructure | TableStructure):
            structure = TableStructure.from_arrow(reader.schema, rows=rows)
        source = DataSource(mimetype=PARQUET, storage=storage)
        return self._create(draft, path, node_id, structure, source)

    def empty(self, draft: Draft) -> Create:
        """Return the mutation for a node whose data is written later, block by block."""
        path = self._free(draft.path, parents=draft.parents)
        node_id = new_id()
        structure = draft.structure
        source: DataSource | None = None
        with self._removed_on_failure(node_id):
            if isinstance(structure, ArrayStructure):
                structure.check()
                writer = ArrayWriter(self._objects, f"data/{node_id}/0", structure)
                storage = writer.finish(sparse=True)
                structure, source = writer.structure, DataSource(mimetype=ZARR, storage=storage)
            elif isinstance(structure, TableStructure):
                structure.to_arrow()
                source = DataSource(mimetype=PARQUET, storage=TableStorage())
                structure = msgspec.structs.replace(structure, rows=0)
            elif not isinstance(structure, ContainerStructure):
                source = DataSource(mimetype=PARQUET, storage=TableStorage())
        return self._create(draft, path, node_id, structure, source)

    def block(self, node: Node, position: tuple[int, ...], block: np.ndarray[Any, Any]) -> Update:
        """Write one chunk of an array that exists; returns the mutation that announces it."""
        structure, storage = self._own_array(node)
        origin, shape = Grid.of(structure).bounds(self._position(node, structure, position))
        if block.shape != shape:
            raise InvalidRequestError(
                ErrorKind.BAD_BODY, f"block {position} of {node.path!r} has shape {shape}"
            )
        BlockWriter(self._objects, structure, storage).write(origin, block)
        return Update(path=node.path, id=node.id)

    @staticmethod
    def _position(
        node: Node, structure: ArrayStructure, position: tuple[int, ...]
    ) -> tuple[int, ...]:
        grid = Grid.of(structure)
        if not grid.contains(position):
            raise InvalidRequestError(
                ErrorKind.BAD_SLICE,
                f"no block {position} in {node.path!r}, whose grid has {grid.counts} blocks",
            )
        return position

    def replace_array(self, node: Node, rows: Iterable[np.ndarray[Any, Any]]) -> Update:
        """Write all of an array anew, beside the old one; returns the mutation that swaps them."""
        structure, _ = self._own_array(node)
        prefix = f"data/{node.id}/{uuid.uuid4().hex[:12]}"
        with self._removed_on_failure(node.id, prefix):
            writer = ArrayWriter(self._objects, prefix, structure)
            for block in rows:
                writer.write(block)
            storage = writer.finish()
        source = msgspec.structs.replace(node.data_sources[0], storage=storage)
        return Update(
            path=node.path, id=node.id, structure=writer.structure, data_sources=(source,)
        )

    def replace_table(
        self, node: Node, reader: pa.RecordBatchReader, partition: int | None = None
    ) -> Update:
        """Write a table (or one partition) anew; returns the mutation that swaps it in."""
        source, storage = self._own_table(node)
        part = self._table_part(node, reader)
        parts: tuple[Part, ...] = (part,)
        if partition is not None:
            if partition < 0 or partition > len(storage.parts):
                raise InvalidRequestError(
                    ErrorKind.BAD_REQUEST,
                    f"partition {partition} of {node.path!r}, which has {len(storage.parts)}",
                )
            parts = (*storage.parts[:partition], part, *storage.parts[partition + 1 :])
        structure = node.structure
        if isinstance(structure, TableStructure):
            structure = msgspec.structs.replace(
                TableStructure.from_arrow(reader.schema, rows=sum(p.length for p in parts)),
                npartitions=max(len(parts), structure.npartitions if partition is not None else 1),
                resizable=structure.resizable,
            )
        replaced = msgspec.structs.replace(
            source, storage=msgspec.structs.replace(storage, parts=parts)
        )
        return Update(path=node.path, id=node.id, structure=structure, data_sources=(replaced,))

    def append_rows(self, node: Node, rows: Iterable[np.ndarray[Any, Any]]) -> Append:
        """Write rows after the last of an array's first axis; returns the mutation."""
        structure, present = self._own_array(node)
        if not structure.shape:
            raise InvalidRequestError(
                ErrorKind.BAD_BODY, f"{node.path!r} is a single value; it has no axis to append to"
            )
        prefix = f"data/{node.id}/{uuid.uuid4().hex[:12]}"
        with self._removed_on_failure(node.id, prefix):
            layout = present.layout
            tail = msgspec.structs.replace(
                structure,
                shape=(layout.chunk_shape[0], *structure.shape[1:]),
                chunks=layout.chunk_shape,
            )
            writer = ArrayWriter(self._objects, prefix, tail, layout.codecs, growing=True)
            for block in rows:
                writer.write(block)
            storage = writer.finish()
        return Append(
            path=node.path,
            id=node.id,
            parts=stored_parts(DataSource(mimetype=ZARR, storage=storage)),
        )

    def append_table(self, node: Node, reader: pa.RecordBatchReader) -> Append:
        """Write rows after the last of a table; returns the mutation."""
        self._own_table(node)
        if isinstance(node.structure, TableStructure):
            _same_schema(node, reader.schema)
        part = self._table_part(node, reader)
        return Append(path=node.path, id=node.id, parts=(part,))

    def _table_part(self, node: Node, reader: pa.RecordBatchReader) -> Part:
        name = f"data/{node.id}/{uuid.uuid4().hex[:12]}.parquet"
        with (
            self._removed_on_failure(node.id, name),
            TableWriter(self._objects, name, reader.schema) as writer,
        ):
            for batch in reader:
                writer.write(batch)
            storage, _ = writer.finish()
            return storage.parts[0]

    def commit(
        self,
        mutations: Sequence[Mutation],
        *,
        key: str | None = None,
        principal: str | None = None,
        trusted: bool = False,
    ) -> tuple[Applied, ...]:
        """Make mutations visible together, or none of them.

        Parameters
        ----------
        key
            Idempotency key: repeated with the same mutations, the first answer comes again.
        trusted
            The mutations come from this program and not from a client: they may
            point at data anywhere.
        """
        if not trusted:
            self.check_sources(mutations)
        return self._committer.commit(
            [_named(mutation) for mutation in mutations], key=key, principal=principal
        )

    def publish(
        self, written: Create | Append, *, key: str | None = None, principal: str | None = None
    ) -> Applied:
        """Commit data that this writer has just written; refused data is removed again."""
        try:
            return self.commit([written], key=key, principal=principal, trusted=True)[-1]
        except UnavailableError:  # it may be in the log all the same
            raise
        except LakeError:
            self._discard(written)
            raise

    def _discard(self, written: Create | Append) -> None:
        if isinstance(written, Create):
            names = [f"data/{written.node.id}/"]
        else:
            names = [part.name for part in written.parts]
        with contextlib.suppress(LakeError):
            for below in names:
                self._objects.delete([name for name, _ in self._objects.list(below)])

    def check_sources(self, mutations: Iterable[Mutation]) -> None:
        """Refuse mutations of a client that point at data which is not theirs to show.

        Raises
        ------
        AccessError
            ``forbidden``: a file outside the declared folders. (That stored objects are
            the node's own is checked by every commit.)
        """
        for mutation in mutations:
            if isinstance(mutation, Append):
                raise InvalidRequestError(
                    ErrorKind.BAD_REQUEST, "rows are appended by sending them, not by naming parts"
                )
            if isinstance(mutation, Update):
                self._check_assets(mutation.data_sources or ())
            if isinstance(mutation, Create):
                self._check_assets(mutation.node.data_sources)

    def _check_assets(self, sources: Sequence[DataSource]) -> None:
        for source in sources:
            for asset in source.assets:
                inside = asset.data_uri.startswith(self._roots) if self._roots else False
                if not inside or "/../" in unquote(asset.data_uri):
                    raise AccessError(
                        ErrorKind.FORBIDDEN,
                        "files may only be registered in folders that the operator declared; "
                        "ask for the folder to be added to serve.roots",
                    )

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

    @staticmethod
    def _own_array(node: Node) -> tuple[ArrayStructure, ArrayStorage]:
        source = node.data_sources[0] if node.data_sources else None
        if (
            not isinstance(node.structure, ArrayStructure)
            or source is None
            or not isinstance(source.storage, ArrayStorage)
            or not isinstance(source.storage.location, ZarrParts)
            or "/" in node.id
        ):
            raise InvalidRequestError(
                ErrorKind.WRONG_FAMILY,
                f"{node.path!r} is not an array that was written here; it cannot be changed",
            )
        return node.structure, source.storage

    @staticmethod
    def _own_table(node: Node) -> tuple[DataSource, TableStorage]:
        source = node.data_sources[0] if node.data_sources else None
        if (
            source is None
            or not isinstance(source.storage, TableStorage)
            or source.storage.assets
            or "/" in node.id
        ):
            raise InvalidRequestError(
                ErrorKind.WRONG_FAMILY,
                f"{node.path!r} is not a table that was written here; it cannot be changed",
            )
        return source, source.storage

    @contextlib.contextmanager
    def _removed_on_failure(self, node_id: str, prefix: str | None = None) -> Iterator[None]:
        try:
            yield
        except BaseException:
            with contextlib.suppress(LakeError):
                below = prefix if prefix is not None else f"data/{node_id}/"
                self._objects.delete([name for name, _ in self._objects.list(below)])
            raise


def _same_schema(node: Node, schema: pa.Schema) -> None:
    structure = node.structure
    if isinstance(structure, TableStructure):
        present = structure.to_arrow()
        if not present.equals(schema, check_metadata=False):
            raise InvalidRequestError(
                ErrorKind.BAD_BODY,
                f"rows to append have columns {_columns(schema)}, "
                f"but {node.path!r} has {_columns(present)}; cast them to the same",
            )


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)


def _named(mutation: Mutation) -> Mutation:
    """Give a node to be created an id where the client drew none."""
    if not isinstance(mutation, Create) or mutation.node.id:
        return mutation
    node = msgspec.structs.replace(mutation.node, id=new_id())
    return msgspec.structs.replace(mutation, node=node)
