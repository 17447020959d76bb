"""The limit of every read over Arrow Flight: a server and a client that do nothing but move bytes.

``python -m benchmarks.fast.bare_flight [FOLDER]`` serves an array of `DecodeLoop`, decoded once
into memory, and prints its port. What it sends lies ready as Arrow batches; the client copies
them into place. There are no nodes, no keys and no plans.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow import flight

from benchmarks.fast.decoding import DecodeLoop
from benchmarks.timing import together

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH_BYTES = 4 << 20
SMALL_BYTES = 100 * 100 * 2
"""As much as 100 × 100 pixels of uint16."""
SCHEMA = pa.schema([("bytes", pa.uint8())])
_SMALL = flight.Ticket(b"small")


class BareServer(flight.FlightServerBase):  # type: ignore[misc]
    """Sends parts of one buffer; a ticket is ``"START STOP"``, in bytes, or ``"small"``."""

    def __init__(self, held: np.ndarray) -> None:
        super().__init__("grpc://127.0.0.1:0")
        self._held = pa.py_buffer(held)

    def do_get(self, context: Any, ticket: flight.Ticket) -> flight.RecordBatchStream:
        """Stream the bytes that the ticket names."""
        start, stop = 0, SMALL_BYTES
        if ticket != _SMALL:
            start, stop = (int(word) for word in ticket.ticket.split())
        batches = [
            self._batch(begin, min(begin + BATCH_BYTES, stop))
            for begin in range(start, stop, BATCH_BYTES)
        ]
        return flight.RecordBatchStream(pa.RecordBatchReader.from_batches(SCHEMA, batches))

    def _batch(self, start: int, stop: int) -> pa.RecordBatch:
        part = self._held.slice(start, stop - start)
        column = pa.Array.from_buffers(pa.uint8(), stop - start, [None, part])
        return pa.record_batch([column], schema=SCHEMA)


class BareClient:
    """Copies what a `BareServer` sends into place.

    Parameters
    ----------
    port
        Where it listens, on 127.0.0.1.
    streams
        Connections that are read side by side.
    """

    def __init__(self, port: int, streams: int = 1) -> None:
        location = f"grpc://127.0.0.1:{port}"
        # one connection for all would be one TCP stream
        own = [("grpc.use_local_subchannel_pool", 1)]
        self._clients = [flight.FlightClient(location, generic_options=own) for _ in range(streams)]

    def into(self, out: np.ndarray) -> None:
        """Fill ``out`` with as many bytes from the start of the buffer."""
        place = out.reshape(-1).view(np.uint8)
        step = -(-place.size // len(self._clients))
        together(
            [
                lambda client=client, start=number * step: _copy(client, place, start, step)  # type: ignore[misc]
                for number, client in enumerate(self._clients)
            ]
        )

    def small(self) -> np.ndarray:
        """Fetch as much as a small slice has, by a ``DoGet`` of its own."""
        batch = self._clients[0].do_get(_SMALL).read_chunk().data
        out = np.empty(SMALL_BYTES, np.uint8)
        out[:] = _bytes(batch)
        return out


def _copy(client: flight.FlightClient, place: np.ndarray, start: int, step: int) -> None:
    stop = min(start + step, place.size)
    for chunk in client.do_get(flight.Ticket(f"{start} {stop}".encode())):
        received = _bytes(chunk.data)
        place[start : start + received.size] = received
        start += received.size
    if start != stop:
        raise SystemExit(f"the bare stream ended at {start} of {stop}")


def _bytes(batch: pa.RecordBatch) -> np.ndarray:
    column = batch.column(0)
    return np.frombuffer(column.buffers()[1], np.uint8, len(column), column.offset)


@contextmanager
def bare_server(folder: Path | None = None) -> Iterator[int]:
    """Serve the array in a Zarr folder from a process of its own; gives the port.

    Without a folder there are small answers only.
    """
    command = [sys.executable, "-m", "benchmarks.fast.bare_flight"]
    if folder is not None:
        command.append(str(folder))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as process:
        if process.stdout is None or process.stdin is None:
            raise SystemExit("no pipes to the bare server")
        yield int(process.stdout.readline())
        process.stdin.close()  # it ends with its input


def main(folder: Path | None) -> None:
    """Serve until the standard input ends."""
    held = np.zeros(SMALL_BYTES, np.uint8)
    if folder is not None:
        held = DecodeLoop(folder).read().reshape(-1).view(np.uint8)
    server = BareServer(held)
    serving = threading.Thread(target=server.serve)
    serving.start()
    sys.stdout.write(f"{server.port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.shutdown()
    serving.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else None)
