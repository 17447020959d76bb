"""API keys that are kept in the lake, hashed, so that all of its servers know them."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

import msgspec

from lakeservice.storage.layout import KEYS, key_name
from schemas.errors import CorruptError, ErrorKind, InvalidRequestError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from lakeservice.storage.objects import Objects

SECRET_BYTES = 32
"""Entropy of a key, in bytes."""
PUBLIC_CHARACTERS = 8
"""So much of a key is no secret: it names the key."""
MEMORY_S = 5.0
"""How long a server believes what it has read of a key, in seconds: a key that is revoked at
another server is refused here after that time."""
MOST_KEYS = 100_000
"""Keys whose state a server remembers."""
NOTE_CHARACTERS = 255
_HEXADECIMAL = frozenset("0123456789abcdef")


class StoredKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the lake keeps of a key: enough to recognise it, not to make it."""

    first_eight: str
    digest: str
    """SHA-256 of the whole key, hexadecimal. A key is random, so it needs no salt."""
    scopes: tuple[str, ...]
    created_ns: int
    expires_ns: int | None = None
    """In ns since 1970; None for never."""
    note: str | None = None
    created_by: str = ""
    """Name of the principal that made it."""


class KeyStore:
    """The keys of one lake; thread-safe.

    Parameters
    ----------
    objects
        The lake's objects.
    clock
        Seconds since 1970.
    """

    def __init__(self, objects: Objects, *, clock: Callable[[], float] = time.time) -> None:
        self._objects = objects
        self._clock = clock
        self._lock = threading.Lock()
        self._read: OrderedDict[str, tuple[float, StoredKey | None]] = OrderedDict()

    def create(
        self,
        scopes: Iterable[str],
        *,
        expires_in_s: float | None = None,
        not_after_ns: int | None = None,
        note: str | None = None,
        created_by: str = "",
    ) -> tuple[StoredKey, str]:
        """Make a key; returns what is kept of it, and the key itself, which nobody keeps.

        Parameters
        ----------
        expires_in_s
            How long it is good for, in seconds; None for ever.
        not_after_ns
            When it ends at the latest, in ns since 1970.

        Raises
        ------
        InvalidRequestError
            ``bad-request``: no scope, a time that is not positive, or a note that is too long.
        """
        wanted = tuple(sorted(set(scopes)))
        if not wanted:
            raise _bad("a key needs at least one scope")
        if expires_in_s is not None and not 0 < expires_in_s < 1e10:
            raise _bad(f"expires_in={expires_in_s}; write a number of seconds above 0")
        if note is not None and len(note) > NOTE_CHARACTERS:
            raise _bad(f"a note of {len(note)} characters; at most {NOTE_CHARACTERS} are kept")
        now = self._clock()
        wished = None if expires_in_s is None else int((now + expires_in_s) * 1e9)
        ends = [time_ns for time_ns in (wished, not_after_ns) if time_ns is not None]
        while True:
            secret = secrets.token_hex(SECRET_BYTES)
            key = StoredKey(
                first_eight=secret[:PUBLIC_CHARACTERS],
                digest=_digest(secret),
                scopes=wanted,
                created_ns=int(now * 1e9),
                expires_ns=min(ends, default=None),
                note=note,
                created_by=created_by,
            )
            name = key_name(key.first_eight)
            if self._objects.put_if_absent(name, msgspec.json.encode(key)):
                with self._lock:
                    self._read.pop(key.first_eight, None)
                return key, secret

    def find(self, secret: str) -> StoredKey | None:
        """Return the key that this is; None where it is not known, or has expired."""
        if len(secret) != 2 * SECRET_BYTES or not _HEXADECIMAL.issuperset(secret):
            return None
        key = self._remembered(secret[:PUBLIC_CHARACTERS])
        if key is None or not hmac.compare_digest(key.digest, _digest(secret)):
            return None
        return None if self.expired(key) else key

    def knows(self, secret: str) -> bool:
        """Tell whether `find` answers from memory."""
        with self._lock:
            known = self._read.get(secret[:PUBLIC_CHARACTERS])
        return known is not None and self._clock() - known[0] < MEMORY_S

    def expired(self, key: StoredKey) -> bool:
        """Tell whether a key's time is over."""
        return key.expires_ns is not None and key.expires_ns <= self._clock() * 1e9

    def list(self) -> Sequence[StoredKey]:
        """Return all keys, those that have expired too, the oldest first."""
        found = [self._load(name.rpartition("/")[2]) for name, _ in self._objects.list(KEYS)]
        return sorted((key for key in found if key is not None), key=lambda key: key.created_ns)

    def revoke(self, first_eight: str) -> StoredKey:
        """Forget a key; returns what was kept of it.

        Raises
        ------
        NotFoundError
            ``node-not-found``: no such key.
        """
        known = len(first_eight) == PUBLIC_CHARACTERS and _HEXADECIMAL.issuperset(first_eight)
        key = self._load(first_eight) if known else None
        if key is None:
            raise NotFoundError(
                ErrorKind.NODE_NOT_FOUND,
                f"no API key begins with {first_eight[:PUBLIC_CHARACTERS]!r}; list the keys",
            )
        self._objects.delete([key_name(first_eight)])
        with self._lock:
            self._read[first_eight] = (self._clock(), None)
        return key

    def _remembered(self, first_eight: str) -> StoredKey | None:
        now = self._clock()
        with self._lock:
            known = self._read.get(first_eight)
        if known is not None and now - known[0] < MEMORY_S:
            return known[1]
        key = self._load(first_eight)
        with self._lock:
            if self._read.get(first_eight) is not known:
                # Somebody revoked it, or read it later, meanwhile.
                return self._read.get(first_eight, (now, None))[1]
            self._read[first_eight] = (now, key)
            self._read.move_to_end(first_eight)
            while len(self._read) > MOST_KEYS:
                self._read.popitem(last=False)
        return key

    def _load(self, first_eight: str) -> StoredKey | None:
        payload = self._objects.get(key_name(first_eight))
        if payload is None:
            return None
        try:
            return msgspec.json.decode(payload, type=StoredKey)
        except msgspec.DecodeError as error:
            raise CorruptError(
                ErrorKind.CORRUPT_OBJECT,
                f"what is kept of the API key {first_eight!r} cannot be read; revoke it",
            ) from error


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_REQUEST, message)
