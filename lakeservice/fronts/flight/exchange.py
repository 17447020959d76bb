"""Many small reads in one call: requests come as rows, answers go as rows, in any order."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from lakeservice.codecs.engine import Engine
from lakeservice.fronts.flight.guard import translated
from schemas.errors import ErrorKind, InvalidRequestError, TooLargeError
from schemas.ticket import ReadArray

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    from lakeservice.service import Service
    from schemas.entry import Node
    from schemas.selection import Selection

COMMAND = "read-many"
"""What the descriptor's command says in ``do``."""
ANSWER_BYTES = 8 << 20
"""Largest single answer, in bytes; larger ones are refused."""
TOGETHER = 1024
"""Requests of one batch that are looked at together."""
GROUP_BYTES = 1 << 20
"""Answers go in batches of about this many bytes…"""
GROUP_ANSWERS = 64
"""… or of so many answers."""
AHEAD_BYTES = 64 << 20
"""Answers that all exchanges decode ahead, in bytes; each may have one group more under way."""
AHEAD_GROUPS = 4
"""Groups that one exchange decodes ahead."""
ANSWER_SCHEMA = pa.schema(
    [
        pa.field("number", pa.int64()),
        pa.field("version", pa.int64()),
        pa.field("shape", pa.list_(pa.int64())),
        pa.field("dtype", pa.utf8()),
        pa.field("data", pa.large_binary()),
        pa.field("error", pa.utf8()),
    ]
)
"""Answers: ``number`` counts requests from 0; either ``error`` or all others are there."""
_REQUEST = msgspec.json.Decoder(ReadArray)


class _Asked(NamedTuple):
    """A request that can be answered."""

    number: int
    node: Node
    selection: Selection
    size: int
    """Bytes of the answer."""


class _Refused(NamedTuple):
    """A request that cannot."""

    number: int
    error: str


class _Command(msgspec.Struct):
    do: str


def check_command(command: bytes) -> None:
    """Raise ``bad-request`` unless a descriptor's command asks for this."""
    if msgspec.json.decode(command, type=_Command).do != COMMAND:
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST, f'an exchange needs the command {{"do": "{COMMAND}"}}'
        )


def answers(service: Service, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield batches of answers to batches of requests; all of one before the next is read.

    What is wrong with one request is its answer, and ends nothing. A few batches of
    answers are decoded ahead of the one that is taken.

    Parameters
    ----------
    batches
        A column ``request``: each row a read-array request as JSON.

    Raises
    ------
    InvalidRequestError
        ``bad-body``: there is no such column.
    """
    number = 0
    for batch in batches:
        requests = _requests(batch)
        for start in range(0, len(requests), TOGETHER):
            part = requests.slice(start, TOGETHER)
            yield from _worked(service, _asked(service, part, number))
            number += len(part)


def _requests(batch: pa.RecordBatch) -> pa.Array:
    column = batch.column("request") if "request" in batch.schema.names else None
    kinds = (pa.utf8(), pa.large_utf8(), pa.binary(), pa.large_binary())
    if column is None or column.type not in kinds:
        raise InvalidRequestError(
            ErrorKind.BAD_BODY,
            "requests come in a column 'request' of text, each a read-array request as JSON",
        )
    return column


def _asked(service: Service, requests: pa.Array, first: int) -> list[_Asked | _Refused]:
    """Decode requests; look each node up once."""
    nodes: dict[tuple[str, int | None], Node | str] = {}
    found: list[_Asked | _Refused] = []
    for number, text in enumerate(requests.to_pylist(), first):
        try:
            request = _decoded(text)
            key = (request.path, request.as_of)
            node = nodes.get(key)
            if node is None:
                node = nodes[key] = _node(service, request)
            if isinstance(node, str):
                found.append(_Refused(number, node))
                continue
            selection = service.selection(node, request.selection)
            size = selection.size * service.reader.structure(node).data_type.itemsize
            if size > ANSWER_BYTES:
                raise TooLargeError(
                    ErrorKind.TOO_LARGE,
                    f"{size} bytes; one answer among many holds {ANSWER_BYTES}: "
                    "read it by itself, with DoGet",
                )
        except Exception as error:
            found.append(_Refused(number, _document(error)))
        else:
            found.append(_Asked(number, node, selection, size))
    return found


def _decoded(text: str | bytes | None) -> ReadArray:
    if text is None:
        raise InvalidRequestError(ErrorKind.BAD_REQUEST, "a request is null")
    request = _REQUEST.decode(text)
    if request.delivery != "decoded":
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST, f"delivery {request.delivery!r}; answers among many are decoded"
        )
    return request


def _node(service: Service, request: ReadArray) -> Node | str:
    """Return the node of a request; what is wrong with it as text."""
    try:
        return service.describe(request.path, as_of=request.as_of)
    except Exception as error:
        return _document(error)


def _document(error: Exception) -> str:
    """Return an error as it goes over the wire; what is a bug is logged."""
    document: bytes = translated(error).extra_info
    return document.decode()


def _worked(service: Service, asked: list[_Asked | _Refused]) -> Iterator[pa.RecordBatch]:
    refused = [request for request in asked if isinstance(request, _Refused)]
    if refused:
        yield _answered([], b"", refused)
    engine = Engine.shared()
    waiting: deque[tuple[Future[pa.RecordBatch], int]] = deque()
    try:
        for group in _groups([request for request in asked if isinstance(request, _Asked)]):
            size = sum(request.size for request in group)
            while waiting and (len(waiting) >= AHEAD_GROUPS or not _AHEAD.has_room(size)):
                yield from _first(waiting)
            waiting.append((engine.submit(_Reading(service, group)), size))
            _AHEAD.add(size)
        while waiting:
            yield from _first(waiting)
    finally:
        for future, size in waiting:
            future.cancel()
            _AHEAD.add(-size)


def _first(waiting: deque[tuple[Future[pa.RecordBatch], int]]) -> Iterator[pa.RecordBatch]:
    """Yield the answers that were begun first; they are under way until they are sent."""
    yield waiting[0][0].result()
    _AHEAD.add(-waiting.popleft()[1])


class _Ahead:
    """Bytes of answers that all exchanges of this process have under way; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._size = 0

    def has_room(self, size: int) -> bool:
        return self._size + size <= AHEAD_BYTES

    def add(self, size: int) -> None:
        with self._lock:
            self._size += size


_AHEAD = _Ahead()


def _groups(asked: list[_Asked]) -> Iterator[list[_Asked]]:
    """Split requests into what is answered together: of one node, near each other."""
    asked.sort(key=lambda request: (request.node.path, request.node.version, *_begin(request)))
    group: list[_Asked] = []
    size = 0
    for request in asked:
        if group and (
            len(group) == GROUP_ANSWERS
            or size + request.size > GROUP_BYTES
            or request.node is not group[0].node
        ):
            yield group
            group, size = [], 0
        group.append(request)
        size += request.size
    if group:
        yield group


def _begin(request: _Asked) -> tuple[int, ...]:
    return tuple(axis.start for axis in request.selection.axes)


class _Reading:
    """A task: the answers to some requests of one node, as a record batch."""

    def __init__(self, service: Service, group: list[_Asked]) -> None:
        self._service = service
        self._group = group

    def __call__(self) -> pa.RecordBatch:
        group = self._group
        payload = np.empty(sum(request.size for request in group), np.uint8)
        try:
            self._read(group, payload)
        except Exception:
            return self._one_by_one(group)
        return _answered(group, payload, [])

    def _one_by_one(self, group: list[_Asked]) -> pa.RecordBatch:
        """Answer those requests that can be; tell of each other one what is wrong with it."""
        good: list[_Asked] = []
        refused: list[_Refused] = []
        payloads: list[np.ndarray[Any, Any]] = []
        for request in group:
            payload = np.empty(request.size, np.uint8)
            try:
                self._read([request], payload)
            except Exception as error:
                refused.append(_Refused(request.number, _document(error)))
            else:
                good.append(request)
                payloads.append(payload)
        return _answered(good, np.concatenate(payloads) if payloads else b"", refused)

    def _read(self, group: list[_Asked], payload: np.ndarray[Any, Any]) -> None:
        node = group[0].node
        dtype = self._service.reader.structure(node).dtype
        outs = []
        start = 0
        for request in group:
            shape, stop = request.selection.kept_shape, start + request.size
            if request.size:
                outs.append(payload[start:stop].view(dtype).reshape(shape))
            else:
                outs.append(np.empty(shape, dtype))
            start = stop
        self._service.read_array_each(node, [request.selection for request in group], outs)


def _answered(good: list[_Asked], payload: Any, refused: list[_Refused]) -> pa.RecordBatch:
    count = len(good)
    numbers = [request.number for request in good] + [request.number for request in refused]
    nothing = [None] * len(refused)
    offsets = np.zeros(count + len(refused) + 1, np.int64)
    np.cumsum([request.size for request in good], out=offsets[1 : count + 1])
    offsets[count + 1 :] = offsets[count]
    present = np.zeros(count + len(refused), bool)
    present[:count] = True
    valid = None if not refused else pa.py_buffer(np.packbits(present, bitorder="little"))
    buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(payload)]
    dtypes: dict[int, str] = {}
    for request in good:
        if id(request.node) not in dtypes:
            dtypes[id(request.node)] = _dtype_text(request.node)
    return pa.RecordBatch.from_arrays(
        [
            pa.array(numbers, pa.int64()),
            pa.array([request.node.version for request in good] + nothing, pa.int64()),
            pa.array([request.selection.shape for request in good] + nothing, pa.list_(pa.int64())),
            pa.array([dtypes[id(request.node)] for request in good] + nothing, pa.utf8()),
            pa.Array.from_buffers(pa.large_binary(), count + len(refused), buffers),
            pa.array([None] * count + [request.error for request in refused], pa.utf8()),
        ],
        schema=ANSWER_SCHEMA,
    )


def _dtype_text(node: Node) -> str:
    structure: Any = node.structure
    return msgspec.json.encode(structure.data_type).decode()
