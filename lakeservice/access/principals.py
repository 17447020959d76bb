"""Who is asking, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas.errors import AccessError, ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lakeservice.access.stored_keys import StoredKey

READ_SCOPES = frozenset({"read:metadata", "read:data"})
"""Look and fetch; nothing changes."""
ALL_SCOPES = READ_SCOPES | {
    "write:metadata",
    "write:data",
    "create:node",
    "delete:node",
    "delete:revision",
    "register",
    "metrics",
    "create:apikeys",
    "revoke:apikeys",
    "read:principals",
}
"""Everything that can be done with a lake."""
INHERIT = "inherit"
"""As a scope of a new key: all that its maker holds."""
ANONYMOUS = "anonymous"
"""Name of somebody who brought no key."""


@dataclass(frozen=True)
class Principal:
    """Somebody who sent a request, known by name, and the scopes that they hold."""

    name: str
    scopes: frozenset[str]
    key: StoredKey | None = None
    """The key that was sent, where the lake keeps it."""

    def granted(self, asked: Iterable[str] | None) -> frozenset[str]:
        """Return the scopes of a key that this principal makes.

        Parameters
        ----------
        asked
            None, or ``inherit`` among them, for all that the principal holds.

        Raises
        ------
        InvalidRequestError
            ``bad-request``: a scope that does not exist.
        AccessError
            ``forbidden``: one that the principal does not hold.
        """
        wanted = {INHERIT} if asked is None else set(asked)
        if INHERIT in wanted:
            return self.scopes
        unknown = sorted(wanted - ALL_SCOPES)
        if unknown:
            known = ", ".join(sorted(ALL_SCOPES))
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST, f"no scope {unknown[0][:80]!r}; there are {known}, {INHERIT}"
            )
        for scope in sorted(wanted):
            self.require(scope)
        return frozenset(wanted)

    def require(self, scope: str) -> None:
        """Refuse if this principal does not hold ``scope``.

        Raises
        ------
        AccessError
            ``unauthenticated``: a key would help; ``forbidden``: this key does not.
        """
        if scope in self.scopes:
            return
        if self.name == ANONYMOUS:
            raise AccessError(
                ErrorKind.UNAUTHENTICATED, f"this needs the scope {scope!r}; send an API key"
            )
        raise AccessError(
            ErrorKind.FORBIDDEN, f"this needs the scope {scope!r}, which your key does not have"
        )
