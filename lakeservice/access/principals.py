"""Who is asking, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.errors import AccessError, ErrorKind

READ_SCOPES = frozenset({"read:metadata", "read:data"})
"""Look and fetch; nothing changes."""
ALL_SCOPES = READ_SCOPES | {
    "write:metadata",
    "write:data",
    "create:node",
    "delete:node",
    "delete:revision",
    "register",
}
"""Everything that can be done with a lake."""
ANONYMOUS = "anonymous"
"""Name of somebody who brought no key."""


@dataclass(frozen=True)
class Principal:
    """Somebody who sent a request, known by name, and the scopes that they hold."""

    name: str
    scopes: frozenset[str]

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
