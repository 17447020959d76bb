"""Who makes entries exist: the service in this process, or a running server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.commit import Applied, Mutation
    from schemas.entry import Node


class Committer(Protocol):
    """The rules for paths and revisions live behind it; ingest opens no index."""

    def describe(self, paths: Sequence[str]) -> dict[str, Node]:
        """Return those of the entries that exist."""

    def commit(
        self, mutations: Sequence[Mutation], *, key: str | None = None
    ) -> tuple[Applied, ...]:
        """Make all mutations visible at once, or none.

        Raises
        ------
        LakeError
            Why not; a `UnavailableError` leaves open whether it was done, and the
            same ``key`` may be sent again.
        """
