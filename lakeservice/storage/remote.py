"""Objects on S3 and other stores, or in memory, by obstore."""

from __future__ import annotations

import io
from bisect import bisect_right
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import obstore
import pyarrow as pa
from obstore import exceptions
from obstore.store import MemoryStore, from_url

from schemas.errors import (
    CorruptError,
    ErrorKind,
    InvalidRequestError,
    LakeError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence
    from pathlib import Path

    from obstore.store import ObjectStore

_DELETE_AT_ONCE = 1000
"""S3 takes at most so many names in one request."""
_PAGE = 1000
_NEAR_BYTES = 1 << 20
"""Ranges nearer to each other than this are fetched in one request."""
_memories: dict[str, MemoryStore] = {}


class RemoteStore:
    """A bucket with a prefix, or a store in memory."""

    def __init__(self, store: ObjectStore) -> None:
        self.root: Path | None = None
        self._store = store

    @classmethod
    def open(cls, uri: str) -> Self:
        """Open a store by its URL; ``memory://name`` is one store for the whole process."""
        scheme, _, rest = uri.partition("://")
        if scheme == "memory":
            return cls(_memories.setdefault(rest, MemoryStore()) if rest else MemoryStore())
        try:
            # Without client options of ours, those in the environment count (AWS_ALLOW_HTTP…).
            return cls(
                from_url(
                    uri, retry_config={"max_retries": 5, "retry_timeout": timedelta(seconds=60)}
                )
            )
        except (exceptions.BaseError, ValueError) as error:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST,
                f"no store can be opened by a URI with {scheme!r}; "
                "give a path, file://, s3://, gs://, az:// or memory://",
            ) from error

    def get(self, name: str) -> bytes | None:
        """Return a whole object, or None."""
        try:
            return obstore.get(self._store, name).bytes().to_bytes()
        except FileNotFoundError:
            return None
        except exceptions.BaseError as error:
            raise _unavailable(error) from error

    def get_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[Any] | None:
        """Return ranges of an object, short where it ends early, or None."""
        spans = _spans(ranges)
        starts, ends = zip(*spans, strict=True) if spans else ((), ())
        try:
            # obstore's own coalescing panics on a range beyond the end.
            found = obstore.get_ranges(self._store, name, starts=starts, ends=ends, coalesce=0)
        except FileNotFoundError:
            return None
        except exceptions.BaseError as error:
            size = self.size(name)
            if size is not None and ends[-1] > size:
                return [b""] * len(ranges)
            raise _unavailable(error) from error
        views = [memoryview(buffer) for buffer in found]
        return [_cut(starts, views, offset, length) for offset, length in ranges]

    def put(self, name: str, payload: Sequence[Any], *, durable: bool) -> None:
        """Write or replace an object."""
        whole = payload[0] if len(payload) == 1 else b"".join(payload)
        try:
            obstore.put(self._store, name, whole)
        except exceptions.BaseError as error:
            raise _unavailable(error) from error

    def put_if_absent(self, name: str, payload: bytes) -> bool:
        """Write an object unless there is one; tell whether it was written."""
        try:
            obstore.put(self._store, name, payload, mode="create")
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
            return False
        except exceptions.NotSupportedError as error:
            raise UnavailableError(
                ErrorKind.STORE_UNSAFE,
                "this kind of store has no exclusive writes; put the lake on another one",
            ) from error
        except exceptions.BaseError as error:
            raise _unavailable(error) from error
        return True

    def sync(self, prefix: str) -> None:
        """Do nothing: what such a store has accepted is durable."""

    def list(self, prefix: str, after: str | None) -> Iterator[tuple[str, int]]:
        """Yield names and sizes below a folder, sorted by name."""
        try:
            for page in obstore.list(
                self._store, prefix or None, offset=after, chunk_size=_PAGE, return_arrow=False
            ):
                for found in page:
                    yield found["path"], found["size"]
        except exceptions.BaseError as error:
            raise _unavailable(error) from error

    def size(self, name: str) -> int | None:
        """Return the size of an object, or None."""
        found = self._head(name)
        return None if found is None else int(found["size"])

    def modified_s(self, name: str) -> float | None:
        """Return when an object was written, or None."""
        found = self._head(name)
        return None if found is None else float(found["last_modified"].timestamp())

    def stamp(self, name: str) -> Hashable:
        """Return the entity tag, time and size, or None."""
        found = self._head(name)
        if found is None or not found.get("e_tag"):
            return None
        return found["e_tag"], found["last_modified"], found["size"]

    def delete(self, names: Iterable[str]) -> None:
        """Delete what is there of these objects."""
        pending: list[str] = []
        for name in names:
            pending.append(name)
            if len(pending) == _DELETE_AT_ONCE:
                self._delete(pending)
                pending = []
        if pending:
            self._delete(pending)

    def open_input(self, name: str) -> Any:
        """Open an object for random access, or None."""
        size = self.size(name)
        return None if size is None else pa.PythonFile(_Ranges(self, name, size), mode="r")

    def open_output(self, name: str) -> RemoteOutput:
        """Begin an object that is written bit by bit."""
        return RemoteOutput(obstore.open_writer(self._store, name))

    def _head(self, name: str) -> Any:
        try:
            return obstore.head(self._store, name)
        except FileNotFoundError:
            return None
        except exceptions.BaseError as error:
            raise _unavailable(error) from error

    def _delete(self, names: Sequence[str]) -> None:
        try:
            obstore.delete(self._store, names)
        except FileNotFoundError:
            return
        except exceptions.BaseError as error:
            raise _unavailable(error) from error


class RemoteOutput:
    """An upload that becomes an object at the end."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self.file: BinaryIO = io.BufferedWriter(_Upload(writer))

    def keep(self) -> None:
        """Give the finished object its name."""
        self.file.flush()
        try:
            self._writer.close()
        except exceptions.BaseError as error:
            raise _unavailable(error) from error

    def drop(self) -> None:
        """Forget the upload: without its end the store shows nothing."""
        with suppress(LakeError):
            self.file.close()


class _Upload(io.RawIOBase):
    """The writing end of an upload; closing it does not end the upload."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._position = 0

    def write(self, buffer: Any, /) -> int:
        payload = bytes(buffer)
        try:
            self._writer.write(payload)
        except exceptions.BaseError as error:
            raise _unavailable(error) from error
        self._position += len(payload)
        return len(payload)

    def tell(self) -> int:
        return self._position

    def writable(self) -> bool:
        return True


class _Ranges(io.RawIOBase):
    """An object read by byte ranges, one request for each read."""

    def __init__(self, store: RemoteStore, name: str, size: int) -> None:
        self._store = store
        self._name = name
        self._size = size
        self._position = 0

    def readinto(self, buffer: Any, /) -> int:
        length = max(0, min(len(buffer), self._size - self._position))
        if length:
            found = self._store.get_ranges(self._name, [(self._position, length)])
            if found is None or len(found[0]) != length:
                raise CorruptError(
                    ErrorKind.CORRUPT_OBJECT, f"object {self._name!r} changed while it was read"
                )
            buffer[:length] = found[0]
            self._position += length
        return length

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def _spans(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return start and end of what to ask for: not empty, sorted, near ones in one."""
    spans: list[tuple[int, int]] = []
    for start, length in sorted(ranges):
        end = start + length
        if spans and start - spans[-1][1] <= _NEAR_BYTES:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        elif length:
            spans.append((start, end))
    return spans


def _cut(starts: Sequence[int], views: Sequence[Any], offset: int, length: int) -> Any:
    """Return a range out of the spans that were fetched; short where its span is."""
    if not length:
        return b""
    number = bisect_right(starts, offset) - 1
    first = offset - starts[number]
    return views[number][first : first + length]


def _unavailable(error: exceptions.BaseError) -> UnavailableError:
    if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
        return UnavailableError(
            ErrorKind.STORE_UNAVAILABLE,
            "the object store refuses the server's credentials; tell the operator",
        )
    return UnavailableError(
        ErrorKind.STORE_UNAVAILABLE, "the object store does not answer as it should; try later"
    )
