"""Make, list and revoke the API keys of a lake."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.table import Table

from lakeservice.access.principals import ALL_SCOPES, Principal
from lakeservice.access.stored_keys import KeyStore, StoredKey
from lakeservice.commands.places import place_of
from lakeservice.storage.lake import Lake
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "y": 365 * 86400}


def run_create(
    lake: str,
    scopes: Sequence[str] | None,
    expires_in: str,
    note: str | None,
    console: Console,
) -> None:
    """Make a key and print it.

    Raises
    ------
    InvalidRequestError
        ``bad-request``: an unknown scope, or a time that cannot be read.
    """
    granted = Principal("operator", ALL_SCOPES).granted(scopes)
    _, secret = _store(lake).create(
        granted, expires_in_s=_seconds(expires_in), note=note, created_by="operator"
    )
    console.print(secret, highlight=False, soft_wrap=True)


def run_list(lake: str, console: Console) -> None:
    """Print what is kept of each key."""
    store = _store(lake)
    table = Table("key", "expires", "scopes", "note", box=None)
    for key in store.list():
        scopes = "all" if set(key.scopes) >= ALL_SCOPES else " ".join(key.scopes)
        expires = f"{_expiry(key)}{' (expired)' if store.expired(key) else ''}"
        table.add_row(f"{key.first_eight}…", expires, scopes, _printable(key.note or ""))
    console.print(table, highlight=False)


def run_revoke(lake: str, first_eight: str, console: Console) -> None:
    """Forget a key."""
    key = _store(lake).revoke(first_eight)
    console.print(f"revoked {key.first_eight}…", highlight=False)


def _store(lake: str) -> KeyStore:
    return KeyStore(Lake.open(place_of(lake).lake).objects)


def _printable(text: str) -> str:
    """Return a text that moves no cursor: who made the key wrote it."""
    return "".join(one if one.isprintable() else "?" for one in text)


def _expiry(key: StoredKey) -> str:
    if key.expires_ns is None:
        return "never"
    return datetime.fromtimestamp(key.expires_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _seconds(text: str) -> float | None:
    if not text:
        return None
    found = re.fullmatch(r"(\d{1,9})([smhdy])", text)
    if found is None:
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST, f"cannot read the time {text[:40]!r}; write 30s, 5m, 12h or 7d"
        )
    return int(found[1]) * UNIT_S[found[2]]
