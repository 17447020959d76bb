"""Around every request: an id, its timing, one line in the log without its query."""

from __future__ import annotations

import logging
import secrets
import time
from typing import TYPE_CHECKING

from lakeservice.fronts.http.metrics import ACTIVE, ELSEWHERE, observed

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class RequestIds:
    """Gives each request an id that the answer carries and the log knows.

    The log line leaves out the query, which may hold an API key.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity = secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = identity
        status, sent, begun = 0, 0, time.perf_counter()
        method = scope["method"] if scope["method"] in METHODS else "other"

        async def answer(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                header = identity.encode()
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", header),
                    (b"x-tiled-request-id", header),
                    (b"server-timing", b"app;dur=%.1f" % (1000 * (time.perf_counter() - begun))),
                ]
            else:
                sent += len(message.get("body", b""))
            await send(message)

        try:
            with ACTIVE.track_inprogress():
                await self._app(scope, receive, answer)
        finally:
            route = scope["state"].get("route", ELSEWHERE)
            observed(method, route, status, time.perf_counter() - begun, sent)
            if logger.isEnabledFor(logging.INFO):
                took_ms = 1000 * (time.perf_counter() - begun)
                path = scope["path"][:200].encode("unicode_escape").decode()
                logger.info("%s %s %s %d %.1f ms", identity, scope["method"], path, status, took_ms)
