"""WebSockets of Tiled's own tests, passed on to the server under test.

Tiled's tests open WebSockets with Starlette's test client, which talks to an
application in its own process. Here the application is one that connects to the
server under test and hands frames on in both directions.
"""

from __future__ import annotations

import asyncio
import contextlib

import httpx
import websockets
from starlette.testclient import TestClient
from websockets.asyncio.client import connect

OPEN_S = 30


class Elsewhere:
    """An ASGI application whose WebSockets are those of another server."""

    def __init__(self, url):
        self._server, _, rest = url.partition("://")[2].partition("/")
        self._prefix = f"/{rest}" if rest else ""

    async def __call__(self, scope, receive, send):
        """Serve one WebSocket."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "websocket":
            raise NotImplementedError(scope["type"])
        path = scope["raw_path"].decode() if scope.get("raw_path") else scope["path"]
        query = scope["query_string"].decode()
        address = f"ws://{self._server}{self._prefix}{path.partition('?')[0]}?{query}"
        kept = (b"authorization", b"cookie")
        headers = [(k.decode(), v.decode()) for k, v in scope["headers"] if k in kept]
        await receive()
        try:
            remote = await connect(
                address, additional_headers=headers, max_size=None, open_timeout=OPEN_S, proxy=None
            )
        except websockets.exceptions.InvalidStatus as refused:
            answer = refused.response
            sent = [(k.lower().encode(), v.encode()) for k, v in answer.headers.raw_items()]
            start = {"status": answer.status_code, "headers": sent}
            await send({"type": "websocket.http.response.start", **start})
            await send({"type": "websocket.http.response.body", "body": answer.body or b""})
            return
        async with remote:
            await send({"type": "websocket.accept"})
            outwards = asyncio.create_task(_outwards(receive, remote))
            try:
                await _inwards(remote, send)
            finally:
                outwards.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await outwards


async def _live(receive, send):
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _outwards(receive, remote):
    with contextlib.suppress(websockets.exceptions.ConnectionClosed):
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                await remote.close()
                return
            text, binary = message.get("text"), message.get("bytes")
            await remote.send(binary if text is None else text)


async def _inwards(remote, send):
    try:
        async for frame in remote:
            name = "text" if isinstance(frame, str) else "bytes"
            await send({"type": "websocket.send", name: frame})
    except websockets.exceptions.ConnectionClosed:
        pass
    closed = {"code": remote.close_code or 1005, "reason": remote.close_reason or ""}
    with contextlib.suppress(RuntimeError):
        await send({"type": "websocket.close", **closed})


class KeyLogin(httpx.Auth):
    """Somebody who is logged in at a server with many users: here, by a key."""

    def __init__(self, key):
        self.tokens = {"access_token": key}

    def auth_flow(self, request):
        """Add the key."""
        request.headers["Authorization"] = f"Bearer {self.tokens['access_token']}"
        yield request


def open_sockets(context, url):
    """Give a context's client what Starlette's test client has: an application and sockets."""
    client = context.http_client
    client.app = Elsewhere(url)

    def websocket_connect(address, headers=None, **more):
        sent = dict(headers or {})
        if "authorization" in client.headers:
            sent.setdefault("Authorization", client.headers["authorization"])
        return TestClient(client.app).websocket_connect(address, headers=sent, **more)

    client.websocket_connect = websocket_connect


class NoRedis:
    """Stands where Tiled's fixtures would empty a Redis."""

    @classmethod
    def from_url(cls, *_, **__):
        """Return one."""
        return cls()

    def flushdb(self):
        """Do nothing."""
