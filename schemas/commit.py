"""Mutations and commits: the only way in which the tree changes."""

from __future__ import annotations

from typing import Any

import msgspec

from schemas.chunks import Part
from schemas.entry import DataSource, Node, Spec
from schemas.structures import Structure


class Create(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="create", tag_field="op"
):
    """A new node; its path must be free and its parent a container."""

    node: Node
    parents: bool = False
    """Create missing containers above it in the same commit."""


class Update(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="update", tag_field="op"
):
    """Replace the given parts of a node; None leaves a part as it is."""

    path: str
    id: str | None = None
    """Refuse if another node has taken the path since; None does not ask."""
    expected_revision: int | None = None
    metadata: dict[str, Any] | None = None
    specs: tuple[Spec, ...] | None = None
    structure: Structure | None = None
    data_sources: tuple[DataSource, ...] | None = None
    access_tags: tuple[str, ...] | None = None
    drop_revision: bool = False
    """Do not keep the metadata, specs and access tags that are replaced."""
    forget: tuple[int, ...] = ()
    """Numbers of earlier revisions to forget."""
    ends_stream: bool = False
    """Tell those who listen that nothing more will come."""


class Append(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="append", tag_field="op"
):
    """Add parts after the ones that an array or table has; appends do not conflict."""

    path: str
    id: str | None = None
    parts: tuple[Part, ...]
    form: str | None = None
    """What the parts are written in, as a digest: refuse if the node has data of another form
    by then. None does not ask."""


class Delete(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="delete", tag_field="op"
):
    """Remove a node, and with ``recursive`` all that is below it."""

    path: str
    id: str | None = None
    expected_revision: int | None = None
    recursive: bool = False


Mutation = Create | Update | Append | Delete


class Applied(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one mutation did: the answer to the client, and one line of a commit object."""

    op: str
    path: str
    id: str
    revision: int
    """Revision after the mutation; of a deleted node, its last. A delete takes along
    everything below the path."""
    node: Node | None = None
    """The whole node after a create or update; None after a delete or an append."""
    parts: tuple[Part, ...] = ()
    """Parts that an append added."""
    changed: tuple[str, ...] = ()
    """Fields that an update replaced, and ``stream`` where it ended the node's stream. None
    of them: stored data was changed in its place."""
    request: int = 0
    """Which request of the commit (position in `Commit.requests`) asked for it."""
    version: int = 0
    """Log version that holds it."""
    time_ns: int = 0
    """When it was committed, in ns since 1970."""


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One client's request inside a group commit."""

    key: str | None = None
    """Idempotency key; a request repeated with the same key gets the first answer."""
    fingerprint: str | None = None
    """Hash of what was asked: the same key with another request is refused."""
    principal: str | None = None


class Commit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One object of the log: a header line, then one line per applied mutation."""

    version: int
    writer: str
    """Random id of the process that wrote it: after a time-out it finds its own commit again."""
    time_ns: int
    requests: tuple[Request, ...] = ()
    applied: tuple[Applied, ...] = ()
