"""A connection: calls over Arrow Flight that survive a lost line, threads and a fork."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

from pyarrow import flight

from lakeservice.client.failures import WIRE_ERRORS, is_lost, lake_error
from schemas.errors import ErrorKind, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from lakeservice.client.address import Address

T = TypeVar("T")
RETRY_DELAYS_S = (0.05, 0.2, 0.5, 1.0, 2.0, 4.0)
"""Pauses before a request is sent again after the connection was lost."""
_CHANNEL_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # else all lanes would share one TCP connection
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
)


class Connection:
    """Flight calls to one server; thread-safe, picklable, usable in forked workers.

    Parameters
    ----------
    address
        Where the server is. Nothing is opened before the first call.

    Notes
    -----
    A *lane* is one TCP connection; streams on different lanes run side by side.
    gRPC cannot be used in a child that was forked while its parent had a channel
    open, so idle channels are closed before a fork and opened again on use.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._lock = threading.Lock()
        self._lanes: dict[int, Any] = {}
        self._busy = 0
        self._stranded: list[Any] = []
        self._options = flight.FlightCallOptions(headers=_headers(address.api_key))
        _connections.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return Connection, (self.address,)

    def action(self, kind: str, body: bytes) -> list[Any]:
        """Return the result bodies (buffers) of a ``DoAction``."""
        request = flight.Action(kind, body)
        return self.attempt(
            lambda client: [item.body for item in client.do_action(request, self._options)]
        )

    def read(self, ticket: bytes, consume: Callable[[Any], T], lane: int = 0) -> T:
        """Open a stream and return what ``consume`` makes of its reader.

        After a lost connection ``consume`` is called again, with a new stream from the start.
        """
        wanted = flight.Ticket(ticket)
        return self.attempt(lambda client: consume(client.do_get(wanted, self._options)), lane)

    def schema(self, command: bytes) -> pa.Schema:
        """Return the schema of what a read would answer."""
        descriptor = flight.FlightDescriptor.for_command(command)
        return self.attempt(lambda client: client.get_schema(descriptor, self._options).schema)

    @contextlib.contextmanager
    def stream(self, ticket: bytes) -> Iterator[Any]:
        """Open a stream for as long as the context lasts; what it delivers is not repeated."""
        client = self._take(0)
        reader = None
        try:
            reader = client.do_get(flight.Ticket(ticket), self._options)
            yield reader
        except WIRE_ERRORS as error:
            raise lake_error(error, self.address.flight) from None
        finally:
            if reader is not None:
                reader.cancel()
            self._give()

    def write(
        self,
        command: bytes,
        schema: pa.Schema,
        batches: Callable[[], Iterator[pa.RecordBatch]],
        *,
        repeatable: bool = True,
    ) -> bytes:
        """Send record batches with ``DoPut`` and return the server's answer.

        Parameters
        ----------
        batches
            Called once per attempt.
        repeatable
            False where ``batches`` can be run through only once: then a lost
            connection is an error.
        """
        descriptor = flight.FlightDescriptor.for_command(command)

        def send(client: Any) -> bytes:
            writer, answers = client.do_put(descriptor, schema, self._options)
            try:
                for batch in batches():
                    writer.write_batch(batch)
                writer.done_writing()
                answer = answers.read()
            finally:
                # Closing reports why the server hung up, which a failed write does not tell.
                writer.close()
            return answer.to_pybytes() if answer is not None else b""

        return self.attempt(send, retries=repeatable)

    def attempt(self, call: Callable[[Any], T], lane: int = 0, *, retries: bool = True) -> T:
        """Run a call with the client of a lane, again after the connection was lost.

        Raises
        ------
        LakeError
            What the server answered; ``store-unavailable`` where it did not.
        """
        delays = iter(RETRY_DELAYS_S if retries else ())
        while True:
            client = self._take(lane)
            try:
                return call(client)
            except WIRE_ERRORS as error:
                delay = next(delays, None) if is_lost(error) else None
                if delay is None:
                    raise lake_error(error, self.address.flight) from None
                self._drop(lane, client)
            finally:
                self._give()
            time.sleep(delay)

    def close(self) -> None:
        """Close all lanes; the next call opens what it needs again."""
        with self._lock:
            lanes, self._lanes = self._lanes, {}
        for client in lanes.values():
            client.close()

    def _take(self, lane: int) -> Any:
        with self._lock:
            if self._stranded:
                raise UnavailableError(
                    ErrorKind.BUSY,
                    "this process was forked while a transfer was running, which gRPC does not "
                    "survive; start workers with 'spawn' or 'forkserver', or fork between reads",
                )
            client = self._lanes.get(lane)
            if client is None:
                client = flight.FlightClient(
                    self.address.flight, generic_options=list(_CHANNEL_OPTIONS)
                )
                self._lanes[lane] = client
            self._busy += 1
            return client

    def _give(self) -> None:
        with self._lock:
            self._busy -= 1

    def _drop(self, lane: int, client: Any) -> None:
        """Forget a client whose connection broke; others may still be ending calls on it."""
        with self._lock:
            if self._lanes.get(lane) is client:
                del self._lanes[lane]

    def _before_fork(self) -> None:
        self._lock.acquire()
        if not self._busy:
            while self._lanes:
                self._lanes.popitem()[1].close()

    def _after_fork_in_parent(self) -> None:
        self._lock.release()

    def _after_fork_in_child(self) -> None:
        self._lock = threading.Lock()
        self._stranded, self._lanes = list(self._lanes.values()), {}
        self._busy = 0


def _headers(api_key: str | None) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", b"Bearer " + api_key.encode())] if api_key else []


_connections: weakref.WeakSet[Connection] = weakref.WeakSet()
_forking: list[Connection] = []


def _before_fork() -> None:
    _forking[:] = _connections
    for connection in _forking:
        connection._before_fork()  # noqa: SLF001


def _after_fork_in_parent() -> None:
    while _forking:
        _forking.pop()._after_fork_in_parent()  # noqa: SLF001


def _after_fork_in_child() -> None:
    while _forking:
        _forking.pop()._after_fork_in_child()  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
