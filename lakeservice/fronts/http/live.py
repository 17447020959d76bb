"""Subscriptions over WebSocket: what happens to a node, as it happens."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import anyio
import anyio.to_thread
import msgspec
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from lakeservice.access.keys import key_in_header
from lakeservice.fronts.http.documents import document
from lakeservice.fronts.http.endpoint import base_url, error_reply
from lakeservice.fronts.http.frames import ENVELOPES, Frames
from lakeservice.fronts.http.operations import Operation
from schemas.commit import Update
from schemas.errors import AccessError, ErrorKind, InvalidRequestError, LakeError
from schemas.path import clean_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.types import Receive, Scope, Send

    from lakeservice.fronts.http.call import Call, Reply
    from lakeservice.fronts.http.endpoint import Front
    from lakeservice.fronts.http.frames import Frame
    from lakeservice.service.live import Subscription
    from schemas.entry import Node

logger = logging.getLogger(__name__)

PATH = "/stream/single/{path:path}"
"""Below ``/api/v1``."""
SCOPES = ("read:data", "read:metadata")
AUTH_S = 10
"""How long a client that brought no key may take to send it, in seconds."""
RECHECK_S = 30
"""How often the key of an open subscription is looked up again, in seconds."""
SEND_S = 60
"""How long one frame may wait for a client that does not read, in seconds."""
ENDED, AWAY, EXPECTED_AUTH, REFUSED, GONE, TOO_SLOW, FAILED = (
    1000,
    1001,
    4001,
    4003,
    4004,
    1013,
    1011,
)
"""Codes with which a WebSocket is closed."""
_NO_DOCUMENT = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_READERS = 8
"""Frames that are made at the same time; others wait."""


@dataclass(frozen=True)
class _Listening:
    """One subscriber, and where it is in the events of its node."""

    socket: WebSocket
    key: str | None
    node: Node
    subscription: Subscription
    frames: Frames
    woken: asyncio.Event
    start: int | None


class Subscriptions:
    """The WebSocket route of one server, as an ASGI application."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._limiter = anyio.CapacityLimiter(_READERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one subscriber until either side ends it."""
        socket = WebSocket(scope, receive, send)
        with contextlib.suppress(WebSocketDisconnect):
            try:
                await self._serve(socket)
            except LakeError as error:
                await _refuse(socket, error)
            except Exception:
                identity = secrets.token_hex(8)
                logger.exception("subscription %s failed", identity)
                with contextlib.suppress(RuntimeError):
                    await socket.close(FAILED, f"the server failed; its log knows it as {identity}")

    async def _serve(self, socket: WebSocket) -> None:
        envelope, start = _asked(socket)
        path = clean_path(socket.path_params.get("path", ""))
        key = _key(socket)
        told = key is not None or not self._front.authenticator.required
        if told:
            await self._check(key)
        woken = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(woken.set)

        subscription: Subscription | None = None
        try:
            # Before the key is asked for, so that nothing is missed that happens meanwhile.
            try:
                node, subscription = await anyio.to_thread.run_sync(self._listen, path, wake)
            except LakeError:
                if told:
                    raise
            await socket.accept()
            if not told:
                key = await self._key_in_message(socket)
                if key is None:
                    return
            if subscription is None:
                await socket.close(GONE, "there is no such node; search for it")
                return
            base = base_url(socket.scope, socket.headers).replace("ws", "http", 1)
            frames = Frames(self._front.service, path, base, envelope)
            listening = _Listening(socket, key, node, subscription, frames, woken, start)
            await self._stream(listening)
        finally:
            if subscription is not None:
                subscription.close()

    def _listen(self, path: str, wake: Callable[[], None]) -> tuple[Node, Subscription]:
        service = self._front.service
        node = service.describe(path)
        return node, service.following.listen(node, wake)

    async def _key_in_message(self, socket: WebSocket) -> str | None:
        """Return the key in the first message; None where there was no good one: it is closed."""
        message: Any = None
        with anyio.move_on_after(AUTH_S), contextlib.suppress(*_NO_DOCUMENT):
            received = await socket.receive()
            if received["type"] == "websocket.disconnect":
                return None
            message = msgspec.json.decode(received.get("text") or received.get("bytes") or b"")
        if not isinstance(message, dict) or message.get("type") != "auth":
            await socket.close(EXPECTED_AUTH, 'send {"type": "auth", "api_key": "…"} first')
            return None
        key = message.get("api_key") or message.get("access_token")
        try:
            await self._check(key if isinstance(key, str) else None)
        except LakeError:
            await socket.close(REFUSED, "this API key is not valid here")
            return None
        return str(key)

    async def _check(self, key: str | None) -> None:
        """Refuse a key with which nobody may listen."""
        authenticate = self._front.authenticator.authenticate
        principal = await anyio.to_thread.run_sync(authenticate, key)
        for scope in SCOPES:
            principal.require(scope)

    async def _stream(self, listening: _Listening) -> None:
        """Tell events until either side ends it, or the key is not good any more."""
        socket = listening.socket
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                with contextlib.suppress(RuntimeError):  # closed by us
                    while (await socket.receive())["type"] != "websocket.disconnect":
                        pass
                tasks.cancel_scope.cancel()

            async def recheck() -> None:
                while True:
                    await anyio.sleep(RECHECK_S)
                    try:
                        await self._check(listening.key)
                    except AccessError:
                        await socket.close(REFUSED, "this API key is not valid any more")
                        tasks.cancel_scope.cancel()
                    except LakeError as error:
                        logger.warning("a key could not be looked up: %s", error)

            tasks.start_soon(watch)
            tasks.start_soon(recheck)
            try:
                await self._tell(listening)
            except LakeError as error:
                code = TOO_SLOW if error.kind is ErrorKind.WINDOW_PASSED else GONE
                await socket.close(code, _short(error.message))
            except WebSocketDisconnect:
                pass
            tasks.cancel_scope.cancel()

    async def _tell(self, listening: _Listening) -> None:
        socket, subscription = listening.socket, listening.subscription
        node, frames, start = listening.node, listening.frames, listening.start
        missed = start is not None and subscription.seek(start)
        window = subscription.window
        if not await _sent(socket, frames.schema(node, window)):
            return
        brought_to = 0
        if missed:
            brought_to = node.revision
            await self._send_all(socket, frames.present(node, max(1, window[0] - 1)))
        while True:
            listening.woken.clear()
            event = subscription.take()
            if event is None:
                await listening.woken.wait()
            elif event.kind == "ended":
                await socket.close(ENDED, "Producer ended stream")
                return
            elif event.kind == "deleted":
                await socket.close(ENDED, "the node was deleted")
                return
            elif not 0 < event.revision <= brought_to and not await self._send_all(
                socket, frames.of(event)
            ):
                return

    async def _send_all(self, socket: WebSocket, frames: Iterator[Frame]) -> bool:
        """Send frames as they are made; tell whether the client took them."""
        while True:
            frame = await anyio.to_thread.run_sync(next, frames, None, limiter=self._limiter)
            if frame is None:
                return True
            if not await _sent(socket, frame):
                return False


def close_stream(call: Call) -> Reply:
    """Tell those who listen to a node that nothing more will come."""
    node = call.service.describe(call.path)
    call.commit(Update(path=node.path, id=node.id if node.path else None, ends_stream=True))
    return document(call, None)


def _key(socket: WebSocket) -> str | None:
    given = socket.query_params
    key = key_in_header(socket.headers.get("authorization"))
    return key or given.get("api_key") or given.get("access_token")


async def _sent(socket: WebSocket, frame: Frame) -> bool:
    with anyio.move_on_after(SEND_S):
        if isinstance(frame, str):
            await socket.send_text(frame)
        else:
            await socket.send_bytes(frame)
        return True
    return False


async def _refuse(socket: WebSocket, error: LakeError) -> None:
    """Answer the handshake with the status that the same mistake has elsewhere."""
    reply = error_reply(error.kind, error.message)
    with contextlib.suppress(RuntimeError):
        await socket.send_denial_response(
            Response(cast("bytes", reply.content), reply.status, media_type=reply.media_type)
        )


def _asked(socket: WebSocket) -> tuple[Literal["json", "msgpack"], int | None]:
    envelope = socket.query_params.get("envelope_format", "json")
    if envelope not in ENVELOPES:
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST, f"envelope_format={envelope[:40]!r}; write json or msgpack"
        )
    start = socket.query_params.get("start")
    if start is not None and not (start.isascii() and start.isdigit() and len(start) < 19):
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST, f"start={start[:40]!r}; write a whole number from 0 up"
        )
    return cast("Literal['json', 'msgpack']", envelope), None if start is None else int(start)


def _short(reason: str) -> str:
    """Return a reason that fits into a close frame, which has room for 123 bytes."""
    return reason.encode()[:120].decode("utf-8", "ignore")


OPERATIONS = (
    Operation(
        method="DELETE",
        path="/stream/close/{path:path}",
        work=close_stream,
        scope="write:data",
    ),
)
