"""A file or folder before anybody knows its format: its first bytes, its size, its time."""

from __future__ import annotations

import dataclasses
import os
import stat
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import quote

from schemas.entry import Asset
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from pathlib import Path

HEAD_BYTES = 4096
"""How much of a file a format may look at to recognise it."""


@dataclasses.dataclass(frozen=True)
class Source:
    """One file, or one folder that is a single thing (Zarr)."""

    path: Path
    """Absolute."""
    size_bytes: int
    """0 for a folder that is not `measured`."""
    mtime_ns: int
    is_directory: bool = False

    @classmethod
    def of(cls, path: Path) -> Source:
        """Look a path up.

        Raises
        ------
        InvalidRequestError
            ``unreadable-file``: not there, not allowed, or neither file nor folder.
        """
        try:
            path = path.absolute()
            status = path.stat()
        except (OSError, ValueError) as error:
            raise unreadable(path.name, error) from None
        if stat.S_ISDIR(status.st_mode):
            return cls(path, 0, status.st_mtime_ns, is_directory=True)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidRequestError(
                ErrorKind.UNREADABLE_FILE, f"{path.name!r} is neither a file nor a folder"
            )
        return cls(path, status.st_size, status.st_mtime_ns)

    def measured(self) -> Source:
        """Return this folder with the bytes of all its files and its newest time; a file as it is.

        Raises
        ------
        InvalidRequestError
            ``unreadable-file``: the system refuses.
        """
        if not self.is_directory:
            return self
        size_bytes, newest, pending = 0, self.mtime_ns, [str(self.path)]
        try:
            while pending:
                with os.scandir(pending.pop()) as listing:
                    for entry in listing:
                        status = entry.stat(follow_symlinks=False)
                        newest = max(newest, status.st_mtime_ns)
                        if stat.S_ISDIR(status.st_mode):
                            pending.append(entry.path)
                        else:
                            size_bytes += status.st_size
        except OSError as error:
            raise unreadable(self.name, error) from None
        return dataclasses.replace(self, size_bytes=size_bytes, mtime_ns=newest)

    @property
    def name(self) -> str:
        """File name, for messages and as the base of the node's name."""
        return self.path.name

    @cached_property
    def head(self) -> bytes:
        """The first bytes, at most `HEAD_BYTES`; empty for a folder.

        Raises
        ------
        InvalidRequestError
            ``unreadable-file``: the system refuses.
        """
        if self.is_directory:
            return b""
        try:
            with self.path.open("rb", buffering=0) as file:
                return file.read(HEAD_BYTES)
        except OSError as error:
            raise unreadable(self.name, error) from None

    def asset(self, num: int = 0, *, parameter: str | None = None) -> Asset:
        """Return the asset that stands for this file, with what tells whether it changed."""
        return Asset(
            data_uri=uri_of(self.path),
            num=num,
            is_directory=self.is_directory,
            parameter=parameter,
            size_bytes=self.size_bytes,
            mtime_ns=self.mtime_ns,
        )


def uri_of(path: Path) -> str:
    """Return the ``file://localhost/…`` URI of an absolute path; any bytes survive."""
    return "file://localhost" + quote(path.as_posix(), safe="/", errors="surrogateescape")


def unreadable(name: str, error: Exception | str) -> InvalidRequestError:
    """Return the error for a file that cannot be read, with the reason but not the folder."""
    if isinstance(error, OSError) and error.strerror:
        reason = error.strerror.lower()
    else:
        reason = str(error) or type(error).__name__
    return InvalidRequestError(ErrorKind.UNREADABLE_FILE, f"cannot read {name!r}: {reason}")
