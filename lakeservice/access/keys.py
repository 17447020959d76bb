"""API keys: the one key of a server, those of its lake, or reading for everybody."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING

from lakeservice.access.principals import ALL_SCOPES, ANONYMOUS, READ_SCOPES, Principal
from schemas.errors import AccessError, ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from lakeservice.access.stored_keys import KeyStore

KEY_BYTES = 32
"""Entropy of a generated key, in bytes."""
MAX_KEY_CHARACTERS = 1024
"""A longer text is not a key; it is refused before it is hashed."""
SCHEMES = ("apikey", "bearer")
"""Words in front of a key in an Authorization header, in any case."""


def generate_key() -> str:
    """Return a new random key, safe in URLs and headers."""
    return secrets.token_hex(KEY_BYTES)


def key_in_header(authorization: str | None) -> str | None:
    """Return the key in an Authorization header, ``Apikey K`` or ``Bearer K``.

    None where there is no header.

    Raises
    ------
    AccessError
        ``unauthenticated``: another scheme, or no key behind it.
    """
    if authorization is None:
        return None
    scheme, _, key = authorization.strip().partition(" ")
    if scheme.lower() not in SCHEMES or not key.strip():
        raise AccessError(
            ErrorKind.UNAUTHENTICATED,
            "cannot read the Authorization header; send 'Authorization: Apikey <key>'",
        )
    return key.strip()


class Authenticator:
    """Tells who sent a key; keeps only hashes of the keys that it knows.

    Parameters
    ----------
    api_key
        The key that may do everything; None where nobody may write.
    public
        Whether somebody without a key may read.
    stored
        Keys that the lake keeps; None where there are none besides.
    """

    def __init__(
        self, api_key: str | None, *, public: bool = False, stored: KeyStore | None = None
    ) -> None:
        if api_key is None and not public:
            raise InvalidRequestError(
                ErrorKind.BAD_SETTING,
                "a server needs an API key, or must be public; generate a key or set public",
            )
        if api_key is not None and not api_key.strip():
            raise InvalidRequestError(ErrorKind.BAD_SETTING, "the API key is empty")
        self.public = public
        self.stored = stored
        self._hash = None if api_key is None else _hashed(api_key)

    @property
    def required(self) -> bool:
        """Whether a request without a key is refused."""
        return not self.public

    def authenticate(self, key: str | None) -> Principal:
        """Return the principal that a key stands for.

        Parameters
        ----------
        key
            What the request brought; None for nothing.

        Raises
        ------
        AccessError
            ``unauthenticated``: no key where one is needed, or a key that is not
            known. A wrong key is refused on a public server too.
        """
        if key is None:
            if self.public:
                return Principal(ANONYMOUS, READ_SCOPES)
            raise AccessError(
                ErrorKind.UNAUTHENTICATED,
                "this server needs an API key; send 'Authorization: Apikey <key>' "
                "or ?api_key=<key>",
            )
        # Both sides are hashed, so that the time to compare tells nothing of the key.
        given = _hashed(key) if len(key) <= MAX_KEY_CHARACTERS else b""
        if self._hash is not None and hmac.compare_digest(given, self._hash):
            return Principal("key", ALL_SCOPES)
        known = self.stored.find(key) if self.stored is not None else None
        if known is None:
            raise AccessError(ErrorKind.UNAUTHENTICATED, "this API key is not valid here")
        return Principal(f"key-{known.first_eight}", frozenset(known.scopes), known)

    def knows(self, key: str | None) -> bool:
        """Tell whether `authenticate` answers for a key at once, without asking the lake."""
        if key is None or self.stored is None or self.stored.knows(key):
            return True
        return self._hash is not None and hmac.compare_digest(_hashed(key), self._hash)

    def __repr__(self) -> str:
        return f"Authenticator(public={self.public})"


def _hashed(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
