"""The log: every commit, in order, one object each; it is the truth about the tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakeservice.storage.encoding import decode_commit, encode_commit
from lakeservice.storage.layout import LOG, SNAPSHOTS, log_name, version_of
from schemas.errors import ErrorKind, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.storage.objects import Objects
    from schemas.commit import Commit


class Log:
    """Commits by version, from 1 upwards, without gaps."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def read(self, version: int) -> Commit | None:
        """Return a commit; None if that version is not there.

        Raises
        ------
        CorruptError
            ``corrupt-object``: its object is damaged; the message names the version.
        """
        payload = self._objects.get(log_name(version))
        return None if payload is None else decode_commit(payload, version)

    def follow(self, after: int) -> Iterator[Commit]:
        """Yield the commits after a version; one look-up when there is none."""
        while (commit := self.read(after + 1)) is not None:
            yield commit
            after = commit.version

    def put(self, commit: Commit) -> bool:
        """Write a commit; False if another one has its version.

        When the store does not tell how it ended, the object is read back: what
        is there is either this commit, another one, or nothing.

        Raises
        ------
        UnavailableError
            The commit is not there, or nobody can tell whether it is; the message says which.
        """
        name, payload = log_name(commit.version), encode_commit(commit)
        try:
            if self._objects.put_if_absent(name, payload):
                return True
        except UnavailableError as error:
            if error.kind is ErrorKind.STORE_FULL or not self._holds(name, payload):
                raise
            self._objects.sync(LOG)
            return True
        # A store that lost its answer and repeated the request by itself finds our own object.
        return self._holds(name, payload)

    def head(self, at_least: int = 0) -> int:
        """Return the newest version; 0 for an empty log.

        Looks up a number of names that grows with the logarithm of the distance.

        Parameters
        ----------
        at_least
            A version that is known to exist; 0 starts from the newest snapshot.
        """
        low = at_least or self._newest_snapshot()
        step = 1
        while self._exists(low + step):
            low, step = low + step, step * 2
        high = low + step
        while high - low > 1:
            middle = (low + high) // 2
            if self._exists(middle):
                low = middle
            else:
                high = middle
        return low

    def _exists(self, version: int) -> bool:
        return self._objects.size(log_name(version)) is not None

    def _newest_snapshot(self) -> int:
        names = (name for name, _ in self._objects.list(SNAPSHOTS))
        return max((version_of(name) or 0 for name in names), default=0)

    def _holds(self, name: str, payload: bytes) -> bool:
        try:
            return self._objects.get(name) == payload
        except UnavailableError as error:
            raise UnavailableError(
                ErrorKind.STORE_UNAVAILABLE,
                "the store stopped answering during the commit, so it is not known whether it "
                "was made; repeat the request with the same idempotency key",
            ) from error
