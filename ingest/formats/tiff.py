"""TIFF: pages and stacks, as strips and tiles where they lie; numbered files as one stack."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from ingest.formats.tiff_header import tiff_metadata
from ingest.formats.tiff_segments import Segments, segments_of
from ingest.found import ChunkRows, Found, Item
from ingest.layouts import contiguous_array
from ingest.rows import mapped_rows, row_blocks
from ingest.source import Source, unreadable
from schemas.chunks import Contiguous
from schemas.errors import LakeError
from schemas.structures import ArrayStructure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it reports damaged tags to stderr

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0")
_DIMS = {"Q": "frame", "I": "frame", "X": "x", "Y": "y", "S": "sample"}
_FIRST_AXIS = "frame"


class TiffFormat:
    """Images and stacks of images; each series of a file is an array."""

    media_type = "image/tiff"
    suffixes = (".tif", ".tiff")

    def sniff(self, source: Source) -> bool:
        """Tell whether the file starts as a classic or big TIFF."""
        return source.head.startswith(_MAGIC)

    def open(self, source: Source) -> Found:
        """Describe every series of the file, and the smaller levels of a pyramid."""
        with _opened(source) as file:
            assets = _Assets(source)
            arrays = [level for series in file.series for level in series.levels]
            if not arrays:
                raise unreadable(source.name, "there is no image in it")
            items = []
            for number, array in enumerate(arrays):
                path = "" if len(arrays) == 1 else f"image_{number}"
                items.append(_item(path, array, number, source, assets))
            return Found(items, tiff_metadata(file), assets=assets.known)

    def open_series(self, sources: Sequence[Source]) -> Found:
        """Describe single images of one shape, dtype and compression as one stack."""
        frames, problems, alone = [], [], []
        for source in sources:
            try:
                frames.append(_frame(source))
            except LakeError as error:
                problems.append(str(error))
                alone.append(source)
        kinds = Counter(frame.kind for frame in frames)
        usual, count = kinds.most_common(1)[0] if kinds else (None, 0)
        if usual is None or count < 2:
            return Found([], left_out=list(sources))
        stack = [frame for frame in frames if frame.kind == usual]
        for frame in frames:
            if frame.kind != usual:
                problems.append(
                    f"{frame.source.name!r} is {frame.structure.shape} {frame.structure.dtype} "
                    f"and does not fit a stack of {stack[0].structure.shape} "
                    f"{stack[0].structure.dtype}; it stands on its own"
                )
                alone.append(frame.source)
        with _opened(stack[0].source) as file:
            metadata = tiff_metadata(file)
        return Found(
            [_stack_item(stack)],
            metadata,
            assets=[frame.source.asset(num) for num, frame in enumerate(stack)],
            problems=problems,
            left_out=alone,
        )


class _Assets:
    """The files that hold the pages; an OME stack may lie in several."""

    def __init__(self, source: Source) -> None:
        self.known = [source.asset()]
        self._sizes = [source.size_bytes]
        self._numbers = {str(source.path): 0}

    def number(self, page: tifffile.TiffPage | tifffile.TiffFrame) -> int:
        path = page.parent.filehandle.path
        found = self._numbers.get(path)
        if found is None:
            other = Source.of(Path(path))
            found = self._numbers[path] = len(self.known)
            self.known.append(other.asset(found))
            self._sizes.append(other.size_bytes)
        return found

    def size_bytes(self, number: int) -> int:
        return self._sizes[number]


@dataclasses.dataclass
class _Frame:
    """One file of a series: a single image."""

    source: Source
    structure: ArrayStructure
    segments: Segments | None

    @property
    def kind(self) -> Any:
        """What must be equal among the files of a stack."""
        layout = self.segments.layout if self.segments else None
        return self.structure.shape, str(self.structure.dtype), repr(layout)


@contextmanager
def _opened(source: Source) -> Iterator[tifffile.TiffFile]:
    """Open a file with tifffile; whatever it raises is an unreadable file."""
    try:
        with tifffile.TiffFile(source.path) as file:
            yield file
    except LakeError:
        raise
    except Exception as error:  # tifffile raises many kinds on damaged files
        raise unreadable(source.name, error) from None


def _item(
    path: str, series: tifffile.TiffPageSeries, number: int, source: Source, assets: _Assets
) -> Item:
    dims = _dims(series.axes)
    shape = tuple(int(length) for length in series.shape)
    if series.dtype is None:
        return Item(path, problem=f"image {number} has samples of an unknown type")
    dtype = np.dtype(series.dtype)
    read = _reader(source.path, number)
    page = series.keyframe
    if series.dataoffset is not None and page.compression == 1 and page.fillorder == 1:
        stored = dtype.newbyteorder(series.parent.byteorder)
        structure, layout = contiguous_array(shape, stored, dims=dims)
        offset, size = int(series.dataoffset), math.prod(shape) * dtype.itemsize
        if offset + size > source.size_bytes:
            raise unreadable(
                source.name,
                f"it ends after {source.size_bytes} bytes, but image {number} of {shape} "
                f"{dtype} needs {offset + size}",
            )
        return Item(
            path,
            structure,
            layout=layout,
            location=Contiguous(offset=offset),
            read=lambda: mapped_rows(source.path, shape, stored, offset),
        )
    segments = segments_of(page)
    fits = shape[len(shape) - len(page.shape) :] == page.shape
    if segments is None or not fits:
        return Item(path, ArrayStructure.from_numpy(shape, dtype, None, dims), read=read)
    lead = shape[: len(shape) - len(page.shape)]
    segments = segments.under(len(lead))
    structure = ArrayStructure.from_numpy(shape, dtype, segments.layout.chunk_shape, dims)
    rows = _rows(series, segments, math.prod(lead), assets)
    if isinstance(rows, str):
        return Item(path, structure, problem=rows)
    return Item(path, structure, layout=segments.layout, location=rows, read=read)


def _rows(
    series: tifffile.TiffPageSeries, segments: Segments, pages: int, assets: _Assets
) -> ChunkRows | str:
    """Collect the segments of all pages; a sentence if they do not add up."""
    chunks: list[NDArray[np.int64]] = []
    offsets: list[NDArray[np.int64]] = []
    lengths: list[NDArray[np.int64]] = []
    numbers: list[NDArray[np.int64]] = []
    count = 0
    for index, page in enumerate(series.pages):
        count += 1
        if page is None:
            continue  # a frame that OME announces and nobody wrote: fill
        offset = np.asarray(page.dataoffsets, np.int64)
        length = np.asarray(page.databytecounts, np.int64)
        if len(offset) != segments.count or len(length) != segments.count:
            return f"page {index} has {len(offset)} segments, {segments.count} are needed"
        asset = assets.number(page)
        there = (length > 0) & (offset > 0)
        if segments.size_bytes is not None:
            length = np.where(there, segments.size_bytes, length)
        if np.any((offset + length)[there] > assets.size_bytes(asset)):
            return f"the file ends within page {index}"
        chunks.append(index * segments.count + np.flatnonzero(there))
        offsets.append(offset[there])
        lengths.append(length[there])
        numbers.append(np.full(int(there.sum()), asset, np.int64))
    if count != pages:
        return f"there are {count} pages, {pages} are needed"
    if not chunks:
        return ChunkRows.of([], [], [])
    return ChunkRows.of(
        np.concatenate(chunks),
        np.concatenate(offsets),
        np.concatenate(lengths),
        asset=np.concatenate(numbers),
    )


def _reader(path: Path, number: int) -> Any:
    """Return what reads one image of a file with tifffile, a few pages at a time."""

    def rows() -> Iterator[NDArray[Any]]:
        with tifffile.TiffFile(path) as file:
            series = [level for one in file.series for level in one.levels][number]
            shape, pages = series.shape, len(series.pages)
            if (
                len(shape) < 3
                or pages < 2
                or pages % shape[0]
                or series.keyframe.ndim >= len(shape)
            ):
                yield series.asarray()
                return
            each = pages // shape[0]
            for part in row_blocks(shape, series.dtype.itemsize):
                key = slice(part.start * each, part.stop * each)
                yield series.asarray(key=key).reshape(part.stop - part.start, *shape[1:])

    return rows


def _frame(source: Source) -> _Frame:
    with _opened(source) as file:
        if len(file.pages) != 1 or len(file.series) != 1 or len(file.series[0].levels) != 1:
            raise unreadable(source.name, "not a single image; it stands on its own")
        series, page = file.series[0], file.pages.first
        if series.dtype is None or tuple(series.shape) != tuple(page.shape):
            raise unreadable(source.name, "not a plain image; it stands on its own")
        structure = ArrayStructure.from_numpy(
            page.shape, np.dtype(series.dtype), None, _dims(series.axes)
        )
        segments = segments_of(page)
        if segments is not None:
            rows = _rows(series, segments, 1, _Assets(source))
            if isinstance(rows, str):
                raise unreadable(source.name, rows)
            segments = dataclasses.replace(segments, rows=rows)
        return _Frame(source, structure, segments)


def _stack_item(stack: list[_Frame]) -> Item:
    first = stack[0].structure
    shape = (len(stack), *first.shape)
    dims = (_FIRST_AXIS, *(first.dims or ()))
    paths = [frame.source.path for frame in stack]

    def read() -> Iterator[NDArray[Any]]:
        for path in paths:
            yield tifffile.imread(path)[np.newaxis]

    found = [frame.segments for frame in stack if frame.segments is not None]
    if len(found) < len(stack):
        return Item("", ArrayStructure.from_numpy(shape, first.dtype, None, dims), read=read)
    segments = found[0].under(1)
    structure = ArrayStructure.from_numpy(shape, first.dtype, segments.layout.chunk_shape, dims)
    rows = [one.rows for one in found if one.rows is not None]
    location = ChunkRows.of(
        np.concatenate([one.chunk + num * segments.count for num, one in enumerate(rows)]),
        np.concatenate([one.offset for one in rows]),
        np.concatenate([one.length for one in rows]),
        asset=np.repeat(np.arange(len(rows)), [len(one) for one in rows]),
    )
    return Item("", structure, layout=segments.layout, location=location, read=read)


def _dims(axes: str) -> tuple[str, ...]:
    """Return names of the axes: OME's letters in lower case; equal ones are numbered."""
    names: list[str] = []
    for letter in axes:
        name = _DIMS.get(letter, letter.lower())
        names.append(name if name not in names else f"{name}_{len(names)}")
    return tuple(names)
