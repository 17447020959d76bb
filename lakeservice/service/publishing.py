"""Commits: mutations become visible together, when those who ask may do so."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import msgspec

from lakeservice.service.registering import folders_of
from lakeservice.service.writing import remove
from lakeservice.storage.layout import data_prefix, new_id
from schemas.commit import Append, Applied, Create, Mutation, Update
from schemas.errors import (
    AccessError,
    ErrorKind,
    InvalidRequestError,
    LakeError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakeservice.storage.committer import Committer
    from lakeservice.storage.objects import Objects
    from schemas.entry import DataSource


class Publisher:
    """Commits mutations; thread-safe.

    Parameters
    ----------
    objects
        The lake's objects.
    committer
        Makes mutations durable and visible.
    roots
        Folders (as ``file://`` URIs) in which clients may register files.
    """

    def __init__(self, objects: Objects, committer: Committer, roots: Sequence[str] = ()) -> None:
        self._objects = objects
        self._committer = committer
        self._roots = tuple(root.rstrip("/") + "/" for root in roots)
        self._folders = tuple(folder.resolve() for folder in folders_of(roots))

    def commit(
        self,
        mutations: Sequence[Mutation],
        *,
        key: str | None = None,
        principal: str | None = None,
        trusted: bool = False,
        note: object = None,
    ) -> tuple[Applied, ...]:
        """Make mutations visible together, or none of them.

        Parameters
        ----------
        key
            Idempotency key: repeated with the same mutations, the first answer comes again.
        trusted
            The mutations come from this program and not from a client: they may
            point at data anywhere.
        note
            What those who listen are told besides; see `Committer.commit`.
        """
        if not trusted:
            mutations = self.accepted(mutations)
        named = [_named(mutation) for mutation in mutations]
        return self._committer.commit(named, key=key, principal=principal, note=note)

    def publish(
        self, written: Create | Append, *, key: str | None = None, principal: str | None = None
    ) -> Applied:
        """Commit data that this writer has just written; refused data is removed again."""
        try:
            return self.commit([written], key=key, principal=principal, trusted=True)[-1]
        except UnavailableError:  # it may be in the log all the same
            raise
        except LakeError:
            self._discard(written)
            raise

    def _discard(self, written: Create | Append) -> None:
        if isinstance(written, Create):
            remove(self._objects, data_prefix(written.node.id))
            return
        for part in written.parts:
            remove(self._objects, part.name)

    def accepted(self, mutations: Sequence[Mutation]) -> list[Mutation]:
        """Return mutations of a client, if they point at no data which is not theirs to show.

        The files that they name are marked, so that no link leads reads of them elsewhere.

        Raises
        ------
        InvalidRequestError
            ``bad-request``: an id for a node that brings no data of its own.
        AccessError
            ``forbidden``: a file outside the declared folders. (That stored objects are
            the node's own is checked by every commit.)
        """
        for mutation in mutations:
            if isinstance(mutation, Append):
                raise InvalidRequestError(
                    ErrorKind.BAD_REQUEST, "rows are appended by sending them, not by naming parts"
                )
            if isinstance(mutation, Update):
                self._check_assets(mutation.data_sources or ())
            if isinstance(mutation, Create):
                if mutation.node.id and not mutation.node.data_sources:
                    raise InvalidRequestError(
                        ErrorKind.BAD_REQUEST,
                        f"the id of {mutation.node.path!r} is drawn by the server; leave it empty",
                    )
                self._check_assets(mutation.node.data_sources)
        return [_confined(mutation) for mutation in mutations]

    def _check_assets(self, sources: Sequence[DataSource]) -> None:
        for source in sources:
            for asset in source.assets:
                inside = asset.data_uri.startswith(self._roots) if self._roots else False
                path = unquote(urlsplit(asset.data_uri).path, errors="surrogateescape")
                real = Path(os.path.realpath(path)) if "\0" not in path else Path("/")
                if not inside or not any(map(real.is_relative_to, self._folders)):
                    raise AccessError(
                        ErrorKind.FORBIDDEN,
                        "files may only be registered in folders that the operator declared; "
                        "ask for the folder to be added to serve.roots",
                    )


def _confined(mutation: Mutation) -> Mutation:
    """Mark the files that a client names, so that they are not read through links elsewhere."""
    replace = msgspec.structs.replace
    if isinstance(mutation, Create):
        sources = _marked(mutation.node.data_sources)
        return replace(mutation, node=replace(mutation.node, data_sources=sources))
    if isinstance(mutation, Update) and mutation.data_sources:
        return replace(mutation, data_sources=_marked(mutation.data_sources))
    return mutation


def _marked(sources: Sequence[DataSource]) -> tuple[DataSource, ...]:
    replace = msgspec.structs.replace
    return tuple(
        replace(source, assets=tuple(replace(asset, confined=True) for asset in source.assets))
        for source in sources
    )


def _named(mutation: Mutation) -> Mutation:
    """Give a node to be created an id where the client drew none."""
    if not isinstance(mutation, Create) or mutation.node.id:
        return mutation
    node = msgspec.structs.replace(mutation.node, id=new_id())
    return msgspec.structs.replace(mutation, node=node)
