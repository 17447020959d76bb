"""A real service over a lake in a temporary folder, and the HTTP front in process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from starlette.testclient import TestClient

from lakeservice.access.keys import Authenticator
from lakeservice.fronts.http import create_app
from lakeservice.service.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "a-key-of-the-tests"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service over a new, empty lake."""
    with Service.open(str(tmp_path / "lake"), create=True) as opened:
        yield opened


@pytest.fixture
def http(service: Service) -> Iterator[TestClient]:
    """A client of the HTTP front that holds the key."""
    app = create_app(
        service,
        Authenticator(KEY, stored=service.keys),
        about={"version": "1", "flight": "grpc://x:1"},
    )
    with TestClient(
        app, base_url="http://lake", headers={"authorization": f"Apikey {KEY}"}
    ) as client:
        yield client


@pytest.fixture
def anybody(service: Service) -> Iterator[TestClient]:
    """A client without a key, of a public server."""
    app = create_app(service, Authenticator(KEY, public=True), about={})
    with TestClient(app, base_url="http://lake") as client:
        yield client
