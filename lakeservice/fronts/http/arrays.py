"""Routes of array data: read and write, whole, in slices, in blocks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lakeservice.fronts.http.announcing import announce_only, delivery_of, keeps
from lakeservice.fronts.http.call import Reply, media_type_of
from lakeservice.fronts.http.documents import document
from lakeservice.fronts.http.exports import described, exported
from lakeservice.fronts.http.operations import AS_OF, FILE_NAME, FORMAT, Operation, Parameter
from lakeservice.service.sources import ArrayRows
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.selection import Axis, Selection, parse_selection

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakeservice.fronts.http.call import Call
    from schemas.entry import Node
    from schemas.structures import ArrayStructure

OCTETS = "application/octet-stream"
ROWS_BYTES = 4 << 20
"""Uploaded rows are handed on in blocks of about this size."""


def full(call: Call) -> Reply:
    """Return an array, or the slice of it that is asked for."""
    node = described(call)
    return _reply(call, node, call.service.selection(node, call.params.get("slice")))


def block(call: Call) -> Reply:
    """Return one chunk of an array, or a slice of that chunk."""
    node = described(call)
    origin, shape = block_bounds(array_structure(call, node), call.params.get("block"))
    inside = parse_selection(call.params.get("slice"), shape)
    selection = Selection(
        tuple(
            Axis(start + axis.start, axis.count, axis.step, axis.drop)
            for start, axis in zip(origin, inside.axes, strict=True)
        )
    )
    return _reply(call, node, selection)


def _reply(call: Call, node: Node, selection: Selection) -> Reply:
    array_structure(call, node)
    _check_expected(call.params.get("expected_shape"), selection.shape)
    return exported(
        call, ArrayRows(service=call.service, node=node, options=call.params, selection=selection)
    )


def put_full(call: Call) -> Reply:
    """Write all elements of an array that exists."""
    if call.repeated(call.path) is not None:
        return document(call, None)
    node = call.service.describe(call.path)
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
    """Write one chunk of an array that exists."""
    if call.repeated(call.path) is not None:
        return document(call, None)
    node = call.service.describe(call.path)
    structure = array_structure(call, node)
    if call.params.get("slice"):
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST, "a chunk is written whole; leave slice out and send all of it"
        )
    position = block_position(structure, call.params.get("block"))
    _, shape = block_bounds(structure, call.params.get("block"))
    dtype = structure.data_type.packed().to_numpy()
    size = _check_upload(call, shape, dtype)
    delivery = delivery_of(call, shape=shape, block=position)
    if not keeps(call):
        announce_only(call, node, delivery, dtype.itemsize)
        return document(call, None)
    payload = call.body.whole(size)
    if len(payload) != size:
        raise _wrong_size(len(payload), shape, dtype)
    elements = np.frombuffer(payload, dtype).reshape(shape).astype(structure.dtype, copy=False)
    update = call.service.changes.block(node, position, elements)
    call.commit(update, trusted=True, note=delivery)
    return document(call, None)


def array_structure(call: Call, node: Node) -> ArrayStructure:
    """Return the structure of a node that must be an array.

    Raises
    ------
    InvalidRequestError
        ``wrong-family``.
    """
    return call.service.reader.structure(node)


def block_position(structure: ArrayStructure, text: str | None) -> tuple[int, ...]:
    """Return which chunk ``block=0,3`` names.

    Raises
    ------
    InvalidRequestError
        ``bad-slice``: not one integer an axis, or out of range.
    """
    return tuple(axis.start for axis in _blocks(structure, text))


def block_bounds(
    structure: ArrayStructure, text: str | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the first element and the shape of the chunk, or the chunks side by side, named.

    Raises
    ------
    InvalidRequestError
        ``bad-slice``: another number of axes, out of range, or with a step.
    """
    origin, shape = [], []
    for axis, length, sizes in zip(
        _blocks(structure, text), structure.shape, structure.chunks, strict=True
    ):
        if isinstance(sizes, int):
            start = min(axis.start * sizes, length)
            stop = min((axis.start + axis.count) * sizes, length)
        else:
            start = sum(sizes[: axis.start])
            stop = start + sum(sizes[axis.start : axis.start + axis.count])
        origin.append(start)
        shape.append(stop - start)
    return tuple(origin), tuple(shape)


def _blocks(structure: ArrayStructure, text: str | None) -> Sequence[Axis]:
    counts = tuple(
        len(sizes) if isinstance(sizes, tuple) else max(1, -(-length // sizes))
        for length, sizes in zip(structure.shape, structure.chunks, strict=True)
    )
    given = (text or "").strip()
    if len([part for part in given.split(",") if part.strip()]) != len(counts):
        raise InvalidRequestError(
            ErrorKind.BAD_SLICE,
            f"block={given[:80]!r}; write {len(counts)} integers with commas between, "
            f"below {counts}",
        )
    axes = parse_selection(given, counts).axes
    if any(axis.step != 1 for axis in axes):
        raise InvalidRequestError(ErrorKind.BAD_SLICE, "block takes integers and start:stop")
    return axes


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


def _check_upload(call: Call, shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Refuse an upload that announces itself as wrong; returns the bytes that it must have."""
    sent = media_type_of(call.headers.get("content-type"))
    if sent not in ("", OCTETS):
        raise InvalidRequestError(
            ErrorKind.BAD_BODY, f"arrays are sent as {OCTETS}, not as {sent[:80]!r}"
        )
    size = math.prod(shape) * dtype.itemsize
    if call.body.length is not None and call.body.length != size:
        raise _wrong_size(call.body.length, shape, dtype)
    return size


def _wrong_size(sent: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> InvalidRequestError:
    return InvalidRequestError(
        ErrorKind.BAD_BODY,
        f"{sent} bytes sent, but shape {shape} of {dtype} takes "
        f"{math.prod(shape) * dtype.itemsize}; "
        "send the elements in C order, in this dtype and byte order",
    )


def _check_expected(text: str | None, shape: tuple[int, ...]) -> None:
    if text is None or text == "":
        return
    wanted = "scalar" if not shape else ",".join(map(str, shape))
    if text.replace(" ", "") != wanted:
        raise InvalidRequestError(
            ErrorKind.BAD_SLICE,
            f"expected_shape={text[:80]!r}, but the answer has the shape {wanted!r}; "
            "the array may have changed: describe it again",
        )


SLICE = Parameter("slice", "text", "Part of the array, as NumPy writes it: ``0,10:20,::2``.")
EXPECTED = Parameter("expected_shape", "text", "Shape that the answer must have: ``3,4``.")
BLOCK = Parameter("block", "text", "Position in the grid of chunks: ``0,3``.", required=True)
PERSIST = Parameter("persist", "flag", "Keep the data; false only sends it to subscribers.")
READ = (SLICE, EXPECTED, FORMAT, FILE_NAME, AS_OF)

OPERATIONS = (
    Operation(
        method="GET",
        path="/array/full/{path:path}",
        work=full,
        scope="read:data",
        params=READ,
        family="array",
    ),
    Operation(
        method="PUT",
        path="/array/full/{path:path}",
        work=put_full,
        scope="write:data",
        params=(PERSIST,),
        uploads=(OCTETS,),
    ),
    Operation(
        method="GET",
        path="/array/block/{path:path}",
        work=block,
        scope="read:data",
        params=(BLOCK, *READ),
        family="array",
    ),
    Operation(
        method="PUT",
        path="/array/block/{path:path}",
        work=put_block,
        scope="write:data",
        params=(BLOCK, PERSIST),
        uploads=(OCTETS,),
    ),
)
