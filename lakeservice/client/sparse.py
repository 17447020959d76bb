"""Sparse arrays: coordinates and values, as `sparse.COO`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from lakeservice.client.optional import needed
from lakeservice.client.table import Rows
from schemas.errors import CorruptError, ErrorKind
from schemas.query import And, Comparison
from schemas.selection import Selection, select

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from schemas.structures import SparseStructure, StructureFamily


class Sparse(Rows):
    """A sparse array in COO layout; indexing it reads what lies within the bounds."""

    family: ClassVar[StructureFamily] = "sparse"

    @property
    def structure(self) -> SparseStructure:
        """Shape, dtype and names of axes."""
        structure: Any = self._node.structure
        return structure  # type: ignore[no-any-return]

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return self.structure.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy dtype of a value."""
        return self.structure.data_type.to_numpy()

    @property
    def dims(self) -> tuple[str, ...] | None:
        """Names of the axes; None where nobody named them."""
        return self.structure.dims

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.structure.shape)

    def __getitem__(self, index: Any) -> Any:
        return self.read(index)

    def read(self, selection: Any = None) -> Any:
        """Return a part of the array, or all of it, as `sparse.COO`.

        Parameters
        ----------
        selection
            Integers, slices and ``...`` as NumPy takes them; None for everything. Only
            values within its bounds are sent.

        Raises
        ------
        ImportError
            ``sparse`` is not installed; `coordinates` and `to_arrow` do without.
        """
        coo = needed("sparse", "sparse").COO
        shape = self.shape
        chosen = select(selection, shape)
        whole = chosen.is_whole(shape)
        coordinates, values = self._received(_within(chosen, shape))
        answer = coo(coordinates, values, shape=shape)
        return answer if whole else answer[chosen.as_index()]

    def coordinates(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the coordinates, shape (axes, values), and the values; all of them."""
        return self._received(None)

    def _received(self, where: And | None) -> tuple[NDArray[Any], NDArray[Any]]:
        names = [f"dim{number}" for number in range(self.ndim)]
        table = self.to_arrow((*names, "data"), where)
        coordinates = np.empty((self.ndim, table.num_rows), np.int64)
        for number, name in enumerate(names):
            coordinates[number] = table.column(name).to_numpy()
        for axis, length in zip(coordinates, self.shape, strict=True):
            if axis.size and (axis.min() < 0 or axis.max() >= length):
                raise CorruptError(
                    ErrorKind.CORRUPT_OBJECT,
                    f"coordinates of {self.path!r} lie outside its shape {self.shape}",
                )
        return coordinates, values_of(table.column("data"), self.dtype)

    def _facts(self) -> list[tuple[str, str]]:
        return [
            ("shape", " × ".join(str(length) for length in self.shape)),
            ("dtype", str(self.dtype)),
            ("dims", f"({', '.join(self.dims)})" if self.dims else ""),
        ]


def values_of(column: pa.ChunkedArray, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return a column of values with a NumPy dtype, which may have no Arrow type of its own."""
    if pa.types.is_fixed_size_binary(column.type):
        pieces = [np.frombuffer(b"".join(piece.to_pylist()), dtype) for piece in column.chunks]
        return np.concatenate(pieces) if pieces else np.empty(0, dtype)
    values: NDArray[Any] = column.to_numpy().astype(dtype, copy=False)
    return values


def _within(chosen: Selection, shape: tuple[int, ...]) -> And | None:
    """Return the condition on coordinates that holds within a selection's bounds."""
    conditions = []
    for number, (axis, length) in enumerate(zip(chosen.axes, shape, strict=True)):
        ends = (axis.start, axis.start + (axis.count - 1) * axis.step)
        low, high = (min(ends), max(ends)) if axis.count else (0, -1)
        if low > 0:
            conditions.append(Comparison(f"dim{number}", "ge", low))
        if high < length - 1:
            conditions.append(Comparison(f"dim{number}", "le", high))
    return And(tuple(conditions)) if conditions else None
