"""What the catalog answers with."""

from __future__ import annotations

from typing import Any

import msgspec

from schemas.entry import Node, Spec


class Found(msgspec.Struct, frozen=True):
    """A page of nodes."""

    nodes: list[Node]
    cursor: str | None
    """Where the next page begins; None if this one is the last."""
    count: int
    """How many nodes match in all, on this page and on others."""


class Distinct(msgspec.Struct, frozen=True):
    """Different values, each with the number of nodes that have it; None where not counted."""

    metadata: dict[str, list[tuple[Any, int | None]]]
    """By key: numbers, text, booleans, null, lists, in this order; objects are not listed."""
    families: list[tuple[str, int | None]]
    specs: list[tuple[list[Spec], int | None]]
    """All specs of a node are one value; no specs at all is one too, and comes first."""
