"""Rows of tables over Arrow Flight: large answers in several streams, side by side."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from lakeservice.client.endpoints import locations_of, read_endpoint
from schemas.errors import ConflictError, CorruptError, ErrorKind, LakeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakeservice.client.remote import Remote
    from schemas.ticket import ReadTable

LARGE_BYTES = 16 << 20
"""Answers that may be larger are planned, and read over several streams."""
LANES = max(2, min(4, os.cpu_count() or 1))
"""Streams that are read side by side."""
_ATTEMPTS = 8


_AGAIN = (ErrorKind.REVISION_CONFLICT, ErrorKind.TICKET_EXPIRED, ErrorKind.BAD_TICKET)


class _Counted:
    """Bytes that came, to be taken back where they have to come again."""

    def __init__(self, moved: Callable[[int], None] | None) -> None:
        self._moved = moved
        self._came = 0
        self.told = None if moved is None else self._count

    def _count(self, size: int) -> None:
        self._came += size
        if self._moved is not None:
            self._moved(size)

    def forget(self) -> None:
        """Take back what was told."""
        if self._moved is not None:
            self._moved(-self._came)


class _Told(msgspec.Struct):
    """What an endpoint says of itself."""

    rows: tuple[int, int] | None = None


_TOLD = msgspec.json.Decoder(_Told)


def read(
    remote: Remote, asked: ReadTable, moved: Callable[[int], None] | None, *, large: bool
) -> pa.Table:
    """Return rows of a table; all of one version.

    Parameters
    ----------
    remote
        The lake.
    asked
        What to read.
    moved
        Told the bytes of what came.
    large
        Whether to ask for a plan first.

    Raises
    ------
    CorruptError
        ``corrupt-object``: fewer or more rows came than were planned.
    ConflictError
        ``revision-conflict``: it is changed again and again.
    """
    if not large or asked.limit is not None or asked.columns == ():  # rows only count then
        return remote.read(asked, lambda reader: _received(reader, moved))
    for _ in range(_ATTEMPTS):
        endpoints = remote.flight_info(asked).endpoints
        counted = _Counted(moved)
        try:
            return pa.concat_tables(_side_by_side(remote, asked, endpoints, counted.told))
        except LakeError as error:
            if error.kind not in _AGAIN:
                raise
            counted.forget()
    raise ConflictError(
        ErrorKind.REVISION_CONFLICT,
        f"{asked.path!r} was changed again and again while it was read; try again later",
    )


def _side_by_side(
    remote: Remote,
    asked: ReadTable,
    endpoints: list[Any],
    moved: Callable[[int], None] | None,
) -> list[pa.Table]:
    """Return the table of each endpoint; after a failure no further one is begun."""
    found: list[Any] = [None] * len(endpoints)
    waiting = deque(enumerate(endpoints))
    failures: list[BaseException] = []

    def work(lane: int) -> None:
        while not failures:
            try:
                number, endpoint = waiting.popleft()
            except IndexError:
                return
            try:
                found[number] = _of_endpoint(remote, asked, endpoint, moved, lane)
            except BaseException as error:  # raised below, in the caller's thread
                failures.append(error)

    lanes = min(LANES, len(endpoints))
    if lanes == 1:
        work(0)
    else:
        with ThreadPoolExecutor(lanes, thread_name_prefix="lake-rows") as pool:
            try:
                list(pool.map(work, range(lanes)))
            except BaseException as error:  # an interrupt: the lanes stop at their next part
                failures.append(error)
    if failures:
        raise failures[0]
    return found


def _of_endpoint(
    remote: Remote,
    asked: ReadTable,
    endpoint: Any,
    moved: Callable[[int], None] | None,
    lane: int,
) -> pa.Table:
    ticket = endpoint.ticket.ticket
    table = read_endpoint(
        remote.connection,
        ticket,
        locations_of(endpoint),
        lambda reader: _received(reader, moved),
        lane,
    )
    told = _TOLD.decode(endpoint.app_metadata or b"{}").rows
    if told is not None and asked.where is None and table.num_rows != told[1] - told[0]:
        raise CorruptError(
            ErrorKind.CORRUPT_OBJECT,
            f"{asked.path!r}: {table.num_rows} rows came instead of {told[1] - told[0]}; "
            "read it again",
        )
    return table


def _received(reader: Any, moved: Callable[[int], None] | None) -> pa.Table:
    if moved is None:
        return reader.read_all()
    batches = []
    for chunk in reader:
        if chunk.data is not None:
            batches.append(chunk.data)
            moved(chunk.data.nbytes)
    return pa.Table.from_batches(batches, schema=reader.schema)
