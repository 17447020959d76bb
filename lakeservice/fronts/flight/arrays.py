"""Arrays as record batches and back: one row per index of the first axis."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa

from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lakeservice.storage.arrays import EncodedChunk
    from schemas.selection import Selection
    from schemas.structures import ArrayStructure

ROW_BYTES = 64 << 20
"""A row above this size is split: leading axes are merged into rows until it fits."""
BATCH_BYTES = 16 << 20
"""Largest record batch, in bytes; a single row may be larger."""
_PLAIN = {
    "i1": pa.int8(),
    "i2": pa.int16(),
    "i4": pa.int32(),
    "i8": pa.int64(),
    "u1": pa.uint8(),
    "u2": pa.uint16(),
    "u4": pa.uint32(),
    "u8": pa.uint64(),
    "f2": pa.float16(),
    "f4": pa.float32(),
    "f8": pa.float64(),
}
ENCODED_SCHEMA = pa.schema(
    [
        pa.field("offset", pa.list_(pa.int64())),
        pa.field("shape", pa.list_(pa.int64())),
        pa.field("filter_mask", pa.uint32()),
        pa.field("encoded", pa.large_binary()),
    ]
)


class TensorForm:
    """How an answer of one shape and dtype lies in record batches.

    Parameters
    ----------
    shape
        Shape of the answer; dropped axes are gone.
    structure
        Structure of the array that it is taken from.
    dims
        Names of the answer's axes, or None.
    """

    def __init__(
        self, shape: tuple[int, ...], structure: ArrayStructure, dims: tuple[str, ...] | None
    ) -> None:
        self.shape = shape
        self.dtype = structure.dtype
        itemsize = self.dtype.itemsize
        self.row_axes = min(1, len(shape))
        while self.row_axes < len(shape) - 1 and self._row_bytes > ROW_BYTES:
            self.row_axes += 1
        self.row_shape = shape[self.row_axes :]
        plain = _PLAIN.get(self.dtype.str[1:]) if self.dtype.byteorder in "=|<" else None
        self.raw = plain is None
        element = pa.uint8() if plain is None else plain
        cell = (*self.row_shape, itemsize) if self.raw else self.row_shape
        self.empty = math.prod(shape) == 0 or (self.raw and itemsize == 0)
        if self.empty:
            self._type, self._values = element, element
        elif self.raw and not self.row_shape:
            self._type = self._values = pa.binary(itemsize)
        elif cell:
            self._type, self._values = pa.fixed_shape_tensor(element, cell), element
        else:
            self._type = self._values = element
        self._cell = math.prod(cell)
        document = {
            "shape": shape,
            "dtype": structure.data_type,
            "dims": dims,
            "raw": self.raw,
            "row_axes": self.row_axes,
        }
        self.schema = pa.schema(
            [pa.field("data", self._type)],
            metadata={b"lake.array": msgspec.json.encode(document)},
        )

    @property
    def rows(self) -> int:
        """Number of rows of the whole answer; a single value is one row."""
        return math.prod(self.shape[: self.row_axes])

    @property
    def _row_bytes(self) -> int:
        return math.prod(self.shape[self.row_axes :]) * self.dtype.itemsize

    def batch(self, block: np.ndarray[Any, Any]) -> pa.RecordBatch:
        """Return consecutive elements, whole rows, as a record batch; contiguous ones uncopied."""
        block = np.ascontiguousarray(block)
        buffer = pa.py_buffer(block.reshape(-1).view(np.uint8) if block.size else b"")
        row_bytes = max(1, self._row_bytes)
        rows = block.nbytes // row_bytes
        if self._values == self._type:
            column = pa.Array.from_buffers(self._type, rows, [None, buffer])
        else:
            values = pa.Array.from_buffers(self._values, rows * self._cell, [None, buffer])
            cells = pa.FixedSizeListArray.from_arrays(values, self._cell)
            column = pa.ExtensionArray.from_storage(self._type, cells)
        return pa.RecordBatch.from_arrays([column], schema=self.schema)

    def batches(self, blocks: Iterable[np.ndarray[Any, Any]]) -> Iterator[pa.RecordBatch]:
        """Yield record batches of bounded size for blocks in C order."""
        if self.empty:
            return
        row_bytes = max(1, self._row_bytes)
        step = max(1, BATCH_BYTES // row_bytes) * row_bytes // self.dtype.itemsize
        for block in self._whole_rows(blocks):
            if block.nbytes <= BATCH_BYTES:
                yield self.batch(block)
                continue
            flat = np.ascontiguousarray(block).reshape(-1)
            for start in range(0, flat.size, step):
                yield self.batch(flat[start : start + step])

    def _whole_rows(self, blocks: Iterable[np.ndarray[Any, Any]]) -> Iterator[np.ndarray[Any, Any]]:
        """Gather blocks that end within a row until the row is there."""
        row = max(1, math.prod(self.row_shape))
        held: list[np.ndarray[Any, Any]] = []
        for block in blocks:
            if not held and block.size % row == 0:
                yield block
                continue
            held.append(np.ascontiguousarray(block).reshape(-1))
            size = sum(part.size for part in held)
            if size >= row:
                joined = np.concatenate(held)
                yield joined[: size // row * row]
                held = [joined[size // row * row :]] if size % row else []


def answer_dims(structure: ArrayStructure, selection: Selection) -> tuple[str, ...] | None:
    """Return the names of the axes that a selection keeps."""
    if structure.dims is None:
        return None
    pairs = zip(structure.dims, selection.axes, strict=True)
    return tuple(name for name, axis in pairs if not axis.drop)


def encoded_batches(chunks: Iterable[EncodedChunk]) -> Iterator[pa.RecordBatch]:
    """Yield one record batch per stored chunk, as it is stored."""
    for chunk in chunks:
        encoded: pa.Array
        if chunk.encoded is None:
            encoded = pa.nulls(1, pa.large_binary())
        else:
            payload = pa.py_buffer(chunk.encoded)
            offsets = pa.py_buffer(np.array([0, payload.size], np.int64))
            encoded = pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, payload])
        origin = pa.array([chunk.origin], pa.list_(pa.int64()))
        columns = [origin, _shape_column(chunk.shape), _mask_column(chunk.filter_mask), encoded]
        yield pa.RecordBatch.from_arrays(columns, schema=ENCODED_SCHEMA)


@functools.lru_cache(maxsize=256)
def _shape_column(shape: tuple[int, ...]) -> pa.Array:
    return pa.array([shape], pa.list_(pa.int64()))


@functools.lru_cache(maxsize=256)
def _mask_column(mask: int) -> pa.Array:
    return pa.array([mask], pa.uint32())


def rows_of_batches(
    batches: Iterable[pa.RecordBatch], structure: ArrayStructure
) -> Iterator[np.ndarray[Any, Any]]:
    """Yield blocks of rows of the first axis out of what a client sent.

    Rows come as `TensorForm` sends them, or as any column of fixed-width values
    whose bytes are whole rows.

    Raises
    ------
    InvalidRequestError
        ``bad-body``: more than one column, nulls, another type, or half a row.
    """
    dtype = structure.dtype
    row_shape = structure.shape[1:]
    row_bytes = math.prod(row_shape) * dtype.itemsize
    for batch in batches:
        if batch.num_columns != 1:
            raise _bad(f"{batch.num_columns} columns; an array is sent as one column of rows")
        column = batch.column(0)
        if column.null_count:
            raise _bad("null values; an array has none: send NaN, or a table")
        kind = column.type
        if isinstance(kind, pa.BaseExtensionType):
            column = column.storage
        while pa.types.is_fixed_size_list(column.type):
            column = column.flatten()
        if not _same_width(column.type, dtype):
            raise _bad(f"elements of type {column.type}, but the structure says {dtype}")
        width = (
            column.type.byte_width
            if pa.types.is_fixed_size_binary(column.type)
            else column.type.bit_width // 8
        )
        start = column.offset * width
        payload = column.buffers()[1]
        raw = (
            np.frombuffer(payload, np.uint8)[start : start + len(column) * width]
            if payload is not None
            else np.empty(0, np.uint8)
        )
        if not structure.shape:
            yield raw.view(dtype).reshape(())
            continue
        if row_bytes and raw.nbytes % row_bytes:
            raise _bad(f"{raw.nbytes} bytes are no whole number of rows of {row_bytes} bytes")
        yield raw.view(dtype).reshape(-1, *row_shape)


def _same_width(kind: pa.DataType, dtype: np.dtype[Any]) -> bool:
    if kind == pa.uint8() or pa.types.is_fixed_size_binary(kind):
        return dtype.itemsize > 0
    return _PLAIN.get(dtype.str[1:]) == kind and dtype.byteorder in "=|<"


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_BODY, message)
