"""Tables whose columns are arrays of one axis, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lakeservice.codecs.batches import matching, without_columns
from lakeservice.storage.arrays import StoredArray
from schemas.errors import CorruptError, ErrorKind
from schemas.path import join_path
from schemas.selection import Axis, Selection

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from lakeservice.codecs.batches import Span
    from lakeservice.codecs.row_filters import Condition
    from lakeservice.storage.files import FileReader
    from lakeservice.storage.objects import Objects
    from schemas.chunks import Column
    from schemas.entry import Asset

ROWS = 65_536
"""Rows of a batch."""
_TIMES = ("s", "ms", "us", "ns")


class ColumnRows:
    """The rows of a table of columns.

    Parameters
    ----------
    objects
        The lake's objects.
    columns
        Arrays of one axis and one length.
    assets
        Registered files that the columns refer to by number.
    fetch_files
        Reader of registered files.
    path
        Of the table, for errors.

    Raises
    ------
    CorruptError
        ``corrupt-object``: the columns differ in length, or have more axes.
    """

    def __init__(
        self,
        objects: Objects,
        columns: Sequence[Column],
        assets: Sequence[Asset],
        *,
        fetch_files: FileReader,
        path: str = "",
    ) -> None:
        shapes = {column.structure.shape for column in columns}
        if len(shapes) != 1 or len(shape := shapes.pop()) != 1:
            raise CorruptError(
                ErrorKind.CORRUPT_OBJECT, "the columns of the table are not of one length"
            )
        self.count = shape[0]
        self._arrays = {
            column.name: StoredArray(
                objects,
                column.structure,
                column.storage,
                assets,
                fetch_files=fetch_files,
                path=join_path(path, column.name) if path else "",
            )
            for column in columns
        }
        self.schema = pa.schema(
            [(name, arrow_type(array.dtype)) for name, array in self._arrays.items()]
        )

    def batches(
        self, columns: Sequence[str], condition: Condition | None, span: Span
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a range that match."""
        start, stop = max(0, span[0]), min(self.count, span[1])
        if start >= stop:
            return
        schema = pa.schema([self.schema.field(name) for name in columns])
        if not columns:
            yield without_columns(stop - start)
            return
        selection = Selection((Axis(start, stop - start),))
        sources = [_Values(self._arrays[name].blocks(selection)) for name in columns]
        for first in range(start, stop, ROWS):
            count = min(ROWS, stop - first)
            arrays = [to_arrow(source.take(count)) for source in sources]
            yield matching(pa.RecordBatch.from_arrays(arrays, schema=schema), condition)

    def units(
        self, columns: Sequence[str], condition: Condition | None
    ) -> Iterator[tuple[int, int]]:
        """Yield rows and bytes of stretches that may be read apart."""
        del condition
        row_bytes = sum(self._arrays[name].dtype.itemsize for name in columns)
        for start in range(0, self.count, ROWS):
            rows = min(ROWS, self.count - start)
            yield rows, rows * row_bytes


class _Values:
    """Takes any number of values at a time out of blocks of any size."""

    def __init__(self, blocks: Iterator[NDArray[Any]]) -> None:
        self._blocks = blocks
        self._rest: NDArray[Any] | None = None

    def take(self, count: int) -> NDArray[Any]:
        pieces, missing = [], count
        while missing:
            block = next(self._blocks) if self._rest is None else self._rest
            pieces.append(block[:missing])
            self._rest = block[missing:] if len(block) > missing else None
            missing -= len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def arrow_type(dtype: np.dtype[Any]) -> pa.DataType:
    """Return the Arrow type of a column of this dtype."""
    return to_arrow(np.empty(0, dtype)).type


def to_arrow(values: NDArray[Any]) -> pa.Array:
    """Return an array of one axis and plain elements as an Arrow column.

    Fixed-length strings become strings, extended floats doubles, dates of units
    that Arrow has not integers, and other bytes binary of their size.
    """
    dtype = values.dtype
    if dtype.kind == "S":
        return pa.array([_text(one) for one in values.tolist()], pa.string())
    if dtype.kind == "U":
        return pa.array(values.tolist(), pa.string())
    if dtype.kind in "Vc":
        size = dtype.itemsize
        payload = np.ascontiguousarray(values).tobytes()
        return pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(size), len(values), [None, pa.py_buffer(payload)]
        )
    if dtype.kind in "mM" and np.datetime_data(dtype)[0] not in _TIMES:
        values = values.astype("i8")
    elif dtype.kind == "f" and dtype.itemsize > 8:
        values = values.astype("f8")
    return pa.array(np.ascontiguousarray(values, values.dtype.newbyteorder("=")))


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return payload.decode("latin-1")
