"""A connection: calls over Arrow Flight that survive a lost line, threads and a fork."""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from pyarrow import flight

from lakeservice.client.address import Address, reachable
from lakeservice.client.disk import Disk
from lakeservice.client.failures import WIRE_ERRORS, is_lost, lake_error
from lakeservice.client.forking import closes_for_forks, is_stranded
from schemas.errors import ErrorKind, InvalidRequestError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

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
        self._others: dict[str, Connection] = {}
        self._busy = 0
        self._stranded = is_stranded()
        self._left: list[Any] = []
        self._options = flight.FlightCallOptions(headers=_headers(address.api_key))
        self.disk = Disk()
        """What this machine sees of the server's files."""
        closes_for_forks(self)

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

        def receive(client: Any) -> T:
            reader = client.do_get(wanted, self._options)
            try:
                return consume(reader)
            except BaseException:
                reader.cancel()
                raise

        return self.attempt(receive, lane)

    def flight_info(self, command: bytes) -> Any:
        """Return the plan of a read: the ``FlightInfo`` of a command."""
        descriptor = flight.FlightDescriptor.for_command(command)
        return self.attempt(lambda client: client.get_flight_info(descriptor, self._options))

    def elsewhere(self, location: str) -> Connection:
        """Return the connection to another server of the same lake, with the same key.

        Raises
        ------
        InvalidRequestError
            ``bad-request``: a server whose line is not encrypted, where this one's is.
        """
        if "+tls" in self.address.flight and "+tls" not in location:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST,
                f"the server points to {location}, where the key would be sent in clear",
            )
        location = reachable(location, urlsplit(self.address.flight).hostname or "")
        with self._lock:
            found = self._others.get(location)
            if found is None:
                address = Address(location, location, self.address.api_key)
                found = self._others[location] = Connection(address)
            return found

    def exchange(self, command: bytes, converse: Callable[[Any, Any], T]) -> T:
        """Open an exchange and return what ``converse`` makes of its writer and reader.

        After a lost connection ``converse`` is called again, with a new exchange.
        """
        descriptor = flight.FlightDescriptor.for_command(command)

        def call(client: Any) -> T:
            writer, reader = client.do_exchange(descriptor, self._options)
            try:
                answer = converse(writer, reader)
                writer.close()
            except BaseException:
                reader.cancel()
                with contextlib.suppress(*WIRE_ERRORS):
                    writer.close()  # else its end is told on standard error
                raise
            return answer

        return self.attempt(call)

    def batches(self, ticket: bytes) -> Iterator[pa.RecordBatch]:
        """Yield the record batches of a stream as they arrive; it is not repeated when lost."""
        client = self._take(0)
        reader = None
        try:
            reader = client.do_get(flight.Ticket(ticket), self._options)
            for chunk in reader:
                if chunk.data is not None:
                    yield chunk.data
        except WIRE_ERRORS as error:
            traceback.clear_frames(error.__traceback__)
            raise lake_error(error, self.address.flight) from None
        finally:
            if reader is not None:
                reader.cancel()
            reader = None
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

        Arrow Flight cannot take back a stream: the server takes one that breaks off
        because ``batches`` fails for a complete one. So it must not commit what it gets.

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
                for batch in _produced(batches()):
                    writer.write_batch(batch)
                writer.done_writing()
                answer = answers.read()
            except WIRE_ERRORS:
                writer.close()  # tells why the server hung up, which a failed write does not
                raise
            except BaseException:
                with contextlib.suppress(*WIRE_ERRORS):
                    writer.close()
                raise
            writer.close()
            return answer.to_pybytes() if answer is not None else b""

        try:
            return self.attempt(send, retries=repeatable)
        except _ProducerError as failure:
            raise failure.error from None

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
                traceback.clear_frames(error.__traceback__)
                delay = next(delays, None) if is_lost(error) else None
                if delay is None:
                    raise lake_error(error, self.address.flight) from None
                self._drop(lane, client)
            except BaseException as error:
                # A stream that lives on in a kept traceback would keep gRPC from ending.
                traceback.clear_frames(error.__traceback__)
                raise
            finally:
                self._give()
            time.sleep(delay)

    def close(self) -> None:
        """Close all lanes; the next call opens what it needs again."""
        with self._lock:
            lanes, self._lanes = self._lanes, {}
            others, self._others = self._others, {}
        for client in (*lanes.values(), *others.values()):
            client.close()
        self.disk.close()

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

    def close_for_fork(self) -> bool:
        """Close idle lanes and let nobody open one; tell whether none was in use."""
        self._lock.acquire()
        idle = not self._busy
        while idle and self._lanes:
            self._lanes.popitem()[1].close()
        return idle

    def resume(self) -> None:
        """Open lanes again when they are needed, in the process that has forked."""
        self._lock.release()

    def restart(self, *, stranded: bool) -> None:
        """Begin anew in the forked child, where gRPC cannot be used if ``stranded``."""
        self._lock = threading.Lock()
        self._left.extend(self._lanes.values())  # destroying them here would wait for ever
        self._lanes = {}
        self._busy = 0
        self._stranded = stranded
        self.disk.restart()


class _ProducerError(Exception):
    """What produces the batches of an upload has failed, not the wire."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def _produced(batches: Iterator[T]) -> Iterator[T]:
    try:
        yield from batches
    except Exception as error:
        raise _ProducerError(error) from error


def _headers(api_key: str | None) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", b"Bearer " + api_key.encode())] if api_key else []
