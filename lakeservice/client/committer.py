"""Entries for a running server: data is in the lake already, the server makes it visible."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Self

import msgspec

from lakeservice.client.address import find
from lakeservice.client.connection import Connection
from schemas.commit import Applied, Mutation
from schemas.entry import Node

if TYPE_CHECKING:
    from collections.abc import Sequence

_ENTRIES = msgspec.json.Decoder(dict[str, Node])
_APPLIED = msgspec.json.Decoder(list[Applied])


class ServerCommitter:
    """Commits what ingest wrote through a server of the same lake; as a context, closes itself.

    Parameters
    ----------
    url
        The server's HTTP address.
    api_key
        A key with the scope ``register``; empty takes the one in ``url``.

    Raises
    ------
    LakeError
        As `lakeservice.connect` raises.
    """

    def __init__(self, url: str, api_key: str = "") -> None:
        self._connection = Connection(find(url, api_key or None))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def describe(self, paths: Sequence[str]) -> dict[str, Node]:
        """Return the entries that exist at these paths, with where their data lies."""
        body = msgspec.json.encode({"paths": paths})
        return _ENTRIES.decode(self._connection.action("entries", body)[0])

    def commit(
        self, mutations: Sequence[Mutation], *, key: str | None = None
    ) -> tuple[Applied, ...]:
        """Make mutations visible together, or none of them."""
        ask = {"mutations": mutations, "key": key or uuid.uuid4().hex}
        answer = self._connection.action("commit", msgspec.json.encode(ask))[0]
        return tuple(_APPLIED.decode(answer))
