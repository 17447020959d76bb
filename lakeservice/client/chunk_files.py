"""Chunks in files on this machine: read as they are needed, decoded straight into place."""

from __future__ import annotations

import os
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from lakeservice.client.disk import Disk, UnreachableError
from lakeservice.codecs.cache import ChunkCache
from lakeservice.codecs.extent import Held, OpenFile
from lakeservice.codecs.gathering import Gathered
from lakeservice.codecs.memory import empty_apart
from lakeservice.codecs.steps import whole_elements
from schemas.errors import CorruptError, ErrorKind, LakeError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from numpy.typing import NDArray

    from lakeservice.client.chunk_table import ChunkTable, Page
    from lakeservice.codecs.grid import Piece

Target: TypeAlias = "NDArray[Any] | Gathered"
"""What receives a piece; where several want of one chunk, all of that."""
_SMALL_BYTES = 256 << 10  # chunks below it are read whole, neighbours in a file together
_TOGETHER_BYTES = 4 << 20
_SETTLED_NS = 1_000_000_000  # a file may be replaced within one tick of the disk's clock
_KEPT_BYTES = 16 << 20  # memory of this size is kept to be read into again


class Placed(NamedTuple):
    """What is wanted of a chunk, and where the chunk lies."""

    piece: Piece
    page: Page
    slot: int
    """Place of the chunk in the page."""
    target: Target


class ChunkFiles:
    """Fills arrays with chunks of one version of an array; safe to share between threads.

    Parameters
    ----------
    table
        Where the chunks lie, and how they are decoded.
    disk
        Opens the files.
    again
        Whether chunks that are wanted in part may be wanted again soon; those that are
        wanted a second time are then kept decoded.
    """

    def __init__(self, table: ChunkTable, disk: Disk, *, again: bool) -> None:
        self._table = table
        self._chain = table.chain
        self._disk = disk
        self._cache: ChunkCache | None = None
        if again and not table.chain.is_plain:
            self._cache = cache_of(disk)

    def fill(self, batch: Sequence[Placed]) -> None:
        """Put what some chunks give into its place.

        Raises
        ------
        UnreachableError
            A file cannot be opened or read here.
        CorruptError
            ``corrupt-chunk``, naming the chunk; ``asset-changed``.
        """
        room = _Room()
        try:
            number = 0
            while number < len(batch):
                number = self._fill_next(batch, number, room)
        except UnavailableError as error:
            raise _unreadable(batch[number].piece, error.message) from None
        except OSError as error:
            if isinstance(error, LakeError):
                raise
            raise _unreadable(batch[number].piece, _reason(error)) from None
        finally:
            room.leave()

    def _fill_next(self, batch: Sequence[Placed], number: int, room: _Room) -> int:
        """Read one chunk, or neighbours in a file together; return the number of the next."""
        placed = batch[number]
        _, page, index, _ = placed
        file = page.file[index]
        if file < 0:
            self._fill_absent(placed)
            return number + 1
        local = page.files[file]
        length = page.length[index]
        if local.size_bytes is None and length < 0:
            self._fill_own(placed, local.path, room)
            return number + 1
        opened = self._disk.file(local)
        offset = page.offset[index]
        if length < 0:
            length = max(0, opened.size - offset)
        if self._cache is not None:
            stamp = None if local.grows else (local.path, opened.mtime_ns, opened.size)
            extent = partial(OpenFile, opened.descriptor, offset, length)
            if self._from_memory(placed, stamp, extent):
                return number + 1
        stop, end = number + 1, offset + length
        if length <= _SMALL_BYTES:
            stop, end = _neighbours(batch, number, end)
        if stop == number + 1 and not self._is_read_whole(placed.piece, length):
            self._decode(placed, OpenFile(opened.descriptor, offset, length))
            return stop
        memory = room.of(end - offset)
        found = _read(opened.descriptor, memory, offset)
        for each in batch[number:stop]:
            start = each.page.offset[each.slot] - offset
            size = length if each is placed else each.page.length[each.slot]
            if start + size > found:
                beyond = start + size - found
                raise _at(each.piece, f"the file ends {beyond} bytes before the chunk does")
            self._decode(each, Held(memory[start : start + size]))
        return stop

    def _fill_own(self, placed: Placed, path: bytes, room: _Room) -> None:
        """Read a chunk that is a file of its own."""
        try:
            descriptor = self._disk.opener(path)
        except FileNotFoundError:
            if placed.page.required[placed.slot]:
                lost = _at(placed.piece, "it was written, but is not there any more")
                raise UnreachableError(lost) from None
            self._fill_absent(placed)
            return
        try:
            status = os.fstat(descriptor)
            size = status.st_size
            if self._cache is not None:
                settled = time.time_ns() - status.st_mtime_ns > _SETTLED_NS
                stamp = (status.st_ino, status.st_mtime_ns, size) if settled else None
                if self._from_memory(placed, stamp, partial(OpenFile, descriptor, 0, size)):
                    return
            if self._is_read_whole(placed.piece, size):
                memory = room.of(size)
                self._decode(placed, Held(memory[: _read(descriptor, memory, 0)]))
            else:
                self._decode(placed, OpenFile(descriptor, 0, size))
        finally:
            os.close(descriptor)

    def _is_read_whole(self, piece: Piece, size: int) -> bool:
        """Tell whether all bytes of a chunk are needed, or as quickly read as some of them."""
        chain = self._chain
        if chain.is_plain:
            return False
        return size <= _SMALL_BYTES or chain.is_sealed or piece.is_whole()

    def _from_memory(self, placed: Placed, stamp: Hashable, extent: Callable[[], OpenFile]) -> bool:
        """Copy from a chunk that is kept, or is decoded now to be kept; tell whether it is so.

        Parameters
        ----------
        stamp
            What tells the chunk's bytes from others in their place; None where nothing does.
        """
        cache, table, piece = self._cache, self._table, placed.piece
        if cache is None or stamp is None or _wants_all(placed):
            return False
        key = table.id, table.version, piece.position
        kept = cache.get(key, stamp)
        if kept is None:
            if not cache.is_worth(key, self._chain.stored_bytes(piece.shape)):
                return False
            kept = empty_apart(piece.shape, self._chain.dtype)
            self._decode(placed._replace(piece=_whole(piece), target=kept), extent())
            cache.put(key, stamp, kept)
        for each, out in _wanted(placed):
            index: Any = (*each.source, ...)
            place, found = each.place_in(out), kept[index]
            if found.dtype == place.dtype:
                place, found = whole_elements(place), whole_elements(found)
            place[...] = found
        return True

    def _fill_absent(self, placed: Placed) -> None:
        for piece, out in _wanted(placed):
            self._chain.fill_into(piece.place_in(out))

    def _decode(self, placed: Placed, extent: Held | OpenFile) -> None:
        piece, page, index, target = placed
        mask = 0 if page.mask is None else page.mask[index]
        chain = self._chain
        try:
            if not isinstance(target, Gathered):
                place = piece.place_in(target)
                chain.decode_part(extent, piece.shape, piece.source, place, filter_mask=mask)
                return
            opened = chain.is_sealed and not mask
            if opened:  # its checksum is compared once for all
                extent = Held(chain.unsealed(extent.read(0, extent.length)))

            def fill(part: Piece, out: NDArray[Any]) -> None:
                place = part.place_in(out)
                chain.decode_part(
                    extent, part.shape, part.source, place, filter_mask=mask, is_sealed=not opened
                )

            target.fill(fill)
        except CorruptError as error:
            raise _at(piece, error.message) from None


def cache_of(disk: Disk) -> ChunkCache:
    """Return the chunks that are kept decoded for a connection."""
    cache: ChunkCache | None = disk.cache
    if cache is None or cache.limit_bytes != disk.cache_bytes:
        cache = disk.cache = ChunkCache(disk.cache_bytes)
    return cache


class _Room:
    """Memory to read into, touched before where there is some: fresh pages cost more."""

    __slots__ = ("_memory",)

    def __init__(self) -> None:
        try:
            self._memory = _idle.pop()
        except IndexError:
            self._memory = np.empty(0, np.uint8)

    def of(self, size: int) -> NDArray[np.uint8]:
        if self._memory.size < size:
            self._memory = np.empty(size + size // 4, np.uint8)
        return self._memory[:size]

    def leave(self) -> None:
        if 0 < self._memory.size <= _KEPT_BYTES:
            _idle.append(self._memory)


_idle: deque[NDArray[np.uint8]] = deque(maxlen=16)


def _neighbours(batch: Sequence[Placed], number: int, end: int) -> tuple[int, int]:
    """Return where chunks of a file end that follow one another, in the batch and in the file."""
    _, page, index, _ = batch[number]
    file, offset = page.file[index], page.offset[index]
    stop = number + 1
    while stop < len(batch):
        _, other, place, _ = batch[stop]
        if other is not page or page.file[place] != file or page.offset[place] != end:
            break
        length = page.length[place]
        if length < 0 or end + length - offset > _TOGETHER_BYTES:
            break
        end += length
        stop += 1
    return stop, end


def _wanted(placed: Placed) -> Sequence[tuple[Piece, NDArray[Any]]]:
    target = placed.target
    return target.wanted if isinstance(target, Gathered) else ((placed.piece, target),)


def _wants_all(placed: Placed) -> bool:
    """Tell whether as many elements are wanted as the chunk has: then it serves nobody else."""
    elements = 1
    for length in placed.piece.shape:
        elements *= length
    for piece, _ in _wanted(placed):
        size = 1
        for part in piece.target:
            size *= part.stop - part.start
        elements -= size
    return elements <= 0


def _whole(piece: Piece) -> Piece:
    everything = tuple(slice(0, length, 1) for length in piece.shape)
    return type(piece)(piece.position, piece.origin, piece.shape, everything, everything)


def _read(descriptor: int, memory: NDArray[np.uint8], offset: int) -> int:
    """Fill memory from a file; return the number of bytes, fewer where the file ends."""
    done = os.preadv(descriptor, [memory.data], offset)
    while 0 < done < memory.size:
        more = os.preadv(descriptor, [memory[done:].data], offset + done)
        if not more:
            break
        done += more
    return done


def _unreadable(piece: Piece, reason: str) -> UnreachableError:
    return UnreachableError(
        UnavailableError(
            ErrorKind.STORE_UNAVAILABLE,
            f"chunk {piece.position} cannot be read here: {reason}; read it with another delivery",
        )
    )


def _reason(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else "no reason told"


def _at(piece: Piece, message: str) -> CorruptError:
    return CorruptError(ErrorKind.CORRUPT_CHUNK, f"chunk {piece.position} is corrupt: {message}")
