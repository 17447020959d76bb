"""Sparse arrays, at the same addresses as dense ones: tables of ``dim0``… and ``data``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakeservice.fronts.http.announcing import announce_only, delivery_of, keeps
from lakeservice.fronts.http.blocks import (
    block_bounds,
    block_position,
    check_expected,
    slice_of_block,
)
from lakeservice.fronts.http.documents import document
from lakeservice.fronts.http.exports import exported
from lakeservice.fronts.http.placing import placed
from lakeservice.fronts.http.table_bodies import FORMS as TABLE_FORMS
from lakeservice.fronts.http.table_bodies import uploaded_table
from lakeservice.service.sparse_changes import columns_of
from lakeservice.service.sparse_source import SparseRows, sparse_structure
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.selection import parse_selection

if TYPE_CHECKING:
    from lakeservice.fronts.http.call import Call, Reply
    from schemas.chunks import Part
    from schemas.commit import Update
    from schemas.entry import Node
    from schemas.selection import Selection

FORMS = TABLE_FORMS
"""Media types in which coordinates and values are sent."""


def full(call: Call, node: Node) -> Reply:
    """Return coordinates and values of a sparse array, or of a slice of it, counted from there."""
    shape = sparse_structure(node).shape
    return _reply(call, node, parse_selection(call.params.get("slice"), shape))


def block(call: Call, node: Node) -> Reply:
    """Return one block of a sparse array; coordinates count from its first element."""
    structure = sparse_structure(node)
    chosen = slice_of_block(structure, call.params.get("block"), call.params.get("slice"))
    return _reply(call, node, chosen)


def _reply(call: Call, node: Node, selection: Selection) -> Reply:
    check_expected(call.params.get("expected_shape"), selection.shape)
    whole = selection.is_whole(sparse_structure(node).shape)
    source = SparseRows(
        service=call.service,
        node=node,
        options=call.params,
        selection=None if whole else selection,
    )
    return exported(call, source)


def put_full(call: Call, node: Node) -> Reply:
    """Write all values of a sparse array that exists."""
    shape = sparse_structure(node).shape
    delivery = delivery_of(call, shape=shape)
    if not keeps(call):
        announce_only(call, node, delivery)
        return document(call, None)
    changes = call.service.sparse
    part = _written(call, node, (0,) * len(shape), shape)
    placed(call, node, part, lambda now: changes.replaced(now, part), delivery)
    return document(call, None)


def put_block(call: Call, node: Node) -> Reply:
    """Write the values of one block of a sparse array that exists."""
    structure = sparse_structure(node)
    if call.params.get("slice"):
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST, "a block is written whole; leave slice out and send all of it"
        )
    position = block_position(structure, call.params.get("block"))
    origin, shape = block_bounds(structure, call.params.get("block"))
    delivery = delivery_of(call, shape=shape, block=position)
    if not keeps(call):
        announce_only(call, node, delivery)
        return document(call, None)
    changes = call.service.sparse
    part = _written(call, node, origin, shape)

    def place(now: Node) -> Update:
        return changes.block(now, part, position)

    placed(call, node, part, place, delivery)
    return document(call, None)


def _written(call: Call, node: Node, origin: tuple[int, ...], shape: tuple[int, ...]) -> Part:
    with uploaded_table(call, columns_of(node)) as reader:
        return call.service.sparse.written(node, reader, origin, shape)
