"""Servers that Tiled's own tests start in their process, replaced by the server under test.

Some tests run an application behind a socket of their own, or ask it without one
(`httpx.ASGITransport`). Here both lead to a new root that holds what the
application's tree holds; what cannot be read in the test's process is left out.
"""

import contextlib

import httpx
from tiled.client import from_context
from tiled.client.context import Context


class Roots:
    """The root of each application, made when it is first asked for."""

    def __init__(self, make, push, key):
        self._make, self._push, self._key = make, push, key
        self._made = {}

    def of(self, app):
        """Return the address of an application's root."""
        if id(app) not in self._made:
            tree = app.state.root_tree
            metadata = tree.metadata() if callable(tree.metadata) else tree.metadata
            tenant = self._make(dict(metadata or {}), [])
            context = Context(f"{tenant.url}/api/v1/", api_key=self._key)
            self._fill(tree, from_context(context, remember_me=False))
            self._made[id(app)] = app, tenant
        return self._made[id(app)][1].url

    def _fill(self, tree, client):
        for key, adapter in tree.items():
            if adapter.structure_family == "container":
                self._fill(adapter, client.create_container(key, metadata=adapter.metadata()))
                continue
            with contextlib.suppress(Exception):
                self._push({key: adapter}, client)


def redirect(roots):
    """Send what is asked of applications in the test's process to their roots."""

    class Elsewhere(httpx.AsyncHTTPTransport):
        def __init__(self, app, **_):
            super().__init__()
            self._url = httpx.URL(roots.of(app))

        async def handle_async_request(self, request):
            prefix = self._url.raw_path.rstrip(b"/")
            request.url = self._url.copy_with(raw_path=prefix + request.url.raw_path)
            request.headers["host"] = self._url.netloc.decode()
            return await super().handle_async_request(request)

    @contextlib.contextmanager
    def run_in_thread(self):
        yield roots.of(self.config.app)

    httpx.ASGITransport = Elsewhere
    with contextlib.suppress(ImportError):
        from tests.utils import Server  # Tiled's, found when its tests are

        Server.run_in_thread = run_in_thread
