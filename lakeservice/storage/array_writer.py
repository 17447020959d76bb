"""Writing arrays: rows or blocks in, Zarr v3 objects out, encoded in threads."""

from __future__ import annotations

import math
import sys
import threading
from collections import deque
from concurrent.futures import wait
from typing import TYPE_CHECKING, Any, Self

import msgspec
import numpy as np

from lakeservice.codecs.chain import Chain
from lakeservice.codecs.defaults import default_codecs
from lakeservice.codecs.engine import Engine
from lakeservice.codecs.grid import Grid
from lakeservice.codecs.steps import whole_elements
from lakeservice.storage.block_writer import BlockWriter
from lakeservice.storage.chunking import stored_chunks
from lakeservice.storage.zarr_metadata import zarr_json
from schemas.chunks import ArrayStorage, ChunkLayout, Codec, Part, ZarrParts
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from lakeservice.storage.objects import Objects
    from schemas.structures import ArrayStructure, Chunks

_IN_FLIGHT_BYTES = 64 << 20


class ArrayWriter:
    """Writes one array below a prefix, by rows (`write`) or by blocks (`write_block`).

    As a context manager it writes nothing more after an error, so that what was
    written can be removed.

    Parameters
    ----------
    objects
        The lake's objects.
    prefix
        ``data/<id>/<part>``; nothing may lie there yet.
    structure
        What the whole array looks like. Zarr needs chunks of one size along
        each axis: where ``chunks`` are not, the stored ones are chosen anew.
    codecs
        Chain to store with; None for what suits the element type.
    growing
        The number of rows is found when they end; the shape's first length is not asked.
    """

    def __init__(
        self,
        objects: Objects,
        prefix: str,
        structure: ArrayStructure,
        codecs: Sequence[Codec] | None = None,
        *,
        growing: bool = False,
    ) -> None:
        structure.check()
        self._growing = growing
        self._asked = structure
        self._objects = objects
        self._prefix = prefix
        dtype = structure.dtype
        chain = default_codecs(dtype) if codecs is None else tuple(codecs)
        chunks = stored_chunks(structure)
        self.structure = msgspec.structs.replace(
            structure, chunks=chunks, blocks=_told(structure, chunks)
        )
        """The structure as stored, which the node has to carry."""
        self.layout = ChunkLayout(data_type=structure.data_type, chunk_shape=chunks, codecs=chain)
        self._dtype = dtype
        self._chain = Chain.of(self.layout)
        self._row_shape = structure.shape[1:]
        self._length = structure.shape[0] if structure.shape else 1
        if growing:
            self._length = sys.maxsize
        self._chunk_rows = chunks[0] if chunks else 1
        self._grid = Grid(self._row_shape, chunks[1:])
        self._engine = Engine.shared() if objects.root is not None else Engine.shared_far()
        self._held: NDArray[Any] | None = None
        self._held_rows = 0
        self._done = 0
        self._bytes = 0
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Future[Any], int]] = deque()
        self._waiting_bytes = 0
        self._by_block = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            for future, _size in self._waiting:
                future.cancel()
            wait([future for future, _size in self._waiting])
            self._waiting.clear()

    def write(self, rows: NDArray[Any]) -> None:
        """Add the next rows of the first axis, any number; for a 0-d array, its element.

        Encoding goes on in the background; ``rows`` may be changed afterwards.

        Raises
        ------
        InvalidRequestError
            ``bad-body``: rows of another shape or dtype, or more than there are.
        """
        rows = np.asarray(rows)
        if not self._asked.shape:
            rows = rows.reshape(1, *rows.shape)
        if rows.shape[1:] != self._row_shape:
            raise _bad(f"rows of shape {rows.shape[1:]} for an array of {self._asked.shape}")
        if not np.can_cast(rows.dtype, self._dtype, "equiv"):
            raise _bad(f"elements of dtype {rows.dtype} for an array of {self._dtype}")
        if self._done + self._held_rows + len(rows) > self._length:
            raise _bad(f"more rows than the {self._length} of the array")
        rows = whole_elements(np.asarray(rows, self._dtype))
        start = 0
        while start < len(rows):
            count = min(self._chunk_rows - self._held_rows, len(rows) - start)
            if self._held is None:
                height = min(self._chunk_rows, self._length - self._done)
                self._held = np.empty((height, *self._row_shape), rows.dtype)
            self._held[self._held_rows : self._held_rows + count] = rows[start : start + count]
            self._held_rows += count
            start += count
            if self._held_rows == len(self._held):
                self._flush()

    def write_block(self, position: tuple[int, ...], block: NDArray[Any]) -> None:
        """Write the block at a position of the chunk grid that was asked for.

        Raises
        ------
        InvalidRequestError
            ``bad-body``: no such block, or another shape or dtype than it has.
        """
        self._by_block = True
        grid = Grid.of(self._asked)
        if not grid.contains(position):
            raise _bad(f"there is no block {position}; the array has {grid.counts} of them")
        origin, shape = grid.bounds(position)
        if block.shape != shape:
            raise _bad(f"block {position} has shape {shape}, not {block.shape}")
        self._blocks().write(origin, block)

    def finish(self, *, sparse: bool = False) -> ArrayStorage:
        """Make everything durable and return where the array lies.

        Parameters
        ----------
        sparse
            Blocks may be missing, now and for good: they read as zeros.

        Raises
        ------
        InvalidRequestError
            ``bad-body``: rows are missing, where `write` was used.
        """
        self._by_block = self._by_block or sparse
        if self._growing:
            self._end()
        if not self._by_block and self._asked.shape and math.prod(self._asked.shape) == 0:
            self._done = self._length
        if not self._by_block and self._done != self._length:
            given = self._done + self._held_rows
            raise _bad(f"{given} of the array's {self._length} rows were written")
        self._wait(0)
        self._objects.put(
            f"{self._prefix}/zarr.json",
            zarr_json(self._asked.shape, self.layout, self._asked.dims),
            durable=False,
        )
        self._objects.sync(self._prefix)
        return self._storage(self._bytes)

    def _end(self) -> None:
        """Take the rows that came as all there are."""
        if self._held is not None:
            self._held = self._held[: self._held_rows]
            self._flush()
        self._length = self._done
        shape = (self._done, *self._row_shape)
        chunks = (self._chunk_rows, *self.structure.chunks[1:])
        self._asked = self.structure = msgspec.structs.replace(
            self.structure, shape=shape, chunks=chunks
        )

    def _storage(self, size_bytes: int) -> ArrayStorage:
        part = Part(
            name=self._prefix,
            length=self._length,
            size_bytes=size_bytes or None,
            complete=not self._by_block,
        )
        return ArrayStorage(layout=self.layout, location=ZarrParts(parts=(part,)))

    def _blocks(self) -> BlockWriter:
        return BlockWriter(self._objects, self.structure, self._storage(0))

    def _flush(self) -> None:
        rows, self._held, self._held_rows = self._held, None, 0
        if rows is None:
            return
        first = self._done // self._chunk_rows
        self._done += len(rows)
        for number in range(self._grid.size):
            position = self._grid.position(number)
            origin, shape = self._grid.bounds(position)
            if not math.prod(shape):
                continue
            inner = tuple(
                slice(start, start + length) for start, length in zip(origin, shape, strict=True)
            )
            chunk = rows[(slice(None), *inner)].view(self._dtype)
            place = (first, *position) if self._asked.shape else ()
            name = "/".join((self._prefix, "c", *map(str, place)))
            if not self._asked.shape:
                chunk = chunk.reshape(())
            self._wait(_IN_FLIGHT_BYTES - chunk.nbytes)
            self._waiting.append((self._engine.submit(_Storing(self, name, chunk)), chunk.nbytes))
            self._waiting_bytes += chunk.nbytes

    def _wait(self, most_bytes: int) -> None:
        while self._waiting and self._waiting_bytes > most_bytes:
            future, size = self._waiting.popleft()
            self._waiting_bytes -= size
            future.result()

    def store(self, name: str, chunk: NDArray[Any]) -> None:
        """Encode one chunk and put it under its name."""
        encoded = self._chain.encode(chunk)
        self._objects.put(name, encoded, durable=False)
        with self._lock:
            self._bytes += len(encoded)


def _told(structure: ArrayStructure, stored: tuple[int, ...]) -> Chunks | None:
    """Return the grid in which the writer counts blocks, where it is not the stored one."""
    if structure.blocks is not None or all(isinstance(n, int) for n in structure.chunks):
        return structure.blocks
    regular = msgspec.structs.replace(structure, chunks=stored)
    same = structure.explicit_chunks() == regular.explicit_chunks()
    return None if same else structure.chunks


class _Storing:
    """A task: one chunk to be encoded and stored."""

    def __init__(self, writer: ArrayWriter, name: str, chunk: NDArray[Any]) -> None:
        self._writer = writer
        self._name = name
        self._chunk = chunk

    def __call__(self) -> None:
        self._writer.store(self._name, self._chunk)


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_BODY, message)
