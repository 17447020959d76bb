"""Cache folders: one index file for each server that runs, held by a file lock."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from schemas.errors import ErrorKind, UnavailableError

if TYPE_CHECKING:
    from pathlib import Path

_MOST = 64


class Slot:
    """A folder that belongs to this process until it is released, or the process ends."""

    def __init__(self, folder: Path, descriptor: int) -> None:
        self.folder = folder
        self._descriptor = descriptor

    @property
    def index(self) -> Path:
        """The file of the index."""
        return self.folder / "index.duckdb"

    @classmethod
    def take(cls, cache: Path, lake: str) -> Slot:
        """Take the first folder of a lake that no other server holds.

        DuckDB allows one process a file, so the second server on a machine gets
        an index of its own, and finds it again when both are started anew.

        Raises
        ------
        UnavailableError
            ``store-unavailable``: the cache cannot be written; ``busy``: too many servers.
        """
        try:
            for number in range(_MOST):
                folder = cache / lake / str(number)
                folder.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(descriptor)
                    continue
                return cls(folder, descriptor)
        except OSError as error:
            raise UnavailableError(
                ErrorKind.STORE_UNAVAILABLE,
                f"the folder for cached indexes cannot be used: {error.strerror}; "
                "choose another one",
            ) from None
        raise UnavailableError(
            ErrorKind.BUSY, f"{_MOST} servers on this machine have an index of this lake already"
        )

    def release(self) -> None:
        """Let the next server have the folder, with the index in it."""
        os.close(self._descriptor)
