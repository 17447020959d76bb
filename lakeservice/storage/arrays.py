"""Stored arrays: any selection of an array, from the bytes of the chunks that it touches."""

from __future__ import annotations

import math
from collections import deque
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lakeservice.codecs.chain import Chain
from lakeservice.codecs.engine import Engine
from lakeservice.codecs.gathering import gather
from lakeservice.codecs.grid import Grid, Piece
from lakeservice.storage.chunk_reader import ChunkReader
from lakeservice.storage.locations import ByteRange, places_of
from lakeservice.storage.outgoing import LENDER, blocks, in_turn, side_by_side
from schemas.selection import Axis, Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from lakeservice.codecs.cache import ChunkCache
    from lakeservice.codecs.steps import Buffer
    from lakeservice.storage.files import FileReader
    from lakeservice.storage.objects import Objects
    from schemas.chunks import ArrayStorage
    from schemas.entry import Asset
    from schemas.structures import ArrayStructure

_AHEAD_BYTES = 64 << 20  # decoded but not yet taken by whoever reads blocks
_AHEAD = 8
_TASK_BYTES = 256 << 10  # smaller chunks share a task
_SMALL_BYTES = 8 << 20  # answers up to it may want their chunks again soon
_LOOKUP = 512  # chunks that are looked up together


class EncodedChunk(NamedTuple):
    """One chunk as it is stored."""

    position: tuple[int, ...]
    origin: tuple[int, ...]
    """Position in the array of the chunk's first element."""
    shape: tuple[int, ...]
    """Extent of the chunk, cut at the array's end."""
    encoded: Buffer | None
    """None where the chunk is absent and holds the fill value."""
    filter_mask: int


class StoredArray:
    """An array in the lake or in registered files; safe to share between threads.

    Parameters
    ----------
    objects
        The lake's objects.
    structure, storage
        What the array looks like, and where its bytes lie.
    assets
        Registered files that ``storage`` refers to by number.
    fetch_files
        Reader of registered files.
    path
        Of the node, for errors.
    cache
        Keeps decoded chunks that small reads want again and again.
    version
        Tells this version of the node from all others; without it nothing is kept.
    """

    def __init__(
        self,
        objects: Objects,
        structure: ArrayStructure,
        storage: ArrayStorage,
        assets: Sequence[Asset] = (),
        *,
        fetch_files: FileReader,
        path: str = "",
        cache: ChunkCache | None = None,
        version: Hashable = None,
    ) -> None:
        self.structure = structure
        self.storage = storage
        self.dtype = structure.dtype
        self.grid = Grid.of(structure)
        self.chain = Chain.of(storage.layout)
        self.path = path
        self._places = places_of(storage, self.grid, objects)
        self._is_near = self._places is None or objects.root is not None
        self._reader = ChunkReader(
            objects,
            storage,
            self.chain,
            assets,
            fetch_files,
            path=path,
            cache=cache,
            version=version,
        )

    def ranges(self, pieces: Sequence[Piece]) -> list[ByteRange | None]:
        """Return where the chunk of each piece lies; None where it is absent (fill value).

        Raises
        ------
        CorruptError
            ``corrupt-object``: the chunk index contradicts the array.
        """
        if self._places is None:
            return [ByteRange(None, -1, 0, None) for _ in pieces]
        return self._places.ranges(pieces)

    def fetch(self, ranges: Sequence[ByteRange | None]) -> list[Buffer | None]:
        """Return the stored bytes of chunks, in the order asked for; None for absent ones.

        Raises
        ------
        CorruptError
            ``corrupt-chunk``, ``asset-missing``, ``asset-changed``.
        """
        found: list[Buffer | None] = [None] * len(ranges)

        def put(number: int, place: ByteRange | None) -> None:
            found[number] = self._reader.fetch(place)

        self._engine.run(partial(put, *each) for each in enumerate(ranges))
        return found

    def read(self, selection: Selection, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the selected elements; shape ``selection.kept_shape``, the structure's dtype.

        Parameters
        ----------
        selection
            What to read.
        out
            Array of that shape to fill and return; None makes a new one.

        Raises
        ------
        CorruptError
            ``corrupt-chunk``, naming the chunk; ``asset-missing``, ``asset-changed``.
        """
        if out is None:
            out = np.empty(selection.kept_shape, self.dtype)
        again = out.nbytes <= _SMALL_BYTES
        self._engine.run(self._tasks(selection, out, again=again))
        return out

    def read_each(self, selections: Sequence[Selection], outs: Sequence[NDArray[Any]]) -> None:
        """Fill an array per selection, of its ``kept_shape``; each chunk is decoded once.

        Raises
        ------
        CorruptError
            As in `read`.
        """
        gathered = gather(self.grid, zip(selections, outs, strict=True))
        self._engine.run(
            partial(self._reader.fill_gathered, *each)
            for batch in iter(lambda: list(islice(gathered, _LOOKUP)), [])
            for each in zip(batch, self.ranges([chunk.piece for chunk in batch]), strict=True)
        )

    def blocks(
        self, selection: Selection, *, target_bytes: int = 4 << 20
    ) -> Iterator[NDArray[Any]]:
        """Yield the selected elements as runs of the first axis that is not dropped, in order.

        A few blocks are decoded ahead of the one that is taken, so that memory is
        bounded whatever the array's size. Dropped axes are not in the blocks; an
        answer without axes is one block of shape ``()``.

        Parameters
        ----------
        selection
            What to read.
        target_bytes
            Blocks are about this large: whole chunks, at least one row, and
            not above 16 times this unless one row is.

        Raises
        ------
        CorruptError
            As in `read`.
        """
        runs = self._block_runs(selection, target_bytes)
        first = next(runs, None)
        second = next(runs, None)
        if first is None:
            return
        if second is None:
            yield self.read(first).reshape(first.shape)
            return
        runs = _prepend((first, second), runs)
        if self._is_near:
            jobs = ((run.size * self.dtype.itemsize, partial(self._block, run)) for run in runs)
            yield from blocks(jobs)
            return
        largest = max(run.size for run in (first, second)) * self.dtype.itemsize
        yield from self._prefetched(runs, max(1, min(_AHEAD, _AHEAD_BYTES // max(1, largest))))

    def _block(self, run: Selection) -> NDArray[Any]:
        out = LENDER.array(run.kept_shape, self.dtype)
        for task in self._tasks(run, out):
            task()
        return out.reshape(run.shape)

    def _prefetched(self, runs: Iterator[Selection], ahead: int) -> Iterator[NDArray[Any]]:
        engine = self._engine
        waiting: deque[tuple[NDArray[Any], Selection, list[Future[Any]]]] = deque()
        try:
            while True:
                for run in islice(runs, ahead + 1 - len(waiting)):
                    out = np.empty(run.kept_shape, self.dtype)
                    futures = [engine.submit(task) for task in self._tasks(run, out)]
                    waiting.append((out, run, futures))
                if not waiting:
                    return
                out, run, futures = waiting[0]
                for future in futures:
                    future.result()
                waiting.popleft()
                yield out.reshape(run.shape)
                del out
        finally:
            for _, _, futures in waiting:
                for future in futures:
                    future.cancel()

    def _block_runs(self, selection: Selection, target_bytes: int) -> Iterator[Selection]:
        """Cut a selection along its first kept axis."""
        axis = next((number for number, part in enumerate(selection.axes) if not part.drop), None)
        if axis is None:
            yield selection
            return
        part = selection.axes[axis]
        row_bytes = self.dtype.itemsize * math.prod(
            other.count for number, other in enumerate(selection.axes) if number != axis
        )
        if not part.count:
            return
        wanted = max(1, target_bytes // max(1, row_bytes))
        most = max(1, 16 * target_bytes // max(1, row_bytes))
        if self.chain.is_plain:
            span = self.dtype.itemsize * math.prod(self.structure.shape[axis + 1 :])
            near = 16 * target_bytes // max(1, span * abs(part.step))
            counts: Iterable[int] = _even(part.count, max(1, min(wanted, near)))
        else:
            counts = _gathered(self.grid.run_lengths(axis, part), wanted, most)
        done = 0
        for count in counts:
            cut = Axis(part.start + done * part.step, count, part.step)
            yield Selection((*selection.axes[:axis], cut, *selection.axes[axis + 1 :]))
            done += count

    def encoded(self, selection: Selection) -> Iterator[EncodedChunk]:
        """Yield the chunks that a selection touches, as they are stored, in C order.

        Raises
        ------
        CorruptError
            As in `fetch`.
        """
        placed = self._placed(selection)
        found = (
            in_turn(placed, self._reader)
            if self._is_near
            else side_by_side(placed, self._reader, self._engine)
        )
        for piece, place, encoded in found:
            mask = 0 if place is None else place.filter_mask
            yield EncodedChunk(piece.position, piece.origin, piece.shape, encoded, mask)

    @property
    def _engine(self) -> Engine:
        return Engine.shared() if self._is_near else Engine.shared_far()

    def _placed(self, selection: Selection) -> Iterator[tuple[Piece, ByteRange | None]]:
        pieces = self.grid.pieces(selection)
        while batch := list(islice(pieces, _LOOKUP)):
            yield from zip(batch, self.ranges(batch), strict=True)

    def _tasks(
        self, selection: Selection, out: NDArray[Any], *, again: bool = False
    ) -> Iterator[Callable[[], None]]:
        placed = self._placed(selection)
        chunk_bytes = self.chain.stored_bytes(self.storage.layout.chunk_shape)
        together = max(1, _TASK_BYTES // max(1, chunk_bytes))
        while batch := list(islice(placed, together)):
            yield _Filling(self._reader, batch, out, again=again)

    def asset(self, number: int) -> Asset:
        """Return a registered file by the number that chunks refer to it.

        Raises
        ------
        CorruptError
            ``asset-missing``: the entry has no such file.
        """
        return self._reader.asset(number)


class _Filling:
    """A task: some chunks to be decoded into their places."""

    def __init__(
        self,
        reader: ChunkReader,
        pieces: list[tuple[Piece, ByteRange | None]],
        out: NDArray[Any],
        *,
        again: bool,
    ) -> None:
        self._reader = reader
        self._pieces = pieces
        self._out = out
        self._again = again

    def __call__(self) -> None:
        for piece, place in self._pieces:
            self._reader.fill(piece, place, self._out, again=self._again)


def _prepend(first: Iterable[Selection], rest: Iterator[Selection]) -> Iterator[Selection]:
    yield from first
    yield from rest


def _even(count: int, most: int) -> Iterator[int]:
    while count:
        yield min(count, most)
        count -= min(count, most)


def _gathered(lengths: Iterable[int], wanted: int, most: int) -> Iterator[int]:
    """Gather runs of rows, each in one row of chunks, into blocks of about ``wanted`` rows."""
    held = 0
    for length in lengths:
        if held and held + length > wanted:
            yield held
            held = 0
        if length > most:
            yield from _even(length, most)
        else:
            held += length
    if held:
        yield held
