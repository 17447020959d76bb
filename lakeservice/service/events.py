"""What is told to those who listen to a node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from schemas.chunks import Part
    from schemas.entry import Node

PAYLOAD_BYTES = 900_000
"""Data up to this size is told itself, larger data by its address: Tiled's client leaves for
good at a frame above 1 000 000 bytes."""
EVENT_BYTES = 1000
"""What an event is taken to need besides its payload and its node."""

EventKind = Literal["created", "described", "written", "ended", "deleted"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """Data as a request brought it, and where in its node it belongs."""

    media_type: str = "application/octet-stream"
    payload: bytes | None = None
    """None where it was larger than `PAYLOAD_BYTES`, or came in another way."""
    shape: tuple[int | None, ...] | None = None
    """Of an array: the shape of what was written; None for all of it."""
    offset: tuple[int, ...] | None = None
    block: tuple[int, ...] | None = None
    origin: tuple[int, ...] | None = None
    """Of a block: its first element."""
    partition: int | None = None
    append: bool = False
    """Of a table: the rows come after those that were there."""
    parts: tuple[Part, ...] = ()
    """Of a table: where the rows were written."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a node, or to a child of a container."""

    kind: EventKind
    sequence: int
    time_ns: int
    node: Node | None = None
    """The child that was created, or described anew; None for the others."""
    delivery: Delivery | None = None
    """What was written; None where this server did not see it."""
    parts: tuple[Part, ...] = ()
    """What an append added."""
    revision: int = 0
    """Of the node that was written; 0 for data that is not kept."""

    @property
    def cost(self) -> int:
        """About the bytes that it holds."""
        payload = self.delivery.payload if self.delivery else None
        node = msgspec.json.encode(self.node) if self.node else b""
        return EVENT_BYTES + len(payload or b"") + len(node)
