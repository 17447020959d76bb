"""One process, one port each: HTTP and Arrow Flight over one lake."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any, Self

from lakeservice import __version__
from lakeservice.access.keys import Authenticator
from lakeservice.fronts.flight import LakeFlightServer
from lakeservice.fronts.http import create_app, http_server
from schemas.errors import ErrorKind, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakeservice.config import Serve
    from lakeservice.service import Service


class Server:
    """Both fronts of one service.

    Parameters
    ----------
    service
        The lake; closed by its owner, after the server.
    serve
        Where to listen, and who may come in; its key must be set.

    Raises
    ------
    UnavailableError
        ``busy``: a port is taken.
    """

    def __init__(self, service: Service, serve: Serve) -> None:
        key = serve.api_key.reveal() if serve.api_key else None
        authenticator = Authenticator(api_key=key, public=serve.public, stored=service.keys)
        self._socket = _listen(serve.host, serve.port)
        self.host = serve.host
        self.port: int = self._socket.getsockname()[1]
        about: dict[str, Any] = {"version": __version__, "lake": service.lake.id}
        try:
            self._flight = LakeFlightServer(
                service,
                authenticator,
                host=serve.host,
                port=serve.flight_port,
                about=about,
                direct=serve.direct,
            )
        except OSError:
            self._socket.close()
            raise _taken(serve.host, serve.flight_port) from None
        self.flight_port: int = self._flight.port
        # Of a server that listens everywhere, clients take the host that they dialled.
        about["flight"] = f"grpc://{_bracketed(serve.host)}:{self.flight_port}"
        app = create_app(service, authenticator, about=about)
        self._http = http_server(app)

    @property
    def url(self) -> str:
        """Address of the HTTP front, as a client on this machine dials it."""
        return f"http://{_dial(self.host)}:{self.port}"

    def run(self, ready: Callable[[], None] | None = None) -> None:
        """Serve until a signal ends the process; ``ready`` is called when both fronts answer."""
        flights = threading.Thread(target=self._flight.serve, name="flight", daemon=True)
        flights.start()
        if ready is not None:
            threading.Thread(target=self._announce, args=(ready,), daemon=True).start()
        try:
            self._http.run(sockets=[self._socket])
        finally:
            self._flight.shutdown()
            flights.join(timeout=10)

    def start(self) -> Self:
        """Serve in threads of this process; `stop` ends them."""
        self._thread = threading.Thread(target=self.run, name="serve", daemon=True)
        self._thread.start()
        ready = threading.Event()
        self._announce(ready.set)
        return self

    def stop(self) -> None:
        """End what `start` began."""
        self._http.should_exit = True
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _announce(self, ready: Callable[[], None]) -> None:
        waiting = threading.Event()
        while not self._http.started and not self._http.should_exit:
            waiting.wait(0.005)
        with contextlib.suppress(BrokenPipeError):
            ready()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise _taken(host, port) from None
    listener.listen(2048)
    return listener


def _dial(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104  (compared, not bound)
        return socket.gethostname()
    return _bracketed(host)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _taken(host: str, port: int) -> UnavailableError:
    return UnavailableError(
        ErrorKind.BUSY, f"cannot listen on {host} port {port}; end what uses it or choose another"
    )
