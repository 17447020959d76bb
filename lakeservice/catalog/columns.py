"""Arrow tables from NumPy arrays and texts, as DuckDB reads them without a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

_TYPES = {
    np.dtype(np.int32): pa.int32(),
    np.dtype(np.int64): pa.int64(),
    np.dtype(np.uint64): pa.uint64(),
    np.dtype(np.float64): pa.float64(),
}


def table(**columns: npt.NDArray[Any] | Sequence[str]) -> pa.Table:
    """Return a table of columns of numbers and of texts.

    `pyarrow.array` imports pandas where that is installed, which takes a server
    half a second and 60 MB; this does not.
    """
    arrays = [
        numbers(column) if isinstance(column, np.ndarray) else strings(column)
        for column in columns.values()
    ]
    return pa.Table.from_arrays(arrays, names=list(columns))


def numbers(values: npt.NDArray[Any]) -> pa.Array:
    """Return an Arrow array over the memory of a NumPy array."""
    contiguous = np.ascontiguousarray(values)
    buffers = [None, pa.py_buffer(contiguous)]
    return pa.Array.from_buffers(_TYPES[contiguous.dtype], len(contiguous), buffers)


def strings(texts: Sequence[str]) -> pa.Array:
    """Return an Arrow array of texts."""
    builder = pa.lib.StringBuilder()
    builder.append_values(texts)
    return builder.finish()
