"""From ASGI to a route and back: who asks, work in a thread, errors, the answer in pieces."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import msgspec
from starlette.datastructures import Headers, QueryParams
from starlette.requests import ClientDisconnect

from lakeservice.access.keys import key_in_header
from lakeservice.access.principals import ANONYMOUS, Principal
from lakeservice.fronts.http.body import Body
from lakeservice.fronts.http.call import Call, Reply
from lakeservice.fronts.http.compression import (
    compressed,
    encoding_of,
    encodings_for,
    is_worth_it,
)
from lakeservice.fronts.http.etags import NotModifiedError
from lakeservice.fronts.http.ranges import NoSuchRangeError, can_be_ranged, ranged, with_ranges
from lakeservice.fronts.http.streaming import part, streamed
from lakeservice.fronts.status import BUG, BUG_KIND, RETRY_AFTER_S, WIRE
from schemas.errors import ErrorKind, LakeError
from schemas.path import clean_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from starlette.types import Message, Receive, Scope, Send

    from lakeservice.access.keys import Authenticator
    from lakeservice.export.exporter import Piece
    from lakeservice.service.service import Service

logger = logging.getLogger(__name__)

PREFIX = "/api/v1"
"""Where Tiled's clients look for the API."""
GATHERED_BYTES = 256 << 10
"""Answers that end within so many bytes are sent in one piece, with their length."""
_NOBODY = Principal(ANONYMOUS, frozenset())


@dataclass(frozen=True)
class Front:
    """What all routes share."""

    service: Service
    authenticator: Authenticator
    about: Mapping[str, Any]
    limiter: anyio.CapacityLimiter
    """Requests that work at the same time."""


class Endpoint:
    """One operation of the API as an ASGI application.

    Parameters
    ----------
    work
        The route: from the call to the reply, run in a worker thread.
    scope
        What a principal must hold; None where everybody may ask.
    """

    def __init__(self, front: Front, work: Callable[[Call], Reply], scope: str | None) -> None:
        self._front = front
        self._work = work
        self._scope = scope

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = Headers(scope=scope)
        body = Body(receive, headers)
        rest: Iterator[Piece] | None = None
        try:
            reply, first, rest = await self._begin(scope, headers, body)
        except ClientDisconnect:
            return
        except NotModifiedError as known:
            reply, first = Reply(b"", "", 304).tagged(known.tag), b""
        except NoSuchRangeError as error:
            reply, first = error_reply(error.kind, error.message), b""
            reply.headers["Content-Range"] = f"bytes */{error.length}"
        except LakeError as error:
            reply, first = self._refused(error, scope), b""
        except Exception:
            logger.exception("request %s failed", request_id(scope))
            reply, first = bug_reply(scope), b""
        if reply.status >= 400 and isinstance(reply.content, bytes):
            first = reply.content
            if not body.ended:
                await self._leave(body, reply)
        await self._send(reply, first, rest, scope, receive, send)

    async def _begin(
        self, scope: Scope, headers: Headers, body: Body
    ) -> tuple[Reply, Piece, Iterator[Piece] | None]:
        params = QueryParams(scope["query_string"])
        key = None if self._scope is None else _key(headers, params)
        if self._front.authenticator.knows(key):
            principal = self._principal(key)
        else:
            principal = await anyio.to_thread.run_sync(
                self._principal, key, limiter=self._front.limiter
            )
        path = clean_path(scope["path_params"].get("path", ""))
        await body.prefetch()
        call = Call(
            service=self._front.service,
            principal=principal,
            path=path,
            params=params,
            headers=headers,
            body=body,
            base=base_url(scope, headers),
            about=self._front.about,
            method=scope["method"],
            required=self._front.authenticator.required,
        )
        encodings = encodings_for(scope, headers)
        return await anyio.to_thread.run_sync(
            self._timed, call, scope["method"], encodings, limiter=self._front.limiter
        )

    def _principal(self, key: str | None) -> Principal:
        if self._scope is None:
            return _NOBODY
        principal = self._front.authenticator.authenticate(key)
        principal.require(self._scope)
        return principal

    def _timed(
        self, call: Call, method: str, encodings: frozenset[str]
    ) -> tuple[Reply, Piece, Iterator[Piece] | None]:
        began = time.perf_counter()
        reply, first, rest = self._answer(call, method, encodings)
        took_ms = 1000 * (time.perf_counter() - began)
        reply.headers["Server-Timing"] = f'work;dur={took_ms:.1f};desc="to the first byte"'
        return reply, first, rest

    def _answer(
        self, call: Call, method: str, encodings: frozenset[str]
    ) -> tuple[Reply, Piece, Iterator[Piece] | None]:
        """Do the work up to the first piece: until then an error can still be told."""
        reply = _settled(self._work(call))
        if method == "HEAD" and can_be_ranged(reply):
            return with_ranges(reply), b"", None
        sent_so = "Content-Encoding" in reply.headers
        if method == "GET" and can_be_ranged(reply) and ranged(reply, call.headers):
            sent_so = True
        content = reply.content
        encoding = None if sent_so else encoding_of(encodings, reply.media_type)
        if isinstance(content, bytes):
            if encoding and is_worth_it(content):
                content = b"".join(compressed(iter((content,)), encoding))
                reply.headers["Content-Encoding"] = encoding
            reply.length = len(content)
            return with_ranges(reply), content, None
        first, ended = _gathered(content, reply.length)
        if encoding and is_worth_it(first):
            content = compressed(_chained(first, content), encoding)
            reply.headers["Content-Encoding"] = encoding
            reply.length = None
            first, ended = _gathered(content, None)
            reply.length = len(first) if ended else None
        return with_ranges(reply), first, None if ended else content

    async def _send(
        self,
        reply: Reply,
        first: Piece,
        rest: Iterator[Piece] | None,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        if reply.length is None and rest is None:
            reply.length = len(first)
        try:
            await send(_start(reply))
            if scope["method"] == "HEAD" or rest is None:
                await send(part(b"" if scope["method"] == "HEAD" else first, more=False))
                return
            limiter = self._front.limiter
            await streamed(first, rest, limiter, receive, send, request_id(scope))
        finally:
            close = getattr(rest, "close", None)
            if close is not None:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(close, limiter=self._front.limiter)

    def _refused(self, error: LakeError, scope: Scope) -> Reply:
        reply = error_reply(error.kind, error.message)
        if reply.status == 401:
            reply.headers["WWW-Authenticate"] = (
                f'Bearer realm="lakeservice", scope="{self._scope or ""}"'
            )
            reply.headers["X-Tiled-Root"] = base_url(scope, Headers(scope=scope))
        return reply

    @staticmethod
    async def _leave(body: Body, reply: Reply) -> None:
        """Take what the client still sends, or tell that the connection ends here."""
        try:
            if body.length is None or not await body.drain():
                reply.headers["Connection"] = "close"
        except ClientDisconnect:
            return


def error_reply(kind: ErrorKind, message: str) -> Reply:
    """Return a refusal in the form that Tiled's clients show."""
    status = WIRE[kind].status
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}
    document = {"detail": message, "kind": str(kind)}
    return Reply(msgspec.json.encode(document), "application/json", status, headers)


def bug_reply(scope: Scope) -> Reply:
    """Return what is told of a fault of the program: where the log has it."""
    document = {
        "detail": f"the server failed at this request; its log knows it as {request_id(scope)}",
        "kind": BUG_KIND,
    }
    return Reply(msgspec.json.encode(document), "application/json", BUG.status)


def request_id(scope: Scope) -> str:
    """Return the id under which this request is logged."""
    return str(scope.get("state", {}).get("request_id", "-"))


def base_url(scope: Scope, headers: Headers) -> str:
    """Return the address of the API, built from what the client asked for."""
    host = headers.get("host")
    if host is None:
        name, port = scope.get("server") or ("localhost", None)
        host = f"{name}:{port}" if port else str(name)
    return f"{scope.get('scheme', 'http')}://{host}{scope.get('root_path', '')}{PREFIX}"


def _key(headers: Headers, params: QueryParams) -> str | None:
    key = key_in_header(headers.get("authorization"))
    return key if key is not None else params.get("api_key")


def _start(reply: Reply) -> Message:
    headers = [(b"x-content-type-options", b"nosniff"), (b"vary", b"Accept, Accept-Encoding")]
    if reply.media_type:
        headers.append((b"content-type", reply.media_type.encode("latin-1")))
    if reply.length is not None and reply.status != 304:
        headers.append((b"content-length", b"%d" % reply.length))
    headers += [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in reply.headers.items()
    ]
    return {"type": "http.response.start", "status": reply.status, "headers": headers}


def _settled(reply: Reply) -> Reply:
    """Return a reply whose length is known, where its content is short enough to wait for."""
    content = reply.content
    if isinstance(content, bytes):
        reply.length = len(content)
    elif reply.length is None:
        first, ended = _gathered(content, None)
        if ended:
            reply.content, reply.length = bytes(first), len(first)
        else:
            reply.content = _chained(first, content)
    return reply


def _gathered(pieces: Iterator[Piece], length: int | None) -> tuple[Piece, bool]:
    """Return the beginning of an answer, and whether it is all of it."""
    taken: list[Piece] = []
    size = 0
    while size < GATHERED_BYTES:
        piece = next(pieces, None)
        if piece is None:
            return b"".join(taken), True
        taken.append(piece)
        size += len(piece)
    return taken[0] if len(taken) == 1 else b"".join(taken), size == length


def _chained(first: Piece, rest: Iterator[Piece]) -> Iterator[Piece]:
    try:
        yield first
        yield from rest
    finally:
        close = getattr(rest, "close", None)
        if close is not None:
            close()
