"""Where the bytes of an HDF5 dataset lie: compact, contiguous, in raw files, in chunks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from h5py import h5d, h5s

from ingest.formats.hdf5_dataset import Placement, ScatteredError
from ingest.formats.hdf5_files import BrokenError
from ingest.formats.hdf5_filters import codecs_of
from ingest.formats.hdf5_values import read_elements
from ingest.found import ChunkRows
from ingest.layouts import contiguous_chunks
from schemas.chunks import Contiguous, Inline
from schemas.structures import MAX_CHUNKS_PER_AXIS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ingest.formats.hdf5_dataset import Dataset
    from ingest.formats.hdf5_files import OpenFiles

MOST_CHUNKS = 1 << 62
_EVERY_FILTER = np.uint32(0xFFFFFFFF)


def place_stored(files: OpenFiles, dataset: Dataset) -> Placement:
    """Return where the bytes of a dataset lie that has its own storage.

    Raises
    ------
    ScatteredError
        Not in one addressable form: it has to be converted.
    BrokenError
        They cannot be read at all.
    """
    if not dataset.element.direct:
        raise ScatteredError("its elements have to be converted one by one")
    if dataset.extent is None or dataset.count == 0:
        return _nothing(dataset)
    layout = dataset.creation.get_layout()
    if layout == h5d.COMPACT:
        return place_inline(dataset)
    if layout == h5d.CHUNKED:
        return _chunked(dataset)
    if dataset.creation.get_external_count():
        return _raw(files, dataset)
    offset = dataset.handle.get_offset()
    if offset is None:
        return _nothing(dataset)
    return _contiguous(dataset, dataset.place.file.number, offset)


def place_inline(dataset: Dataset) -> Placement:
    """Read a small dataset, and place it where it is described."""
    shape = dataset.shape
    extent = dataset.extent or ()
    values = read_elements(dataset.handle, dataset.element, extent, kind=dataset.kind)
    chunks = tuple(max(1, length) for length in shape)
    return Placement(chunks, dataset.layout(chunks), Inline(payload=values.tobytes()))


def _nothing(dataset: Dataset) -> Placement:
    """Place a dataset that nothing was written to: its one chunk is absent."""
    chunks = contiguous_chunks(dataset.shape, dataset.element.stored.itemsize)
    return Placement(chunks, dataset.layout(chunks), ChunkRows.of([], [], []))


def _contiguous(dataset: Dataset, asset: int, offset: int) -> Placement:
    chunks = contiguous_chunks(dataset.shape, dataset.element.stored.itemsize)
    layout = dataset.layout(chunks)
    clipped = type(layout)(
        data_type=layout.data_type, chunk_shape=chunks, fill_value=layout.fill_value, edge="clipped"
    )
    return Placement(chunks, clipped, Contiguous(asset=asset, offset=offset))


def _raw(files: OpenFiles, dataset: Dataset) -> Placement:
    """Place a dataset whose bytes lie one after another in files of their own."""
    total = dataset.count * dataset.element.itemsize
    pieces: list[tuple[int, int, int]] = []  # asset, offset, length
    for index in range(dataset.creation.get_external_count()):
        name, offset, length = dataset.creation.get_external(index)
        asset = files.raw(name, dataset.place.file)
        wanted = min(int(length), total - sum(piece[2] for piece in pieces))
        if (asset.size_bytes or 0) < offset + wanted:
            raise BrokenError(f"raw file {name.decode('utf-8', 'replace')!r} is too short")
        if wanted:
            pieces.append((asset.num, int(offset), wanted))
    if sum(piece[2] for piece in pieces) < total:
        raise BrokenError("its raw files hold less than the array")
    if len(pieces) == 1:
        return _contiguous(dataset, pieces[0][0], pieces[0][1])
    return _pieces(dataset, pieces, total)


def _pieces(dataset: Dataset, pieces: list[tuple[int, int, int]], total: int) -> Placement:
    row = total // dataset.shape[0] if dataset.shape else total
    if any(length % row for _, _, length in pieces):
        raise ScatteredError("its raw files end within a row")
    rows = math.gcd(*(length // row for _, _, length in pieces))
    chunks = (rows, *dataset.shape[1:]) if dataset.shape else ()
    asset: list[int] = []
    offset: list[int] = []
    for number, start, length in pieces:
        starts = range(start, start + length, rows * row)
        offset += starts
        asset += [number] * len(starts)
    location = ChunkRows.of(range(len(offset)), offset, rows * row, asset=asset)
    return Placement(chunks, dataset.layout(chunks), location)


def _chunked(dataset: Dataset) -> Placement:
    codecs = codecs_of(dataset.creation)
    extent, chunk = dataset.extent or (), dataset.creation.get_chunk()
    counts = [-(-length // size) for length, size in zip(extent, chunk, strict=True)]
    if max(counts) > MAX_CHUNKS_PER_AXIS or math.prod(counts) >= MOST_CHUNKS:
        raise ScatteredError(f"{math.prod(counts)} chunks are too many to list")
    rows: list[h5d.StoreInfo] = []
    dataset.handle.chunk_iter(rows.append)
    inner = dataset.element.inner
    layout = dataset.layout(tuple(int(n) for n in chunk) + inner, codecs)
    if not rows:
        return Placement(layout.chunk_shape, layout, ChunkRows.of([], [], []))
    corners, masks, offsets, lengths = zip(*rows, strict=True)
    corner = np.array(corners, np.int64)
    inside = (corner < np.array(extent, np.int64)).all(axis=1)
    strides = np.array([math.prod(counts[axis + 1 :]) for axis in range(len(counts))], np.int64)
    number = (corner // np.array(chunk, np.int64)) @ strides
    mask = np.array(masks, np.uint32)
    if codecs:
        over = (corner + np.array(chunk, np.int64) > np.array(extent, np.int64)).any(axis=1)
        raw_bytes = math.prod(chunk) * dataset.element.itemsize
        doubtful = over & inside & (mask == 0) & (np.array(lengths, np.int64) == raw_bytes)
        if doubtful.any() and _edges_are_plain(dataset, corner[int(doubtful.argmax())], chunk):
            mask[doubtful] = _EVERY_FILTER
    location = ChunkRows.of(
        number[inside],
        np.array(offsets, np.int64)[inside],
        np.array(lengths, np.int64)[inside],
        asset=dataset.place.file.number,
        filter_mask=mask[inside],
    )
    return Placement(layout.chunk_shape, layout, location)


def _edges_are_plain(dataset: Dataset, corner: NDArray[np.int64], chunk: tuple[int, ...]) -> bool:
    """Tell whether chunks over the edge were stored without the filters.

    A writer may ask for that (``H5Pset_chunk_opts``), and no filter mask says so.
    """
    at = tuple(int(start) for start in corner)
    _, stored = dataset.handle.read_direct_chunk(at)
    element, extent = dataset.element, dataset.extent or ()
    whole = np.frombuffer(stored, np.uint8).reshape(*chunk, -1)
    count = tuple(
        min(size, end - start) for start, size, end in zip(at, chunk, extent, strict=True)
    )
    there = dataset.handle.get_space()
    there.select_hyperslab(at, count)
    values = np.zeros(count + element.inner, element.stored)
    dataset.handle.read(h5s.create_simple(count), there, values, mtype=dataset.handle.get_type())
    plain = whole[tuple(slice(length) for length in count)]
    return plain.tobytes() == values.tobytes()
