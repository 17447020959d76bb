"""Endpoints of a plan: read from whichever server they name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from schemas.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lakeservice.client.connection import Connection

T = TypeVar("T")
_HERE = "arrow-flight-reuse-connection://"


def locations_of(endpoint: Any) -> tuple[str, ...]:
    """Return the addresses of the servers that an endpoint names; none means the one asked."""
    return tuple(location.uri.decode() for location in endpoint.locations)


def read_endpoint(
    connection: Connection,
    ticket: bytes,
    locations: Sequence[str],
    consume: Callable[[Any], T],
    lane: int,
) -> T:
    """Return what ``consume`` makes of an endpoint's stream, from the first server that answers.

    Lanes begin with different servers. See `Connection.read`.

    Raises
    ------
    UnavailableError
        No server answers.
    """
    servers = [_server(connection, location) for location in locations] or [connection]
    for number in range(len(servers) - 1):
        try:
            return servers[(lane + number) % len(servers)].read(ticket, consume, lane)
        except UnavailableError:
            continue
    return servers[(lane + len(servers) - 1) % len(servers)].read(ticket, consume, lane)


def _server(connection: Connection, location: str) -> Connection:
    return connection if location.startswith(_HERE) else connection.elsewhere(location)
