"""The HTTP front: Tiled's API v1 over the service."""

from lakeservice.fronts.http.app import create_app
from lakeservice.fronts.http.serve import http_server

__all__ = ["create_app", "http_server"]
