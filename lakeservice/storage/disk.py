"""System calls on files, with our errors and without their surprises."""

from __future__ import annotations

import errno
import io
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

from lakeservice.codecs.extent import OpenFile
from schemas.errors import ErrorKind, LakeError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""What the system raises where there is no such file."""
_FULL = {errno.ENOSPC, errno.EDQUOT}
_MAX_BUFFERS = 512
"""Most buffers in one writev; Linux allows 1024."""


class GuardedFile(io.FileIO):
    """A file whose failed writes are our errors, whoever calls it."""

    def write(self, buffer: Any, /) -> int:
        """Write what fits; return the number of bytes."""
        with store_errors():
            return super().write(buffer)


@contextmanager
def store_errors(expected: tuple[type[OSError], ...] = ()) -> Iterator[None]:
    """Turn what the operating system refuses into `UnavailableError`, but for what is expected."""
    try:
        yield
    except OSError as error:
        if isinstance(error, (*expected, LakeError)):
            raise
        if error.errno in _FULL:
            raise UnavailableError(
                ErrorKind.STORE_FULL,
                "the lake's disk is full; nothing was written. Make room and try again",
            ) from error
        reason = os.strerror(error.errno) if error.errno else "input/output error"
        raise UnavailableError(
            ErrorKind.STORE_UNAVAILABLE, f"the lake's disk refuses: {reason.lower()}"
        ) from error


class OwnFile(OpenFile):
    """An object of the lake on this disk, open for as long as this is held."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, 0, os.fstat(descriptor).st_size)

    def __del__(self) -> None:
        os.close(self.descriptor)

    @classmethod
    def open(cls, path: str) -> Self | None:
        """Open a file, or return None where there is none.

        Raises
        ------
        UnavailableError
            ``store-unavailable``: the disk refuses.
        """
        try:
            with store_errors(ABSENT):
                return cls(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except ABSENT:
            return None


@contextmanager
def opened(path: str, flags: int) -> Iterator[int]:
    """Open a file, give its descriptor and close it again."""
    file = os.open(path, flags | os.O_CLOEXEC)
    try:
        yield file
    finally:
        os.close(file)


def read_range(file: int, offset: int, length: int) -> Any:
    """Read a range, in pieces where it is longer than one system call gives; short at the end."""
    payload = os.pread(file, length, offset)
    if len(payload) in (0, length):
        return payload
    whole = bytearray(payload)
    while len(whole) < length:
        more = os.pread(file, length - len(whole), offset + len(whole))
        if not more:
            break
        whole += more
    return whole


def write_all(file: int, payload: Sequence[Any]) -> None:
    """Write buffers one after another, however little one system call takes."""
    views = [view for view in (memoryview(buffer).cast("B") for buffer in payload) if len(view)]
    first = 0
    while first < len(views):
        written = os.writev(file, views[first : first + _MAX_BUFFERS])
        while first < len(views) and written >= len(views[first]):
            written -= len(views[first])
            first += 1
        if written:
            views[first] = views[first][written:]


def sync_file(path: str) -> None:
    """Wait until the content of a file is on the disk; no error where it is gone."""
    with suppress(FileNotFoundError), opened(path, os.O_RDONLY) as file:
        os.fsync(file)


def sync_folder(path: str) -> None:
    """Wait until the names in a folder are on the disk."""
    with opened(path, os.O_RDONLY | os.O_DIRECTORY) as folder:
        try:
            os.fsync(folder)
        except OSError as error:
            # Some network file systems have nothing to sync for a folder.
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
