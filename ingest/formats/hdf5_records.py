"""Datasets that NumPy has no type of defined bytes for, as Arrow tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from h5py import h5t

from ingest.formats.hdf5_values import read_elements, target_of
from ingest.metadata import text_of
from lakeservice.storage.columns import to_arrow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from h5py import h5i
    from numpy.typing import NDArray

    from ingest.formats.hdf5_dataset import Dataset

ROWS = 16_384
"""Records that are read at a time."""


def schema_of(dataset: Dataset, name: str) -> pa.Schema:
    """Return the Arrow schema of a dataset of records, texts or sequences, without reading it."""
    empty = np.empty((0, *dataset.element.inner), dataset.element.stored)
    return _batch(empty, name, dataset.handle).schema


def batches_of(dataset: Dataset, name: str) -> Iterator[pa.RecordBatch]:
    """Yield the elements of a dataset of at most one axis as rows."""
    extent = dataset.extent or ()
    if not extent:
        yield _batch(
            read_elements(dataset.handle, dataset.element, ()).reshape(1), name, dataset.handle
        )
        return
    for start in range(0, extent[0], ROWS):
        count = min(ROWS, extent[0] - start)
        rows = read_elements(dataset.handle, dataset.element, (count,), start)
        yield _batch(rows, name, dataset.handle)


def _batch(rows: NDArray[Any], name: str, holder: h5i.ObjectID) -> pa.RecordBatch:
    if rows.dtype.names is None:
        return pa.RecordBatch.from_arrays([arrow_of(rows, holder)], names=[name])
    fields = [str(field) for field in rows.dtype.names]
    columns = [arrow_of(rows[field], holder) for field in fields]
    return pa.RecordBatch.from_arrays(columns, names=fields)


def arrow_of(values: NDArray[Any], holder: h5i.ObjectID) -> pa.Array:
    """Return values as an Arrow array, one row per index of the first axis."""
    if values.ndim > 1:
        length = int(np.prod(values.shape[1:]))
        return pa.FixedSizeListArray.from_arrays(arrow_of(values.reshape(-1), holder), length)
    dtype = values.dtype
    if dtype.names is not None:
        columns = [arrow_of(values[field], holder) for field in dtype.names]
        return pa.StructArray.from_arrays(columns, [str(field) for field in dtype.names])
    if dtype.kind == "O":
        return _loose(values, holder)
    if dtype.kind == "c":
        parts = [to_arrow(values.real), to_arrow(values.imag)]
        return pa.StructArray.from_arrays(parts, ["real", "imag"])
    return to_arrow(values)


def _loose(values: NDArray[Any], holder: h5i.ObjectID) -> pa.Array:
    dtype = values.dtype
    if h5t.check_string_dtype(dtype) is not None:
        return pa.array([text_of(one) if one else "" for one in values], pa.string())
    sequence = h5t.check_vlen_dtype(dtype)
    if sequence is not None:
        return _sequences(values, np.dtype(sequence), holder)
    return pa.array([target_of(one, holder) if one else None for one in values], pa.string())


def _sequences(values: NDArray[Any], item: np.dtype[Any], holder: h5i.ObjectID) -> pa.Array:
    lists = [np.asarray(one, item).reshape(-1) for one in values]
    offsets = np.zeros(len(lists) + 1, np.int64)
    np.cumsum([len(one) for one in lists], out=offsets[1:])
    items = np.empty(int(offsets[-1]), item)  # keeps what h5py notes in the dtype of objects
    if lists:
        np.concatenate(lists, out=items)
    return pa.LargeListArray.from_arrays(pa.array(offsets), arrow_of(items, holder))
