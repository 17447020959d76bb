"""Routes that write arrays: whole, in blocks, in regions that may make them longer."""

from __future__ import annotations

import math
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from lakeservice.fronts.http import sparse
from lakeservice.fronts.http.announcing import announce_only, delivery_of, keeps
from lakeservice.fronts.http.arrays import BLOCK, array_structure
from lakeservice.fronts.http.blocks import block_bounds, block_position
from lakeservice.fronts.http.call import Reply, media_type_of
from lakeservice.fronts.http.documents import document
from lakeservice.fronts.http.operations import Operation, Parameter
from lakeservice.fronts.http.structures import structure_document
from schemas.errors import ErrorKind, InvalidRequestError, TooLargeError
from schemas.selection import parse_selection
from schemas.structures import Endianness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lakeservice.fronts.http.call import Call
    from lakeservice.service.events import Delivery
    from schemas.commit import Append, Update
    from schemas.structures import ArrayStructure

OCTETS = "application/octet-stream"
ROWS_BYTES = 4 << 20
"""Uploaded rows are handed on in blocks of about this size."""
UPLOADS = (OCTETS, *sparse.FORMS)
HELD_BYTES = 16 << 20
"""A region above this size waits in a temporary file until all of it is there."""


def put_full(call: Call) -> Reply:
    """Write all elements of an array that exists; of a sparse one, coordinates and values."""
    if call.repeated(call.path) is not None:
        return document(call, None)
    node = call.service.describe(call.path)
    if node.family == "sparse":
        return sparse.put_full(call, node)
    structure = array_structure(call, node)
    dtype = structure.data_type.packed().to_numpy()
    _check_upload(call, structure.shape, dtype)
    delivery = delivery_of(call, shape=structure.shape)
    if not keeps(call):
        announce_only(call, node, delivery, dtype.itemsize)
        return document(call, None)
    rows = (block.astype(structure.dtype, copy=False) for block in uploaded_rows(call, structure))
    update = call.service.changes.replace_array(node, rows)
    call.commit(update, trusted=True, note=delivery)
    return document(call, None)


def put_block(call: Call) -> Reply:
    """Write one chunk of an array that exists, dense or sparse, or a slice of that chunk."""
    if call.repeated(call.path) is not None:
        return document(call, None)
    node = call.service.describe(call.path)
    if node.family == "sparse":
        return sparse.put_block(call, node)
    structure = array_structure(call, node)
    position = block_position(structure, call.params.get("block"))
    origin, shape = block_bounds(structure, call.params.get("block"))
    inside = call.params.get("slice")
    if inside:
        origin, shape = _slice_of(origin, shape, inside)
    dtype = structure.data_type.packed().to_numpy()
    _check_upload(call, shape, dtype)
    delivery = delivery_of(
        call,
        shape=shape,
        offset=origin if inside else None,
        block=None if inside else position,
        origin=origin,
    )
    if not keeps(call):
        announce_only(call, node, delivery, dtype.itemsize)
        return document(call, None)
    with _elements(call, shape, dtype) as elements:
        call.service.changes.block(
            call.service.describe,
            call.path,
            origin,
            elements.astype(structure.dtype, copy=False),
            _commit(call, delivery),
        )
    return document(call, None)


def patch_full(call: Call) -> Reply:
    """Write a region of an array that exists, and with ``extend`` make it longer."""
    extend = call.flag("extend", False)
    if extend and not keeps(call):
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST,
            "Cannot PATCH an array with both parameters extend=true and persist=false: "
            "what makes it longer must be kept",
        )
    offset = _integers(call, "offset") or ()
    shape = _integers(call, "shape")
    if shape is None:
        raise InvalidRequestError(
            ErrorKind.BAD_PARAMETER, "name the shape of what is sent: shape=1,512,512"
        )
    if call.repeated(call.path) is None:
        node = call.service.describe(call.path)
        structure = array_structure(call, node)
        dtype = structure.data_type.packed().to_numpy()
        _check_upload(call, shape, dtype)
        delivery = delivery_of(call, shape=shape, offset=offset)
        if not keeps(call):
            announce_only(call, node, delivery, dtype.itemsize)
            return document(call, structure_document(structure))
        changes = call.service.changes
        with _elements(call, shape, dtype) as elements:
            block = elements.astype(structure.dtype, copy=False)
            changes.apply(
                call.service.describe,
                call.path,
                lambda node: changes.region(node, offset, block, extend=extend),
                _commit(call, delivery),
            )
    return document(call, structure_document(call.service.describe(call.path).structure))


def _commit(call: Call, delivery: Delivery) -> Callable[[Update | Append], None]:
    def commit(mutation: Update | Append) -> None:
        call.commit(mutation, trusted=True, note=delivery)

    return commit


def _slice_of(
    origin: tuple[int, ...], shape: tuple[int, ...], text: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the first element and the shape of a slice of a chunk."""
    axes = parse_selection(text, shape).axes
    if any(axis.step != 1 for axis in axes):
        raise InvalidRequestError(
            ErrorKind.BAD_SLICE, f"slice={text[:80]!r}; what is written has no steps"
        )
    start = tuple(first + axis.start for first, axis in zip(origin, axes, strict=True))
    return start, tuple(axis.count for axis in axes)


def _integers(call: Call, name: str) -> tuple[int, ...] | None:
    """Return a query parameter that lists numbers: ``3,0``; () where it is empty or scalar."""
    text = call.params.get(name)
    if text is None:
        return None
    if text.strip() in ("", "scalar"):
        return ()
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 19 for part in parts):
        raise InvalidRequestError(
            ErrorKind.BAD_PARAMETER,
            f"{name}={text[:80]!r}; write whole numbers from 0 up with commas between",
        )
    return tuple(map(int, parts))


@contextmanager
def _elements(
    call: Call, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Iterator[np.ndarray[Any, Any]]:
    """Give the elements that a client sends, in memory or in a temporary file.

    Raises
    ------
    InvalidRequestError
        ``bad-body``: it sends more or fewer bytes than they take.
    """
    size = math.prod(shape) * dtype.itemsize
    if size <= HELD_BYTES:
        payload = call.body.whole(size)
        if len(payload) != size:
            raise _wrong_size(len(payload), shape, dtype)
        yield np.frombuffer(payload, dtype).reshape(shape)
        return
    with tempfile.TemporaryFile() as file:
        seen = 0
        for piece in call.body.pieces():
            seen += len(piece)
            if seen > size:
                break
            file.write(piece)
        if seen != size:
            raise _wrong_size(seen, shape, dtype)
        file.flush()
        yield np.memmap(file, dtype, "r", shape=shape)


def uploaded_rows(call: Call, structure: ArrayStructure) -> Iterator[np.ndarray[Any, Any]]:
    """Yield the rows that a client sends as raw bytes, records without gaps.

    Raises
    ------
    InvalidRequestError
        ``bad-body``: it sends more or fewer bytes than the array takes.
    """
    dtype = structure.data_type.packed().to_numpy()
    shape, trailing = structure.shape, structure.shape[1:]
    size = math.prod(shape) * dtype.itemsize
    row = math.prod(trailing) * dtype.itemsize
    seen = 0
    if not size:
        yield np.empty(shape, dtype)
    for piece in call.body.pieces(max(row, ROWS_BYTES // row * row) if row else ROWS_BYTES):
        seen += len(piece)
        if seen > size:
            raise _wrong_size(seen, shape, dtype)
        if len(piece) % row == 0:
            rows = np.frombuffer(piece, dtype)
            yield rows.reshape(-1, *trailing) if shape else rows.reshape(())
    if seen != size:
        raise _wrong_size(seen, shape, dtype)


def _check_upload(call: Call, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Refuse an upload that announces itself as wrong, before a byte of it is read."""
    sent = media_type_of(call.headers.get("content-type"))
    if sent not in ("", OCTETS):
        raise InvalidRequestError(
            ErrorKind.BAD_BODY, f"arrays are sent as {OCTETS}, not as {sent[:80]!r}"
        )
    size, limit = math.prod(shape) * dtype.itemsize, call.service.limits.upload_bytes
    if size > limit:
        raise TooLargeError(
            ErrorKind.TOO_LARGE, f"{size} bytes; at most {limit} are accepted at a time"
        )
    if call.body.length is not None and call.body.length != size:
        raise _wrong_size(call.body.length, shape, dtype)


def _wrong_size(sent: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> InvalidRequestError:
    return InvalidRequestError(
        ErrorKind.BAD_BODY,
        f"{sent} bytes sent, but shape {shape} of {dtype} takes "
        f"{math.prod(shape) * dtype.itemsize}; "
        "send the elements in C order, in this dtype and byte order",
    )


class DataTypeAnswer(msgspec.Struct):
    """A dtype in an answer; a record has fields, and only its size besides."""

    itemsize: int
    kind: str | None = None
    endianness: Endianness | None = None
    dt_units: str | None = None
    fields: list[dict[str, Any]] | None = None


class ArrayAnswer(msgspec.Struct):
    """The structure of an array, as it is now."""

    data_type: DataTypeAnswer
    chunks: list[list[int]]
    shape: list[int]
    dims: list[str] | None
    resizable: bool


PERSIST = Parameter("persist", "flag", "Keep the data; false only sends it to subscribers.")
OFFSET = Parameter("offset", "text", "First element to write: ``3,0``; 0 on axes left out.")
SHAPE = Parameter("shape", "text", "Shape of what is sent: ``1,512,512``.", required=True)
EXTEND = Parameter("extend", "flag", "Make the array longer where the region leaves it.")
SLICE = Parameter("slice", "text", "Part of the chunk, without steps: ``0:10,5``.")

OPERATIONS = (
    Operation(
        method="PUT",
        path="/array/full/{path:path}",
        work=put_full,
        scope="write:data",
        params=(PERSIST,),
        uploads=(OCTETS, *sparse.FORMS),
    ),
    Operation(
        method="PATCH",
        path="/array/full/{path:path}",
        work=patch_full,
        scope="write:data",
        params=(OFFSET, SHAPE, EXTEND, PERSIST),
        uploads=(OCTETS,),
        answer=ArrayAnswer,
    ),
    Operation(
        method="PUT",
        path="/array/block/{path:path}",
        work=put_block,
        scope="write:data",
        params=(BLOCK, SLICE, PERSIST),
        uploads=(OCTETS, *sparse.FORMS),
    ),
)
