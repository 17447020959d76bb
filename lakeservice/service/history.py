"""Earlier metadata of nodes, read back from the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schemas.errors import ErrorKind, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakeservice.storage.log import Log
    from schemas.entry import Node, Revision, Spec


@dataclass(frozen=True)
class Earlier:
    """What a node said of itself before."""

    number: int
    time_ns: int
    """When it was written, in ns since 1970."""
    metadata: dict[str, Any]
    specs: tuple[Spec, ...]


def earlier(log: Log, node: Node, revisions: Sequence[Revision]) -> Iterator[Earlier]:
    """Yield what revisions of a node were like, in their order; one look-up for each commit.

    Raises
    ------
    NotFoundError
        ``version-not-found``: the log no longer has one of them.
    """
    commit = None
    for one in revisions:
        if one.version == 0:
            yield Earlier(one.number, one.time_ns, {}, ())
            continue
        if commit is None or commit.version != one.version:
            commit = log.read(one.version)
        lines = commit.applied if commit is not None else ()
        then = next(
            (
                line.node
                for line in lines
                if line.id == node.id and line.revision == one.revision and line.node is not None
            ),
            None,
        )
        if then is None:
            raise NotFoundError(
                ErrorKind.VERSION_NOT_FOUND,
                f"revision {one.number} of {node.path!r} is no longer in the log; ask for others",
            )
        yield Earlier(one.number, one.time_ns, then.metadata, then.specs)
