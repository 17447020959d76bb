"""Many small reads in one call: requests go as rows, answers come as rows, in any order."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from schemas.errors import CorruptError, ErrorKind, LakeError, error_of
from schemas.structures import DataType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from lakeservice.client.connection import Connection

WINDOW_BYTES = 16 << 10
"""Requests that are sent together, in bytes.

Two batches of them fit into what a stream takes without anybody reading it (64 KiB), so
that sending never waits for the server while the server waits for its answers to be read.
"""
WINDOW_REQUESTS = 512
_COMMAND = b'{"do":"read-many"}'
_SCHEMA = pa.schema([pa.field("request", pa.binary())])
_COLUMNS = ("number", "version", "shape", "dtype", "data", "error")


class Answer(NamedTuple):
    """What one request brought."""

    number: int
    """Which request it was."""
    version: int
    """Version of the lake in which the node changed last."""
    elements: NDArray[Any]
    """The answer, in memory of the message that it came with: copy what is to stay."""


class _Wrong(msgspec.Struct):
    kind: str
    message: str


def answers_of(
    connection: Connection,
    count: int,
    request: Callable[[int], bytes],
    take: Callable[[Answer], None],
    refuse: Callable[[int, LakeError], None],
) -> None:
    """Ask ``count`` requests in one exchange, and hand each answer over once.

    After a lost connection only what was not answered is asked again.

    Parameters
    ----------
    request
        Returns the request of a number, as JSON.
    take
        Told each answer, in any order.
    refuse
        Told which request brought which error; it may raise it.

    Raises
    ------
    CorruptError
        ``corrupt-object``: answers to what was not asked, twice, none, or of another size.
    UnavailableError
        The connection was lost again and again.
    """
    open_requests: NDArray[np.bool_] = np.ones(count, bool)

    def converse(writer: Any, reader: Any) -> None:
        numbers = np.flatnonzero(open_requests)
        received = sent = 0
        writer.begin(_SCHEMA)
        for batch in _windows(numbers, request):
            writer.write_batch(batch)
            # One batch is always on its way while the answers to the one before come in.
            while received < sent:
                received += _received(reader, numbers[:sent], open_requests, take, refuse)
            sent += batch.num_rows
        writer.done_writing()
        while received < sent:
            received += _received(reader, numbers, open_requests, take, refuse)

    if count:
        connection.exchange(_COMMAND, converse)


def _windows(
    numbers: NDArray[np.intp], request: Callable[[int], bytes]
) -> Iterator[pa.RecordBatch]:
    held: list[bytes] = []
    size = 0
    for number in numbers.tolist():
        text = request(number)
        if held and (size + len(text) > WINDOW_BYTES or len(held) == WINDOW_REQUESTS):
            yield pa.RecordBatch.from_arrays([pa.array(held, pa.binary())], schema=_SCHEMA)
            held, size = [], 0
        held.append(text)
        size += len(text)
    if held:
        yield pa.RecordBatch.from_arrays([pa.array(held, pa.binary())], schema=_SCHEMA)


def _received(
    reader: Any,
    numbers: NDArray[np.intp],
    open_requests: NDArray[np.bool_],
    take: Callable[[Answer], None],
    refuse: Callable[[int, LakeError], None],
) -> int:
    """Hand over one batch of answers, and return how many there were."""
    try:
        batch = reader.read_chunk().data
    except StopIteration:
        raise CorruptError(
            ErrorKind.CORRUPT_OBJECT,
            f"the exchange ended with {int(open_requests.sum())} requests unanswered",
        ) from None
    if batch is None:
        return 0
    rows = [batch.column(name) for name in _COLUMNS[:4]]
    data, errors = batch.column("data"), batch.column("error")
    lists = [column.to_pylist() for column in rows]
    wrong: list[Any] = errors.to_pylist()
    offsets, payload = _payload(data)
    for row, (position, version, shape, dtype_text) in enumerate(zip(*lists, strict=True)):
        number = int(numbers[position]) if 0 <= position < numbers.size else -1
        if number < 0 or not open_requests[number]:
            raise CorruptError(
                ErrorKind.CORRUPT_OBJECT, f"an answer to request {position}, which is not open"
            )
        if wrong[row] is not None:
            refuse(number, _error(wrong[row]))
        else:
            dtype = _dtype(dtype_text)
            low, high = offsets[row], offsets[row + 1]
            if high - low != math.prod(shape) * dtype.itemsize:
                raise CorruptError(
                    ErrorKind.CORRUPT_OBJECT,
                    f"{high - low} bytes came for {dtype} of shape {tuple(shape)}",
                )
            elements: NDArray[Any] = (
                np.ndarray(shape, dtype, payload, low) if high > low else np.empty(shape, dtype)
            )
            take(Answer(number, version, elements))
        open_requests[number] = False
    return batch.num_rows  # type: ignore[no-any-return]


def _payload(column: pa.Array) -> tuple[list[int], Any]:
    """Return where each value begins, and the memory that holds all."""
    _, offsets, payload = column.buffers()
    starts = np.frombuffer(offsets, np.int64, len(column) + 1, 8 * column.offset)
    return starts.tolist(), payload if payload is not None else b""


@functools.lru_cache(maxsize=256)
def _dtype(text: str) -> np.dtype[Any]:
    try:
        return msgspec.json.decode(text, type=DataType).to_numpy()
    except msgspec.MsgspecError as error:
        raise CorruptError(
            ErrorKind.CORRUPT_OBJECT, f"the answer does not say of which dtype it is: {error}"
        ) from None


def _error(document: str) -> LakeError:
    try:
        wrong = msgspec.json.decode(document, type=_Wrong)
    except msgspec.MsgspecError:
        return LakeError(ErrorKind.BAD_REQUEST, document[:300])
    return error_of(wrong.kind, wrong.message)
