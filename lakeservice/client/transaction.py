"""Transactions: changes that become visible together, or not at all."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self

from lakeservice.client.metadata import document, merged, spec_list
from lakeservice.client.writes import Entry, Writes
from schemas.commit import Applied, Delete, Mutation, Update
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.structures import ArrayStructure, TableStructure
from schemas.ticket import AppendTo

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    import msgspec

    from lakeservice.client.remote import Remote
    from lakeservice.client.uploads import Upload
    from schemas.entry import Spec


class Transaction(Writes[None]):
    """Collects changes below a container and commits them when its context ends.

    Data is sent at once and waits on the server; nothing of it is visible before the
    commit. When the context ends with an exception, nothing is committed. A
    transaction is used once; several threads may write through it.

    Parameters
    ----------
    remote
        Where the lake answers.
    under
        Path that keys are relative to.

    Attributes
    ----------
    applied
        What the commit did, change by change; empty before it.
    """

    def __init__(self, remote: Remote, under: str = "") -> None:
        self._remote = remote
        self._under = under
        self._mutations: list[Mutation | msgspec.Raw] = []
        self._receipts: list[str] = []
        self._written: set[str] = set()
        self._lock = threading.Lock()
        self._open: bool | None = None
        self.applied: list[Applied] = []

    def __enter__(self) -> Self:
        if self._open is not None:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST, "a transaction is used once; ask for a new one"
            )
        self._open = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open = False
        if error is None and (self._mutations or self._receipts):
            self.applied = self._remote.commit(self._mutations, self._receipts)
        self._mutations, self._receipts = [], []

    def create_many(
        self,
        entries: Iterable[Entry],
        *,
        parents: bool = True,
    ) -> int:
        """Create many containers with metadata; see `Container.create_many`."""
        self._check_open()
        mutations = list(self._encoded_creates(entries, parents=parents))
        with self._lock:
            self._mutations += mutations
        return len(mutations)

    def append(self, key: str, rows: Any) -> None:
        """Add rows at the end of an array or a table that exists already."""
        from lakeservice.client import sending  # readers do without

        path = self._existing(key)
        structure = self._remote.describe(path).node.structure
        if isinstance(structure, ArrayStructure):
            self._upload(sending.appended_rows(path, structure, rows), progress=False)
        elif isinstance(structure, TableStructure):
            self._upload(sending.appended_table(path, structure.to_arrow(), rows), progress=False)
        else:
            raise InvalidRequestError(
                ErrorKind.WRONG_FAMILY, f"{path!r} is neither an array nor a table to append to"
            )

    def update_metadata(
        self,
        key: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        specs: Iterable[Spec | str | tuple[str, str | None]] | None = None,
        replace: bool = False,
    ) -> None:
        """Change metadata or specs of a node that exists already; see the node's own method.

        The commit is refused where somebody else changes the node in between.
        """
        path = self._existing(key)
        node = self._remote.describe(path).node
        change = None if metadata is None else document(metadata)
        if change is not None and not replace:
            change = merged(node.metadata, change)
        self._change(
            Update(
                path=path,
                id=node.id,
                expected_revision=None if replace else node.revision,
                metadata=change,
                specs=None if specs is None else spec_list(specs),
            ),
            path,
        )

    def delete(self, key: str, *, recursive: bool = False) -> None:
        """Remove a node, and with ``recursive`` all that is below it."""
        path = self._existing(key)
        self._change(Delete(path=path, recursive=recursive), path)

    def _base(self) -> str:
        return self._under

    def _change(self, mutation: Mutation, path: str) -> None:
        self._check_open()
        with self._lock:
            self._mutations.append(mutation)

    def _upload(self, upload: Upload, *, progress: bool) -> None:
        self._check_open()
        receipt = self._remote.stage(upload, progress=progress)
        with self._lock:
            self._receipts.append(receipt)
            if not isinstance(upload.request, AppendTo):
                self._written.add(upload.request.path)

    def _existing(self, key: str) -> str:
        """Return the path of a node that this transaction does not write itself.

        Data is committed after all other changes, so these could not follow it.
        """
        path = self._path_of(key)
        if path in self._written:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST,
                f"{path!r} is written by this transaction; say all of it when writing it",
            )
        return path

    def _check_open(self) -> None:
        if not self._open:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST,
                "the transaction is not open; use it as 'with lake.transaction() as t:'",
            )
