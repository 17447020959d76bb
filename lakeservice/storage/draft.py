"""A commit being put together: each request is checked against the tree as it then is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lakeservice.storage.commits import ROOT, fold, form_of, takes_parts
from lakeservice.storage.layout import new_id
from lakeservice.storage.mutations import check_own, check_sources, check_structure
from lakeservice.storage.overlay import Overlay
from schemas.commit import Append, Applied, Commit, Create, Delete, Mutation, Request, Update
from schemas.entry import Node, Revision
from schemas.errors import ConflictError, ErrorKind, InvalidRequestError, NotFoundError
from schemas.path import ancestors_of, parent_of
from schemas.structures import ArrayStructure

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lakeservice.storage.overlay import Tree

_POSITION_BITS = 24
MAX_REVISIONS = 250
"""Most earlier revisions of a node's metadata that are kept; the oldest go first."""


class Draft:
    """Requests that will share one commit; a refused one leaves no trace in it."""

    def __init__(self, tree: Tree, version: int, time_ns: int) -> None:
        self._overlay = Overlay(tree)
        self._version = version
        self._time_ns = time_ns
        self._requests: list[Request] = []
        self._applied: list[Applied] = []

    def prefetch(self, mutations: Iterable[Mutation]) -> None:
        """Look up at once all nodes that these mutations will ask for."""
        paths = {""}
        for mutation in mutations:
            if isinstance(mutation, Create):
                paths.add(mutation.node.path)
                paths.add(parent_of(mutation.node.path))
            else:
                paths.add(mutation.path)
        self._overlay.prefetch(paths)

    def add(self, request: Request, mutations: Sequence[Mutation]) -> tuple[Applied, ...]:
        """Apply one request in full and return what it did, or raise and do nothing.

        Raises
        ------
        LakeError
            What is wrong with the first of its mutations that is refused.
        """
        step = _Step(
            Overlay(self._overlay),
            request=len(self._requests),
            version=self._version,
            time_ns=self._time_ns,
            first=len(self._applied),
        )
        for mutation in mutations:
            step.apply(mutation)
        step.overlay.merge_into(self._overlay)
        self._requests.append(request)
        self._applied.extend(step.applied)
        return tuple(step.applied)

    def commit(self, writer: str) -> Commit:
        """Return the commit of all requests added."""
        return Commit(
            version=self._version,
            writer=writer,
            time_ns=self._time_ns,
            requests=tuple(self._requests),
            applied=tuple(self._applied),
        )


class _Step:
    """One request: its mutations in order, each seeing the ones before."""

    def __init__(
        self, overlay: Overlay, *, request: int, version: int, time_ns: int, first: int
    ) -> None:
        self.overlay = overlay
        self.applied: list[Applied] = []
        self._request = request
        self._version = version
        self._time_ns = time_ns
        self._first = first

    def apply(self, mutation: Mutation) -> None:
        if isinstance(mutation, Create):
            self._create(mutation)
        elif isinstance(mutation, Update):
            self._update(mutation)
        elif isinstance(mutation, Append):
            self._append(mutation)
        else:
            self._delete(mutation)

    def _create(self, create: Create) -> None:
        node = create.node
        if not node.path or self.overlay.get(node.path) is not None:
            raise ConflictError(
                ErrorKind.PATH_TAKEN, f"there is a node {node.path!r} already; choose another path"
            )
        for path in self._missing_parents(node.path, create_them=create.parents):
            self._insert(Node(path=path, id=new_id()))
        check_structure(node.structure)
        check_sources(node.id, node.data_sources)
        self._insert(node)

    def _insert(self, node: Node) -> None:
        position = self._first + len(self.applied)
        made = msgspec.structs.replace(
            node,
            revision=1,
            seq=self._version << _POSITION_BITS | position,
            version=self._version,
            created_ns=self._time_ns,
            updated_ns=self._time_ns,
            written=(self._version, 1),
            history=(),
        )
        self.overlay.put(made)
        self._line("create", made, made)

    def _missing_parents(self, path: str, *, create_them: bool) -> list[str]:
        """Return the containers to create above a path, the topmost first."""
        missing: list[str] = []
        for above in ancestors_of(path):
            parent = self.overlay.get(above)
            if parent is not None:
                _check_holds_children(parent, path)
                break
            missing.append(above)
        if missing and not create_them:
            raise NotFoundError(
                ErrorKind.NODE_NOT_FOUND,
                f"no node {missing[0]!r} to hold {path!r}; create it first",
            )
        return missing[::-1]

    def _update(self, update: Update) -> None:
        before = self._existing(update)
        _check_revision(before, update.expected_revision)
        changes: dict[str, object] = {
            field: value
            for field in ("metadata", "specs", "structure", "data_sources", "access_tags")
            if (value := getattr(update, field)) is not None
        }
        after = msgspec.structs.replace(
            before,
            **changes,
            revision=before.revision + 1,
            version=self._version,
            updated_ns=self._time_ns,
            written=(self._version, before.revision + 1),
            history=_history(before, update),
        )
        if update.structure is not None:
            if before.family != after.family:
                raise InvalidRequestError(
                    ErrorKind.BAD_STRUCTURE,
                    f"node {before.path!r} is of family {before.family} and cannot become "
                    f"{after.family}; delete it and create another",
                )
            check_structure(update.structure)
        if update.data_sources is not None:
            check_sources(after.id, update.data_sources)
            if is_file(after) and not is_file(before) and self.overlay.has_children(after.path):
                raise ConflictError(
                    ErrorKind.NOT_EMPTY,
                    f"node {after.path!r} has children and cannot become a registered file",
                )
        self.overlay.put(after)
        told = (*changes, "stream") if update.ends_stream else tuple(changes)
        self._line("update", after, after, told)

    def _append(self, append: Append) -> None:
        before = self._existing(append)
        if not takes_parts(before):
            raise InvalidRequestError(
                ErrorKind.WRONG_FAMILY,
                f"node {before.path!r} of family {before.family} holds no data in the lake "
                "that parts could be appended to",
            )
        if append.form is not None and append.form != form_of(before):
            raise ConflictError(
                ErrorKind.REVISION_CONFLICT,
                f"the data of {before.path!r} were written anew in another form since these rows "
                "were written; describe the node and send the rows again",
            )
        least = 1 if isinstance(before.structure, ArrayStructure) else 0
        for part in append.parts:
            check_own(before.id, part.name)
            if part.length < least:
                raise InvalidRequestError(
                    ErrorKind.BAD_REQUEST,
                    f"a part of {part.length} rows; at least {least} is needed",
                )
        line = Applied(
            op="append",
            path=before.path,
            id=before.id,
            revision=before.revision + 1,
            parts=append.parts,
            request=self._request,
            version=self._version,
            time_ns=self._time_ns,
        )
        after = fold(before, line)
        if after is not None:
            check_structure(after.structure)
            self.overlay.put(after)
        self.applied.append(line)

    def _delete(self, delete: Delete) -> None:
        before = self._existing(delete)
        if not delete.path:
            raise InvalidRequestError(ErrorKind.BAD_PATH, "the root cannot be deleted")
        _check_revision(before, delete.expected_revision)
        if not delete.recursive and self.overlay.has_children(delete.path):
            raise ConflictError(
                ErrorKind.NOT_EMPTY,
                f"node {delete.path!r} has children; delete them first, or delete recursively",
            )
        self.overlay.remove(delete.path)
        self._line("delete", before, None)

    def _existing(self, mutation: Update | Append | Delete) -> Node:
        node = self.overlay.get(mutation.path)
        if node is None:
            if mutation.path:
                raise NotFoundError(ErrorKind.NODE_NOT_FOUND, f"no node {mutation.path!r}")
            node = ROOT
        if mutation.id is not None and mutation.id != node.id:
            raise ConflictError(
                ErrorKind.REVISION_CONFLICT,
                f"another node is at {node.path!r} now; read it and decide again",
            )
        return node

    def _line(self, op: str, node: Node, after: Node | None, changed: tuple[str, ...] = ()) -> None:
        self.applied.append(
            Applied(
                op=op,
                path=node.path,
                id=node.id,
                revision=node.revision,
                node=after,
                changed=changed,
                request=self._request,
                version=self._version,
                time_ns=self._time_ns,
            )
        )


def _history(before: Node, update: Update) -> tuple[Revision, ...]:
    """Return the earlier revisions of a node after an update: the newest `MAX_REVISIONS`."""
    kept = before.history
    if update.forget:
        unknown = set(update.forget) - {revision.number for revision in kept}
        if unknown:
            raise NotFoundError(
                ErrorKind.VERSION_NOT_FOUND,
                f"node {before.path!r} has no revision {min(unknown)}; list its revisions",
            )
        kept = tuple(revision for revision in kept if revision.number not in update.forget)
    replaced = (update.metadata, update.specs, update.access_tags)
    if update.drop_revision or all(part is None for part in replaced):
        return kept
    number = kept[-1].number + 1 if kept else 1
    return (*kept, Revision(number, *before.written, before.updated_ns))[-MAX_REVISIONS:]


def is_file(node: Node) -> bool:
    """Tell whether what is below a node lies inside a registered file."""
    return any(source.tree is not None for source in node.data_sources)


def _check_holds_children(parent: Node, path: str) -> None:
    if is_file(parent):
        raise ConflictError(
            ErrorKind.PARENT_NOT_CONTAINER,
            f"{parent.path!r} is a registered file, so {path!r} cannot be created inside it",
        )
    if parent.family != "container":
        raise ConflictError(
            ErrorKind.PARENT_NOT_CONTAINER,
            f"{parent.path!r} is of family {parent.family} and cannot hold {path!r}",
        )


def _check_revision(node: Node, expected: int | None) -> None:
    if expected is not None and expected != node.revision:
        raise ConflictError(
            ErrorKind.REVISION_CONFLICT,
            f"node {node.path!r} is at revision {node.revision}, not {expected}; "
            "read it and decide again",
        )
