"""A part that was written takes its place in a node that others may change meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.errors import ConflictError, ErrorKind, LakeError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakeservice.fronts.http.call import Call
    from lakeservice.service.events import Delivery
    from schemas.chunks import Part
    from schemas.commit import Update
    from schemas.entry import Node

ATTEMPTS = 200
"""How often a change is placed anew when somebody else changed the node in between."""


def placed(
    call: Call, node: Node, part: Part, place: Callable[[Node], Update], delivery: Delivery | None
) -> Node:
    """Commit a change of a node; returns the node with the structure that it has then.

    Parameters
    ----------
    part
        What was written for it; removed again where it finds no place.
    place
        From the node as it is to the mutation.

    Raises
    ------
    ConflictError
        ``revision-conflict``: others never let it through.
    """
    try:
        for attempt in range(ATTEMPTS):
            update = place(node)
            try:
                call.commit(update, trusted=True, note=delivery)
            except ConflictError as error:
                if error.kind is not ErrorKind.REVISION_CONFLICT or attempt == ATTEMPTS - 1:
                    raise
                node = call.service.describe(call.path)
            else:
                return call.service.describe(call.path)
    except UnavailableError:  # it may be in the log all the same
        raise
    except LakeError:
        call.service.nested.discard(part)
        raise
    return node
