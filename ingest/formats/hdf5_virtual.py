"""Virtual datasets: arrays that are put together from others, as chunks of their sources."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
from h5py import h5d, h5s

from ingest.formats.hdf5_dataset import Dataset, Placement, ScatteredError
from ingest.formats.hdf5_files import BrokenError
from ingest.formats.hdf5_links import open_path, root_of
from ingest.found import ChunkRows
from ingest.metadata import text_of
from schemas.chunks import Contiguous

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from h5py.h5s import SpaceID
    from numpy.typing import NDArray

    from ingest.formats.hdf5_files import OpenFiles
    from schemas.chunks import ChunkLayout

MOST_INDICES = 1 << 24
"""Longest axis whose selected indices are compared one by one."""
MOST_NESTED = 16
"""Virtual datasets one inside the other."""
_UNLIMITED = 1 << 62


@dataclasses.dataclass(frozen=True)
class Region:
    """A regular selection: per axis, blocks at a stride."""

    start: tuple[int, ...]
    stride: tuple[int, ...]
    count: tuple[int, ...]
    block: tuple[int, ...]

    @classmethod
    def whole(cls, shape: tuple[int, ...]) -> Region:
        """Return the region that is everything."""
        ones = (1,) * len(shape)
        return cls((0,) * len(shape), ones, ones, shape)

    @classmethod
    def of(cls, space: SpaceID) -> Region | None:
        """Return what is selected in a dataspace; None for all, whose shape it may not know.

        Raises
        ------
        ScatteredError
            Single points or an irregular union.
        """
        if space.get_select_type() == h5s.SEL_ALL:
            return None
        if space.get_select_type() != h5s.SEL_HYPERSLABS or not space.is_regular_hyperslab():
            raise ScatteredError("it is put together from irregular selections")
        return cls(*(tuple(int(n) for n in part) for part in space.get_regular_hyperslab()))

    @property
    def open_axis(self) -> int | None:
        """The axis that goes on for as long as there are elements; None where none does."""
        for axis, (count, block) in enumerate(zip(self.count, self.block, strict=True)):
            if count >= _UNLIMITED or block >= _UNLIMITED:
                return axis
        return None

    def limited(self, elements: int) -> Region:
        """Return the region with its open axis ended after this many elements."""
        axis = self.open_axis
        if axis is None:
            return self
        count, block = list(self.count), list(self.block)
        if block[axis] >= _UNLIMITED:
            count[axis], block[axis] = 1, elements
        else:
            count[axis], rest = divmod(elements, block[axis])
            if rest:
                raise ScatteredError("it ends within a block of an unlimited selection")
        return Region(self.start, self.stride, tuple(count), tuple(block))

    def room(self, extent: Sequence[int]) -> int:
        """Return how many elements of the open axis fit into an extent."""
        axis = self.open_axis
        if axis is None:
            return 0
        length = max(0, extent[axis] - self.start[axis])
        if self.block[axis] >= _UNLIMITED:
            return length
        whole, rest = divmod(length, self.stride[axis])
        return whole * self.block[axis] + min(rest, self.block[axis])

    def lengths(self) -> tuple[int, ...]:
        """Return how many elements are selected on each axis."""
        return tuple(count * block for count, block in zip(self.count, self.block, strict=True))

    def stop(self) -> tuple[int, ...]:
        """Return the index after the last that is selected, per axis; 0 where none is."""
        return tuple(
            start + stride * (count - 1) + block if count and block else 0
            for start, stride, count, block in zip(
                self.start, self.stride, self.count, self.block, strict=True
            )
        )

    def indices(self, axis: int) -> NDArray[np.int64]:
        """Return the selected indices of an axis, in order."""
        if self.count[axis] * self.block[axis] > MOST_INDICES:
            raise ScatteredError("one of its sources is too long to compare")
        starts = self.start[axis] + self.stride[axis] * np.arange(self.count[axis])
        return np.add.outer(starts, np.arange(self.block[axis])).reshape(-1).astype(np.int64)


@dataclasses.dataclass(frozen=True)
class Mapping:
    """One source of a virtual dataset."""

    virtual: Region
    source: Region


@dataclasses.dataclass(frozen=True)
class Patch:
    """The chunks that one source gives."""

    chunks: tuple[int, ...]
    layout: ChunkLayout
    rows: ChunkRows
    covered: NDArray[np.int64]
    """Numbers of all virtual chunks that lie in the source, absent ones too."""


def place_virtual(
    files: OpenFiles, dataset: Dataset, place: Callable[[Dataset], Placement]
) -> Placement:
    """Return the chunks of its sources as chunks of a virtual dataset.

    Parameters
    ----------
    files
        Where source files are opened.
    dataset
        A virtual dataset.
    place
        Places a source, which may be virtual itself.

    Raises
    ------
    BrokenError
        A source is missing, or holds less than what is taken from it.
    ScatteredError
        The sources' chunks are not chunks of one grid.
    """
    sources = _sources(files, dataset)
    if not dataset.element.direct or dataset.element.inner:
        raise ScatteredError("its elements have to be converted one by one")
    if not sources:
        chunks = tuple(max(1, length) for length in dataset.shape)
        return Placement(chunks, dataset.layout(chunks), ChunkRows.of([], [], []))
    known: dict[tuple[int, int], Placement] = {}
    placed = []
    for mapping, source in sources:
        key = source.place.key
        if key not in known:
            known[key] = place(source)
        placed.append((mapping, source, known[key]))
    rows = _common_rows(placed)
    patches = [_patch(dataset, mapping, source, found, rows) for mapping, source, found in placed]
    return _joined(dataset, patches)


def _sources(files: OpenFiles, dataset: Dataset) -> list[tuple[Mapping, Dataset]]:
    """Return each mapping with its source; all are looked at, so that no gap is overlooked."""
    creation = dataset.creation
    found: list[tuple[Mapping, Dataset]] = []
    known: dict[tuple[bytes, bytes], Dataset] = {}
    scattered: ScatteredError | None = None
    for index in range(creation.get_virtual_count()):
        file = _bytes(creation.get_virtual_filename(index))
        name = _bytes(creation.get_virtual_dsetname(index))
        spaces = creation.get_virtual_vspace(index), creation.get_virtual_srcspace(index)
        try:
            target = Region.of(spaces[0]) or Region.whole(dataset.extent or ())
            taken = Region.of(spaces[1])
        except ScatteredError as error:
            scattered = error
            _check_bounds(spaces[1], _source(files, dataset, file, name))
            continue
        for given, key in _numbered(target, (file, name), dataset):
            if key not in known:
                known[key] = _source(files, dataset, *key)
            try:
                mapping = _within(given, taken, _called(*key), dataset, known[key])
            except ScatteredError as error:
                scattered = error
                continue
            found.append((mapping, known[key]))
    if scattered is not None:
        raise scattered
    return found


def _source(files: OpenFiles, dataset: Dataset, file: bytes, name: bytes) -> Dataset:
    called = _called(file, name)
    try:
        base = dataset.place.file
        place = open_path(files, root_of(base if file == b"." else files.follow(file, base)), name)
    except BrokenError as broken:
        raise BrokenError(f"source {called} is missing: {broken}") from None
    if not isinstance(place.handle, h5d.DatasetID):
        raise BrokenError(f"source {called} is no dataset")
    return Dataset.of(place)


def _check_bounds(space: SpaceID, source: Dataset) -> None:
    if space.get_select_npoints() == 0:
        return
    last = space.get_select_bounds()[1]
    extent = source.extent or ()
    if len(last) != len(extent) or any(
        at >= length for at, length in zip(last, extent, strict=True)
    ):
        raise BrokenError(f"a source has shape {extent}, less than is taken from it")


def _called(file: bytes, name: bytes) -> str:
    """Return how a message calls a source; without folders."""
    return repr(f"{text_of(file).rpartition('/')[2]}:{text_of(name)}")


def _numbered(
    region: Region, names: tuple[bytes, bytes], dataset: Dataset
) -> Iterator[tuple[Region, tuple[bytes, bytes]]]:
    """Yield a mapping, or each block of one whose source names hold the pattern ``%b``."""
    axis = region.open_axis
    if b"%" not in names[0] + names[1]:
        yield region, names
        return
    if axis is None or region.block[axis] >= _UNLIMITED:
        yield region, (_named(names[0], 0), _named(names[1], 0))
        return
    length = (dataset.extent or ())[axis] - region.start[axis]
    for number in range(max(0, -(-length // region.stride[axis]))):
        start, count = list(region.start), list(region.count)
        start[axis] += number * region.stride[axis]
        count[axis] = 1
        block = Region(tuple(start), region.stride, tuple(count), region.block)
        yield block, (_named(names[0], number), _named(names[1], number))


def _named(pattern: bytes, number: int) -> bytes:
    parts = pattern.split(b"%%")
    return b"%".join(part.replace(b"%b", str(number).encode()) for part in parts)


def _bytes(name: str | bytes) -> bytes:
    return name.encode("utf-8", "surrogateescape") if isinstance(name, str) else name


def _within(
    given: Region, taken: Region | None, called: str, dataset: Dataset, source: Dataset
) -> Mapping:
    """End unlimited selections where source or array end, and check that all is there."""
    there, here = source.extent or (), dataset.extent or ()
    taken = taken or Region.whole(there)
    if len(taken.start) != len(there) or len(given.start) != len(here):
        raise BrokenError(f"source {called} has {len(there)} axes")
    if taken.open_axis is not None and given.open_axis is not None:
        elements = min(taken.room(there), given.room(here))
        taken, given = taken.limited(elements), given.limited(elements)
    elif taken.open_axis is not None or given.open_axis is not None:
        raise ScatteredError("an unlimited selection meets a limited one")
    short = math.prod(taken.lengths()) < math.prod(given.lengths())
    if short or any(stop > length for stop, length in zip(taken.stop(), there, strict=True)):
        raise BrokenError(f"source {called} has shape {there}, less than is taken from it")
    if any(stop > length for stop, length in zip(given.stop(), here, strict=True)):
        raise BrokenError(f"source {called} is put outside of the array")
    return Mapping(given, taken)


def _common_rows(placed: Sequence[tuple[Mapping, Dataset, Placement]]) -> int:
    """Return how many rows of unchunked sources make one chunk that fits them all."""
    rows = 0
    for mapping, _, found in placed:
        if isinstance(found.location, Contiguous):
            axis = _row_axis(mapping.virtual)
            length = mapping.source.lengths()[0] if mapping.source.start else 1
            start = mapping.virtual.start[axis] if axis is not None else 0
            rows = math.gcd(rows, length, start, *mapping.source.start[:1])
    return max(1, rows)


def _row_axis(region: Region) -> int | None:
    return next((axis for axis, length in enumerate(region.lengths()) if length > 1), None)


def _patch(
    dataset: Dataset, mapping: Mapping, source: Dataset, found: Placement, rows: int
) -> Patch:
    if source.element.dtype != dataset.element.dtype or source.element.inner:
        raise ScatteredError("its elements are of another type than those of its sources")
    if isinstance(found.location, Contiguous):
        found = _cut(mapping, source, found, rows)
    if not isinstance(found.location, ChunkRows):
        raise ScatteredError("one of its sources is stored with its description")
    chunks = [1] * len(mapping.virtual.start)
    virtual_numbers, source_numbers = np.zeros(1, np.int64), np.zeros(1, np.int64)
    pairs = dict(_pairs(mapping))
    source_strides = _strides(source.extent or (), found.chunks)
    for axis, source_axis in pairs.items():
        chunks[axis] = found.chunks[source_axis]
    here = dataset.extent or ()
    virtual_strides = _strides(here, tuple(chunks))
    base = 0
    for source_axis, stride in enumerate(source_strides):
        if source_axis not in pairs.values():
            if found.chunks[source_axis] != 1:
                raise ScatteredError("it takes parts of its sources' chunks")
            base += int(mapping.source.start[source_axis]) * stride
    for axis, length in enumerate(here):
        indices = mapping.virtual.indices(axis)
        there = mapping.source.indices(pairs[axis]) if axis in pairs else np.zeros(1, np.int64)
        ours, theirs = _matched(indices, there, chunks[axis], length, paired=axis in pairs)
        stride = source_strides[pairs[axis]] if axis in pairs else 0
        virtual_numbers = np.add.outer(virtual_numbers, ours * virtual_strides[axis]).reshape(-1)
        source_numbers = np.add.outer(source_numbers, theirs * stride).reshape(-1)
    source_numbers += base
    return _picked(dataset, source, found, tuple(chunks), virtual_numbers, source_numbers)


def _pairs(mapping: Mapping) -> Iterator[tuple[int, int]]:
    """Yield which axis of the array runs along which axis of the source."""
    ours, theirs = mapping.virtual.lengths(), mapping.source.lengths()
    if ours == theirs:
        yield from enumerate(range(len(theirs)))
        return
    long = [axis for axis, length in enumerate(ours) if length != 1]
    there = [axis for axis, length in enumerate(theirs) if length != 1]
    if [ours[axis] for axis in long] != [theirs[axis] for axis in there]:
        raise ScatteredError("it reshapes its sources")
    yield from zip(long, there, strict=True)


def _matched(
    ours: NDArray[np.int64], theirs: NDArray[np.int64], chunk: int, length: int, *, paired: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return chunk numbers of an axis, here and in the source, if they are the same chunks."""
    number, first, counts = np.unique(ours // chunk, return_index=True, return_counts=True)
    if (counts != np.minimum(chunk, length - number * chunk)).any():
        raise ScatteredError("it takes parts of its sources' chunks")
    if not paired:
        return number, np.zeros_like(number)
    shift = theirs - ours
    if (shift % chunk).any() or (shift != np.repeat(shift[first], counts)).any():
        raise ScatteredError("its sources' chunks lie across its own")
    return number, theirs[first] // chunk


def _cut(mapping: Mapping, source: Dataset, found: Placement, rows: int) -> Placement:
    """Cut a source in one piece into chunks of so many rows."""
    extent = source.extent or ()
    if not isinstance(found.location, Contiguous):
        return found
    if mapping.source.lengths()[1:] != extent[1:]:
        raise ScatteredError("it takes parts of a source that is not chunked")
    chunks = (rows, *extent[1:]) if extent else ()
    size = math.prod(chunks) * source.element.itemsize
    total = math.prod(extent) * source.element.itemsize
    starts = np.arange(total // size, dtype=np.int64) * size + found.location.offset
    if total % size and (mapping.source.stop()[0] > len(starts) * rows):
        raise ScatteredError("its sources' lengths have no common chunk")
    location = ChunkRows.of(np.arange(len(starts)), starts, size, asset=found.location.asset)
    return Placement(chunks, source.layout(chunks), location)


def _picked(
    dataset: Dataset,
    source: Dataset,
    found: Placement,
    chunks: tuple[int, ...],
    virtual_numbers: NDArray[np.int64],
    source_numbers: NDArray[np.int64],
) -> Patch:
    rows = found.location
    if not isinstance(rows, ChunkRows):
        raise ScatteredError("one of its sources is not chunked")
    at = np.searchsorted(rows.chunk, source_numbers)
    at[at == len(rows)] = 0
    there = rows.chunk[at] == source_numbers if len(rows) else np.zeros(len(at), bool)
    if not there.all() and source.fill() != dataset.fill():
        raise ScatteredError("a source has absent chunks and another fill value")
    picked = at[there]
    return Patch(
        chunks,
        found.layout,
        ChunkRows.of(
            virtual_numbers[there],
            rows.offset[picked],
            rows.length[picked],
            asset=rows.asset[picked],
            filter_mask=rows.filter_mask[picked],
        ),
        virtual_numbers,
    )


def _joined(dataset: Dataset, patches: Sequence[Patch]) -> Placement:
    first = patches[0]
    if any(patch.chunks != first.chunks for patch in patches):
        raise ScatteredError("its sources are chunked in different ways")
    for patch in patches:
        if (
            patch.layout.codecs != first.layout.codecs
            or patch.layout.data_type != first.layout.data_type
        ):
            raise ScatteredError("its sources are encoded in different ways")
    covered = np.concatenate([patch.covered for patch in patches])
    if len(np.unique(covered)) != len(covered):
        raise ScatteredError("its sources overlap")
    layout = type(first.layout)(
        data_type=first.layout.data_type,
        chunk_shape=first.chunks,
        codecs=first.layout.codecs,
        fill_value=dataset.fill(),
    )
    rows = [patch.rows for patch in patches]
    location = ChunkRows.of(
        np.concatenate([one.chunk for one in rows]),
        np.concatenate([one.offset for one in rows]),
        np.concatenate([one.length for one in rows]),
        asset=np.concatenate([one.asset for one in rows]),
        filter_mask=np.concatenate([one.filter_mask for one in rows]),
    )
    return Placement(first.chunks, layout, location)


def _strides(extent: tuple[int, ...], chunks: tuple[int, ...]) -> list[int]:
    counts = [-(-length // size) for length, size in zip(extent, chunks, strict=True)]
    return [math.prod(counts[axis + 1 :]) for axis in range(len(counts))]
