"""Changing the data of nodes that were written here: new objects beside the old ones."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from lakeservice.service.table_changes import Change, Rows, TableChanges
from lakeservice.service.turns import Turns
from lakeservice.service.writing import ZARR, remove, removed_on_failure
from lakeservice.storage.array_writer import ArrayWriter
from lakeservice.storage.block_writer import BlockWriter
from lakeservice.storage.coarser import coarsened, is_worth_it
from lakeservice.storage.commits import form_of
from lakeservice.storage.mutations import stored_parts
from lakeservice.storage.region_writer import RegionWriter
from schemas.chunks import ArrayStorage, ZarrParts
from schemas.commit import Append, Update
from schemas.entry import DataSource, Node
from schemas.errors import (
    ConflictError,
    ErrorKind,
    InvalidRequestError,
    LakeError,
    UnavailableError,
)
from schemas.structures import ArrayStructure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np

    from lakeservice.storage.objects import Objects

ATTEMPTS = 20
"""How often a change is made again because another server was first."""


class Changes:
    """Writes changed and added data of nodes that exist; thread-safe.

    Every method returns the mutation that makes the change visible. The old data
    stays as it is, for those who read it and for the past.
    """

    def __init__(self, objects: Objects) -> None:
        self.tables = TableChanges(objects)
        """Those of tables."""
        self._objects = objects
        self._turns = Turns()

    def apply(
        self,
        describe: Callable[[str], Node],
        path: str,
        make: Callable[[Node], Change],
        commit: Callable[[Update | Append], object],
    ) -> None:
        """Change a node from the state that it has, whoever else changes it meanwhile.

        Parameters
        ----------
        describe
            Finds the node as it is now.
        make
            Writes the change that turns this state into the wanted one.
        commit
            Makes it visible. When another server was first, a change is made again from
            the state that is then.

        Raises
        ------
        ConflictError
            ``revision-conflict``: others were first, again and again; or another node has
            taken the path.
        """
        first = describe(path)
        for left in reversed(range(ATTEMPTS)):
            with self._turns.alone(first.id):
                node = describe(path)
                if node.id != first.id:
                    raise ConflictError(
                        ErrorKind.REVISION_CONFLICT, f"another node is at {path!r} now"
                    )
                change = make(node)
                try:
                    commit(change.mutation)
                except UnavailableError:  # it may be in the log all the same
                    raise
                except LakeError as error:
                    change.discard()
                    if error.kind is not ErrorKind.REVISION_CONFLICT or not left:
                        raise
                else:
                    return

    def append(
        self,
        describe: Callable[[str], Node],
        path: str,
        number: int,
        rows: Rows,
        commit: Callable[[Update | Append], object],
    ) -> None:
        """Add written rows to a partition of a table, and commit; as `apply`."""
        change = self.tables.appended(describe(path), number, rows)
        try:
            commit(change.mutation)
        except UnavailableError:
            raise
        except LakeError as error:
            change.discard()
            if error.kind is not ErrorKind.REVISION_CONFLICT:
                raise
            self.apply(
                describe,
                path,
                lambda node: self.tables.appended(node, number, rows, compact=False),
                commit,
            )

    def block(
        self,
        describe: Callable[[str], Node],
        path: str,
        origin: tuple[int, ...],
        block: np.ndarray[Any, Any],
        commit: Callable[[Update | Append], object],
    ) -> None:
        """Write a block of an array that exists, and commit; as `apply`.

        Whole chunks are written where they lie, and writers who send blocks side by side
        do not wait for each other. Anything else is a change of a region.
        """
        while True:
            node = describe(path)
            structure, storage = _own_array(node)
            writer = BlockWriter(self._objects, structure, storage)
            if not writer.holds(origin, block.shape):
                break
            with self._turns.shared(node.id):
                now = describe(path)
                if now.id != node.id or now.data_sources != node.data_sources:
                    continue
                writer.write(origin, block)
                commit(Update(path=path, id=node.id))
                # Another server may have written these chunks elsewhere before the commit.
                if describe(path).data_sources == node.data_sources:
                    return
        self.apply(describe, path, lambda node: self.region(node, origin, block), commit)

    def region(
        self,
        node: Node,
        origin: tuple[int, ...],
        block: np.ndarray[Any, Any],
        *,
        extend: bool = False,
    ) -> Change:
        """Write a region of an array; what it covers becomes visible at once.

        Parameters
        ----------
        origin
            First element; axes left out begin at 0.
        extend
            Make the array longer where the region leaves it.

        Raises
        ------
        InvalidRequestError
            ``bad-parameter``: a region of another number of axes.
        ConflictError
            ``does-not-fit``: it leaves the array, and ``extend`` is not said.
        """
        structure, storage = _own_array(node)
        axes = len(structure.shape)
        origin = (*origin, *(0,) * (axes - len(origin)))
        if block.ndim != axes or len(origin) != axes:
            raise InvalidRequestError(
                ErrorKind.BAD_PARAMETER,
                f"a region of {block.ndim} axes at {origin} for {node.path!r}, which has {axes}",
            )
        ends = tuple(start + count for start, count in zip(origin, block.shape, strict=True))
        if not extend and any(
            end > length for end, length in zip(ends, structure.shape, strict=True)
        ):
            raise ConflictError(
                ErrorKind.DOES_NOT_FIT,
                f"The region from {origin} to {ends} does not fit within current array shape "
                f"{structure.shape}. Use ?extend=true to extend the array dimensions to fit.",
            )
        prefix: str | None = None
        if axes and is_worth_it(structure, storage, ends[0]):
            prefix = f"data/{node.id}/{uuid.uuid4().hex[:12]}"
            with removed_on_failure(self._objects, prefix):
                structure, storage = coarsened(self._objects, structure, storage, prefix)
        writer = RegionWriter(self._objects, structure, storage)

        def discard() -> None:
            writer.discard()
            if prefix is not None:
                remove(self._objects, prefix)

        try:
            structure, storage = writer.write(origin, block)
        except BaseException:
            discard()
            raise
        source = msgspec.structs.replace(node.data_sources[0], storage=storage)
        update = Update(
            path=node.path,
            id=node.id,
            expected_revision=node.revision,
            structure=structure,
            data_sources=(source,),
        )
        return Change(update, discard)

    def replace_array(self, node: Node, rows: Iterable[np.ndarray[Any, Any]]) -> Update:
        """Write all of an array anew, beside the old one; returns the mutation that swaps them."""
        structure, _ = _own_array(node)
        prefix = f"data/{node.id}/{uuid.uuid4().hex[:12]}"
        with (
            removed_on_failure(self._objects, prefix),
            ArrayWriter(self._objects, prefix, structure) as writer,
        ):
            for block in rows:
                writer.write(block)
            storage = writer.finish()
        source = msgspec.structs.replace(node.data_sources[0], storage=storage)
        return Update(
            path=node.path, id=node.id, structure=writer.structure, data_sources=(source,)
        )

    def append_rows(self, node: Node, rows: Iterable[np.ndarray[Any, Any]]) -> Append:
        """Write rows after the last of an array's first axis; returns the mutation."""
        structure, present = _own_array(node)
        if not structure.shape:
            raise InvalidRequestError(
                ErrorKind.BAD_BODY, f"{node.path!r} is a single value; it has no axis to append to"
            )
        prefix = f"data/{node.id}/{uuid.uuid4().hex[:12]}"
        layout = present.layout
        tail = msgspec.structs.replace(
            structure,
            shape=(layout.chunk_shape[0], *structure.shape[1:]),
            chunks=layout.chunk_shape,
            blocks=None,
        )
        with (
            removed_on_failure(self._objects, prefix),
            ArrayWriter(self._objects, prefix, tail, layout.codecs, growing=True) as writer,
        ):
            for block in rows:
                writer.write(block)
            storage = writer.finish()
        lengths = (writer.structure.shape[0], *structure.shape[1:])
        within = tuple(
            -(-length // size) for length, size in zip(lengths, layout.chunk_shape, strict=True)
        )
        parts = stored_parts(DataSource(mimetype=ZARR, storage=storage))
        # Whoever makes the other axes longer meanwhile does not find them in these rows.
        parts = tuple(msgspec.structs.replace(part, within=within) for part in parts)
        return Append(path=node.path, id=node.id, parts=parts, form=form_of(node))


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
