"""Which part of a node an event is about."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from lakeservice.service.events import Delivery
from schemas.chunks import ArrayStorage, TableStorage, ZarrParts
from schemas.structures import ArrayStructure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.service.events import Event
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
        present = _parts(node)
        names = [part.name for part in present]
        if event.parts[0].name in names:
            before = sum(part.length for part in present[: names.index(event.parts[0].name)])
            added = sum(part.length for part in event.parts)
            rest = structure.shape[1:]
            return (before, *(0 for _ in rest)), (added, *rest)
    return None


def _parts(node: Node) -> tuple[Part, ...]:
    storage = node.data_sources[0].storage if node.data_sources else None
    if isinstance(storage, ArrayStorage) and isinstance(storage.location, ZarrParts):
        return storage.location.parts
    return ()


def of_parts(node: Node, parts: tuple[Part, ...]) -> Node:
    """Return a table as if it had these parts only."""
    source = node.data_sources[0]
    if not isinstance(source.storage, TableStorage):
        return node
    storage = msgspec.structs.replace(source.storage, parts=parts, assets=())
    return msgspec.structs.replace(
        node,
        # Open tables are kept by id and version; parts have names that nothing else has.
        id=f"{parts[0].name}+{len(parts)}",
        data_sources=(msgspec.structs.replace(source, storage=storage),),
    )


def in_parts(delivery: Delivery, elements: int) -> Iterator[Delivery]:
    """Yield elements of an array in several deliveries, each with its place in the array.

    Parameters
    ----------
    elements
        Most elements of each.
    """
    shape = tuple(length or 0 for length in delivery.shape or ())
    payload = memoryview(delivery.payload or b"")
    item_bytes = len(payload) // max(1, math.prod(shape))
    begin = delivery.origin or delivery.offset or ()
    origin = (*begin, *(0 for _ in shape[len(begin) :]))
    at = 0
    for start, part in regions(shape, elements):
        size = math.prod(part) * item_bytes
        yield Delivery(
            media_type=delivery.media_type,
            payload=bytes(payload[at : at + size]),
            shape=part,
            offset=tuple(sum(pair) for pair in zip(origin, start, strict=True)),
        )
        at += size


def regions(
    shape: tuple[int, ...], elements: int
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Yield offset and shape of parts that lie one after another in C order.

    Parameters
    ----------
    elements
        Most elements of a part.
    """
    axis = 0
    while axis < len(shape) - 1 and math.prod(shape[axis + 1 :]) > elements:
        axis += 1
    run = max(1, elements // max(1, math.prod(shape[axis + 1 :])))
    outer = shape[:axis]
    for number in range(math.prod(outer)):
        rest, place = number, [0] * axis
        for position in range(axis - 1, -1, -1):
            rest, place[position] = divmod(rest, outer[position])
        for start in range(0, shape[axis], run):
            offset = (*place, start, *(0,) * (len(shape) - axis - 1))
            length = min(run, shape[axis] - start)
            yield offset, (*(1,) * axis, length, *shape[axis + 1 :])
