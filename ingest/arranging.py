"""Arrays of files put together: one after another, in another shape, as far as they go."""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np

from ingest.found import ChunkRows, Item
from ingest.layouts import contiguous_chunks
from ingest.reshaping import cut_of, run_of
from schemas.chunks import ChunkLayout, Codec, Contiguous, Inline
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.structures import ArrayStructure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ingest.found import ReadRows

_PLAIN = ((), (Codec("bytes"),))
_SMALL_CHUNK = 64 << 10
_FEW_CHUNKS = 64


def structure_of(item: Item) -> ArrayStructure:
    """Return the structure of an item that is an array.

    Raises
    ------
    InvalidRequestError
        ``bad-structure``: it is something else.
    """
    if not isinstance(item.structure, ArrayStructure):
        raise InvalidRequestError(ErrorKind.BAD_STRUCTURE, "what the file holds is no array")
    return item.structure


def reshaped(item: Item, shape: tuple[int, ...]) -> Item:
    """Return an array in another shape of as many elements, C order.

    Where its stored chunks are no chunks of the new shape, it has to be converted.
    """
    structure = structure_of(item)
    if shape == structure.shape:
        return item
    read = item.read and partial(_in_rows, cast("ReadRows", item.read), shape, structure.dtype)
    plain = contiguous_chunks(shape, structure.data_type.itemsize)
    bare = ArrayStructure.from_numpy(shape, structure.dtype, plain)
    changed = dataclasses.replace(item, structure=bare, read=read)
    layout, location = item.layout, item.location
    if layout is None or location is None or item.problem is not None:
        return changed
    replace = msgspec.structs.replace
    if isinstance(location, Inline) and layout.codecs in _PLAIN:
        whole = tuple(max(1, length) for length in shape)
        changed.structure = replace(bare, chunks=whole)
        changed.layout = replace(layout, chunk_shape=whole)
    elif isinstance(location, Contiguous) and layout.codecs in _PLAIN:
        changed.layout = replace(layout, chunk_shape=plain, edge="clipped")
    elif isinstance(location, ChunkRows) and _free_of_shape(layout):
        chunks = cut_of(structure.shape, layout.chunk_shape, shape)
        full = layout.edge == "full"
        if chunks is None or (full and math.prod(chunks) != math.prod(layout.chunk_shape)):
            return dataclasses.replace(changed, layout=None, location=None)
        changed.structure = replace(bare, chunks=chunks)
        changed.layout = replace(layout, chunk_shape=chunks)
    else:
        changed.layout = changed.location = None
    return changed


def shortened(item: Item, rows: int) -> Item:
    """Return the first rows of an array; as it is where its chunks cannot be cut there."""
    structure = structure_of(item)
    if not structure.shape or rows >= structure.shape[0]:
        return item
    layout, location = item.layout, item.location
    if location is None or isinstance(location, Inline) or layout is None:
        if item.read is None:
            return item
        location, layout = None, None
    elif layout.edge == "clipped" and isinstance(location, ChunkRows):
        if rows % layout.chunk_shape[0]:
            return item
    elif layout.codecs not in _PLAIN and isinstance(location, Contiguous):
        return item
    shape = (rows, *structure.shape[1:])
    read = item.read and partial(_first_rows, cast("ReadRows", item.read), rows)
    return dataclasses.replace(
        item,
        structure=msgspec.structs.replace(structure, shape=shape, chunks=_regular(structure)),
        layout=layout,
        location=location,
        read=read,
    )


def concatenated(items: Sequence[Item]) -> Item:
    """Return arrays one after another along the first axis, single values as rows of their own.

    Raises
    ------
    InvalidRequestError
        ``bad-structure``: they differ in dtype, or in shape beyond the first axis.
    """
    rows = [item if structure_of(item).shape else reshaped(item, (1,)) for item in items]
    if len(rows) == 1:
        return items[0]
    first = structure_of(rows[0])
    for number, item in enumerate(rows):
        other = structure_of(item)
        if (other.shape[1:], other.dtype) != (first.shape[1:], first.dtype):
            raise InvalidRequestError(
                ErrorKind.BAD_STRUCTURE,
                f"file {number} holds {other.shape} {other.dtype}, which does not continue "
                f"{first.shape} {first.dtype}",
            )
        if item.problem is not None:
            return dataclasses.replace(rows[0], problem=item.problem)
    lengths = [structure_of(item).shape[0] for item in rows]
    shape = (sum(lengths), *first.shape[1:])
    placed = _placed_together(rows, lengths)
    reads = [cast("ReadRows", item.read) for item in rows if item.read is not None]
    read = partial(_chained, reads) if len(reads) == len(rows) else None
    if placed is None:
        if read is None:
            raise InvalidRequestError(
                ErrorKind.BAD_STRUCTURE, "these files cannot be read one after another"
            )
        chunks = contiguous_chunks(shape, first.data_type.itemsize)
        structure = msgspec.structs.replace(first, shape=shape, chunks=chunks)
        return dataclasses.replace(
            rows[0], structure=structure, read=read, layout=None, location=None
        )
    layout, location = placed
    structure = msgspec.structs.replace(first, shape=shape, chunks=layout.chunk_shape)
    return dataclasses.replace(
        rows[0], structure=structure, layout=layout, location=location, read=read
    )


def stacked(items: Sequence[Item]) -> Item:
    """Return arrays of one shape along a new first axis; raises like `concatenated`."""
    return concatenated([reshaped(item, (1, *structure_of(item).shape)) for item in items])


def fitted(item: Item, declared: ArrayStructure) -> tuple[Item, str | None]:
    """Return an array as it is declared, as far as it goes.

    Returns
    -------
    Item
        In the declared shape where there are as many elements; with fewer rows where
        there are fewer; as it is where the two do not fit.
    str or None
        What does not fit.
    """
    found = structure_of(item)
    if found.shape == declared.shape:
        return _named(item, declared), None
    row = math.prod(found.shape[1:])
    wanted, there = math.prod(declared.shape), math.prod(found.shape)
    told = f"{declared.shape} was declared, but the files hold {found.shape}"
    if found.shape and row and wanted <= there and wanted % row == 0:
        cut = shortened(item, wanted // row)
        if math.prod(structure_of(cut).shape) == wanted:
            return _named(reshaped(cut, declared.shape), declared), None
        return item, told
    declared_row = math.prod(declared.shape[1:])
    if wanted > there and declared.shape and declared_row and there % declared_row == 0:
        shape = (there // declared_row, *declared.shape[1:])
        return _named(reshaped(item, shape), declared), told
    return item, told


def renumbered(item: Item, numbers: Sequence[int]) -> Item:
    """Return an item whose assets have other numbers, by the numbers that they have."""
    location = item.location
    if isinstance(location, ChunkRows):
        asset = np.asarray(numbers, np.int32)[location.asset]
        return dataclasses.replace(item, location=dataclasses.replace(location, asset=asset))
    if isinstance(location, Contiguous):
        moved = msgspec.structs.replace(location, asset=numbers[location.asset])
        return dataclasses.replace(item, location=moved)
    return item


def _named(item: Item, declared: ArrayStructure) -> Item:
    """Give the axes the names that were declared, and bytes in one piece the chunks."""
    structure = structure_of(item)
    if len(declared.shape) != len(structure.shape):
        return item
    replace = msgspec.structs.replace
    if declared.dims is not None:
        item = dataclasses.replace(item, structure=replace(structure, dims=declared.dims))
    chunks = _useful_chunks(item, declared)
    if chunks is None or item.layout is None:
        return item
    return dataclasses.replace(
        item,
        structure=replace(structure_of(item), chunks=chunks),
        layout=replace(item.layout, chunk_shape=chunks, edge="clipped"),
    )


def _useful_chunks(item: Item, declared: ArrayStructure) -> tuple[int, ...] | None:
    """Return the declared chunks, if the bytes can be read in them and they are not too small."""
    structure, layout = structure_of(item), item.layout
    if layout is None or layout.codecs not in _PLAIN or not isinstance(item.location, Contiguous):
        return None
    chunks = tuple(size for size in declared.chunks if isinstance(size, int))
    if len(chunks) != len(structure.shape):
        return None
    if run_of(structure.shape, chunks) is None:
        return None
    count = math.prod(-(-n // size) for n, size in zip(structure.shape, chunks, strict=True))
    small = math.prod(chunks) * structure.data_type.itemsize < _SMALL_CHUNK
    return None if small and count > _FEW_CHUNKS else chunks


def _regular(structure: ArrayStructure) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) else max(1, *size) for size in structure.chunks)


def _free_of_shape(layout: ChunkLayout) -> bool:
    return all(not codec.name.startswith("transpose") for codec in layout.codecs)


def _placed_together(
    items: Sequence[Item], lengths: Sequence[int]
) -> tuple[ChunkLayout, ChunkRows] | None:
    """Return one layout and the places of all chunks; None where they do not make one grid."""
    rows: list[ChunkRows] = []
    layout: ChunkLayout | None = None
    before = 0
    step = math.gcd(*lengths[:-1])
    for item, length in zip(items, lengths, strict=True):
        placed = _placed(item, step)
        if placed is None:
            return None
        own, places = placed
        if layout is None:
            layout = own
        if own != layout or before % layout.chunk_shape[0]:
            return None
        cells = math.prod(
            -(-size // chunk)
            for size, chunk in zip(structure_of(item).shape[1:], own.chunk_shape[1:], strict=True)
        )
        first = before // layout.chunk_shape[0] * cells
        rows.append(dataclasses.replace(places, chunk=places.chunk + first))
        before += length
    if layout is None:
        return None
    if layout.edge == "clipped" and any(n % layout.chunk_shape[0] for n in lengths[:-1]):
        return None
    columns: dict[str, NDArray[Any]] = {
        field.name: np.concatenate([getattr(one, field.name) for one in rows])
        for field in dataclasses.fields(ChunkRows)
    }
    return layout, ChunkRows(**columns)


def _placed(item: Item, step: int) -> tuple[ChunkLayout, ChunkRows] | None:
    layout, location, shape = item.layout, item.location, structure_of(item).shape
    if layout is None:
        return None
    if isinstance(location, ChunkRows):
        return layout, location
    if not isinstance(location, Contiguous) or layout.codecs not in _PLAIN:
        return None
    rows = layout.chunk_shape[0]
    if step:
        rows = next(n for n in range(min(rows, step), 0, -1) if step % n == 0)
    chunks = (rows, *layout.chunk_shape[1:])
    plain = msgspec.structs.replace(
        layout, chunk_shape=chunks, codecs=(Codec("bytes"),), edge="clipped"
    )
    counts = np.ones((), np.int64)
    for size, chunk in zip(shape, chunks, strict=True):
        whole, rest = divmod(size, chunk)
        lengths = np.array([chunk] * whole + ([rest] if rest else []), np.int64)
        counts = np.multiply.outer(counts, lengths)
    sizes = counts.reshape(-1) * layout.data_type.itemsize
    offsets = location.offset + np.cumsum(sizes) - sizes
    return plain, ChunkRows.of(np.arange(len(sizes)), offsets, sizes, asset=location.asset)


def _chained(reads: Sequence[ReadRows]) -> Iterator[NDArray[Any]]:
    for read in reads:
        for block in read():
            yield block if block.ndim else block.reshape(1)


def _first_rows(read: ReadRows, rows: int) -> Iterator[NDArray[Any]]:
    left = rows
    for block in read():
        if left <= 0:
            return
        yield block[:left]
        left -= len(block)


def _in_rows(
    read: ReadRows, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Iterator[NDArray[Any]]:
    """Yield the elements of an array as rows of another shape."""
    if not shape:
        blocks = [np.asarray(block) for block in read()]
        yield blocks[0].reshape(())
        return
    row = math.prod(shape[1:])
    kept = np.empty(0, dtype)
    for block in read():
        flat = np.ascontiguousarray(block).reshape(-1)
        kept = np.concatenate([kept, flat]) if kept.size else flat
        whole = kept.size // row * row if row else 0
        if whole:
            yield kept[:whole].reshape(-1, *shape[1:])
            kept = kept[whole:]
