"""What this machine sees of a server's files: the pass to them, and those that are open."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import msgspec

from schemas.direct import (
    PROOF_BYTES,
    PROOF_PREFIX,
    DirectAnswer,
    Granted,
    Hello,
    LocalFile,
    Offer,
    PlanAnswer,
    Seen,
    Unavailable,
)
from schemas.errors import AccessError, CorruptError, ErrorKind, InvalidRequestError, LakeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakeservice.client.connection import Connection
    from schemas.direct import PlanArray, PlanTable

MOST_OPEN = 64
"""Registered files that are kept open."""
MOST_KNOWN = 1024
"""Nodes whose files are remembered."""
MOST_PLACES = 1 << 19
"""Places of chunks that are remembered, of all nodes together."""
CACHE_BYTES = 128 << 20
"""Decoded chunks that are kept for small reads, in bytes."""
CHECK_S = 1.0
"""An open file is looked at again when the last time was longer ago, in s."""
_ANSWER: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(DirectAnswer)
_PLAN: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(PlanAnswer)
_ENCODER = msgspec.msgpack.Encoder()
_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_OLD_PASS = (ErrorKind.BAD_TICKET, ErrorKind.TICKET_EXPIRED)


class UnreachableError(Exception):
    """Direct delivery does not work here; another one may.

    Parameters
    ----------
    error
        What to raise where no other delivery will do.
    """

    def __init__(self, error: LakeError) -> None:
        super().__init__(error.message)
        self.error = error


class OpenedFile:
    """A descriptor, closed when nobody holds this any more: a read may outlive the cache."""

    __slots__ = ("checked", "descriptor", "mtime_ns", "size", "used")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        status = os.fstat(descriptor)
        self.size = status.st_size
        """Bytes."""
        self.mtime_ns = status.st_mtime_ns
        self.checked = self.used = time.monotonic()
        if not stat.S_ISREG(status.st_mode):
            raise OSError("not a file")

    def __del__(self) -> None:
        os.close(self.descriptor)


def open_file(path: bytes, *, links: bool = True) -> int:
    """Return a descriptor of a file, to read; of the very file where ``links`` are not followed."""
    return os.open(path, _FLAGS if links else _FLAGS | getattr(os, "O_NOFOLLOW", 0))


class Known:
    """What a connection has learnt of nodes' files, those used last; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self.generation = 0
        """One more whenever all is forgotten."""

    def get(self, key: tuple[Any, ...]) -> Any:
        """Return what was kept under a key, or None."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: tuple[Any, ...], value: Any, generation: int) -> None:
        """Keep an answer, unless all was forgotten since ``generation``, when it was asked for."""
        with self._lock:
            if generation == self.generation:
                self._kept[key] = value
        self.shrink()

    def shrink(self) -> None:
        """Forget what was not used for longest, as far as too much is kept."""
        with self._lock:
            places = sum(getattr(value, "places", 1) for value in self._kept.values())
            while len(self._kept) > 1 and (len(self._kept) > MOST_KNOWN or places > MOST_PLACES):
                _, value = self._kept.popitem(last=False)
                places -= getattr(value, "places", 1)

    def clear(self) -> None:
        """Forget all, and what is being asked for just now."""
        with self._lock:
            self.generation += 1
            self._kept.clear()

    def restart(self) -> None:
        """Begin anew in a forked child, where a thread that is gone may hold the lock."""
        self._lock = threading.Lock()


class Disk:
    """The pass that a connection got, and the files that were opened with it; thread-safe.

    Descriptors are only read at given places, so that a forked child may use those
    of its parent.
    """

    def __init__(self) -> None:
        self.opener: Callable[[bytes], int] = open_file
        """Opens a file by its path."""
        self.known = Known()
        """Files of nodes."""
        self.cache_bytes = CACHE_BYTES
        """Most bytes of decoded chunks that are kept for small reads."""
        self.cache: Any = None
        """These chunks; None before the first such read."""
        self._lock = threading.Lock()
        self._grant: bytes | None = None
        self._refused: Unavailable | None = None
        self._files: dict[bytes, OpenedFile] = {}

    def plan(self, connection: Connection, ask: PlanArray | PlanTable) -> Any:
        """Return the server's answer to a question for files; `Unavailable` without a pass.

        Raises
        ------
        LakeError
            As the server answers it.
        """
        for _ in range(2):
            grant = self._granted(connection)
            if isinstance(grant, Unavailable):
                return grant
            body = _ENCODER.encode(msgspec.structs.replace(ask, grant=grant))
            try:
                return _PLAN.decode(connection.action("plan", body)[0])
            except msgspec.MsgspecError as error:  # of a later server; it may tell by other means
                return Unavailable(f"this version does not understand the answer: {error}")
            except (AccessError, InvalidRequestError) as error:
                if error.kind not in _OLD_PASS:
                    raise
                with self._lock:
                    if self._grant == grant:
                        self._grant = None
        return Unavailable("the server refuses its own pass")

    @property
    def is_refused(self) -> bool:
        """Whether the server was asked for a pass and gave none."""
        return self._refused is not None

    def file(self, wanted: LocalFile) -> OpenedFile:
        """Return a registered file, open; it is the one that was meant.

        Raises
        ------
        UnreachableError
            It cannot be opened.
        CorruptError
            ``asset-changed``.
        """
        now = time.monotonic()
        file = self._files.get(wanted.path)
        old = file is None or now - file.checked > CHECK_S
        if file is None or old or _differs(wanted, file.size, file.mtime_ns):
            file = self._opened(wanted.path)
            refuse_changed(wanted, file.size, file.mtime_ns)
        file.used = now
        return file

    def close(self) -> None:
        """Forget pass and files; each file is closed when nobody reads it any more."""
        self.known.clear()
        self.cache = None
        with self._lock:
            self._files = {}
            self._grant = self._refused = None

    def restart(self) -> None:
        """Begin anew in a forked child, where a thread that is gone may hold the lock."""
        self._lock = threading.Lock()
        self.known.restart()
        self.cache = None

    def _opened(self, path: bytes) -> OpenedFile:
        try:
            file = OpenedFile(self.opener(path))
        except OSError:
            self._files.pop(path, None)
            raise UnreachableError(missing(path)) from None
        files = self._files
        files[path] = file
        if len(files) > MOST_OPEN:
            oldest = min(list(files.items()), key=lambda item: item[1].used)
            files.pop(oldest[0], None)
        return file

    def _granted(self, connection: Connection) -> bytes | Unavailable:
        with self._lock:
            if self._grant is not None:
                return self._grant
            if self._refused is not None:
                return self._refused
            answer = _shake_hands(connection)
            if isinstance(answer, Granted):
                self._grant = answer.grant
                return answer.grant
            self._refused = answer
            return answer


def _shake_hands(connection: Connection) -> Granted | Unavailable:
    """Ask for a pass, and show that this machine sees the lake's folder."""
    try:
        answer = _ask(connection, Hello())
    except LakeError as error:
        if error.kind is not ErrorKind.BAD_REQUEST:
            raise
        return Unavailable("this server knows no direct delivery")
    if isinstance(answer, Offer):
        proof = proof_of(answer.path)
        if proof is None:
            return Unavailable("this machine does not see the lake's folder")
        answer = _ask(connection, Seen(token=answer.token, proof=proof))
    if isinstance(answer, Granted | Unavailable):
        return answer
    return Unavailable("the server offers again and again")


def _ask(connection: Connection, ask: Hello | Seen) -> Any:
    answer = connection.action("direct", _ENCODER.encode(ask))[0]
    try:
        return _ANSWER.decode(answer)
    except msgspec.MsgspecError as error:
        return Unavailable(f"this version does not understand the answer: {error}")


def proof_of(path: bytes) -> bytes | None:
    """Return the digest of the file of an offer, and of no other: a server might ask for any."""
    if not os.path.basename(path).startswith(PROOF_PREFIX.encode()):
        return None
    try:
        file = OpenedFile(open_file(path, links=False))
        if file.size != PROOF_BYTES:
            return None
        return hashlib.sha256(os.pread(file.descriptor, PROOF_BYTES, 0)).digest()
    except (OSError, ValueError):
        return None


def refuse_changed(wanted: LocalFile, size_bytes: int, mtime_ns: int) -> None:
    """Refuse a file that is another than the one that was indexed.

    Raises
    ------
    CorruptError
        ``asset-changed``.
    """
    if _differs(wanted, size_bytes, mtime_ns):
        raise CorruptError(
            ErrorKind.ASSET_CHANGED,
            f"the file {name_of(wanted)!r} changed since it was registered; ingest it again",
        )


def _differs(wanted: LocalFile, size_bytes: int, mtime_ns: int) -> bool:
    size, modified = wanted.size_bytes, wanted.mtime_ns
    if wanted.grows and size is not None and modified is not None:
        return size_bytes < size or mtime_ns < modified
    return (size is not None and size != size_bytes) or (
        modified is not None and modified != mtime_ns
    )


def name_of(file: LocalFile) -> str:
    """Return the name of a file without its folder, to be printed."""
    return os.path.basename(file.path).decode(errors="replace")


def missing(path: bytes) -> CorruptError:
    """Return the error of a file that cannot be opened; it names no folder."""
    name = os.path.basename(path).decode(errors="replace")
    return CorruptError(
        ErrorKind.ASSET_MISSING,
        f"the registered file {name!r} is gone or cannot be read here; "
        "put it back, ingest it again, or read it with another delivery",
    )


def unavailable(path: str, answer: Any) -> InvalidRequestError:
    """Return the error of a node that is not delivered directly.

    Parameters
    ----------
    answer
        The server's, which may say why.
    """
    reason = answer.reason if isinstance(answer, Unavailable) else "the server does not say why"
    return InvalidRequestError(
        ErrorKind.BAD_REQUEST, f"{path!r} cannot be read directly: {reason}; use another delivery"
    )
