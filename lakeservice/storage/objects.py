"""The one seam to object storage: named, immutable-by-habit byte strings below a root."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from lakeservice.storage.local import LocalStore
from lakeservice.storage.remote import RemoteStore
from schemas.errors import CorruptError, ErrorKind, InvalidRequestError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence

Buffer = bytes | bytearray | memoryview
"""Bytes as they are handed around: anything that NumPy and codecs take without a copy."""


class Store(Protocol):
    """What a kind of store has to do; names are clean and relative to its root."""

    root: Path | None

    def get(self, name: str) -> bytes | None:
        """Return a whole object, or None."""

    def get_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[Buffer] | None:
        """Return ranges of an object, short where it ends early, or None."""

    def put(self, name: str, payload: Sequence[Buffer], *, durable: bool) -> None:
        """Write or replace an object."""

    def put_if_absent(self, name: str, payload: bytes) -> bool:
        """Write an object unless there is one; tell whether it was written."""

    def sync(self, prefix: str) -> None:
        """Make durable what lies below a prefix."""

    def list(self, prefix: str, after: str | None) -> Iterator[tuple[str, int]]:
        """Yield names and sizes below a folder, sorted by name."""

    def size(self, name: str) -> int | None:
        """Return the size of an object, or None."""

    def modified_s(self, name: str) -> float | None:
        """Return when an object was written, or None."""

    def stamp(self, name: str) -> Hashable:
        """As `Objects.stamp`."""

    def delete(self, names: Iterable[str]) -> None:
        """Delete what is there of these objects."""

    def open_input(self, name: str) -> Any:
        """Open an object for random access, or None."""

    def open_output(self, name: str) -> Output:
        """Begin an object that is written bit by bit."""


class Output(Protocol):
    """An object that is being written; nobody sees it before it is kept."""

    file: BinaryIO

    def keep(self) -> None:
        """Give the finished object its name."""

    def drop(self) -> None:
        """Forget it."""


class Objects:
    """Objects by name, on local disk (our own durable writes) or on any store of obstore.

    Every failure of the store is an `UnavailableError`: ``store-full`` where
    there is no room, ``store-unavailable`` otherwise.
    """

    def __init__(self, store: Store, uri: str) -> None:
        self._store = store
        self.uri = uri
        """The URI it was opened by."""

    @classmethod
    def open(cls, uri: str) -> Objects:
        """Open a root by a local path, ``file://…``, ``memory://…`` or a URL that obstore knows.

        Nothing is created. ``memory://`` alone is a new store each time;
        ``memory://name`` is the same store for the whole process.

        Raises
        ------
        InvalidRequestError
            ``bad-request``: a URI that no store understands.
        """
        scheme, separator, _ = uri.partition("://")
        if not separator:
            return cls(LocalStore(Path(uri)), uri)
        if scheme == "file":
            return cls(LocalStore(Path(unquote(urlsplit(uri).path))), uri)
        return cls(RemoteStore.open(uri), uri)

    @property
    def root(self) -> Path | None:
        """Folder of the objects; None where they are not on a local disk."""
        return self._store.root

    def get(self, name: str) -> bytes | None:
        """Return a whole object; None if it is not there."""
        return self._store.get(_checked(name))

    def get_range(self, name: str, offset: int, length: int) -> Buffer:
        """Return ``length`` bytes from ``offset``.

        Raises
        ------
        NotFoundError
            ``asset-not-found``: no such object.
        CorruptError
            ``corrupt-object``: the object ends before the range does.
        """
        return self.get_ranges(name, [(offset, length)])[0]

    def get_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[Buffer]:
        """Return several ``(offset, length)`` ranges of one object; raises like `get_range`."""
        if not ranges:
            return []
        buffers = self._store.get_ranges(_checked(name), ranges)
        if buffers is None:
            raise NotFoundError(
                ErrorKind.ASSET_NOT_FOUND, f"the lake has no object {name!r}; run a check"
            )
        for (offset, length), buffer in zip(ranges, buffers, strict=True):
            if len(buffer) != length:
                raise CorruptError(
                    ErrorKind.CORRUPT_OBJECT,
                    f"object {name!r} ends before byte {offset + length}; run a check",
                )
        return buffers

    def put(self, name: str, payload: Buffer | Sequence[Buffer], *, durable: bool = True) -> None:
        """Write or replace an object: readers see the old one or the new one, whole.

        Durable when it returns, unless told otherwise; then call `sync` before
        anything refers to it.
        """
        buffers = [payload] if isinstance(payload, bytes | bytearray | memoryview) else payload
        self._store.put(_checked(name), buffers, durable=durable)

    def put_if_absent(self, name: str, payload: bytes) -> bool:
        """Write an object that must not exist; False, and nothing done, if there is one."""
        return self._store.put_if_absent(_checked(name), payload)

    def sync(self, prefix: str) -> None:
        """Make durable what was put below a prefix with ``durable=False``."""
        self._store.sync(_checked(prefix))

    def list(self, prefix: str, after: str | None = None) -> Iterator[tuple[str, int]]:
        """Yield name and size of each object below the folder ``prefix``, sorted by name.

        Parameters
        ----------
        prefix
            A folder, whole segments, no slash at the end; empty for all objects.
        after
            A name: only names that sort after it.
        """
        return self._store.list(_checked(prefix) if prefix else "", after)

    def size(self, name: str) -> int | None:
        """Return the size of an object in bytes; None if it is not there."""
        return self._store.size(_checked(name))

    def modified_s(self, name: str) -> float | None:
        """Return when an object was written, in s since 1970; None if it is not there."""
        return self._store.modified_s(_checked(name))

    def stamp(self, name: str) -> Hashable:
        """Return what tells the object's bytes from all others that had or will have its name.

        None where there is no object, or nothing to tell them by: it has just been written.
        """
        return self._store.stamp(_checked(name))

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; those that are not there are no error."""
        self._store.delete(_checked(name) for name in names)

    def open_input(self, name: str) -> Any:
        """Open an object for random access, as a file for pyarrow.

        Raises
        ------
        NotFoundError
            ``asset-not-found``: no such object.
        """
        file = self._store.open_input(_checked(name))
        if file is None:
            raise NotFoundError(
                ErrorKind.ASSET_NOT_FOUND, f"the lake has no object {name!r}; run a check"
            )
        return file

    @contextmanager
    def open_output(self, name: str) -> Iterator[BinaryIO]:
        """Write an object bit by bit; it appears, durable, when the block ends without an error."""
        output = self._store.open_output(_checked(name))
        try:
            yield output.file
        except BaseException:
            output.drop()
            raise
        output.keep()


def _checked(name: str) -> str:
    segments = name.split("/")
    if "" in segments or ".." in segments or "." in segments or "\0" in name:
        raise InvalidRequestError(ErrorKind.BAD_PATH, f"{name!r} is no name of an object")
    return name
