"""Direct delivery: chunks read from files on this machine, decoded straight into place."""

from __future__ import annotations

import os
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from lakeservice.client.chunk_table import ChangedError, ChunkTable, Page, find_table, page_of
from lakeservice.client.disk import Disk, UnreachableError, missing
from lakeservice.codecs.engine import Engine
from lakeservice.codecs.extent import Held, OpenFile
from lakeservice.codecs.gathering import Gathered, gather, gather_rows
from schemas.direct import PAGE_CHUNKS
from schemas.errors import ConflictError, CorruptError, ErrorKind, LakeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from lakeservice.client.remote import Remote
    from lakeservice.codecs.grid import Piece
    from schemas.selection import Selection

Want = tuple["Selection", "NDArray[Any]"]
"""A selection, and the array of its ``kept_shape`` that receives it."""
_Target: TypeAlias = "NDArray[Any] | Gathered"
"""What receives a piece; where several want of one chunk, all of that."""
_Part = tuple["Piece", _Target, "Selection | int"]
"""A piece, its target, and up to which chunk there is more to come: a selection, or a number."""
_Placed = tuple["Piece", "Page", int, _Target]
_TOGETHER = 4096  # selections that are looked at together
_TASK_BYTES = 2 << 20  # chunks of a task, decoded
_TASK_CHUNKS = 64
_SMALL_BYTES = 256 << 10  # chunks below it are read whole, neighbours in a file together
_GATHERED_BYTES = 4 << 20
_KEPT_BYTES = 16 << 20  # memory of this size is kept to be read into again
_ATTEMPTS = 8


def read(
    remote: Remote,
    path: str,
    version: int,
    wants: Sequence[Want],
    moved: Callable[[int], None] | None = None,
) -> None:
    """Fill arrays with selections of one array; all of one version.

    Parameters
    ----------
    remote
        The lake.
    path
        Path of the array.
    version
        Version of the node that the caller knows: an older one is not read.
    wants
        What to read, and where to put it.
    moved
        Told the decoded bytes of what was read.

    Raises
    ------
    UnreachableError
        There is no direct delivery of it, or a file cannot be opened here.
    CorruptError
        ``corrupt-chunk``: naming node and chunk; ``asset-changed``.
    ConflictError
        ``revision-conflict``: another shape or dtype than the node was known to have.
    """

    def parts(table: ChunkTable) -> Iterator[_Part]:
        for selection, out in wants:
            _refuse_other(table, selection, out)
        return _parts(table, wants)

    _run(remote, path, version, parts, moved)


def read_rows(
    remote: Remote,
    path: str,
    version: int,
    rows: NDArray[np.int64],
    out: NDArray[Any],
    places: NDArray[np.int64] | None = None,
) -> None:
    """Fill an array with rows of an array, in any order; all of one version.

    Parameters
    ----------
    rows
        Numbers of rows of the first axis, not negative; one or more.
    out
        Array of ``(len(rows), *shape of a row)``.
    places
        Row of ``out`` that each goes to; None for their order.

    Raises
    ------
    UnreachableError, CorruptError, ConflictError
        As in `read`.
    """
    most = int(rows.max())

    def parts(table: ChunkTable) -> Iterator[_Part]:
        shape = table.shape
        if table.dtype != out.dtype or shape[1:] != out.shape[1:] or not most < shape[0]:
            raise _changed(table)
        last = table.grid.linear(table.grid.holding((most, *(n - 1 for n in shape[1:]))))
        found = gather_rows(table.grid, rows, out, places)
        return ((gathered.piece, gathered, last) for gathered in found)

    _run(remote, path, version, parts, None)


def _run(
    remote: Remote,
    path: str,
    version: int,
    parts: Callable[[ChunkTable], Iterator[_Part]],
    moved: Callable[[int], None] | None,
) -> None:
    disk = remote.connection.disk
    for _ in range(_ATTEMPTS):
        table = find_table(remote, path, version, 0)
        found = parts(table)
        try:
            Engine.shared().run(_tasks(table, disk, remote, found, moved))
        except ChangedError:
            table.fresh_until = 0.0
        except (CorruptError, UnreachableError) as error:
            if table.verify(remote):
                raise _naming(error, path) from None
        else:
            return
    raise ConflictError(
        ErrorKind.REVISION_CONFLICT,
        f"{path!r} was changed again and again while it was read; try again later",
    )


def _refuse_other(table: ChunkTable, selection: Selection, out: NDArray[Any]) -> None:
    axes = selection.axes
    if table.dtype != out.dtype or len(axes) != len(table.shape):
        fits = False
    else:
        fits = all(
            max(axis.start, axis.start + (axis.count - 1) * axis.step) < length
            for axis, length in zip(axes, table.shape, strict=True)
            if axis.count
        )
    if not fits:
        raise _changed(table)


def _changed(table: ChunkTable) -> ConflictError:
    return ConflictError(
        ErrorKind.REVISION_CONFLICT,
        f"the array has changed: there is {table.dtype} of shape {table.shape} now; "
        "refresh() the node",
    )


def _parts(table: ChunkTable, wants: Sequence[Want]) -> Iterator[_Part]:
    """Yield what is wanted of each chunk; of several selections together, some at a time."""
    if len(wants) == 1:
        selection, out = wants[0]
        for piece in table.grid.pieces(selection):
            yield piece, out, selection
        return
    for start in range(0, len(wants), _TOGETHER):
        some = wants[start : start + _TOGETHER]
        for gathered in gather(table.grid, some):
            only = gathered.wanted[0] if len(gathered.wanted) == 1 else None
            if only is None:
                yield gathered.piece, gathered, table.grid.linear(gathered.piece.position)
            else:
                yield *only, table.grid.linear(gathered.piece.position)


def _tasks(
    table: ChunkTable,
    disk: Disk,
    remote: Remote,
    parts: Iterator[_Part],
    moved: Callable[[int], None] | None,
) -> Iterator[Callable[[], None]]:
    """Yield tasks of some chunks each, in the order of the file where they follow one another."""
    grid, pages = table.grid, table.pages
    most = max(1, min(_TASK_CHUNKS, _TASK_BYTES // max(1, table.chunk_bytes)))
    batch: list[_Placed] = []
    for piece, target, until in parts:
        linear = grid.linear(piece.position)
        number = page_of(linear)
        page = pages.get(number)
        if page is None:
            last = until if isinstance(until, int) else _last_chunk(table, until)
            page = table.page(remote, number, page_of(last))
        batch.append((piece, page, linear - number * PAGE_CHUNKS, target))
        if len(batch) >= most:
            yield partial(_fill, table, disk, batch, moved)
            batch = []
    if batch:
        yield partial(_fill, table, disk, batch, moved)


def _last_chunk(table: ChunkTable, selection: Selection) -> int:
    """Return the number of the last chunk that a selection touches."""
    corner = [max(axis.start, axis.start + (axis.count - 1) * axis.step) for axis in selection.axes]
    return table.grid.linear(table.grid.holding(tuple(corner)))


def _fill(
    table: ChunkTable, disk: Disk, batch: list[_Placed], moved: Callable[[int], None] | None
) -> None:
    """Put what some chunks give into its place."""
    memory = _borrowed()
    try:
        number = 0
        while number < len(batch):
            number, memory = _fill_next(table, disk, batch, number, memory)
    finally:
        _returned(memory)
    if moved is not None:
        itemsize = table.dtype.itemsize
        for piece, _, _, _ in batch:
            size = itemsize
            for length in piece.target_shape:
                size *= length
            moved(size)


def _fill_next(
    table: ChunkTable, disk: Disk, batch: list[_Placed], number: int, memory: NDArray[np.uint8]
) -> tuple[int, NDArray[np.uint8]]:
    """Read one chunk, or neighbours in a file together; return the number of the next chunk."""
    piece, page, index, out = batch[number]
    file = page.file[index]
    if file < 0:
        _fill_absent(table, piece, out)
        return number + 1, memory
    local = page.files[file]
    length = page.length[index]
    if local.size_bytes is None and length < 0:
        return number + 1, _fill_own(table, disk, batch[number], memory)
    opened = disk.file(local)
    offset = page.offset[index]
    if length < 0:
        length = max(0, opened.size - offset)
    stop = number + 1
    end = offset + length
    if length <= _SMALL_BYTES:
        while stop < len(batch):
            _, other, place, _ = batch[stop]
            if other is not page or page.file[place] != file or page.offset[place] != end:
                break
            further = page.length[place]
            if further < 0 or end + further - offset > _GATHERED_BYTES:
                break
            end += further
            stop += 1
    whole = stop > number + 1 or _is_read_whole(table, piece, length)
    if not whole:
        extent = OpenFile(opened.descriptor, offset, length)
        _decode(table, batch[number], extent)
        return stop, memory
    size = end - offset
    memory = _enough(memory, size)
    found = _read(opened.descriptor, memory[:size], offset)
    for each in batch[number:stop]:
        start = each[1].offset[each[2]] - offset
        length = size - start if stop == number + 1 else each[1].length[each[2]]
        if start + length > found:
            raise _at(
                each[0], f"the file ends {start + length - found} bytes before the chunk does"
            )
        _decode(table, each, Held(memory[start : start + length]))
    return stop, memory


def _fill_own(
    table: ChunkTable, disk: Disk, placed: _Placed, memory: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Read a chunk that is a file of its own."""
    piece, page, index, out = placed
    path = page.files[page.file[index]].path
    try:
        descriptor = disk.opener(path)
    except FileNotFoundError:
        if page.required[index]:
            raise UnreachableError(
                _at(piece, "it was written, but is not there any more")
            ) from None
        _fill_absent(table, piece, out)
        return memory
    except OSError:
        raise UnreachableError(missing(path)) from None
    try:
        size = os.fstat(descriptor).st_size
        if _is_read_whole(table, piece, size):
            memory = _enough(memory, size)
            found = _read(descriptor, memory[:size], 0)
            _decode(table, placed, Held(memory[:found]))
        else:
            _decode(table, placed, OpenFile(descriptor, 0, size))
    finally:
        os.close(descriptor)
    return memory


def _is_read_whole(table: ChunkTable, piece: Piece, size: int) -> bool:
    """Tell whether all bytes of a chunk are needed, or as quickly read as some of them."""
    chain = table.chain
    if chain.is_plain:
        return False
    return size <= _SMALL_BYTES or chain.is_sealed or piece.is_whole()


def _fill_absent(table: ChunkTable, piece: Piece, target: NDArray[Any] | Gathered) -> None:
    wanted = target.wanted if isinstance(target, Gathered) else [(piece, target)]
    for each, out in wanted:
        table.chain.fill_into(each.place_in(out))


def _decode(table: ChunkTable, placed: _Placed, extent: Held | OpenFile) -> None:
    piece, page, index, target = placed
    mask = 0 if page.mask is None else page.mask[index]
    chain = table.chain
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


def _read(descriptor: int, memory: NDArray[np.uint8], offset: int) -> int:
    """Fill memory from a file; return the number of bytes, fewer where the file ends."""
    done = os.preadv(descriptor, [memory.data], offset)
    while 0 < done < memory.size:
        more = os.preadv(descriptor, [memory[done:].data], offset + done)
        if not more:
            break
        done += more
    return done


_idle: deque[NDArray[np.uint8]] = deque(maxlen=16)


def _borrowed() -> NDArray[np.uint8]:
    """Return memory to read into, touched before where there is some: fresh pages cost more."""
    try:
        return _idle.pop()
    except IndexError:
        return np.empty(0, np.uint8)


def _returned(memory: NDArray[np.uint8]) -> None:
    if 0 < memory.size <= _KEPT_BYTES:
        _idle.append(memory)


def _enough(memory: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    return memory if memory.size >= size else np.empty(size + size // 4, np.uint8)


def _at(piece: Piece, message: str) -> CorruptError:
    return CorruptError(ErrorKind.CORRUPT_CHUNK, f"chunk {piece.position} is corrupt: {message}")


def _naming(error: CorruptError | UnreachableError, path: str) -> Exception:
    """Return an error that names the node."""
    known = error.error if isinstance(error, UnreachableError) else error
    named: LakeError = CorruptError(known.kind, f"{path!r}: {known.message}")
    return UnreachableError(named) if isinstance(error, UnreachableError) else named
