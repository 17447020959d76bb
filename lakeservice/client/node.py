"""What every node can do, whatever its family."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self

from lakeservice.client.display import html_card
from lakeservice.client.metadata import document, merged, spec_list
from schemas.commit import Delete, Update
from schemas.errors import ConflictError, CorruptError, ErrorKind
from schemas.structures import Structure, StructureFamily, family_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lakeservice.client.remote import Described, Remote
    from schemas.entry import Node, Spec

_MERGE_ATTEMPTS = 20


class LakeNode:
    """A place in the lake's tree.

    Parameters
    ----------
    remote
        Where the lake answers.
    path
        Path from the root, in its clean form.
    described
        What is known of it; None asks when it is needed.

    Notes
    -----
    What a node says of itself (metadata, structure…) is what the lake said when the
    node was looked up or refreshed; a write through the node refreshes it.
    Nodes are picklable and safe to use from several threads.
    """

    family: ClassVar[StructureFamily]

    def __init__(self, remote: Remote, path: str, described: Described | None = None) -> None:
        self._remote = remote
        self._path = path
        self._known = described

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._remote, self._path, self._known)

    @property
    def _described(self) -> Described:
        known = self._known
        if known is None:
            known = self._remote.describe(self._path)
            present = family_of(known.node.structure)
            if present != self.family:
                raise CorruptError(
                    ErrorKind.CORRUPT_OBJECT,
                    f"{self._path!r} was {_article(self.family)} and now is {_article(present)}; "
                    "look it up again",
                )
            self._known = known
        return known

    @property
    def _node(self) -> Node:
        return self._described.node

    @property
    def path(self) -> str:
        """Path from the root: ``run-7/eiger``; empty for the root."""
        return self._path

    @property
    def name(self) -> str:
        """Last segment of the path; empty for the root."""
        return self._path.rpartition("/")[2]

    @property
    def id(self) -> str:
        """Random and never reused; of a node inside a file, the file's id and the inner path."""
        return self._node.id

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata; changing this dict changes nothing in the lake, see `update_metadata`."""
        return self._node.metadata

    @property
    def specs(self) -> tuple[Spec, ...]:
        """Named promises about the node."""
        return self._node.specs

    @property
    def structure(self) -> Structure:
        """What the data looks like."""
        return self._node.structure

    @property
    def revision(self) -> int:
        """1 at creation, one more with each change."""
        return self._node.revision

    @property
    def version(self) -> int:
        """Version of the lake in which the node changed last."""
        return self._node.version

    @property
    def created(self) -> datetime | None:
        """When it was created, in UTC; None where that is not known."""
        return _time(self._node.created_ns)

    @property
    def updated(self) -> datetime | None:
        """When it was changed last, in UTC; None where that is not known."""
        return _time(self._node.updated_ns)

    def refresh(self) -> Self:
        """Ask the lake again what this node is, and return the node."""
        self._known = None
        _ = self._described
        return self

    def update_metadata(
        self,
        metadata: Mapping[str, Any] | None = None,
        *,
        specs: Iterable[Spec | str | tuple[str, str | None]] | None = None,
        replace: bool = False,
    ) -> Self:
        """Change metadata or specs, and return the node.

        Parameters
        ----------
        metadata
            Merged into the present metadata: dicts key by key at any depth, None removes
            a key, anything else replaces. None changes nothing.
        specs
            The new specs, all of them; None leaves them.
        replace
            Take ``metadata`` as all there is instead of merging.

        Raises
        ------
        ConflictError
            ``revision-conflict``: others changed the node again and again meanwhile.
        """
        change = None if metadata is None else document(metadata)
        wanted = None if specs is None else spec_list(specs)
        for attempt in range(_MERGE_ATTEMPTS):
            node = self._remote.describe(self._path).node
            whole = change
            if change is not None and not replace:
                whole = merged(node.metadata, change)
            update = Update(
                path=self._path,
                id=node.id,
                expected_revision=None if replace else node.revision,
                metadata=whole,
                specs=wanted,
            )
            try:
                self._remote.commit([update])
            except ConflictError as error:
                last = attempt == _MERGE_ATTEMPTS - 1
                if last or error.kind is not ErrorKind.REVISION_CONFLICT:
                    raise
            else:
                break
        self._known = None
        return self

    def delete(self, *, recursive: bool = False) -> None:
        """Remove this node from the lake; another one that took its path since stays.

        Parameters
        ----------
        recursive
            Also all that is below it; otherwise a container must be empty.
        """
        known = None if self._known is None else self._known.node.id
        self._remote.commit([Delete(path=self._path, id=known, recursive=recursive)])
        self._known = None

    def _facts(self) -> list[tuple[str, str]]:
        """Return name and value of what a person wants to see first."""
        return []

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LakeNode):
            return NotImplemented
        here, there = self._remote, other._remote
        return (self._path, here.as_of, here.connection.address) == (
            other._path,
            there.as_of,
            there.connection.address,
        )

    def __hash__(self) -> int:
        return hash((self._path, self._remote.as_of, self._remote.connection.address))

    def __repr__(self) -> str:
        facts = " ".join(value for _, value in self._facts())
        return f"<{type(self).__name__} {self._path or '/'!r}{' ' if facts else ''}{facts}>"

    def _repr_html_(self) -> str:
        facts = [*self._facts(), ("specs", ", ".join(spec.name for spec in self.specs))]
        return html_card(type(self).__name__, self._path or "/", facts, self.metadata)


def _time(nanoseconds: int) -> datetime | None:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC) if nanoseconds else None


def _article(family: str) -> str:
    return f"{'an' if family[0] in 'aeiou' else 'a'} {family}"
