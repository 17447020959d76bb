"""Sparse arrays as sources for exporters: coordinates and values within a selection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lakeservice.service.node_source import NodeSource
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.query import And, Comparison
from schemas.structures import SparseStructure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from numpy.typing import NDArray

    from schemas.entry import Node
    from schemas.selection import Axis, Selection

VALUES = "data"
"""Column of the values; those of coordinates are ``dim0``, ``dim1``…"""


def sparse_structure(node: Node) -> SparseStructure:
    """Return the structure of a node that must be a sparse array.

    Raises
    ------
    InvalidRequestError
        ``wrong-family``.
    """
    if not isinstance(node.structure, SparseStructure):
        raise InvalidRequestError(
            ErrorKind.WRONG_FAMILY, f"{node.path!r} is a {node.family}, not a sparse array"
        )
    return node.structure


@dataclass(frozen=True, kw_only=True)
class SparseRows(NodeSource):
    """A sparse array, or a selection of one, as a `SparseSource` and a `TableSource`."""

    selection: Selection | None = None
    """None for all of it."""

    @property
    def identity(self) -> tuple[object, ...]:
        """What the bytes depend on."""
        return (*super().identity, None if self.selection is None else self.selection.to_text())

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the selection, without dropped axes."""
        if self.selection is not None:
            return self.selection.shape
        return sparse_structure(self.node).shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a value."""
        return sparse_structure(self.node).data_type.to_numpy()

    @property
    def schema(self) -> pa.Schema:
        """Columns of `read`: coordinates in their declared type, then values."""
        coordinate = sparse_structure(self.node).coord_data_type.to_numpy().newbyteorder("=")
        if coordinate.kind not in "iu" or any(
            length - 1 > np.iinfo(coordinate).max for length in self.shape
        ):
            coordinate = np.dtype(np.int64)
        kind = pa.from_numpy_dtype(coordinate)
        fields = [pa.field(f"dim{axis}", kind) for axis in range(len(self.shape))]
        return pa.schema([*fields, pa.field(VALUES, value_type(self.dtype))])

    def read(self, columns: tuple[str, ...] | None = None) -> pa.RecordBatchReader:
        """Return a fresh reader of coordinates within the selection, and their values.

        Values without a type in Arrow, such as complex ones, come as their bytes.
        """
        schema = self.schema
        chosen = schema if columns is None else pa.schema([schema.field(name) for name in columns])
        return pa.RecordBatchReader.from_batches(
            chosen, (batch.select(chosen.names) for batch in self._batches(schema))
        )

    def values(self, column: pa.Array) -> NDArray[Any]:
        """Return the values of a column ``data`` in their own type."""
        return values_of(column, self.dtype)

    def _batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        structure = sparse_structure(self.node)
        stored = [*(f"dim{axis}" for axis in range(len(structure.shape))), VALUES]
        if not _is_written(self.node):
            return
        with self.service.read_table(
            self.node, columns=stored, where=within(self.selection, structure.shape)
        ) as reader:
            for batch in reader:
                places = [batch.column(name).to_numpy() for name in stored[:-1]]
                values = batch.column(VALUES)
                if self.selection is not None:
                    places, kept = self._moved(places, self.selection, batch.num_rows)
                    values = values.filter(pa.array(kept))
                arrays = [
                    pa.array(place.astype(field.type.to_pandas_dtype(), copy=False))
                    for place, field in zip(places, schema, strict=False)
                ]
                arrays.append(as_declared(values, self.dtype))
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    @staticmethod
    def _moved(
        places: list[NDArray[Any]], selection: Selection, count: int
    ) -> tuple[list[NDArray[Any]], NDArray[np.bool_]]:
        """Return coordinates in the selection's own frame, and which values they belong to."""
        kept = np.ones(count, bool)
        moved = []
        for place, axis in zip(places, selection.axes, strict=True):
            numbers, rest = np.divmod(place.astype(np.int64) - axis.start, axis.step)
            kept &= (rest == 0) & (numbers >= 0) & (numbers < axis.count)
            if not axis.drop:
                moved.append(numbers)
        return [numbers[kept] for numbers in moved], kept


def within(selection: Selection | None, shape: tuple[int, ...]) -> And | None:
    """Return the condition on stored coordinates that holds within a selection's bounds."""
    if selection is None:
        return None
    conditions = []
    for number, (axis, length) in enumerate(zip(selection.axes, shape, strict=True)):
        low, high = _ends(axis)
        if low > 0:
            conditions.append(Comparison(f"dim{number}", "ge", low))
        if high < length - 1:
            conditions.append(Comparison(f"dim{number}", "le", high))
    return And(tuple(conditions)) if conditions else None


def _ends(axis: Axis) -> tuple[int, int]:
    ends = (axis.start, axis.start + (axis.count - 1) * axis.step)
    return (min(ends), max(ends)) if axis.count else (0, -1)


def value_type(dtype: np.dtype[Any]) -> pa.DataType:
    """Return the Arrow type in which values are sent: their own, or as many bytes."""
    if dtype.kind in "biuf":
        return pa.from_numpy_dtype(dtype.newbyteorder("="))
    return pa.binary(dtype.itemsize)


def as_declared(values: pa.Array, dtype: np.dtype[Any]) -> pa.Array:
    """Return a column of values in the type of `value_type`, whichever way they are stored."""
    wanted = value_type(dtype)
    if values.type == wanted:
        return values
    if pa.types.is_fixed_size_binary(values.type):
        return pa.array(values_of(values, dtype).astype(dtype.newbyteorder("="), copy=False))
    return values.cast(wanted)


def values_of(values: pa.Array, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return a column of values as NumPy has them."""
    if pa.types.is_fixed_size_binary(values.type):
        payload = values.buffers()[1]
        start, stop = (at * dtype.itemsize for at in (values.offset, values.offset + len(values)))
        return np.frombuffer(payload, np.uint8)[start:stop].view(dtype)
    numbers: NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return numbers.astype(dtype, copy=False)


def _is_written(node: Node) -> bool:
    storage = node.data_sources[0].storage if node.data_sources else None
    return bool(getattr(storage, "parts", ()) or getattr(storage, "assets", ()))
