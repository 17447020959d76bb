"""Direct delivery: chunks read from files on this machine, decoded straight into place."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from lakeservice.client.chunk_files import ChunkFiles, Placed, Target
from lakeservice.client.chunk_table import ChangedError, ChunkTable, find_table, page_of
from lakeservice.client.disk import UnreachableError
from lakeservice.codecs.engine import Engine
from lakeservice.codecs.gathering import Gathered, gather, gather_rows
from schemas.direct import PAGE_CHUNKS
from schemas.errors import ConflictError, CorruptError, ErrorKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from lakeservice.client.remote import Remote
    from lakeservice.codecs.grid import Piece
    from schemas.selection import Selection

Want = tuple["Selection", "NDArray[Any]"]
"""A selection, and the array of its ``kept_shape`` that receives it."""
_Part = tuple["Piece", Target, "Selection | int"]
"""A piece, its target, and up to which chunk there is more to come: a selection, or a number."""
_TOGETHER = 4096  # selections that are looked at together
_TASK_BYTES = 2 << 20  # chunks of the first tasks, decoded
_LATER_BYTES = 8 << 20  # of a long read: looking for chunks is quicker for several together
_FIRST_TASKS = 8
_TASK_CHUNKS = 64
_TASK_PIECES = 4096
_SMALL_BYTES = 4 << 20  # of reads below it, chunks may be wanted again soon
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

    size = sum(out.nbytes for _, out in wants)
    _run(remote, path, version, parts, moved, again=size < _SMALL_BYTES)


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

    _run(remote, path, version, parts, None, again=True)


def _run(
    remote: Remote,
    path: str,
    version: int,
    parts: Callable[[ChunkTable], Iterator[_Part]],
    moved: Callable[[int], None] | None,
    *,
    again: bool,
) -> None:
    disk = remote.connection.disk
    for _ in range(_ATTEMPTS):
        table = find_table(remote, path, version, 0)
        found = parts(table)
        files = ChunkFiles(table, disk, again=again)
        try:
            Engine.shared().run(_tasks(table, files, remote, found, moved))
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
    files: ChunkFiles,
    remote: Remote,
    parts: Iterator[_Part],
    moved: Callable[[int], None] | None,
) -> Iterator[Callable[[], None]]:
    """Yield tasks of some chunks each, in the order of the file where they follow one another."""
    grid, pages = table.grid, table.pages
    most, later = (
        max(1, min(_TASK_CHUNKS, size // max(1, table.chunk_bytes)))
        for size in (_TASK_BYTES, _LATER_BYTES)
    )
    tasks = 0
    task = files.fill if moved is None else partial(_fill, files, table.dtype.itemsize, moved)
    batch: list[Placed] = []
    wanted = 0
    for piece, target, until in parts:
        linear = grid.linear(piece.position)
        number = page_of(linear)
        page = pages.get(number)
        if page is None:
            last = until if isinstance(until, int) else _last_chunk(table, until)
            page = table.page(remote, number, page_of(last))
        batch.append(Placed(piece, page, linear - number * PAGE_CHUNKS, target))
        wanted += len(target.wanted) if isinstance(target, Gathered) else 1
        if len(batch) >= most or wanted >= _TASK_PIECES:
            yield partial(task, batch)
            batch, wanted, tasks = [], 0, tasks + 1
            most = most if tasks < _FIRST_TASKS else later
    if batch:
        yield partial(task, batch)


def _fill(
    files: ChunkFiles, itemsize: int, moved: Callable[[int], None], batch: list[Placed]
) -> None:
    files.fill(batch)
    for placed in batch:
        moved(itemsize * math.prod(placed.piece.target_shape))


def _last_chunk(table: ChunkTable, selection: Selection) -> int:
    """Return the number of the last chunk that a selection touches."""
    corner = [max(axis.start, axis.start + (axis.count - 1) * axis.step) for axis in selection.axes]
    return table.grid.linear(table.grid.holding(tuple(corner)))


def _naming(error: CorruptError | UnreachableError, path: str) -> Exception:
    """Return an error that names the node."""
    known = error.error if isinstance(error, UnreachableError) else error
    named = type(known)(known.kind, f"{path!r}: {known.message}")
    return UnreachableError(named) if isinstance(error, UnreachableError) else named
