"""Stored chunks on their way out: from disk into memory that is used again and again."""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections import deque
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from lakeservice.codecs.ahead import in_order
from lakeservice.codecs.engine import Engine, naming
from lakeservice.codecs.extent import OpenFile
from lakeservice.codecs.memory import empty_apart
from lakeservice.codecs.steps import DecodeError, flat
from schemas.errors import CorruptError, ErrorKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from lakeservice.codecs.extent import Extent
    from lakeservice.codecs.grid import Piece
    from lakeservice.codecs.steps import Buffer, Bytes1D
    from lakeservice.storage.chunk_reader import ChunkReader
    from lakeservice.storage.locations import ByteRange

    Placed = tuple[Piece, ByteRange | None]
    Taken = tuple[Piece, ByteRange | None, Buffer | None]

T = TypeVar("T")
_KEPT = 24
_KEPT_BYTES = 64 << 20
_GRAIN = 64 << 10
_TOLD_AHEAD = 4
_WORTH_TELLING = 32 << 10  # shorter ranges are there before the system has begun to read ahead


class Lender:
    """Memory that comes back by itself when nobody looks at it any more.

    Fresh memory costs as much as the copy into it: the system clears every page first.
    """

    def __init__(self) -> None:
        # The ends of a deque need no lock: memory comes back in whatever thread frees it.
        self._kept: deque[Bytes1D] = deque()

    def lend(self, size: int) -> memoryview:
        """Return memory of this size, with anything in it.

        It is lent for as long as this view is held, or any array or view made from it.
        """
        memory = None
        with suppress(IndexError):
            memory = self._kept.pop()
        if memory is None or memory.size < size:
            memory = empty_apart((max(1, -(-size // _GRAIN)) * _GRAIN,), np.dtype(np.uint8))
        view = memory[:size]
        weakref.finalize(view, self._take_back, memory).atexit = False
        # NumPy's views of views hold only the memory itself; those of a memoryview hold that.
        return view.data

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an array in memory that is lent, with anything in it."""
        size = math.prod(shape) * dtype.itemsize
        if not size:
            return np.empty(shape, dtype)
        return np.frombuffer(self.lend(size), dtype).reshape(shape)

    def _take_back(self, memory: Bytes1D) -> None:
        held = sum(each.size for each in tuple(self._kept))
        if len(self._kept) < _KEPT and held + memory.size <= _KEPT_BYTES:
            self._kept.append(memory)


LENDER = Lender()
"""What this process lends to all that leaves it."""


def in_turn(placed: Iterable[Placed], reader: ChunkReader) -> Iterator[Taken]:
    """Read chunks of this disk one after another.

    Threads would only pass on what is in the system's memory already. What is not
    there yet, the system is told a few chunks before.

    Raises
    ------
    CorruptError
        ``corrupt-chunk``, ``asset-missing``, ``asset-changed``, naming node and chunk.
    """
    waiting: deque[tuple[Piece, ByteRange | None, Extent | None]] = deque()
    for piece, place in placed:
        with naming(piece.position, reader.path):
            extent = reader.extent(place)
        if extent is not None:
            _tell_ahead(extent)
        waiting.append((piece, place, extent))
        if len(waiting) > _TOLD_AHEAD:
            yield _taken(reader, *waiting.popleft())
    while waiting:
        yield _taken(reader, *waiting.popleft())


class _Streams:
    """How many streams of blocks are under way in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    @contextmanager
    def one_more(self) -> Iterator[int]:
        """Count a stream while the context lasts; yields how many there are with it."""
        with self._lock:
            self._count += 1
            count = self._count
        try:
            yield count
        finally:
            with self._lock:
                self._count -= 1


_STREAMS = _Streams()


def blocks(jobs: Iterable[tuple[int, Callable[[], T]]]) -> Iterator[T]:
    """Yield the results of jobs in their order.

    Where fewer streams are under way than there are threads, threads work ahead. Otherwise
    each stream does its own work: handing it over would cost a tenth of decoding it.

    Parameters
    ----------
    jobs
        As for `in_order`.
    """
    with _STREAMS.one_more() as count:
        if count < Engine.shared().threads:
            yield from in_order(jobs)
        else:
            for _, job in jobs:
                yield job()


def side_by_side(placed: Iterator[Placed], reader: ChunkReader, engine: Engine) -> Iterator[Taken]:
    """Fetch chunks of a store elsewhere, several at a time; in order, and errors as `in_turn`."""
    waiting: deque[tuple[Piece, ByteRange | None, Future[Any]]] = deque()
    limit = 2 * engine.threads
    try:
        while True:
            for piece, place in islice(placed, limit - len(waiting)):
                waiting.append((piece, place, engine.submit(partial(reader.fetch, place))))
            if not waiting:
                return
            piece, place, future = waiting.popleft()
            with naming(piece.position, reader.path):
                encoded = future.result()
            yield piece, place, encoded
    finally:
        for _, _, future in waiting:
            future.cancel()


def _tell_ahead(extent: Extent) -> None:
    """Let the system fetch a range from its disk while others are still being sent."""
    if isinstance(extent, OpenFile) and extent.length >= _WORTH_TELLING:
        os.posix_fadvise(extent.descriptor, extent.offset, extent.length, os.POSIX_FADV_WILLNEED)


def _taken(
    reader: ChunkReader, piece: Piece, place: ByteRange | None, extent: Extent | None
) -> Taken:
    if extent is None:
        return piece, place, None
    memory = LENDER.lend(extent.length)
    with naming(piece.position, reader.path):
        try:
            extent.read_into(0, flat(memory))
        except DecodeError as error:
            raise CorruptError(ErrorKind.CORRUPT_CHUNK, str(error)) from None
    return piece, place, memory
