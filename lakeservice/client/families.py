"""Which class stands for a node of which family."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakeservice.client.remote import Described
from schemas.structures import StructureFamily, family_of

if TYPE_CHECKING:
    from lakeservice.client.node import LakeNode
    from lakeservice.client.remote import Remote
    from schemas.entry import Node

_CLASSES: dict[StructureFamily, type[LakeNode]] = {}


def stands_for(cls: type[LakeNode]) -> None:
    """Let a class stand for the nodes of its family."""
    _CLASSES[cls.family] = cls


def node_of(remote: Remote, node: Node, count: int | None = None) -> LakeNode:
    """Return the object for a node that has been described."""
    cls = _CLASSES[family_of(node.structure)]
    return cls(remote, node.path, Described(node, count))


def node_at(remote: Remote, path: str) -> LakeNode:
    """Look a node up; raises `NotFoundError` where there is none."""
    described = remote.describe(path)
    return node_of(remote, described.node, described.count)


def unasked(remote: Remote, path: str, family: StructureFamily) -> LakeNode:
    """Return the object for a node that was just written; it is described when needed."""
    return _CLASSES[family](remote, path)
