"""Arrays, tables, sparse and nested data as uploads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lakeservice.client.columns import Stream, cast_stream, stream_of
from lakeservice.client.metadata import document, spec_list
from lakeservice.client.optional import needed
from lakeservice.client.tensors import Rows
from lakeservice.client.uploads import Upload
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.structures import (
    ArrayStructure,
    AwkwardStructure,
    Chunks,
    DataType,
    RaggedStructure,
    SparseStructure,
    Structure,
)
from schemas.ticket import AppendTo, WriteArray, WriteTable

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

SLICE_BYTES = 16 << 20
"""Of an array that is not in memory, about so much is held at a time."""
WANTED_BYTES = 4 << 20
"""Chunks that nobody chose are about this large…"""
ALONE_BYTES = 1 << 19
"""…but a frame, the last two axes of three or more, is a chunk by itself from this size…"""
FRAME_BYTES = 32 << 20
"""…up to this one."""


def default_chunks(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Return chunks for an array that nobody has chosen chunks for.

    Axes are filled from the last one on: a chunk is one or several small frames, a
    frame, or a band of a large frame.
    """
    size = max(1, itemsize)
    frame = math.prod(shape[-2:]) * size
    whole = len(shape) > 2 and ALONE_BYTES <= frame <= FRAME_BYTES
    limit = frame if whole else WANTED_BYTES
    chunks = []
    for length in reversed(shape):
        chunks.append(max(1, min(length, limit // size)))
        size *= chunks[-1]
    return tuple(reversed(chunks))


def written_array(
    path: str,
    data: Any,
    *,
    shape: Sequence[int] | None = None,
    dtype: DTypeLike | None = None,
    chunks: Chunks | Sequence[int] | None = None,
    dims: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    specs: Iterable[Any] = (),
    parents: bool = True,
) -> Upload:
    """Return the upload of a new array.

    Parameters
    ----------
    data
        An array (anything NumPy takes; of h5py, Zarr or Dask it is sent slice by
        slice), or an iterable of blocks of rows of the first axis.
    shape, dtype
        Of the whole array; needed for an iterable of blocks.

    Raises
    ------
    InvalidRequestError
        ``bad-structure``; ``bad-body`` where blocks do not fit.
    TooLargeError
        ``too-large``: a single row of the first axis is larger than a message may be.
    """
    blocks, whole = _blocks(data, shape)
    if isinstance(blocks, _Slices):
        shape, dtype = data.shape, data.dtype if dtype is None else dtype
    if whole is not None:
        whole = whole if dtype is None else whole.astype(dtype, copy=False)
        blocks, full, kind = (whole,), whole.shape, whole.dtype
    elif shape is None or dtype is None:
        raise InvalidRequestError(
            ErrorKind.BAD_BODY, "an array that comes in blocks needs its shape= and dtype="
        )
    else:
        full, kind = tuple(int(length) for length in shape), np.dtype(dtype)
    grid = default_chunks(full, kind.itemsize) if chunks is None else _grid(chunks)
    structure = ArrayStructure.from_numpy(full, kind, grid, None if dims is None else tuple(dims))
    rows = Rows(full, kind)
    request = WriteArray(
        path=path,
        structure=structure,
        metadata=document(metadata),
        specs=spec_list(specs),
        parents=parents,
    )
    return Upload(
        request,
        rows.schema,
        _batches(rows, blocks, full[:1] and full[0]),
        repeatable=_repeatable(blocks),
        size_bytes=structure.size_bytes,
    )


def appended_rows(path: str, structure: ArrayStructure, data: Any) -> Upload:
    """Return the upload of rows at the end of an array's first axis."""
    if not structure.shape:
        raise InvalidRequestError(
            ErrorKind.BAD_BODY, f"{path!r} is a single value; it has no axis to append to"
        )
    blocks, whole = _blocks(data, structure.shape)
    rows = Rows(structure.shape, structure.dtype)
    if whole is not None:
        if whole.shape == structure.shape[1:]:
            whole = whole[None]
        blocks = (whole,)
    return Upload(
        AppendTo(path=path),
        rows.schema,
        _batches(rows, blocks, None),
        repeatable=_repeatable(blocks),
        size_bytes=None if whole is None else whole.nbytes,
    )


def written_table(
    path: str,
    rows: Any,
    *,
    metadata: Mapping[str, Any] | None = None,
    specs: Iterable[Any] = (),
    parents: bool = True,
    structure: Structure | None = None,
) -> Upload:
    """Return the upload of a new table, or of the Arrow form of what ``structure`` says."""
    request = WriteTable(
        path=path,
        structure=structure,
        metadata=document(metadata),
        specs=spec_list(specs),
        parents=parents,
    )
    return _upload(request, stream_of(rows))


def appended_table(path: str, schema: pa.Schema, rows: Any) -> Upload:
    """Return the upload of rows at the end of a table with this schema."""
    return _upload(AppendTo(path=path), cast_stream(stream_of(rows), schema))


def written_sparse(
    path: str,
    data: Any,
    *,
    coords: Any = None,
    shape: Sequence[int] | None = None,
    dims: Sequence[str] | None = None,
    **described: Any,
) -> Upload:
    """Return the upload of a new sparse array.

    Parameters
    ----------
    data
        A `sparse.COO`, a SciPy sparse array, or the values that belong to ``coords``.
    coords
        Coordinates, shape (axes, values), where ``data`` are values.
    shape
        Shape of the array, where ``data`` are values.
    """
    places, values, full = _coordinates(data, coords, shape)
    structure = SparseStructure(
        data_type=DataType.from_numpy(values.dtype),
        shape=full,
        chunks=tuple(max(1, length) for length in full),
        coord_data_type=DataType.from_numpy(np.dtype("<i8")),
        dims=None if dims is None else tuple(dims),
    )
    columns: dict[str, Any] = {f"dim{axis}": places[axis] for axis in range(len(full))}
    columns["data"] = _values(values)
    return written_table(path, pa.table(columns), structure=structure, **described)


def written_awkward(path: str, data: Any, **described: Any) -> Upload:
    """Return the upload of new nested data: an `ak.Array`, or what becomes one.

    Raises
    ------
    ImportError
        ``awkward`` is not installed.
    """
    awkward = needed("awkward", "awkward")
    array = data if isinstance(data, awkward.Array) else awkward.Array(data)
    packed = awkward.to_packed(array)
    structure = AwkwardStructure(length=len(packed), form=packed.layout.form.to_dict())
    table = awkward.to_arrow_table(packed, extensionarray=False)
    return written_table(path, table, structure=structure, **described)


def written_ragged(
    path: str, data: Any, *, dims: Sequence[str] | None = None, **described: Any
) -> Upload:
    """Return the upload of new ragged data: lists of numbers, of any length.

    Raises
    ------
    ImportError
        ``awkward`` is not installed.
    InvalidRequestError
        ``bad-body``: records, texts or missing elements; those are awkward data.
    """
    awkward = needed("awkward", "awkward")
    array = data if isinstance(data, awkward.Array) else awkward.Array(data)
    packed = awkward.to_packed(array)
    lengths, numbers = _axes(packed.layout)
    shape = (len(packed), *lengths)
    structure = RaggedStructure(
        data_type=DataType.from_numpy(numbers.dtype),
        shape=shape,
        size=int(numbers.size),
        chunks=tuple(None if length is None else (length,) for length in shape),
        dims=None if dims is None else tuple(dims),
    )
    table = awkward.to_arrow_table(packed, extensionarray=False)
    return written_table(path, table, structure=structure, **described)


def _axes(layout: Any) -> tuple[list[int | None], NDArray[Any]]:
    """Return the lengths of the axes after the first, None where they vary, and all numbers."""
    lengths: list[int | None] = []
    while layout.is_list and not layout.is_numpy and layout.parameter("__array__") is None:
        lengths.append(layout.size if layout.is_regular else None)
        layout = layout.content
    if layout.is_unknown:
        return lengths, np.empty(0)
    if not layout.is_numpy:
        raise InvalidRequestError(
            ErrorKind.BAD_BODY,
            f"data of type {str(layout.form.type)[:80]!r} are not ragged; use write_awkward",
        )
    numbers: NDArray[Any] = np.asarray(layout.data)
    return [*lengths, *numbers.shape[1:]], numbers


def _upload(request: Any, stream: Stream) -> Upload:
    return Upload(request, stream.schema, stream.batches, stream.repeatable, stream.size_bytes)


def _blocks(data: Any, shape: Sequence[int] | None) -> tuple[Iterable[Any], NDArray[Any] | None]:
    """Return blocks of rows, or the whole array where that is what came."""
    if np.ma.isMaskedArray(data) and np.ma.is_masked(data):
        raise InvalidRequestError(
            ErrorKind.BAD_BODY,
            "an array in a lake has no mask; fill the masked elements, or write a table",
        )
    if isinstance(data, np.ndarray | np.generic | int | float | complex | bool):
        return (), np.asarray(data)
    if all(hasattr(data, name) for name in ("shape", "dtype", "__getitem__")):
        return _Slices(data), None
    if hasattr(data, "__array__"):
        return (), np.asarray(data)
    if isinstance(data, list | tuple) and not _are_blocks(data, shape):
        return (), np.asarray(data)
    if isinstance(data, Iterable) and not isinstance(data, str | bytes):
        return data, None
    raise InvalidRequestError(
        ErrorKind.BAD_BODY,
        f"a {type(data).__name__} is neither an array nor an iterable of blocks of rows",
    )


def _are_blocks(items: Sequence[Any], shape: Sequence[int] | None) -> bool:
    """Tell whether a list holds blocks of rows of an array of this shape, rather than values."""
    return shape is not None and all(getattr(item, "ndim", 0) == len(shape) for item in items)


class _Slices:
    """An array that is not in memory (of h5py, Zarr, Dask, xarray…), taken some rows at a time."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __iter__(self) -> Iterator[NDArray[Any]]:
        shape, dtype = self._array.shape, np.dtype(self._array.dtype)
        if not shape:
            yield np.asarray(self._array[()])
            return
        row_bytes = max(1, math.prod(shape[1:]) * dtype.itemsize)
        rows = max(1, SLICE_BYTES // row_bytes)
        chunks = getattr(self._array, "chunks", None)
        if chunks:
            first = chunks[0] if isinstance(chunks[0], int) else max(chunks[0])
            rows = math.ceil(rows / max(1, first)) * max(1, first)
        for start in range(0, shape[0], rows):
            yield np.asarray(self._array[start : start + rows])


def _repeatable(blocks: Iterable[Any]) -> bool:
    return not isinstance(blocks, Iterator)


def _batches(
    rows: Rows, blocks: Iterable[Any], expected: Any
) -> Callable[[], Iterator[pa.RecordBatch]]:
    """Return what yields the batches of blocks of rows, refusing those that do not fit."""

    def batches() -> Iterator[pa.RecordBatch]:
        sent = 0
        for item in blocks:
            block = _fitting(np.asarray(item), rows)
            sent += len(block) if block.ndim else 1
            yield from rows.batches(block)
        if isinstance(expected, int) and sent != expected:
            raise InvalidRequestError(
                ErrorKind.BAD_BODY, f"the blocks hold {sent} rows instead of {expected}"
            )

    return batches


def _fitting(block: NDArray[Any], rows: Rows) -> NDArray[Any]:
    if block.shape[1:] != rows.row_shape or (block.ndim == 0 and rows.row_shape):
        raise InvalidRequestError(
            ErrorKind.BAD_BODY,
            f"a block of shape {block.shape}; rows have shape {rows.row_shape}",
        )
    if block.dtype == rows.dtype:
        return block
    if not np.can_cast(block.dtype, rows.dtype, "same_kind"):
        raise InvalidRequestError(
            ErrorKind.BAD_BODY, f"a block of {block.dtype}, but the array is {rows.dtype}"
        )
    return block.astype(rows.dtype)


def _grid(chunks: Chunks | Sequence[int]) -> Chunks:
    return tuple(
        int(sizes) if isinstance(sizes, int | np.integer) else tuple(int(n) for n in sizes)
        for sizes in chunks
    )


def _coordinates(
    data: Any, coords: Any, shape: Sequence[int] | None
) -> tuple[NDArray[np.int64], NDArray[Any], tuple[int, ...]]:
    if coords is None:
        found = data.tocoo() if hasattr(data, "tocoo") else data
        coords, shape = getattr(found, "coords", None), getattr(found, "shape", None)
        data = getattr(found, "data", None)
    if coords is None or data is None or shape is None:
        raise InvalidRequestError(
            ErrorKind.BAD_BODY,
            "a sparse array is a sparse.COO, a SciPy sparse array, or values with coords= "
            "and shape=",
        )
    full = tuple(int(length) for length in shape)
    places = np.asarray(coords).astype(np.int64, copy=False)
    values = np.asarray(data)
    if places.shape != (len(full), values.size) or values.ndim != 1:
        raise InvalidRequestError(
            ErrorKind.BAD_BODY,
            f"coordinates of shape {places.shape} for {values.shape} values of {len(full)} axes",
        )
    for axis, length in enumerate(full):
        if values.size and not 0 <= places[axis].min() <= places[axis].max() < length:
            raise InvalidRequestError(
                ErrorKind.BAD_BODY, f"coordinates on axis {axis} lie outside its length {length}"
            )
    return places, values, full


def _values(values: NDArray[Any]) -> pa.Array:
    """Return values as an Arrow column; those without an Arrow type as their bytes."""
    if values.dtype.kind in "iuf" and values.dtype.byteorder in "=|<":
        return pa.array(values)
    payload = pa.py_buffer(np.ascontiguousarray(values).view(np.uint8))
    return pa.Array.from_buffers(pa.binary(values.itemsize), values.size, [None, payload])
