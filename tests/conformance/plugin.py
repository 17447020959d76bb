"""A pytest plugin that lets Tiled's own tests talk to another server, by URI only.

It runs in the environment of Tiled's clients and replaces ``Context.from_app``: for
each application that a test builds, `LAKE_TENANTS` is asked for a new, empty root;
what the test's tree holds in memory is uploaded there with Tiled's own client, and
the test goes on with a client of that root. Nothing of ours is imported here.
"""

from __future__ import annotations

import collections
import functools
import itertools
import os
import subprocess
import tempfile

import httpx
import httpx._transports.default as transports
import numpy as np
import pytest
import redis
from served import Roots, redirect
from sockets import KeyLogin, NoRedis, open_sockets
from tiled.catalog.adapter import CatalogContainerAdapter
from tiled.client import from_context
from tiled.client.context import Context
from tiled.server.settings import get_settings
from tiled.structures.core import Spec, StructureFamily
from tiled.structures.data_source import DataSource
from tiled.utils import UNSET

KEY = "secret"
LEFT_OPEN = 2
"""Contexts that stay open after a test has left them."""
# One context for all clients: making it is most of what a client costs.
transports.create_ssl_context = functools.lru_cache(transports.create_ssl_context)


def push(tree, client):
    """Upload what lies in memory."""
    for key, adapter in tree.items() if hasattr(tree, "items") else ():
        family = StructureFamily(adapter.structure_family)
        metadata = adapter.metadata() if callable(adapter.metadata) else adapter.metadata
        about = {
            "key": key,
            "metadata": dict(metadata or {}),
            "specs": list(getattr(adapter, "specs", None) or []),
        }
        if family == StructureFamily.container:
            container = client.create_container(**about)
            push(adapter, getattr(container, "base", container))
        elif family == StructureFamily.array:
            push_array(adapter, client, about)
        elif family == StructureFamily.table:
            push_table(adapter, client, about)
        elif family == StructureFamily.sparse:
            structure = adapter.structure()
            source = DataSource(structure=structure, structure_family=family)
            node = client.new("sparse", [source], **about)
            for block, (coords, values) in adapter.blocks.items():
                node.write_block(coords=np.asarray(coords), data=np.asarray(values), block=block)
        elif family == StructureFamily.awkward:
            client.write_awkward(adapter.read(), **about)
        elif family == StructureFamily.ragged:
            client.write_ragged(adapter.read(), **about)
        else:
            raise NotImplementedError(family)


def push_array(adapter, client, about):
    """Upload an array, block by block where it has several."""
    structure = adapter.structure()
    source = DataSource(structure=structure, structure_family=StructureFamily.array)
    node = client.new("array", [source], **about)
    blocks = list(itertools.product(*(range(len(sizes)) for sizes in structure.chunks)))
    if not structure.shape or 0 in structure.shape or len(blocks) == 1:
        node.write(np.asarray(adapter.read()))
        return
    whole = np.asarray(adapter.read())
    ends = [list(itertools.accumulate(sizes)) for sizes in structure.chunks]
    for block in blocks:
        bounds = zip(ends, structure.chunks, block, strict=True)
        part = tuple(slice(end[n] - sizes[n], end[n]) for end, sizes, n in bounds)
        node.write_block(whole[part], block)


def push_table(adapter, client, about):
    """Upload a table, partition by partition."""
    structure = adapter.structure()
    source = DataSource(structure=structure, structure_family=StructureFamily.table)
    node = client.new("table", [source], **about)
    if structure.npartitions == 1:
        node.write(adapter.read())
        return
    for number in range(structure.npartitions):
        node.write_partition(number, adapter.read_partition(number))


class Tenant:
    """A root on the server under test; looks like what the plugin's context would stop."""

    def __init__(self, metadata, specs, raw_assets=True, public=False):
        self._server = os.environ["LAKE_TENANTS"]
        asked = {
            "metadata": metadata,
            "specs": specs,
            "raw_assets": raw_assets,
            "public": public,
            "roots": [tempfile.gettempdir(), *filter(None, [os.environ.get("LAKE_ROOTS")])],
        }
        answer = httpx.post(f"{self._server}/t", json=asked, timeout=30)
        answer.raise_for_status()
        self.url = f"{self._server}/t/{answer.json()['id']}"

    def end(self):
        """Forget it."""
        httpx.delete(self.url, timeout=30)


def plain(specs):
    """Return specs as they are sent."""
    made = [spec if isinstance(spec, Spec) else Spec(spec) for spec in specs or ()]
    return [{"name": spec.name, "version": spec.version} for spec in made]


def from_app(cls, app, *, cache=UNSET, headers=None, timeout=None, api_key=UNSET, uri=None, **_):
    """Return a context of a new root that holds what the application's tree holds."""
    tree = app.state.root_tree
    metadata = tree.metadata() if callable(tree.metadata) else tree.metadata
    settings = app.dependency_overrides.get(get_settings, get_settings)()
    specs = plain(getattr(tree, "specs", None))
    tenant = Tenant(
        dict(metadata or {}),
        specs,
        settings.expose_raw_assets,
        public=settings.allow_anonymous_access,
    )
    given = {} if cache is UNSET else {"cache": cache}
    key = KEY if api_key is UNSET else api_key
    address = f"{tenant.url}/api/v1/"
    context = cls(address, api_key=key, headers=headers, timeout=timeout, **given)
    # A client on this machine would get bytes as they are; one from elsewhere, compressed.
    context.http_client.headers["X-Forwarded-For"] = "192.0.2.1"
    context.http_client.base_url = tenant.url  # tests ask for relative addresses
    if not isinstance(tree, CatalogContainerAdapter):
        push(tree, from_context(cls(address, api_key=KEY), remember_me=False))
    context.lake_tenant = tenant
    open_sockets(context, tenant.url)
    if app.state.authenticated and api_key is UNSET:
        context.api_key = None
        context.http_client.auth = KeyLogin(KEY)
    return context


@pytest.fixture(autouse=True, scope="session")
def elsewhere():
    """Send every client of an application in the test's process to the server under test."""
    original, closing = Context.__dict__["from_app"], Context.__exit__
    left = collections.deque()

    def close(context):
        closing(context, None, None, None)
        context.lake_tenant.end()

    def leave(self, *error):
        if not hasattr(self, "lake_tenant"):
            return closing(self, *error)
        # A client of an application in the same process can be used after it was left.
        left.append(self)
        if len(left) > LEFT_OPEN:
            close(left.popleft())
        return None

    Context.from_app = classmethod(from_app)
    Context.__exit__ = leave
    os.environ.setdefault("TILED_TEST_REDIS", "redis://127.0.0.1:1")
    redis.from_url = NoRedis.from_url
    yield
    while left:
        close(left.popleft())
    Context.from_app = original
    Context.__exit__ = closing


def without_catalogs(run):
    """Return ``subprocess.run`` that makes no database: nobody opens the catalogs of tests."""

    def told(command, *args, **options):
        if isinstance(command, list) and command[2:5] == ["tiled", "catalog", "init"]:
            return subprocess.CompletedProcess(command, 0, b"", b"")
        return run(command, *args, **options)

    return told


def pytest_configure():
    """Redirect servers before the tests' modules import what starts them."""
    subprocess.run = without_catalogs(subprocess.run)
    redirect(Roots(Tenant, push, KEY))
