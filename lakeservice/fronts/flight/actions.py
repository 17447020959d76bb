"""Flight actions: small questions and changes, JSON in and JSON out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from schemas.chunks import ArrayStorage
from schemas.commit import Applied, Create, Delete, Mutation, Update
from schemas.entry import Node, Spec
from schemas.errors import ErrorKind, NotFoundError, TooLargeError
from schemas.ticket import ReadArray, Search

if TYPE_CHECKING:
    from lakeservice.access.principals import Principal
    from lakeservice.service import Service

Body = bytes
MESSAGE_BYTES = 1 << 20
"""Largest array that the action ``read`` answers with, in bytes."""
ACTIONS = {
    "about": ("read:metadata", "what this server is"),
    "describe": (
        "read:metadata",
        '{"path"}: the node, how many children it has, and how its chunks are encoded',
    ),
    "versions": (
        "read:metadata",
        '{"paths"}: id and version of the nodes there, null where there is none',
    ),
    "entries": ("register", '{"paths"}: the entries at these paths, with where their data lies'),
    "read": ("read:data", "a small read-array command: its elements in one message"),
    "search": ("read:metadata", "a Search: cursor and count, then a list of nodes"),
    "names": ("read:metadata", "a Search: the names of the nodes"),
    "count": ("read:metadata", "a Search: how many nodes match"),
    "distinct": ("read:metadata", '{"search", "keys"}: the different values of keys'),
    "commit": ("write:metadata", '{"mutations", "receipts", "key"}: all of them, or none'),
    "create": ("create:node", "a container: path, metadata, specs, parents, key"),
    "update": ("write:metadata", "path, metadata, specs, expected_revision, key"),
    "delete": ("delete:node", "path, recursive, expected_revision, key"),
}
"""Name of each action: the scope that it needs, and what it does."""


class Describe(msgspec.Struct, kw_only=True):
    """Body of ``describe``."""

    path: str
    as_of: int | None = None


class PathsAsk(msgspec.Struct, kw_only=True):
    """Body of ``entries`` and of ``versions``."""

    paths: tuple[str, ...]


class DistinctAsk(msgspec.Struct, kw_only=True):
    """Body of ``distinct``."""

    keys: tuple[str, ...] = ()
    search: Search = Search()
    families: bool = False
    specs: bool = False
    counts: bool = False


class CommitAsk(msgspec.Struct, kw_only=True):
    """Body of ``commit``."""

    mutations: tuple[Mutation, ...] = ()
    receipts: tuple[bytes, ...] = ()
    """Data staged before; their mutations come after ``mutations``, in this order."""
    key: str | None = None
    nodes: bool = False
    """Send the nodes back whole."""


class CreateAsk(msgspec.Struct, kw_only=True):
    """Body of ``create``: a container."""

    path: str
    metadata: dict[str, Any] = {}
    specs: tuple[Spec, ...] = ()
    parents: bool = False
    key: str | None = None


class UpdateAsk(msgspec.Struct, kw_only=True):
    """Body of ``update``."""

    path: str
    metadata: dict[str, Any] | None = None
    specs: tuple[Spec, ...] | None = None
    expected_revision: int | None = None
    key: str | None = None


class DeleteAsk(msgspec.Struct, kw_only=True):
    """Body of ``delete``."""

    path: str
    recursive: bool = False
    expected_revision: int | None = None
    key: str | None = None


class Actions:
    """Answers the actions of `ACTIONS` from one service."""

    def __init__(self, service: Service, about: dict[str, Any]) -> None:
        self._service = service
        self._document = about

    def answer(self, name: str, body: Body, principal: Principal) -> list[Any]:
        """Return the JSON-encodable results of an action.

        Raises
        ------
        LakeError
            Of any kind, as the service raises it.
        """
        handler = getattr(self, f"_{name}")
        results: list[Any] = handler(body, principal)
        return results

    def public(self, node: Node) -> Node:
        """Return a node without the addresses of files on the server."""
        if not any(source.assets or source.storage for source in node.data_sources):
            return node
        sources = tuple(
            msgspec.structs.replace(source, assets=(), storage=None, tree=None)
            for source in node.data_sources
        )
        return msgspec.structs.replace(node, data_sources=sources)

    def brief(self, applied: Applied) -> Applied:
        """Return what a mutation did, without the node's body."""
        return msgspec.structs.replace(applied, node=None, parts=())

    def _about(self, _body: Body, _principal: Principal) -> list[Any]:
        return [self._document]

    def _describe(self, body: Body, _: Principal) -> list[Any]:
        ask = msgspec.json.decode(body, type=Describe)
        node = self._service.describe(ask.path, as_of=ask.as_of)
        count = self._service.children_count(node)
        storage = node.data_sources[0].storage if node.data_sources else None
        layout = storage.layout if isinstance(storage, ArrayStorage) else None
        return [{"node": self.public(node), "count": count, "layout": layout}]

    def _read(self, body: Body, _: Principal) -> list[Any]:
        ask = msgspec.json.decode(body, type=ReadArray)
        node = self._service.describe(ask.path, as_of=ask.as_of)
        selection = self._service.selection(node, ask.selection)
        structure = self._service.reader.structure(node)
        size_bytes = selection.size * structure.data_type.itemsize
        if size_bytes > MESSAGE_BYTES:
            raise TooLargeError(
                ErrorKind.TOO_LARGE,
                f"{size_bytes} bytes; one message holds {MESSAGE_BYTES}: use DoGet for more",
            )
        elements = self._service.read_array_whole(node, selection)
        head = msgspec.json.encode({"shape": selection.shape, "dtype": structure.data_type})
        return [b"\n".join((head, elements.tobytes()))]

    def _versions(self, body: Body, _: Principal) -> list[Any]:
        found: list[tuple[str, int] | None] = []
        for path in msgspec.json.decode(body, type=PathsAsk).paths:
            try:
                node = self._service.describe(path)
            except NotFoundError:
                found.append(None)
            else:
                found.append((node.id, node.version))
        return [found]

    def _entries(self, body: Body, _: Principal) -> list[Any]:
        ask = msgspec.json.decode(body, type=PathsAsk)
        self._service.refresh()
        return [self._service.nodes.nodes(ask.paths)]

    def _search(self, body: Body, _: Principal) -> list[Any]:
        listing = self._service.search(msgspec.json.decode(body, type=Search))
        head = {"cursor": listing.cursor, "count": listing.count}
        return [head, [self.public(node) for node in listing.nodes]]

    def _names(self, body: Body, _: Principal) -> list[Any]:
        return [self._service.names(msgspec.json.decode(body, type=Search))]

    def _count(self, body: Body, _: Principal) -> list[Any]:
        return [self._service.count(msgspec.json.decode(body, type=Search))]

    def _distinct(self, body: Body, _: Principal) -> list[Any]:
        ask = msgspec.json.decode(body, type=DistinctAsk)
        return [
            self._service.distinct(
                ask.search, ask.keys, families=ask.families, specs=ask.specs, counts=ask.counts
            )
        ]

    def _commit(self, body: Body, principal: Principal) -> list[Any]:
        ask = msgspec.json.decode(body, type=CommitAsk)
        answered = self._service.answer(ask.key) if ask.receipts else None
        if answered is None:
            if any(_speaks_of_data(mutation) for mutation in ask.mutations):
                principal.require("register")
            accepted = self._service.publisher.accepted(ask.mutations)
            staged = self._service.signer.redeem(ask.receipts)
            answered = self._service.commit(
                [*accepted, *staged], key=ask.key, principal=principal.name, trusted=True
            )
        if ask.nodes:
            return [
                [
                    msgspec.structs.replace(
                        done, node=self.public(done.node) if done.node else None
                    )
                    for done in answered
                ]
            ]
        return [[self.brief(done) for done in answered]]

    def _create(self, body: Body, principal: Principal) -> list[Any]:
        ask = msgspec.json.decode(body, type=CreateAsk)
        node = Node(path=ask.path, id="", metadata=ask.metadata, specs=ask.specs)
        return self._one(Create(node=node, parents=ask.parents), ask.key, principal)

    def _update(self, body: Body, principal: Principal) -> list[Any]:
        ask = msgspec.json.decode(body, type=UpdateAsk)
        mutation = Update(
            path=ask.path,
            metadata=ask.metadata,
            specs=ask.specs,
            expected_revision=ask.expected_revision,
        )
        return self._one(mutation, ask.key, principal)

    def _delete(self, body: Body, principal: Principal) -> list[Any]:
        ask = msgspec.json.decode(body, type=DeleteAsk)
        mutation = Delete(
            path=ask.path, recursive=ask.recursive, expected_revision=ask.expected_revision
        )
        return self._one(mutation, ask.key, principal)

    def _one(self, mutation: Mutation, key: str | None, principal: Principal) -> list[Any]:
        applied = self._service.commit([mutation], key=key, principal=principal.name)
        return [self.brief(applied[-1])]


def _speaks_of_data(mutation: Mutation) -> bool:
    """Tell whether a client's mutation points at stored data, which staged receipts do for it."""
    sources: Any = ()
    if isinstance(mutation, Create):
        sources = mutation.node.data_sources
    elif isinstance(mutation, Update):
        sources = mutation.data_sources or ()
    return any(source.storage is not None or source.tree or source.assets for source in sources)
