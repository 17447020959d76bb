"""Which part of a node an event is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from schemas.chunks import ArrayStorage, TableStorage, ZarrParts
from schemas.structures import ArrayStructure

if TYPE_CHECKING:
    from lakeservice.service.live import Event
    from schemas.chunks import Part
    from schemas.entry import Node

Region = tuple[tuple[int, ...], tuple[int, ...]]
"""Offset and shape."""


def region_of(node: Node, event: Event) -> Region | None:
    """Return which part of an array an event is about; None for all of it."""
    structure, delivery = node.structure, event.delivery
    if not isinstance(structure, ArrayStructure):
        return None
    begin = (delivery.origin or delivery.offset) if delivery is not None else None
    if delivery is not None and begin is not None and delivery.shape is not None:
        offset = (*begin, *(0 for _ in structure.shape[len(begin) :]))
        shape = tuple(length or 0 for length in delivery.shape)
        return (offset, shape) if len(shape) == len(offset) else None
    if event.parts:
        present = stored_parts(node)
        names = [part.name for part in present]
        if event.parts[0].name in names:
            before = sum(part.length for part in present[: names.index(event.parts[0].name)])
            added = sum(part.length for part in event.parts)
            rest = structure.shape[1:]
            return (before, *(0 for _ in rest)), (added, *rest)
    return None


def stored_parts(node: Node) -> tuple[Part, ...]:
    """Return the parts in the lake that a node's data consists of."""
    storage = node.data_sources[0].storage if node.data_sources else None
    if isinstance(storage, TableStorage):
        return storage.parts
    if isinstance(storage, ArrayStorage) and isinstance(storage.location, ZarrParts):
        return storage.location.parts
    return ()


def only_parts(node: Node, parts: tuple[Part, ...]) -> Node:
    """Return a table as if it had only these of its parts; those that are gone are left out."""
    source = node.data_sources[0]
    if not isinstance(source.storage, TableStorage):
        return node
    names = {part.name for part in parts}
    kept = tuple(part for part in source.storage.parts if part.name in names)
    storage = msgspec.structs.replace(source.storage, parts=kept)
    return msgspec.structs.replace(
        node, data_sources=(msgspec.structs.replace(source, storage=storage),)
    )
