"""The HTTP server itself: uvicorn on uvloop, with settings that fit long answers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from starlette.types import ASGIApp

SHUTDOWN_S = 10
"""How long answers under way may take to end after a stop, in seconds."""
KEEP_ALIVE_S = 75
"""How long a connection stays open between requests, in seconds."""
MESSAGE_BYTES = 64 << 10
"""Largest message that a WebSocket may send to us."""


def http_server(app: ASGIApp, host: str = "127.0.0.1", port: int = 0) -> uvicorn.Server:
    """Return a server for an application, not yet started.

    ``server.run()`` serves until a signal, on ``host`` and ``port``, or on the
    sockets that ``run(sockets=[…])`` is given.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="asyncio" if sys.platform == "win32" else "uvloop",
        http="httptools",
        ws="websockets-sansio",
        # Subscribers send nothing but their key; images do not get smaller by deflate.
        ws_max_size=MESSAGE_BYTES,
        ws_per_message_deflate=False,
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_S,
        backlog=2048,
    )
    return uvicorn.Server(config)
