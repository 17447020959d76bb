"""Arrays on the wire: rows of the first axis as Arrow tensors, and back into place."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa

from schemas.errors import ConflictError, CorruptError, ErrorKind, TooLargeError
from schemas.structures import DataType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

BATCH_BYTES = 8 << 20
"""Record batches of arrays are about this large, in bytes; a single row may be larger."""
MAX_ROW_BYTES = 1 << 30
"""Largest row of the first axis that a message of Arrow Flight can carry."""
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


class Answer(msgspec.Struct, frozen=True):
    """What the schema of an array's stream says about it."""

    shape: tuple[int, ...]
    dtype: DataType
    dims: tuple[str, ...] | None = None


@functools.lru_cache(maxsize=1024)
def _answer(document: bytes) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        answer = msgspec.json.decode(document, type=Answer)
    except msgspec.MsgspecError as error:
        raise CorruptError(
            ErrorKind.CORRUPT_OBJECT, f"the stream does not say which array it is: {error}"
        ) from None
    return answer.shape, answer.dtype.to_numpy()


def described(schema: pa.Schema) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return the shape and dtype that an array's stream announces.

    Raises
    ------
    CorruptError
        ``corrupt-object``: the schema is not one of an array.
    """
    return _answer((schema.metadata or {}).get(b"lake.array", b""))


def expect(schema: pa.Schema, out: NDArray[Any]) -> None:
    """See that a stream brings an array of this shape and dtype.

    Raises
    ------
    ConflictError
        ``revision-conflict``: it has another, so the node has changed.
    CorruptError
        ``corrupt-object``: the schema is not one of an array.
    """
    _same(described(schema), out)


def receive(reader: Any, out: NDArray[Any], moved: Callable[[int], None] | None = None) -> None:
    """Copy a stream's elements, which come in C order, into ``out``.

    Parameters
    ----------
    reader
        A Flight stream reader.
    out
        Array of the shape and dtype of the answer.
    moved
        Told the bytes of each batch.

    Raises
    ------
    CorruptError
        ``corrupt-object``: not exactly as many elements as the answer has;
        ``out`` then holds nothing of use.
    ConflictError
        ``revision-conflict``: another shape or dtype than the node was known to have.
    """
    expect(reader.schema, out)
    filled, size = 0, out.size
    flat = out.reshape(-1) if out.flags.c_contiguous else None
    for chunk in reader:
        batch = chunk.data
        if batch is None:
            continue
        values = elements(batch.column(0), out.dtype)
        end = filled + values.size
        if end > size:
            raise _wrong_size(end, size, "at least ")
        if flat is not None:
            flat[filled:end].view(np.uint8)[:] = values.view(np.uint8)
        else:
            _place(out, filled, values)
        filled = end
        if moved is not None:
            moved(values.nbytes)
    if filled != size:
        raise _wrong_size(filled, size)


def take(message: pa.Buffer, out: NDArray[Any]) -> None:
    """Copy an array that came in one message into ``out``; errors as in `receive`.

    Parameters
    ----------
    message
        A line of JSON with shape and dtype, then the elements in C order.
    """
    whole = message.to_pybytes()
    end = whole.find(b"\n")
    _same(_answer(whole[: max(0, end)]), out)
    payload = memoryview(whole)[end + 1 :]
    if payload.nbytes != out.nbytes:
        raise _wrong_size(payload.nbytes // max(1, out.itemsize), out.size)
    out[...] = np.frombuffer(payload, out.dtype).reshape(out.shape)


def _same(announced: tuple[tuple[int, ...], np.dtype[Any]], out: NDArray[Any]) -> None:
    shape, dtype = announced
    if shape != out.shape or dtype != out.dtype:
        raise ConflictError(
            ErrorKind.REVISION_CONFLICT,
            f"the array has changed: there is {dtype} of shape {shape} now, where this node "
            f"expects {out.dtype} of shape {out.shape}; refresh() it",
        )


def elements(column: pa.Array, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the elements of a column of rows as a flat view of its memory.

    Raises
    ------
    CorruptError
        ``corrupt-object``: the column's bytes are not whole elements of this dtype.
    """
    storage = column.storage if isinstance(column, pa.ExtensionArray) else column
    rows, start, width = len(storage), storage.offset, 1
    kind = storage.type
    while pa.types.is_fixed_size_list(kind):
        width *= kind.list_size
        kind = kind.value_type
    payload = storage.buffers()[-1]
    itemsize = kind.bit_width // 8
    wanted = rows * width * itemsize
    offset = start * width * itemsize
    if wanted == 0 or payload is None:
        return np.empty(0, dtype)
    if dtype.itemsize == 0 or wanted % dtype.itemsize or payload.size < offset + wanted:
        raise CorruptError(
            ErrorKind.CORRUPT_OBJECT, f"{wanted} bytes of {kind} are no whole elements of {dtype}"
        )
    return np.frombuffer(payload, dtype, wanted // dtype.itemsize, offset)


def _place(out: NDArray[Any], start: int, values: NDArray[Any]) -> None:
    """Copy elements into an array whose rows are not one piece of memory."""
    row = math.prod(out.shape[1:])
    if row and start % row == 0 and values.size % row == 0:
        first = start // row
        rows = values.size // row
        out[first : first + rows] = values.reshape(rows, *out.shape[1:])
    else:
        out.flat[start : start + values.size] = values


def _wrong_size(found: int, size: int, about: str = "") -> CorruptError:
    return CorruptError(
        ErrorKind.CORRUPT_OBJECT, f"the stream held {about}{found} elements instead of {size}"
    )


class Rows:
    """How rows of one shape and dtype lie in record batches.

    Parameters
    ----------
    shape
        Shape of the array; its first axis may grow.
    dtype
        NumPy dtype.

    Raises
    ------
    TooLargeError
        ``too-large``: a single row is more than a message can carry.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.row_shape = shape[1:]
        element = _PLAIN.get(dtype.str[1:]) if dtype.byteorder in "=|<" else None
        self._raw = element is None
        self._element = pa.uint8() if element is None else element
        self._cell = (*self.row_shape, dtype.itemsize) if self._raw else self.row_shape
        self.row_bytes = math.prod(self.row_shape) * dtype.itemsize
        """Bytes of one row."""
        if self.row_bytes > MAX_ROW_BYTES:
            raise TooLargeError(
                ErrorKind.TOO_LARGE,
                f"one row of the first axis has {self.row_bytes} bytes; at most {MAX_ROW_BYTES} "
                "can be sent at a time: write the array with one more, leading axis",
            )
        self._type: Any = self._element
        if self._raw and not self.row_shape:
            self._type = pa.binary(dtype.itemsize)
        elif self.row_bytes and self._cell:
            self._type = pa.fixed_shape_tensor(self._element, self._cell)
        document = {
            "shape": shape,
            "dtype": DataType.from_numpy(dtype),
            "dims": None,
            "raw": self._raw,
        }
        self.schema = pa.schema(
            [pa.field("data", self._type)],
            metadata={b"lake.array": msgspec.json.encode(document)},
        )

    def batches(self, block: NDArray[Any]) -> Iterator[pa.RecordBatch]:
        """Yield a block of rows (or a single value) as batches, without a copy where it can."""
        if block.ndim == 0:
            block = block.reshape(1)
        if not self.row_bytes:
            return
        step = max(1, BATCH_BYTES // self.row_bytes)
        for start in range(0, len(block), step):
            yield self._batch(np.ascontiguousarray(block[start : start + step], self.dtype))

    def _batch(self, block: NDArray[Any]) -> pa.RecordBatch:
        payload = pa.py_buffer(block.reshape(-1).view(np.uint8))
        column: pa.Array
        if isinstance(self._type, pa.BaseExtensionType):
            count = math.prod(self._cell)
            values = pa.Array.from_buffers(self._element, len(block) * count, [None, payload])
            cells = pa.FixedSizeListArray.from_arrays(values, count)
            column = pa.ExtensionArray.from_storage(self._type, cells)
        else:
            column = pa.Array.from_buffers(self._type, len(block), [None, payload])
        return pa.RecordBatch.from_arrays([column], schema=self.schema)
