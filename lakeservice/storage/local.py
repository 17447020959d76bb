"""Objects on a local disk: whole or absent, and on the disk before anybody is told."""

from __future__ import annotations

import errno
import io
import os
import secrets
import stat
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa

from lakeservice.storage.disk import (
    ABSENT,
    GuardedFile,
    opened,
    read_range,
    store_errors,
    sync_file,
    sync_folder,
    write_all,
)
from lakeservice.storage.layout import TEMPORARY
from schemas.errors import ErrorKind, LakeError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence
    from pathlib import Path

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_SYNC_THREADS = 16
_MAX_ANCHORED = 10_000
_SETTLED_NS = 1_000_000_000
"""Files written later than this ago may be written again within one tick of the disk's clock."""


class LocalStore:
    """A folder. A write goes to a temporary file, is made durable, then gets its name."""

    def __init__(self, root: Path) -> None:
        self.root: Path | None = root
        self._base = os.path.abspath(root)
        self._anchored: set[str] = set()
        """Folders whose own entry, and those above it, are known to be durable."""

    def get(self, name: str) -> bytes | None:
        """Return a whole object, or None."""
        try:
            with store_errors(ABSENT), open(self._path(name), "rb", buffering=0) as file:
                return file.readall()
        except ABSENT:
            return None

    def get_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[Any] | None:
        """Return ranges of an object, short where it ends early, or None."""
        try:
            with store_errors(ABSENT), opened(self._path(name), os.O_RDONLY) as file:
                return [read_range(file, offset, length) for offset, length in ranges]
        except ABSENT:
            return None

    def put(self, name: str, payload: Sequence[Any], *, durable: bool) -> None:
        """Write or replace an object."""
        with store_errors(), self._written(payload, durable=durable) as temporary:
            folder = self.named(os.replace, temporary, name)
            if durable:
                self.sync_upwards(folder)

    def put_if_absent(self, name: str, payload: bytes) -> bool:
        """Write an object unless there is one; tell whether it was written."""
        with store_errors(), self._written([payload], durable=True) as temporary:
            try:
                folder = self.named(os.link, temporary, name)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno in _NO_LINKS:
                    raise UnavailableError(
                        ErrorKind.STORE_UNSAFE,
                        "the file system has no hard links, which exclusive writes need; "
                        "put the lake on another one",
                    ) from error
                raise
            self.sync_upwards(folder)
            return True

    def sync(self, prefix: str) -> None:
        """Make durable what lies below a prefix."""
        top = self._path(prefix)
        with store_errors():
            if not os.path.isdir(top):
                sync_file(top)
                self.sync_upwards(os.path.dirname(top))
                return
            # Together they take a tenth of the time: the file system's journal joins them.
            with ThreadPoolExecutor(_SYNC_THREADS) as threads:
                for folder, _, files in os.walk(top):
                    deque(threads.map(sync_file, [f"{folder}/{name}" for name in files]), maxlen=0)
                    sync_folder(folder)
            self.sync_upwards(top)

    def list(self, prefix: str, after: str | None) -> Iterator[tuple[str, int]]:
        """Yield names and sizes below a folder, sorted by name."""
        with store_errors():
            yield from self._walk(prefix, after)

    def size(self, name: str) -> int | None:
        """Return the size of an object, or None."""
        found = self._stat(name)
        return None if found is None else found.st_size

    def modified_s(self, name: str) -> float | None:
        """Return when an object was written, or None."""
        found = self._stat(name)
        return None if found is None else found.st_mtime

    def stamp(self, name: str) -> Hashable:
        """Return inode, time and size; None while the clock of the disk may be too coarse."""
        found = self._stat(name)
        if found is None or time.time_ns() - found.st_mtime_ns < _SETTLED_NS:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def delete(self, names: Iterable[str]) -> None:
        """Delete what is there of these objects."""
        folders = set()
        with store_errors():
            for name in names:
                path = self._path(name)
                with suppress(*ABSENT):
                    os.unlink(path)
                    folders.add(os.path.dirname(path))
            for folder in sorted(folders, key=len, reverse=True):
                self._prune(folder)

    def open_input(self, name: str) -> Any:
        """Open an object for random access, or None."""
        try:
            with store_errors(ABSENT):
                return pa.OSFile(self._path(name), "rb")
        except ABSENT:
            return None

    def open_output(self, name: str) -> LocalOutput:
        """Begin an object that is written bit by bit."""
        with store_errors():
            return LocalOutput(self, name)

    def _path(self, name: str) -> str:
        return f"{self._base}/{name}"

    def _stat(self, name: str) -> os.stat_result | None:
        try:
            with store_errors(ABSENT):
                found = os.stat(self._path(name))
        except ABSENT:
            return None
        return found if stat.S_ISREG(found.st_mode) else None

    def temporary(self) -> str:
        """Return a fresh path for a file that is being written."""
        return f"{self._base}/{TEMPORARY}/{secrets.token_hex(12)}"

    @contextmanager
    def _written(self, payload: Sequence[Any], *, durable: bool) -> Iterator[str]:
        temporary = self.temporary()
        file = self.create(temporary)
        try:
            try:
                write_all(file, payload)
                if durable:
                    os.fsync(file)
            finally:
                os.close(file)
            yield temporary
        finally:
            with suppress(OSError):
                os.unlink(temporary)

    def create(self, path: str) -> int:
        """Create a file that must not exist; return its descriptor."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            return os.open(path, flags, 0o666)
        except FileNotFoundError:
            self._make_folder(os.path.dirname(path))
            return os.open(path, flags, 0o666)

    def named(self, give_name: Any, temporary: str, name: str) -> str:
        """Give a finished file its name; return the folder that holds it now."""
        path = self._path(name)
        folder = os.path.dirname(path)
        for _ in range(10):
            try:
                give_name(temporary, path)
            except FileNotFoundError:
                # The folder is missing, or somebody pruned it as empty just now.
                self._make_folder(folder)
            else:
                return folder
        raise UnavailableError(
            ErrorKind.STORE_UNAVAILABLE, "a folder of the lake vanishes again and again; try later"
        )

    def _make_folder(self, folder: str) -> None:
        missing = []
        while not os.path.isdir(folder):
            missing.append(folder)
            folder = os.path.dirname(folder)
        for path in reversed(missing):
            with suppress(FileExistsError):
                os.mkdir(path)
            if not path.startswith(f"{self._base}/"):
                sync_folder(os.path.dirname(path))

    def sync_upwards(self, folder: str) -> None:
        """Make durable what a folder holds, and that it is there itself.

        A folder that exists may have been made by somebody who has not come to
        syncing it yet, so each process does so once.
        """
        sync_folder(folder)
        path = folder
        while path not in self._anchored and path != self._base:
            path = os.path.dirname(path)
            sync_folder(path)
        if len(self._anchored) > _MAX_ANCHORED:
            self._anchored.clear()
        self._anchored.add(folder)

    def _prune(self, folder: str) -> None:
        """Remove a folder and those above it as far as they are empty; never the first level."""
        while os.path.dirname(folder) != self._base and folder != self._base:
            try:
                os.rmdir(folder)
            except OSError:
                return
            folder = os.path.dirname(folder)

    def _walk(self, prefix: str, after: str | None) -> Iterator[tuple[str, int]]:
        folder = self._path(prefix) if prefix else self._base
        try:
            with os.scandir(folder) as found:
                entries = [
                    (f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name, entry)
                    for entry in found
                ]
        except ABSENT:
            return
        # A folder sorts by its name and the slash, as the full names below it do.
        entries.sort(key=lambda pair: pair[0])
        for key, entry in entries:
            name = f"{prefix}/{entry.name}" if prefix else entry.name
            if key.endswith("/"):
                if after is None or f"{name}/\U0010ffff" > after:
                    yield from self._walk(name, after)
            elif after is None or name > after:
                with suppress(FileNotFoundError):
                    yield name, entry.stat(follow_symlinks=False).st_size


class LocalOutput:
    """A temporary file that gets its name at the end."""

    def __init__(self, store: LocalStore, name: str) -> None:
        self._store = store
        self._name = name
        self._temporary = store.temporary()
        self.file: BinaryIO = io.BufferedWriter(GuardedFile(store.create(self._temporary), "wb"))

    def keep(self) -> None:
        """Give the finished object its name."""
        try:
            with store_errors():
                self.file.flush()
                os.fsync(self.file.fileno())
                self.file.close()
                self._store.sync_upwards(self._store.named(os.replace, self._temporary, self._name))
        except BaseException:
            self.drop()
            raise

    def drop(self) -> None:
        """Forget it."""
        with suppress(OSError, LakeError):
            self.file.close()
        with suppress(OSError):
            os.unlink(self._temporary)
