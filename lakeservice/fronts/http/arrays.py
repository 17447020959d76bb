"""Routes that read arrays: whole, in slices, in blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakeservice.fronts.http import sparse
from lakeservice.fronts.http.blocks import check_expected, slice_of_block
from lakeservice.fronts.http.exports import described, exported
from lakeservice.fronts.http.operations import AS_OF, FILE_NAME, FORMAT, Operation, Parameter
from lakeservice.service.sources import ArrayRows

if TYPE_CHECKING:
    from lakeservice.fronts.http.call import Call, Reply
    from schemas.entry import Node
    from schemas.selection import Selection
    from schemas.structures import ArrayStructure


def full(call: Call) -> Reply:
    """Return an array, dense or sparse, or the slice of it that is asked for."""
    node = described(call)
    if node.family == "sparse":
        return sparse.full(call, node)
    return _reply(call, node, call.service.selection(node, call.params.get("slice")))


def block(call: Call) -> Reply:
    """Return one chunk of an array, dense or sparse, or a slice of that chunk."""
    node = described(call)
    if node.family == "sparse":
        return sparse.block(call, node)
    structure = array_structure(call, node)
    selection = slice_of_block(structure, call.params.get("block"), call.params.get("slice"))
    return _reply(call, node, selection)


def _reply(call: Call, node: Node, selection: Selection) -> Reply:
    array_structure(call, node)
    check_expected(call.params.get("expected_shape"), selection.shape)
    return exported(
        call, ArrayRows(service=call.service, node=node, options=call.params, selection=selection)
    )


def array_structure(call: Call, node: Node) -> ArrayStructure:
    """Return the structure of a node that must be an array.

    Raises
    ------
    InvalidRequestError
        ``wrong-family``.
    """
    return call.service.reader.structure(node)


SLICE = Parameter("slice", "text", "Part of the array, as NumPy writes it: ``0,10:20,::2``.")
EXPECTED = Parameter("expected_shape", "text", "Shape that the answer must have: ``3,4``.")
BLOCK = Parameter("block", "text", "Position in the grid of chunks: ``0,3``.", required=True)
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
        method="GET",
        path="/array/block/{path:path}",
        work=block,
        scope="read:data",
        params=(BLOCK, *READ),
        family="array",
    ),
)
