"""Large arrays over Arrow Flight: planned by the server, read in parts, all of one version."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from lakeservice.client.endpoints import locations_of, read_endpoint
from schemas.errors import (
    ConflictError,
    CorruptError,
    ErrorKind,
    LakeError,
)
from schemas.selection import Axis, Selection

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa
    from numpy.typing import NDArray

    from lakeservice.client.remote import Remote
    from schemas.ticket import ReadArray

    Moved = Callable[[int], None] | None
    Receive = Callable[[Any, Selection, NDArray[Any], Moved, bool], None]

LARGE_BYTES = 16 << 20
"""Answers from this size on are planned, and read over several streams."""
LANES = max(2, min(8, os.cpu_count() or 1))
"""Streams that are read side by side; each decodes what it receives."""
ATTEMPTS = 8
"""How often a read begins again because the array was changed meanwhile."""
_PLANS = 3  # without a part that came
_STALE = (ErrorKind.TICKET_EXPIRED, ErrorKind.BAD_TICKET)


class _Told(msgspec.Struct):
    """What an endpoint says of itself."""

    rows: tuple[int, int] | None = None


class _Planned(msgspec.Struct, frozen=True):
    """What a plan says of itself."""

    id: str = ""
    version: int = -1


_TOLD = msgspec.json.Decoder(_Told)
_PLANNED = msgspec.json.Decoder(_Planned)


class _Part(NamedTuple):
    rows: tuple[int, int] | None
    """Of the first axis of the answer; None for all that there is."""
    ticket: bytes
    locations: tuple[str, ...]


def read(
    remote: Remote,
    request: ReadArray,
    chosen: Selection,
    out: NDArray[Any],
    expect: Callable[[pa.Schema], None],
    receive: Receive,
    moved: Moved = None,
) -> None:
    """Read a selection into an array, over several streams.

    Parameters
    ----------
    remote, request
        The lake, and what is asked of it.
    chosen
        The selection that is asked for.
    out
        Array of its shape.
    expect
        Raises where the schema of the answer is not that of the array that is known.
    receive
        Takes a stream's reader, the selection that it delivers, the part of ``out`` for
        it, what is told of the bytes that came, and whether other streams run beside it.
    moved
        Told the bytes that came; a negative number where some have to come again.

    Raises
    ------
    ConflictError
        ``revision-conflict``: the array has another shape or dtype now, or is changed again
        and again.
    CorruptError
        ``corrupt-object``: the plan does not give every row exactly once; and what
        ``receive`` raises.
    UnavailableError
        ``store-unavailable``: the connection was lost, also after some attempts.
    """
    from lakeservice.codecs.memory import keep_freed  # codecs; small reads do without

    keep_freed()
    attempts = ATTEMPTS
    while True:
        reading = _Reading(remote, request, chosen, out, receive, moved)
        reading.plan(expect)
        try:
            reading.run()
        except ConflictError as error:
            attempts -= 1
            if error.kind is not ErrorKind.REVISION_CONFLICT or not attempts:
                raise
            reading.forget()
        else:
            return


class _Reading:
    """One attempt at a read: every part of it is of one version of the node."""

    def __init__(
        self,
        remote: Remote,
        request: ReadArray,
        chosen: Selection,
        out: NDArray[Any],
        receive: Receive,
        moved: Moved,
    ) -> None:
        self._remote = remote
        self._request = request
        self._chosen = chosen
        self._axis = next((n for n, axis in enumerate(chosen.axes) if not axis.drop), None)
        self._out = out
        self._receive = receive
        self._moved = moved
        self._came = 0
        self._several = True
        self._planned = _Planned()
        self._waiting: deque[_Part] = deque()

    def plan(self, expect: Callable[[pa.Schema], None]) -> None:
        """Ask the server how to read."""
        info = self._remote.flight_info(self._request)
        expect(info.schema)
        self._planned = _PLANNED.decode(info.app_metadata or b"{}")
        self._waiting = deque(_parts(info))
        self._check()

    def run(self) -> None:
        """Read what is left to read; tickets that are stale by then are asked for again."""
        self._several = len(self._waiting) > 1
        plans = _PLANS
        while self._waiting:
            left = len(self._waiting)
            failure = self._work_off()
            if failure is None:
                return
            if not isinstance(failure, LakeError) or failure.kind not in _STALE:
                raise failure
            plans = _PLANS if len(self._waiting) < left else plans - 1
            if not plans:
                raise failure
            self._plan_again()

    def forget(self) -> None:
        """Take back what was told of the bytes that came."""
        if self._moved is not None and self._came:
            self._moved(-self._came)

    def _plan_again(self) -> None:
        info = self._remote.flight_info(self._request)
        fresh = {part.rows: part for part in _parts(info)}
        same = self._planned == _PLANNED.decode(info.app_metadata or b"{}") != _Planned()
        if not same or any(part.rows not in fresh for part in self._waiting):
            raise ConflictError(
                ErrorKind.REVISION_CONFLICT,
                f"{self._request.path!r} was changed while it was read; read it again",
            )
        self._waiting = deque(fresh[part.rows] for part in self._waiting)

    def _check(self) -> None:
        """See that the parts are the whole answer, each row once."""
        rows = [part.rows for part in self._waiting]
        if rows == [None]:
            return
        row = 0
        for each in rows:
            if each is None or each[0] != row or each[1] < row:
                break
            row = each[1]
        else:
            if self._axis is None or row == self._chosen.axes[self._axis].count:
                return
        raise CorruptError(
            ErrorKind.CORRUPT_OBJECT,
            f"the plan for {self._request.path!r} does not give every row once",
        )

    def _work_off(self) -> BaseException | None:
        """Read parts until none waits or one fails; return why the first failed."""
        failures: list[BaseException] = []

        def work(lane: int) -> None:
            while not failures:
                try:
                    part = self._waiting.popleft()
                except IndexError:  # another lane was faster
                    return
                try:
                    self._fetch(part, lane)
                except BaseException as error:  # returned below, in the caller's thread
                    self._waiting.append(part)
                    failures.append(error)

        lanes = min(LANES, len(self._waiting))
        if lanes == 1:
            work(0)
        else:
            with ThreadPoolExecutor(lanes, thread_name_prefix="lake-read") as pool:
                try:
                    list(pool.map(work, range(lanes)))
                except BaseException as error:  # an interrupt: the lanes stop at their next part
                    failures.append(error)
        return failures[0] if failures else None

    def _fetch(self, part: _Part, lane: int) -> None:
        chosen, out = self._chosen, self._out
        if part.rows is not None and self._axis is not None:
            begin, end = part.rows
            axis = chosen.axes[self._axis]
            cut = Axis(axis.start + begin * axis.step, end - begin, axis.step)
            axes = (*chosen.axes[: self._axis], cut, *chosen.axes[self._axis + 1 :])
            chosen, out = Selection(axes), out[begin:end]
        came = 0

        def count(size: int) -> None:
            nonlocal came
            came += size
            self._tell(size)

        def consume(reader: Any) -> None:
            nonlocal came
            self._tell(-came)  # a stream that broke off is read again from its start
            came = 0
            told = None if self._moved is None else count
            self._receive(reader, chosen, out, told, self._several)

        read_endpoint(self._remote.connection, part.ticket, part.locations, consume, lane)

    def _tell(self, size: int) -> None:
        if size and self._moved is not None:
            self._came += size
            self._moved(size)


def _parts(info: Any) -> list[_Part]:
    return [
        _Part(
            _TOLD.decode(endpoint.app_metadata or b"{}").rows,
            endpoint.ticket.ticket,
            locations_of(endpoint),
        )
        for endpoint in info.endpoints
    ]
