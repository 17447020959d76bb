"""Where the bytes of an HDF5 dataset lie that has its own storage, chunked or not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from h5py import h5d

from ingest.formats.hdf5_chunks import place_chunked
from ingest.formats.hdf5_dataset import Placement, ScatteredError
from ingest.formats.hdf5_files import BrokenError
from ingest.formats.hdf5_values import read_elements
from ingest.found import ChunkRows
from ingest.layouts import contiguous_chunks
from schemas.chunks import Contiguous, Inline

if TYPE_CHECKING:
    from ingest.formats.hdf5_dataset import Dataset
    from ingest.formats.hdf5_files import OpenFiles


def place_stored(files: OpenFiles, dataset: Dataset) -> Placement:
    """Return where the bytes of a dataset lie that has its own storage.

    Raises
    ------
    ScatteredError
        Not in one addressable form: it has to be converted.
    BrokenError
        They cannot be read at all.
    """
    if dataset.count == 0:
        return _nothing(dataset)
    if not dataset.element.direct:
        raise ScatteredError("its elements have to be converted one by one")
    layout = dataset.creation.get_layout()
    if layout == h5d.COMPACT:
        return _compact(dataset)
    if layout == h5d.CHUNKED:
        return place_chunked(dataset)
    if dataset.creation.get_external_count():
        return _raw(files, dataset)
    offset = dataset.handle.get_offset()
    if offset is None:
        return _nothing(dataset)
    return _contiguous(dataset, dataset.place.file.number, offset)


def _compact(dataset: Dataset) -> Placement:
    """Read a dataset that HDF5 keeps with its description, and do the same."""
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
