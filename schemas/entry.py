"""Entries: what makes a node exist, and where its bytes lie."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from schemas.chunks import ArrayStorage, TableStorage
from schemas.path import name_of, parent_of
from schemas.structures import ContainerStructure, Structure, StructureFamily, family_of

Management = Literal["external", "immutable", "locked", "writable"]


class Spec(msgspec.Struct, frozen=True, omit_defaults=True):
    """A named promise about a node: ``NXsas``, version 1.0."""

    name: str
    version: str | None = None


class Asset(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One outside object, with what is needed to notice that it changed."""

    data_uri: str
    """``file://localhost/…``; never sent unless the entry exposes its assets."""
    num: int = 0
    """Position among the assets; chunk rows refer to it."""
    is_directory: bool = False
    parameter: str | None = None
    size_bytes: int | None = None
    mtime_ns: int | None = None
    """Modification time when it was indexed, in ns since 1970; None where the store has none."""
    checksum: str | None = None
    """``sha256:<hex>`` of the content where it was computed."""
    grows: bool = False
    """What was indexed stays where it is while more is written: a larger file is no change."""
    confined: bool = False
    """A client named it: it is read only while it lies, links followed, in a folder that
    clients may register files in."""


class DataSource(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How to open some objects as one structure."""

    mimetype: str
    management: Management = "writable"
    parameters: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    assets: tuple[Asset, ...] = ()
    storage: ArrayStorage | TableStorage | None = None
    """Where the bytes lie; None for containers and for what only has assets."""
    tree: str | None = None
    """Object name of the file's inner tree (`InnerTree`); None where there is none."""
    declared: Structure | None = None
    """Structure that a client said its files have; when they change they are looked into again.
    None for files that nobody registered through a server."""


class Revision(msgspec.Struct, frozen=True, array_like=True):
    """Earlier metadata and specs of a node, by the line of the log that has them."""

    number: int
    """From 1 upwards; numbers of revisions that were deleted are missing."""
    version: int
    """Log version of the line; 0 for a node that was there before anybody wrote."""
    revision: int
    """The node's own revision on that line."""
    time_ns: int
    """When these metadata were written, in ns since 1970."""


class Node(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A place in the tree: its structure, its metadata, its data."""

    path: str
    id: str
    """Random, never reused; names ``data/<id>/`` in the lake."""
    structure: Structure = ContainerStructure()
    metadata: dict[str, Any] = {}
    specs: tuple[Spec, ...] = ()
    data_sources: tuple[DataSource, ...] = ()
    access_tags: tuple[str, ...] = ()
    revision: int = 1
    """1 at creation, one more with each change."""
    seq: int = 0
    """Order of creation over the whole lake; set by the commit."""
    version: int = 0
    """Log version of the latest change; set by the commit."""
    created_ns: int = 0
    updated_ns: int = 0
    written: tuple[int, int] = (0, 0)
    """Log version, and revision, of the newest line that has the whole node: appends have not."""
    history: tuple[Revision, ...] = ()
    """Earlier metadata that were kept, the oldest first."""

    @property
    def name(self) -> str:
        """Last segment of the path."""
        return name_of(self.path)

    @property
    def parent(self) -> str:
        """Path of the container that holds this node."""
        return parent_of(self.path)

    @property
    def family(self) -> StructureFamily:
        """The structure family."""
        return family_of(self.structure)


class InnerNode(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One node inside a file, kept in the file's tree and not in the log."""

    path: str
    """Relative to the file's entry: ``entry/data/data``; never empty."""
    structure: Structure = ContainerStructure()
    metadata: dict[str, Any] = {}
    specs: tuple[Spec, ...] = ()
    storage: ArrayStorage | TableStorage | None = None
    problem: str | None = None
    """Why its data cannot be read (a missing source, an unknown filter); None when it can."""


class InnerTree(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything inside one file: parents before children, children in the file's order."""

    nodes: tuple[InnerNode, ...] = ()
    problems: tuple[str, ...] = ()
    """What could not be followed or read, in words, for the summary of ingest."""
