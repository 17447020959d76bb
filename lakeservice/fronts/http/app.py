"""The HTTP front: all routes of the API as one Starlette application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from lakeservice.fronts.http import about as abouts
from lakeservice.fronts.http import (
    array_writes,
    arrays,
    assets,
    awkward,
    containers,
    keys,
    live,
    metadata,
    metrics,
    ragged,
    reductions,
    register,
    revisions,
    searching,
    tables,
    zarr,
)
from lakeservice.fronts.http.call import Reply
from lakeservice.fronts.http.documents import JSON
from lakeservice.fronts.http.endpoint import PREFIX, Endpoint, Front
from lakeservice.fronts.http.openapi import openapi, page
from lakeservice.fronts.http.operations import Operation
from lakeservice.fronts.http.requests import RequestIds
from schemas.errors import ErrorKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from lakeservice.access.keys import Authenticator
    from lakeservice.fronts.http.call import Call
    from lakeservice.service.service import Service

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
EXPOSED = (
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Range",
    "ETag",
    "Retry-After",
    "Server-Timing",
    "X-Request-ID",
    "X-Tiled-Request-ID",
)
"""Headers that a page from elsewhere may read."""


def documentation(call: Call) -> Reply:
    """Return what can be asked of this server, as OpenAPI 3.1."""
    version = str(call.about.get("version", ""))
    return Reply(msgspec.json.encode(openapi(OPERATIONS, server=call.base, version=version)), JSON)


def documentation_page(_: Call) -> Reply:
    """Return a page that shows the documentation."""
    return Reply(page(), "text/html; charset=utf-8")


OPERATIONS = (
    Operation(
        method="GET", path="/openapi.json", work=documentation, scope=None, answer=dict[str, Any]
    ),
    Operation(
        method="GET", path="/docs", work=documentation_page, scope=None, answers=("text/html",)
    ),
    *abouts.OPERATIONS,
    *metadata.OPERATIONS,
    *revisions.OPERATIONS,
    *searching.OPERATIONS,
    *arrays.OPERATIONS,
    *array_writes.OPERATIONS,
    *reductions.OPERATIONS,
    *tables.OPERATIONS,
    *awkward.OPERATIONS,
    *ragged.OPERATIONS,
    *containers.OPERATIONS,
    *register.OPERATIONS,
    *assets.OPERATIONS,
    *live.OPERATIONS,
    *keys.OPERATIONS,
    *metrics.OPERATIONS,
)
"""Everything that can be asked below ``/api/v1``."""


class Resource:
    """All methods of one path, which is the route that their requests are counted under."""

    def __init__(self, path: str, methods: Mapping[str, ASGIApp]) -> None:
        self._path = path
        self._methods = dict(methods)
        if "GET" in methods:
            self._methods.setdefault("HEAD", methods["GET"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer by the method that is asked for."""
        scope.setdefault("state", {})["route"] = self._path
        endpoint = self._methods.get(scope["method"])
        if endpoint is None:
            raise HTTPException(405, headers={"Allow": ", ".join(self._methods)})
        await endpoint(scope, receive, send)


def create_app(
    service: Service,
    authenticator: Authenticator,
    *,
    about: Mapping[str, Any],
) -> Starlette:
    """Return the application that answers for a service over HTTP.

    Parameters
    ----------
    about
        What the about document tells of this server under ``meta.lakeservice``:
        its version, the address of Flight, the lake's id.
    """
    limiter = anyio.CapacityLimiter(service.limits.http_threads)
    front = Front(service, authenticator, about, limiter)
    resources: dict[str, dict[str, ASGIApp]] = {}
    for one in OPERATIONS:
        resources.setdefault(one.path, {})[one.method] = Endpoint(front, one.work, one.scope)
    routes: list[BaseRoute] = [
        Route(PREFIX + path, Resource(PREFIX + path, methods))
        for path, methods in resources.items()
    ]
    routes += [
        Route(one.path, Resource(one.path, {"GET": Endpoint(front, one.work, one.scope)}))
        for one in zarr.OPERATIONS
    ]
    routes += [
        WebSocketRoute(PREFIX + live.PATH, live.Subscriptions(front)),
        Route("/", welcome),
        Route("/healthz", health),
    ]
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(RequestIds),
            Middleware(
                CORSMiddleware,
                allow_origins=["*"],
                allow_methods=METHODS,
                allow_headers=["*"],
                expose_headers=EXPOSED,
            ),
        ],
        exception_handlers={HTTPException: no_route},
    )


async def health(_: Request) -> Response:
    """Tell that the server answers."""
    return _json({"status": "ready"})


async def welcome(_: Request) -> Response:
    """Tell where the API begins."""
    return _json({"api": f"{PREFIX}/", "root": f"{PREFIX}/metadata/"})


async def no_route(request: Request, error: Exception) -> Response:
    """Answer for addresses and methods that are no route of ours."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    known = "see docs/reference/http.md for the routes there are"
    told = f"there is no {request.method} at this address; {known}"
    headers = getattr(error, "headers", None)
    return _json({"detail": told, "kind": str(ErrorKind.BAD_REQUEST)}, status, headers)


def _json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(content), status, headers, "application/json")
