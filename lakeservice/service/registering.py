"""Registering files that clients name: where they may lie, what they hold, when they changed."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, unquote, urlsplit

import msgspec

from lakeservice.storage.chunk_index import ChunkIndex
from lakeservice.storage.layout import new_id
from schemas.chunks import ArrayStorage, Indexed
from schemas.commit import Create, Update
from schemas.entry import Asset, DataSource, Node
from schemas.errors import (
    AccessError,
    ConflictError,
    CorruptError,
    ErrorKind,
    InvalidRequestError,
    LakeError,
    UnavailableError,
)
from schemas.registration import Registered, Registration
from schemas.structures import BytesStructure, ContainerStructure, TableStructure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lakeservice.service.nodes import Nodes
    from lakeservice.service.writing import Draft
    from lakeservice.storage.objects import Objects
    from schemas.commit import Mutation
    from schemas.structures import Structure

LOOK_S = 1.0
"""Files of a node are compared with what was found in them at most so often, in s."""
_LOOKED_AT = 64
"""Files of a node that are compared: the last ones, which grow, and the first."""
_REMEMBERED = 10_000
_PROBLEM = "problem"


class Indexer(Protocol):
    """Looks into files, in a process with limits."""

    def index(self, asked: Registration) -> Registered:
        """Return what files hold.

        Raises
        ------
        InvalidRequestError
            ``unknown-media-type``, ``unreadable-file``, ``bad-structure``.
        """


class Registrar:
    """Makes nodes of files that clients register, and keeps them as the files grow; thread-safe.

    Parameters
    ----------
    objects
        The lake's objects.
    nodes
        What exists.
    commit
        Makes a mutation visible.
    roots
        ``file://`` URIs of folders in which clients may register files.
    indexer
        Looks into files; None where only files as they are (``bytes``) can be registered.
    """

    def __init__(
        self,
        objects: Objects,
        nodes: Nodes,
        commit: Callable[[Mutation], object],
        roots: Sequence[str] = (),
        indexer: Indexer | None = None,
    ) -> None:
        self._objects = objects
        self._nodes = nodes
        self._commit = commit
        self._roots = tuple(str(folder.resolve()) for folder in folders_of(roots))
        self._indexer = indexer
        self._lock = threading.Lock()
        self._looked: OrderedDict[str, float] = OrderedDict()

    def create(self, draft: Draft, source: DataSource) -> Create:
        """Return the mutation that makes a node of files.

        Files that are not there yet, or cannot be read yet, are taken as they are
        declared, and looked into when they have changed.

        Parameters
        ----------
        source
            As the client describes it: type, parameters, properties, assets.

        Raises
        ------
        AccessError
            ``forbidden``: a file outside of the declared folders.
        InvalidRequestError
            ``unknown-media-type``; ``bad-request``: no file, or this server registers none.
        """
        node_id = new_id()
        structure, made = self._made(node_id, draft.structure, self._placed(source))
        node = Node(
            path=draft.path,
            id=node_id,
            structure=structure,
            metadata=draft.metadata,
            specs=draft.specs,
            access_tags=draft.access_tags,
            data_sources=(made,),
        )
        return Create(node=node, parents=draft.parents)

    def replace(self, node: Node, declared: Structure, source: DataSource) -> Update:
        """Return the mutation that gives a node other files, or more of them; as `create`.

        Raises
        ------
        InvalidRequestError
            ``wrong-family``: its data is not in registered files.
        """
        if not is_registered(node):
            raise InvalidRequestError(
                ErrorKind.WRONG_FAMILY,
                f"the data of {node.path!r} lies in this lake, not in registered files; "
                "write to it instead",
            )
        known = {f"asset:{asset.num}": asset for asset in self.assets(node.data_sources[0])}
        named = tuple(_known(asset, known) for asset in source.assets)
        source = msgspec.structs.replace(source, assets=named)
        structure, made = self._made(node.id, declared, self._placed(source), node)
        return Update(path=node.path, id=node.id, structure=structure, data_sources=(made,))

    def fresh(self, node: Node) -> bool:
        """Look into the files of a node again if they have changed; tell whether that was so.

        Inside a file, ``node`` is the file's entry.
        """
        source = node.data_sources[0] if node.data_sources else None
        if source is None or source.declared is None or self._indexer is None:
            return False
        if isinstance(node.structure, BytesStructure) or not self._is_due(node.id):
            return False
        assets = self.assets(source)
        half = _LOOKED_AT // 2
        looked_at = assets if len(assets) <= _LOOKED_AT else (*assets[:half], *assets[-half:])
        if all(_is_same(asset) for asset in looked_at):
            return False
        again = msgspec.structs.replace(source, assets=tuple(assets))
        try:
            structure, made = self._made(node.id, source.declared, again, node)
            if structure == node.structure and made == source:
                return False  # it cannot be read just now, and stays as it was known
            self._commit(
                Update(
                    path=node.path,
                    id=node.id,
                    expected_revision=node.revision,
                    structure=structure,
                    data_sources=(made,),
                )
            )
        except (ConflictError, UnavailableError):
            return True  # somebody else did it, or will
        return True

    def assets(self, source: DataSource) -> Sequence[Asset]:
        """Return every asset of a source, those too that lie with its chunk index."""
        storage = source.storage
        if not isinstance(storage, ArrayStorage) or not isinstance(storage.location, Indexed):
            return source.assets
        far = ChunkIndex.of(self._objects, storage.location.index).assets
        if not far:
            return source.assets
        every = {**far, **{asset.num: asset for asset in source.assets}}
        return [every[number] for number in sorted(every)]

    def _made(
        self,
        node_id: str,
        declared: Structure,
        source: DataSource,
        present: Node | None = None,
    ) -> tuple[Structure, DataSource]:
        """Return structure and data source of files, looked into.

        Files that cannot be read just now, while somebody writes them, stay as they
        are known from ``present``.
        """
        properties = {key: value for key, value in source.properties.items() if key != _PROBLEM}
        source = msgspec.structs.replace(
            source,
            management="external",
            properties=properties,
            storage=None,
            tree=None,
            declared=declared,
        )
        if isinstance(declared, BytesStructure):
            total = sum(asset.size_bytes or 0 for asset in source.assets)
            return BytesStructure(size_bytes=total), source
        if self._indexer is None:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST,
                "this server does not look into files; use 'lakeservice ingest --register'",
            )
        asked = Registration(
            lake=self._objects.uri,
            node_id=node_id,
            generation=secrets.token_hex(6),
            mimetype=source.mimetype,
            declared=declared,
            parameters=source.parameters,
            assets=source.assets,
            roots=self._roots,
        )
        try:
            found = self._indexer.index(asked)
        except UnavailableError:
            raise
        except LakeError as error:
            if error.kind is ErrorKind.UNKNOWN_MEDIA_TYPE:
                raise
            if present is not None and _is_readable(present, source):
                known = msgspec.structs.replace(present.data_sources[0], declared=declared)
                return present.structure, known
            if _needs_a_file(declared):
                raise
            seen = tuple(_seen(asset) for asset in source.assets)
            properties = {**properties, _PROBLEM: error.message}
            return declared, msgspec.structs.replace(source, properties=properties, assets=seen)
        made = msgspec.structs.replace(
            found.source, properties={**properties, **found.source.properties}
        )
        return found.structure, made

    def _placed(self, source: DataSource) -> DataSource:
        """Return a source with every asset's address in one form and number, checked."""
        if not source.assets:
            placed: list[Asset] = []
        else:
            ordered = sorted(source.assets, key=lambda asset: asset.num)
            placed = [self._one(asset, number) for number, asset in enumerate(ordered)]
        return msgspec.structs.replace(source, assets=tuple(placed))

    def _one(self, asset: Asset, number: int) -> Asset:
        try:
            parts = urlsplit(asset.data_uri)
        except ValueError:  # a bracket in the name of a host
            parts = urlsplit("")
        path = unquote(parts.path, errors="surrogateescape")
        if parts.scheme != "file" or parts.netloc not in ("", "localhost") or "\0" in path:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST,
                f"{asset.data_uri[:200]!r} is no file that this server can read; "
                "write file://localhost/ and its path",
            )
        path = os.path.normpath("/" + path.lstrip("/"))
        real = os.path.realpath(path)
        if not any(Path(real).is_relative_to(root) for root in self._roots):
            raise AccessError(
                ErrorKind.FORBIDDEN,
                "files may only be registered in folders that the operator declared; "
                "ask for the folder to be added to serve.roots",
            )
        uri = "file://localhost" + quote(path, safe="/", errors="surrogateescape")
        return msgspec.structs.replace(asset, data_uri=uri, num=number, confined=True)

    def _is_due(self, node_id: str) -> bool:
        now = time.monotonic()
        with self._lock:
            if now - self._looked.get(node_id, -LOOK_S) < LOOK_S:
                return False
            self._looked[node_id] = now
            self._looked.move_to_end(node_id)
            while len(self._looked) > _REMEMBERED:
                self._looked.popitem(last=False)
        return True


def folders_of(roots: Sequence[str]) -> list[Path]:
    """Return the folders that ``file://`` URIs name."""
    return [Path(unquote(urlsplit(root).path, errors="surrogateescape")) for root in roots]


def is_registered(node: Node) -> bool:
    """Tell whether a node stands for files that a client registered."""
    return bool(node.data_sources) and node.data_sources[0].declared is not None


def refuse_broken(node: Node) -> None:
    """Refuse to look into a container whose file, or the link to it, leads nowhere.

    Raises
    ------
    CorruptError
        ``asset-missing``.
    """
    if isinstance(node.structure, ContainerStructure) and node.data_sources:
        problem = node.data_sources[0].properties.get(_PROBLEM)
        if problem is not None:
            raise CorruptError(
                ErrorKind.ASSET_MISSING, f"{node.path!r} cannot be looked into: {problem}"
            )


def _needs_a_file(declared: Structure) -> bool:
    """Tell whether nothing was declared but the family."""
    return isinstance(declared, TableStructure) and not declared.arrow_schema


def _is_readable(node: Node, source: DataSource) -> bool:
    """Tell whether a node has been read from the first of these files."""
    present = node.data_sources[0]
    if not (present.storage or present.tree) or not (present.assets and source.assets):
        return False
    return present.assets[0].data_uri == source.assets[0].data_uri


def _known(asset: Asset, known: dict[str, Asset]) -> Asset:
    """Return the asset that an address from one of our own answers stands for."""
    head = asset.data_uri.partition("/")[0]
    if head not in known:
        return asset
    return msgspec.structs.replace(asset, data_uri=known[head].data_uri)


def _status(asset: Asset) -> os.stat_result | None:
    try:
        return os.stat(unquote(urlsplit(asset.data_uri).path, errors="surrogateescape"))
    except (OSError, ValueError):
        return None


def _is_same(asset: Asset) -> bool:
    status = _status(asset)
    if status is None:
        return True  # reading it tells that it is gone
    if asset.is_directory:
        return asset.mtime_ns is not None
    return (status.st_size, status.st_mtime_ns) == (asset.size_bytes, asset.mtime_ns)


def _seen(asset: Asset) -> Asset:
    """Return an asset with size and time of its file now, so that a change is noticed."""
    status = _status(asset)
    if status is None:
        return msgspec.structs.replace(asset, size_bytes=None, mtime_ns=None)
    return msgspec.structs.replace(asset, size_bytes=status.st_size, mtime_ns=status.st_mtime_ns)


def described_as(family: str, structure: Structure | None) -> Structure:
    """Return what was declared, or what stands for nothing but the family."""
    if structure is not None:
        return structure
    match family:
        case "container":
            return ContainerStructure()
        case "bytes":
            return BytesStructure()
    return TableStructure(arrow_schema="", columns=())
