"""Changing a region of an array, or making it longer: new chunks beside the old ones."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from lakeservice.codecs.chain import Chain
from lakeservice.codecs.engine import Engine, naming
from lakeservice.codecs.grid import Grid, Piece
from lakeservice.codecs.steps import whole_elements
from lakeservice.storage.locations import places_of
from lakeservice.storage.rewritten import Position, Rewritten, new_tag
from schemas.chunks import ArrayStorage, Part, ZarrParts
from schemas.errors import CorruptError, ErrorKind, InvalidRequestError
from schemas.selection import Axis, Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from lakeservice.storage.objects import Objects
    from schemas.structures import ArrayStructure


class RegionWriter:
    """Writes one region of an array into objects that nobody sees yet.

    Chunks that the array has are written anew under other names; chunks that come after
    the last rows take their place in the part. What is visible stays as it is until the
    structure and the storage that `write` returns are committed, and only together
    with the state of the node that they were made from.

    Parameters
    ----------
    objects
        The lake's objects.
    structure, storage
        The array as its node describes it.

    Raises
    ------
    InvalidRequestError
        ``bad-request``: the array lies in a registered file, which nobody writes to.
    """

    def __init__(self, objects: Objects, structure: ArrayStructure, storage: ArrayStorage) -> None:
        location = storage.location
        if not isinstance(location, ZarrParts) or not location.parts:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST, "the array lies in a registered file; it cannot be written"
            )
        self._objects = objects
        self._structure = structure
        self._storage = storage
        self._parts = location.parts
        self._stored = storage.layout.chunk_shape
        self._grid = Grid.of(structure)
        self._chain = Chain.of(storage.layout)
        self._places = places_of(storage, self._grid, objects)
        self._index = location.rewritten
        self._rewritten = Rewritten.of(objects, location.rewritten, location.parts[0].name)
        self._tag = new_tag()
        self._written: list[str] = []

    def write(
        self, origin: tuple[int, ...], block: NDArray[Any]
    ) -> tuple[ArrayStructure, ArrayStorage]:
        """Write a region, durably; return what the node has to carry to show it.

        Parameters
        ----------
        origin
            First element of the region.
        block
            The elements. Where they leave the array, it becomes longer; what nobody
            has written reads as the fill value.

        Raises
        ------
        InvalidRequestError
            ``bad-body``: another number of axes, or another dtype.
        """
        self._check(origin, block)
        ends = (start + length for start, length in zip(origin, block.shape, strict=True))
        shape = tuple(map(max, self._structure.shape, ends))
        if shape == self._structure.shape and not block.size:
            return self._structure, self._storage
        structure = _longer(self._structure, shape, self._stored)
        grid = Grid.of(structure)
        region = Selection(
            tuple(Axis(start, length) for start, length in zip(origin, block.shape, strict=True))
        )
        fresh = self._fresh(origin, block.shape, grid)
        if fresh is not None and not self._append(fresh, region, block, grid):
            fresh = None
        tags: dict[Position, bytes] = {}
        self._engine.run(self._rewriting(fresh, region, block, grid, tags))
        return structure, self._described(structure, tags, whole=fresh is not None)

    def discard(self) -> None:
        """Remove what was written; nobody has seen it."""
        self._objects.delete(self._written)
        self._written = []

    @property
    def _engine(self) -> Engine:
        return Engine.shared() if self._objects.root is not None else Engine.shared_far()

    def _check(self, origin: tuple[int, ...], block: NDArray[Any]) -> None:
        axes = len(self._structure.shape)
        if len(origin) != axes or block.ndim != axes:
            raise _bad(f"a region of {block.ndim} axes for an array of {axes}")
        if not np.can_cast(block.dtype, self._structure.dtype, "equiv"):
            raise _bad(f"elements of {block.dtype} for an array of {self._structure.dtype}")

    def _fresh(self, origin: tuple[int, ...], extent: tuple[int, ...], grid: Grid) -> int | None:
        """Return from which chunk of the first axis on chunks belong into the last part.

        None where they do not: rows are left out, or only a part of each row comes.
        """
        before = self._structure.shape
        if not before or grid.shape[0] == before[0] or origin[0] > before[0]:
            return None
        if grid.shape[1:] != before[1:] or extent[1:] != before[1:]:
            return None
        last = self._parts[-1]
        if last.within is not None and last.within != self._counts(last, before):
            return None
        return self._grid.counts[0] if before[0] else 0

    def _counts(self, part: Part, shape: tuple[int, ...]) -> tuple[int, ...]:
        lengths = (part.length, *shape[1:]) if shape else ()
        return tuple(-(-length // size) for length, size in zip(lengths, self._stored, strict=True))

    def _append(self, fresh: int, region: Selection, block: NDArray[Any], grid: Grid) -> bool:
        """Put new chunks into their places in the last part; False where one is taken.

        It is by a writer that was interrupted, or by one that is about to commit.
        """
        part, taken = self._parts[-1], []
        start = self._structure.shape[0] - part.length

        def put(piece: Piece) -> None:
            first = (piece.origin[0] - start) // self._stored[0]
            name = "/".join((part.name, "c", str(first), *map(str, piece.position[1:])))
            if self._objects.put_if_absent(name, self._chain.encode(piece.place_in(block))):
                self._written.append(name)
            else:
                taken.append(name)

        self._engine.run(
            partial(put, piece) for piece in grid.pieces(region) if piece.position[0] >= fresh
        )
        if taken:
            self.discard()
        return not taken

    def _rewriting(
        self,
        fresh: int | None,
        region: Selection,
        block: NDArray[Any],
        grid: Grid,
        tags: dict[Position, bytes],
    ) -> Iterator[Callable[[], None]]:
        """Yield tasks that write chunks beside the part; ``tags`` is told which."""
        for piece in grid.pieces(region):
            if fresh is None or piece.position[0] < fresh:
                tags[piece.position] = self._tag
                yield partial(self._rewrite, piece, piece.place_in(block))

    def _rewrite(self, piece: Piece, elements: NDArray[Any]) -> None:
        chunk = elements
        if not piece.is_whole():
            chunk = self._present(piece)
            whole_elements(chunk)[piece.source] = whole_elements(np.asarray(elements, chunk.dtype))
        name = self._rewritten.name_for(piece.position, self._tag)
        self._objects.put(name, self._chain.encode(chunk))
        self._written.append(name)

    def _present(self, piece: Piece) -> NDArray[Any]:
        """Return a chunk as it is now, in the extent that it will have."""
        chunk = np.empty(piece.shape, self._chain.dtype)
        self._chain.fill_into(chunk)
        if not self._grid.contains(piece.position):
            return chunk
        origin, extent = self._grid.bounds(piece.position)
        if 0 in extent or self._places is None:
            return chunk
        inside = tuple(slice(0, length) for length in extent)
        was = Piece(piece.position, origin, extent, inside, inside)
        place = self._places.ranges([was])[0]
        if place is None or place.name is None:
            return chunk
        encoded = self._objects.get(place.name)
        with naming(piece.position):
            if encoded is None and place.required:
                raise CorruptError(
                    ErrorKind.CORRUPT_CHUNK, "it was written, but is not there any more"
                )
            if encoded is not None:
                whole_elements(chunk)[inside] = whole_elements(self._chain.decode(encoded, extent))
        return chunk

    def _described(
        self, structure: ArrayStructure, tags: dict[Position, bytes], *, whole: bool
    ) -> ArrayStorage:
        """Return the storage with what was written."""
        replace = msgspec.structs.replace
        before, after = self._structure.shape, structure.shape
        parts = list(self._parts)
        if after[1:] != before[1:]:
            parts = [
                replace(part, within=part.within or self._counts(part, before), checksum=None)
                for part in parts
            ]
        if after[:1] != before[:1]:
            last = parts[-1]
            longer = replace(last, length=last.length + after[0] - before[0])
            within = self._counts(longer, after) if whole else last.within
            parts[-1] = replace(longer, within=within or self._counts(last, before))
        location = ZarrParts(parts=tuple(parts), rewritten=self._index)
        if tags:
            index = self._rewritten.added(tags).write(self._objects)
            self._written.append(index)
            location = replace(location, rewritten=index)
        return replace(self._storage, location=location)


def _longer(
    structure: ArrayStructure, shape: tuple[int, ...], stored: tuple[int, ...]
) -> ArrayStructure:
    """Return a structure with longer axes; its chunks go on in the size that is stored.

    Raises
    ------
    InvalidRequestError
        ``bad-structure``: an array of that shape cannot be.
    """
    if shape == structure.shape:
        return structure
    chunks = tuple(
        sizes if isinstance(sizes, int) else _grown(sizes, length, size)
        for sizes, length, size in zip(structure.chunks, shape, stored, strict=True)
    )
    told = structure.blocks
    if told is not None and not all(isinstance(sizes, int) for sizes in told):
        told = None
    longer = msgspec.structs.replace(structure, shape=shape, chunks=chunks, blocks=told)
    longer.check()
    return longer


def _grown(sizes: tuple[int, ...], length: int, stored: int) -> tuple[int, ...]:
    explicit = [size for size in sizes if size]
    missing = length - sum(explicit)
    if explicit and missing:
        filled = min(stored - explicit[-1], missing)
        explicit[-1] += filled
        missing -= filled
    whole, rest = divmod(missing, stored)
    return (*explicit, *(stored,) * whole, *((rest,) if rest else ())) or (0,)


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_BODY, message)
