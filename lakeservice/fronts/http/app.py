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
from starlette.routing import Route

from lakeservice.fronts.http import about as abouts
from lakeservice.fronts.http import arrays, metadata, searching, tables
from lakeservice.fronts.http.endpoint import PREFIX, Endpoint, Front
from lakeservice.fronts.http.requests import RequestIds
from schemas.errors import ErrorKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request

    from lakeservice.access.keys import Authenticator
    from lakeservice.fronts.http.call import Call, Reply
    from lakeservice.service.service import Service

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
EXPOSED = ("ETag", "X-Request-ID", "X-Tiled-Request-ID", "Content-Disposition", "Retry-After")
"""Headers that a page from elsewhere may read."""

ROUTES: tuple[tuple[str, str, Callable[[Call], Reply], str | None], ...] = (
    ("GET", "/", abouts.about, None),
    ("GET", "/auth/whoami", abouts.whoami, "read:metadata"),
    ("GET", "/metadata/{path:path}", metadata.describe, "read:metadata"),
    ("POST", "/metadata/{path:path}", metadata.create, "create:node"),
    ("PUT", "/metadata/{path:path}", metadata.replace, "write:metadata"),
    ("PATCH", "/metadata/{path:path}", metadata.patch, "write:metadata"),
    ("DELETE", "/metadata/{path:path}", metadata.delete, "delete:node"),
    ("GET", "/search/{path:path}", searching.search, "read:metadata"),
    ("GET", "/search-deep/{path:path}", searching.search_deep, "read:metadata"),
    ("GET", "/distinct/{path:path}", searching.distinct, "read:metadata"),
    ("GET", "/array/full/{path:path}", arrays.full, "read:data"),
    ("PUT", "/array/full/{path:path}", arrays.put_full, "write:data"),
    ("GET", "/array/block/{path:path}", arrays.block, "read:data"),
    ("PUT", "/array/block/{path:path}", arrays.put_block, "write:data"),
    ("GET", "/table/full/{path:path}", tables.full, "read:data"),
    ("POST", "/table/full/{path:path}", tables.full_by_body, "read:data"),
    ("PUT", "/table/full/{path:path}", tables.put_full, "write:data"),
    ("GET", "/table/partition/{path:path}", tables.partition, "read:data"),
    ("POST", "/table/partition/{path:path}", tables.partition_by_body, "read:data"),
    ("PUT", "/table/partition/{path:path}", tables.put_partition, "write:data"),
    ("PATCH", "/table/partition/{path:path}", tables.append, "write:data"),
)
"""Method, path below ``/api/v1``, what answers, and the scope that it needs."""


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
    routes = [
        Route(PREFIX + path, Endpoint(front, work, scope), methods=[method])
        for method, path, work, scope in ROUTES
    ]
    routes += [Route("/", welcome), Route("/healthz", health)]
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
