"""Reading: a node and a selection become blocks, stored chunks or record batches."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakeservice.codecs.cache import ChunkCache
from lakeservice.service.array_plans import Plan, plan_array
from lakeservice.service.row_plans import RowPlan, plan_rows
from lakeservice.storage.arrays import EncodedChunk, StoredArray
from lakeservice.storage.frames import Frame, frames
from lakeservice.storage.tables import StoredTable
from schemas.chunks import ArrayStorage, TableStorage
from schemas.errors import CorruptError, ErrorKind, InvalidRequestError
from schemas.path import parent_of
from schemas.selection import Axis, Selection
from schemas.structures import ArrayStructure, TableStructure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakeservice.config import Limits
    from lakeservice.storage.files import FileReader
    from lakeservice.storage.objects import Objects
    from schemas.entry import Node
    from schemas.query import Query

OPEN_CACHE = 512
"""Arrays and tables that are kept opened."""


class Reader:
    """Opens the data of nodes and reads from it; thread-safe.

    Parameters
    ----------
    objects
        The lake's objects.
    files
        Reads registered files, and notices when they changed.
    limits
        Sizes of blocks and of endpoints.
    """

    def __init__(self, objects: Objects, files: FileReader, limits: Limits) -> None:
        self._objects = objects
        self._files = files
        self._limits = limits
        self._chunks = ChunkCache(limits.chunk_cache_mb << 20)
        self._lock = threading.Lock()
        self._lengths: dict[tuple[str, int], int] = {}
        self._open: OrderedDict[tuple[str, int], StoredArray | StoredTable] = OrderedDict()

    def structure(self, node: Node) -> ArrayStructure:
        """Return the structure of a node that must be a dense array.

        Raises
        ------
        InvalidRequestError
            ``wrong-family``: it is something else.
        """
        if not isinstance(node.structure, ArrayStructure):
            raise InvalidRequestError(
                ErrorKind.WRONG_FAMILY,
                f"{node.path!r} is a {node.family}, not an array; {_ADVICE[node.family]}",
            )
        return node.structure

    def array(self, node: Node) -> StoredArray:
        """Return the stored array of a node, opened once per version of the node."""
        structure = self.structure(node)
        opened = self._cached(node)
        if isinstance(opened, StoredArray):
            return opened
        source = node.data_sources[0] if node.data_sources else None
        _refuse_problem(node)
        if source is None or not isinstance(source.storage, ArrayStorage):
            raise InvalidRequestError(
                ErrorKind.WRONG_FAMILY, f"{node.path!r} has no array data of its own to read"
            )
        array = StoredArray(
            self._objects,
            structure,
            source.storage,
            source.assets,
            fetch_files=self._files,
            path=node.path,
            cache=self._chunks,
            version=(node.id, node.version),
        )
        self._keep(node, array)
        return array

    def table(self, node: Node) -> StoredTable:
        """Return the stored table of a node: tables, and the Arrow form of other families."""
        opened = self._cached(node)
        if isinstance(opened, StoredTable):
            return opened
        _refuse_problem(node)
        source = node.data_sources[0] if node.data_sources else None
        if node.family in ("array", "container", "bytes"):
            raise InvalidRequestError(
                ErrorKind.WRONG_FAMILY,
                f"{node.path!r} is a {node.family}, not a table; {_ADVICE[node.family]}",
            )
        if source is None or not isinstance(source.storage, TableStorage):
            raise InvalidRequestError(
                ErrorKind.WRONG_FAMILY, f"{node.path!r} has no rows of its own to read"
            )
        structure = node.structure
        table = StoredTable(
            self._objects,
            source.storage,
            source.assets,
            schema=structure.to_arrow() if isinstance(structure, TableStructure) else None,
            fetch_files=self._files,
            path=node.path,
        )
        self._keep(node, table)
        return table

    def plan(self, node: Node, selection: Selection, *, encoded: bool = False) -> Plan:
        """Return what reading a selection will cost, and how it can be split."""
        structure = self.structure(node)
        return plan_array(structure, selection, self._limits.endpoint_bytes, encoded=encoded)

    def read_array(self, node: Node, selection: Selection) -> Iterator[np.ndarray[Any, Any]]:
        """Yield the selected elements in C order, in blocks of bounded size.

        Yields
        ------
        numpy.ndarray
            Consecutive rows of the first kept axis; where a single row is larger
            than a block, consecutive rows of the axis after it, and so on. Dropped
            axes are gone; their order and number of elements are those of NumPy.
        """
        if "column" in _parameters(node):
            yield from self._read_column(node, selection)
            return
        array = self.array(node)
        itemsize = array.structure.data_type.itemsize
        if selection.size * itemsize <= self._limits.small_bytes:
            yield array.read(selection).reshape(selection.shape)
            return
        for part in _leading(selection, itemsize, self._limits.small_bytes):
            yield from array.blocks(part, target_bytes=self._limits.block_bytes)

    def read_array_whole(self, node: Node, selection: Selection) -> np.ndarray[Any, Any]:
        """Return the selected elements as one array; for answers that fit into memory."""
        if "column" in _parameters(node):
            blocks = list(self._read_column(node, selection))
            return np.concatenate(blocks) if len(blocks) != 1 else blocks[0]
        return self.array(node).read(selection).reshape(selection.shape)

    def read_array_each(
        self,
        node: Node,
        selections: Sequence[Selection],
        outs: Sequence[np.ndarray[Any, Any]],
    ) -> None:
        """Fill an array per selection, of its ``kept_shape``; each chunk is decoded once."""
        if "column" not in _parameters(node):
            self.array(node).read_each(selections, outs)
            return
        for selection, out in zip(selections, outs, strict=True):
            out[...] = self.read_array_whole(node, selection).reshape(out.shape)

    def read_encoded(self, node: Node, selection: Selection) -> Iterator[EncodedChunk]:
        """Yield the stored chunks that a selection touches, as they are stored."""
        return self.array(node).encoded(selection)

    def read_frames(self, node: Node, selection: Selection) -> Iterator[Frame] | None:
        """Return a selection as Blosc frames, as stored; None where it is better decoded here."""
        source = node.data_sources[0] if node.data_sources else None
        if source is None or not isinstance(source.storage, ArrayStorage):
            return None
        return frames(self.array(node), selection)

    def read_table(
        self,
        node: Node,
        *,
        columns: tuple[str, ...] | None = None,
        where: Query | None = None,
        limit: int | None = None,
        partition: int | None = None,
        rows: tuple[int, int] | None = None,
    ) -> pa.RecordBatchReader:
        """Return a reader of the rows that match, projected; memory stays bounded."""
        return self.table(node).batches(
            columns=columns, where=where, limit=limit, partition=partition, rows=rows
        )

    def plan_table(
        self,
        node: Node,
        *,
        columns: tuple[str, ...] | None = None,
        where: Query | None = None,
        partition: int | None = None,
        rows: tuple[int, int] | None = None,
    ) -> RowPlan:
        """Return which ranges of a table's rows can be read side by side; errors as in a read."""
        units = self.table(node).units(columns=columns, where=where, partition=partition)
        return plan_rows(units, self._limits.endpoint_bytes, rows)

    def sized(self, node: Node) -> Node:
        """Return a column of text with a dtype that holds its longest text; others as they are.

        The column is read for it, once per version of the table.
        """
        structure, column = node.structure, _parameters(node).get("column")
        if (
            column is None
            or not isinstance(structure, ArrayStructure)
            or structure.data_type.kind != "U"
            or not math.prod(structure.shape)
        ):
            return node
        key = (node.id, node.version)
        longest = self._lengths.get(key)
        if longest is None:
            longest = 1
            with self._column(node, column) as reader:
                for batch in reader:
                    found = pc.max(pc.utf8_length(batch.column(0))).as_py()
                    longest = max(longest, found or 1)
            with self._lock:
                while len(self._lengths) >= OPEN_CACHE:
                    self._lengths.popitem()
                self._lengths[key] = longest
        data_type = msgspec.structs.replace(structure.data_type, itemsize=4 * longest)
        return msgspec.structs.replace(
            node, structure=msgspec.structs.replace(structure, data_type=data_type)
        )

    def _column(
        self, node: Node, column: str, rows: tuple[int, int] | None = None
    ) -> pa.RecordBatchReader:
        source = node.data_sources[0]
        if not isinstance(source.storage, TableStorage):
            raise InvalidRequestError(ErrorKind.WRONG_FAMILY, f"{node.path!r} has no rows")
        stored = StoredTable(
            self._objects,
            source.storage,
            source.assets,
            fetch_files=self._files,
            path=parent_of(node.path),
        )
        return stored.batches(columns=(column,), rows=rows)

    def _read_column(self, node: Node, selection: Selection) -> Iterator[np.ndarray[Any, Any]]:
        dtype, axis = self.structure(node).dtype, selection.axes[0]
        if not axis.count:
            yield np.empty(0, dtype)
            return
        # Rows come forwards only; backwards, few enough to be turned round are read at a time.
        backwards = axis.step < 0
        rows = max(1, self._limits.block_bytes // (dtype.itemsize * abs(axis.step)))
        together = rows if backwards else axis.count
        seen = 0
        for done in range(0, axis.count, together):
            count = min(together, axis.count - done)
            cut = Axis(axis.start + done * axis.step, count, axis.step)
            for block in self._column_blocks(node, cut, dtype):
                seen += len(block)
                yield block.reshape(()) if axis.drop else block
        if seen != axis.count:
            raise CorruptError(
                ErrorKind.CORRUPT_OBJECT,
                f"the table of {node.path!r} holds fewer rows than it says",
            )

    def _column_blocks(
        self, node: Node, axis: Axis, dtype: np.dtype[Any]
    ) -> Iterator[np.ndarray[Any, Any]]:
        """Yield rows of a column; those of an axis that goes backwards in one block."""
        low, high = sorted((axis.start, axis.start + (axis.count - 1) * axis.step))
        step, ahead = abs(axis.step), 0
        most = max(1, self._limits.block_bytes // dtype.itemsize)
        kept: list[np.ndarray[Any, Any]] = []
        with self._column(node, _parameters(node)["column"], (low, high + 1)) as reader:
            for batch in reader:
                column = batch.column(0)
                if step > 1:
                    column = column.take(pa.array(np.arange(ahead, len(column), step)))
                    ahead = (ahead - batch.num_rows) % step
                for start in range(0, len(column), most):
                    block = _numpy(column.slice(start, most), dtype)
                    if axis.step > 0:
                        yield block
                    else:
                        kept.append(block)
        if kept:
            yield np.concatenate(kept)[::-1]

    def _cached(self, node: Node) -> StoredArray | StoredTable | None:
        with self._lock:
            opened = self._open.get((node.id, node.version))
            if opened is not None:
                self._open.move_to_end((node.id, node.version))
            return opened

    def _keep(self, node: Node, opened: StoredArray | StoredTable) -> None:
        with self._lock:
            self._open[(node.id, node.version)] = opened
            while len(self._open) > OPEN_CACHE:
                self._open.popitem(last=False)


_ADVICE = {
    "array": "read it as an array",
    "table": "read it as a table",
    "sparse": "read it as a table of dim0, …, data",
    "awkward": "read it as a table with lists",
    "ragged": "read it as a table with lists",
    "container": "read one of its children",
    "bytes": "fetch its asset",
}


def _numpy(column: pa.Array, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    if dtype.kind == "U":
        column = column.fill_null("")
    if column.null_count and dtype.kind in "biu":
        raise InvalidRequestError(
            ErrorKind.WRONG_FAMILY,
            f"the column has missing values, which {dtype} cannot say; read it as a table",
        )
    found: np.ndarray[Any, Any] = column.to_numpy(zero_copy_only=False)
    return found.astype(dtype, copy=False)


def _parameters(node: Node) -> dict[str, Any]:
    return node.data_sources[0].parameters if node.data_sources else {}


def _refuse_problem(node: Node) -> None:
    problem = node.data_sources[0].properties.get("problem") if node.data_sources else None
    if problem is not None:
        raise CorruptError(
            ErrorKind.ASSET_MISSING, f"the data of {node.path!r} cannot be read: {problem}"
        )


def _first_kept(selection: Selection) -> int:
    return next((number for number, axis in enumerate(selection.axes) if not axis.drop), 0)


def _leading(selection: Selection, itemsize: int, limit: int) -> Iterator[Selection]:
    """Take leading axes one element at a time until a row of what is left is small."""
    first = _first_kept(selection)
    axis = selection.axes[first] if selection.axes else Axis(0, 1, 1, drop=True)
    if axis.drop or len(selection.shape) == 1 or selection.size * itemsize <= limit * axis.count:
        yield selection
        return
    for position in range(axis.start, axis.start + axis.count * axis.step, axis.step):
        chosen = Axis(position, 1, 1, drop=True)
        axes = (*selection.axes[:first], chosen, *selection.axes[first + 1 :])
        yield from _leading(Selection(axes), itemsize, limit)


def rows_of(selection: Selection, rows: tuple[int, int]) -> Selection:
    """Return the part of a selection between two rows of its first kept axis.

    Raises
    ------
    InvalidRequestError
        ``bad-slice``: there are no such rows.
    """
    for number, axis in enumerate(selection.axes):
        if not axis.drop:
            start, stop = rows
            if not 0 <= start <= stop <= axis.count:
                raise InvalidRequestError(
                    ErrorKind.BAD_SLICE, f"rows {start} to {stop} of {axis.count} rows"
                )
            part = Axis(axis.start + start * axis.step, stop - start, axis.step)
            return Selection((*selection.axes[:number], part, *selection.axes[number + 1 :]))
    return selection
