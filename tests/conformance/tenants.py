"""Many small servers in one process: each test of Tiled's gets a root of its own.

``python -m tests.conformance.tenants`` prints its address and serves. ``POST /t``
makes a new, empty lake and tells its id; the API is then below ``/t/<id>/api/v1/``.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ingest.indexer import IndexingProcesses
from lakeservice.access.keys import Authenticator
from lakeservice.fronts.http import create_app, http_server
from lakeservice.service import Service
from schemas.commit import Update
from schemas.entry import Spec

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

KEY = "secret"
"""The key that Tiled's tests send."""


class Asked(msgspec.Struct):
    """What a tenant's root is like."""

    metadata: dict[str, Any] = {}
    specs: list[Spec] = []
    roots: list[str] = []
    """Folders in which files may be registered."""
    public: bool = False
    raw_assets: bool = True
    """Whether files are given as they are."""


class Tenants:
    """An ASGI application that makes others, and passes requests on to them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ids = itertools.count(1)
        self._indexer = IndexingProcesses()
        self._running: dict[str, tuple[ASGIApp, Service]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Make a tenant, end one, or answer for one."""
        if scope["type"] == "lifespan":
            return
        parts = scope["path"].split("/", 3)
        if scope["type"] == "http" and scope["path"] == "/t":
            name = await asyncio.to_thread(self._make, await _body(receive))
            await _answer(send, 200, {"id": name})
            return
        found = self._running.get(parts[2]) if len(parts) > 2 and parts[1] == "t" else None
        if found is None:
            await _answer(send, 404, {"detail": "no such tenant"})
            return
        if scope["type"] == "http" and scope["method"] == "DELETE" and len(parts) == 3:
            await asyncio.to_thread(self._end, parts[2])
            await _answer(send, 200, None)
            return
        await found[0]({**scope, "root_path": f"/t/{parts[2]}"}, receive, send)

    def _make(self, payload: bytes) -> str:
        asked = msgspec.json.decode(payload, type=Asked)
        name = str(next(self._ids))
        roots = [_uri(root) for root in asked.roots]
        service = Service.open(
            str(self._folder / name),
            create=True,
            roots=roots,
            indexer=self._indexer,
            show_paths=True,
            raw_assets=asked.raw_assets,
        )
        if asked.metadata or asked.specs:
            service.commit([Update(path="", metadata=asked.metadata, specs=tuple(asked.specs))])
        authenticator = Authenticator(KEY, public=asked.public, stored=service.keys)
        app = create_app(service, authenticator, about={"version": "test"})
        self._running[name] = (app, service)
        return name

    def _end(self, name: str) -> None:
        _, service = self._running.pop(name)
        service.close()
        shutil.rmtree(self._folder / name, ignore_errors=True)


def _uri(folder: str) -> str:
    return f"file://localhost{folder}"


async def _body(receive: Receive) -> bytes:
    payload: bytes = b""
    while True:
        message = await receive()
        payload += message.get("body", b"")
        if not message.get("more_body"):
            return payload


async def _answer(send: Send, status: int, content: Any) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})


def main() -> None:
    """Serve until the process is ended."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(512)
    with tempfile.TemporaryDirectory(prefix="lake-tenants-") as folder:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        http_server(Tenants(Path(folder))).run(sockets=[listener])


if __name__ == "__main__":
    main()
