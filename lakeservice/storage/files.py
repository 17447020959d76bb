"""Registered files: byte ranges of files that others own, checked against what was indexed."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections import OrderedDict
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from lakeservice.codecs.extent import OpenFile
from lakeservice.codecs.steps import DecodeError
from schemas.errors import CorruptError, ErrorKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakeservice.codecs.steps import Buffer
    from schemas.entry import Asset


class _Open:
    """A descriptor, closed when nobody holds this any more: a read may outlive the cache."""

    def __init__(self, descriptor: int, size: int, mtime_ns: int) -> None:
        self.descriptor = descriptor
        self.size = size
        self.mtime_ns = mtime_ns
        self.checked = time.monotonic()

    def __del__(self) -> None:
        os.close(self.descriptor)


class FileReader:
    """Reads byte ranges of registered files; safe to share between threads.

    Parameters
    ----------
    limit
        Most files kept open.
    check_s
        A file is compared with its asset when it is opened, and again when
        the last time was longer ago than this.
    roots
        Folders that may be read from, links resolved; None allows all.
    confines
        Folders that files which clients named may be read from, likewise.
    """

    def __init__(
        self,
        *,
        limit: int = 256,
        check_s: float = 1.0,
        roots: Sequence[Path] | None = None,
        confines: Sequence[Path] | None = None,
    ) -> None:
        self._limit = limit
        self._check_s = check_s
        self._roots = None if roots is None else tuple(root.resolve() for root in roots)
        self._confines = None if confines is None else tuple(root.resolve() for root in confines)
        self._files: OrderedDict[tuple[str, bool], _Open] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, asset: Asset, offset: int, length: int | None = None) -> Buffer:
        """Return bytes of a file; None for ``length`` reads to its end.

        Raises
        ------
        CorruptError
            ``asset-missing``, ``asset-changed``: not the file that was indexed.
            ``corrupt-chunk``: it ends before the range does.
        """
        with self.extent(asset, offset, length) as extent:
            try:
                return extent.read(0, extent.length)
            except DecodeError as error:
                raise CorruptError(ErrorKind.CORRUPT_CHUNK, str(error)) from None

    def extent(self, asset: Asset, offset: int, length: int | None = None) -> FileExtent:
        """Return a range of a file that is read as needed; errors as in `read`."""
        file = self._checked(asset)
        if length is None:
            length = max(0, file.size - offset)
        return FileExtent(file, offset, length)

    @contextmanager
    def open_input(self, asset: Asset) -> Iterator[pa.NativeFile]:
        """Open a file for pyarrow; errors as in `read`.

        It is the file that was indexed when it is opened, and still when the block
        ends, or when what it holds turns out to be corrupt.
        """
        self._checked(asset)
        try:
            file = pa.OSFile(self.path(asset), "rb")
        except OSError:
            raise _missing(asset.data_uri) from None
        with file:
            _refuse_changed(asset, file)
            try:
                yield file
            except CorruptError:
                _refuse_changed(asset, file)
                raise
            _refuse_changed(asset, file)

    def close(self) -> None:
        """Forget the files; each is closed when nobody reads it any more."""
        with self._lock:
            self._files.clear()

    def _checked(self, asset: Asset) -> _Open:
        uri, key = asset.data_uri, (asset.data_uri, asset.confined)
        with self._lock:
            file = self._files.get(key)
            if file is not None:
                self._files.move_to_end(key)
        now = time.monotonic()
        if file is not None and now - file.checked > self._check_s:
            # also notices a file that was replaced by another of the same name
            file = None
        if file is None:
            file = self._kept(asset)
            now = file.checked
        if _differs(asset, file.size, file.mtime_ns) and now != file.checked:
            file = self._kept(asset)  # it may have been looked at before it changed
        if _differs(asset, file.size, file.mtime_ns):
            raise _changed(uri)
        return file

    def _kept(self, asset: Asset) -> _Open:
        file = self._open(asset)
        with self._lock:
            self._files[asset.data_uri, asset.confined] = file
            while len(self._files) > self._limit:
                self._files.popitem(last=False)
        return file

    def _open(self, asset: Asset) -> _Open:
        uri, path = asset.data_uri, self.path(asset)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            raise _missing(uri) from None
        status = os.fstat(descriptor)
        file = _Open(descriptor, status.st_size, status.st_mtime_ns)
        if not stat.S_ISREG(status.st_mode):
            raise _missing(uri)
        return file

    def path(self, asset: Asset) -> str:
        """Return where a file or folder lies, if it may be read.

        Raises
        ------
        CorruptError
            ``asset-missing``: an address that is no file's, or one outside the folders.
        """
        uri = asset.data_uri
        parts = urlsplit(uri)
        path = unquote(parts.path, errors="surrogateescape")
        if parts.scheme != "file" or parts.netloc not in ("", "localhost") or "\0" in path:
            raise _missing(uri)
        limits = [self._roots, self._confines if asset.confined else None]
        for roots in [limit for limit in limits if limit is not None]:
            path = os.path.realpath(path)
            if not any(Path(path).is_relative_to(root) for root in roots):
                raise CorruptError(
                    ErrorKind.ASSET_MISSING,
                    f"the file {_name(uri)!r} lies outside the folders that this server may read",
                )
        return path


class FileExtent(OpenFile):
    """A range of a registered file, which stays open for as long as this is held."""

    def __init__(self, file: _Open, offset: int, length: int) -> None:
        super().__init__(file.descriptor, offset, length)
        self._file = file

    def __enter__(self) -> FileExtent:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def _differs(asset: Asset, size: int, mtime_ns: int) -> bool:
    """Tell whether a file is another than the one that was indexed."""
    if asset.grows and asset.size_bytes is not None and asset.mtime_ns is not None:
        return size < asset.size_bytes or mtime_ns < asset.mtime_ns
    return (asset.size_bytes is not None and asset.size_bytes != size) or (
        asset.mtime_ns is not None and asset.mtime_ns != mtime_ns
    )


def _refuse_changed(asset: Asset, file: pa.NativeFile) -> None:
    status = os.fstat(file.fileno())
    if _differs(asset, status.st_size, status.st_mtime_ns):
        raise _changed(asset.data_uri)


def _changed(uri: str) -> CorruptError:
    return CorruptError(
        ErrorKind.ASSET_CHANGED,
        f"the file {_name(uri)!r} changed since it was registered; ingest it again",
    )


def _name(uri: str) -> str:
    return unquote(urlsplit(uri).path.rpartition("/")[2])


def _missing(uri: str) -> CorruptError:
    return CorruptError(
        ErrorKind.ASSET_MISSING,
        f"the registered file {_name(uri)!r} is gone or cannot be read; "
        "put it back or ingest it again",
    )
