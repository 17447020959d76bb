"""The chunk files of a Zarr array as rows of a chunk index; shards down to their chunks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from crc32c import crc32c

from ingest.found import ChunkRows
from ingest.source import Source, unreadable
from lakeservice.codecs.grid import Grid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.formats.zarr_arrays import Shards, ZarrArray
    from schemas.entry import Asset

_ABSENT = np.uint64(2**64 - 1)


class ChunkFiles:
    """Numbers the chunk files of a whole Zarr folder as assets.

    Parameters
    ----------
    assets
        Assets of the entry; chunk files are added to it.
    """

    def __init__(self, assets: list[Asset]) -> None:
        self._assets = assets
        self.strays: list[str] = []
        """Names that look like chunks but lie outside their array's grid."""

    def rows(self, folder: Path, array: ZarrArray) -> ChunkRows:
        """Return where each chunk of an array lies.

        Raises
        ------
        InvalidRequestError
            ``unreadable-file``: a shard is too short for its index, or names bytes
            that it does not have.
        """
        stored = array.structure.chunks if array.shards is None else array.shards.shape
        outer = Grid(array.structure.shape, stored)
        files: list[tuple[int, tuple[int, ...], Path]] = []
        for name, path in _files(folder, len(outer.counts) + 1):
            position = array.keys.position(name, len(outer.counts))
            if position is None:
                continue
            if not outer.contains(position):
                self.strays.append(name)
                continue
            files.append((outer.linear(position), position, path))
        files.sort()
        inner = Grid.of(array.structure)
        chunks, offsets, lengths, numbers = [], [], [], []
        for linear, position, path in files:
            source = Source.of(path)
            number = len(self._assets)
            self._assets.append(source.asset(number))
            if array.shards is None:
                chunks.append(np.array([linear]))
                offsets.append(np.zeros(1, np.int64))
                lengths.append(np.array([source.size_bytes]))
            else:
                found = _in_shard(source, position, array.shards, inner, array)
                chunks.append(found[0])
                offsets.append(found[1])
                lengths.append(found[2])
            numbers.append(np.full(len(chunks[-1]), number))
        if not chunks:
            return ChunkRows.of([], [], [])
        return ChunkRows.of(
            np.concatenate(chunks),
            np.concatenate(offsets),
            np.concatenate(lengths),
            asset=np.concatenate(numbers),
        )


def _files(folder: Path, depth: int, below: str = "") -> Iterator[tuple[str, Path]]:
    """Yield the files below an array's folder with their names relative to it."""
    with os.scandir(folder) as listing:
        for entry in listing:
            if entry.name.startswith(".") or entry.name == "zarr.json":
                continue
            if entry.is_dir(follow_symlinks=False):
                if depth:
                    yield from _files(Path(entry.path), depth - 1, f"{below}{entry.name}/")
            elif entry.is_file():
                yield below + entry.name, Path(entry.path)


def _in_shard(
    source: Source, position: tuple[int, ...], shards: Shards, inner: Grid, array: ZarrArray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return number, offset and length of each chunk in a shard that lies in the array."""
    chunk_shape = [int(size) for size in array.structure.chunks if isinstance(size, int)]
    counts = tuple(size // part for size, part in zip(shards.shape, chunk_shape, strict=True))
    total = int(np.prod(counts, dtype=np.int64))
    size = total * 16 + (4 if shards.index_has_checksum else 0)
    if size > source.size_bytes:
        raise unreadable(source.name, f"the shard is shorter than its index of {size} bytes")
    with source.path.open("rb") as file:
        if shards.index_at_end:
            file.seek(-size, os.SEEK_END)
        payload = file.read(size)
    told = int.from_bytes(payload[-4:], "little")
    if shards.index_has_checksum and crc32c(payload[:-4]) != told:
        raise unreadable(source.name, "the checksum of the shard's index does not match")
    index = np.frombuffer(payload, "<u8", total * 2).reshape(total, 2)
    local = (
        np.stack(np.unravel_index(np.arange(total), counts), axis=-1) if counts else index[:, :0]
    )
    places = local.astype(np.int64) + np.array(position, np.int64) * np.array(counts, np.int64)
    there = ~((index[:, 0] == _ABSENT) & (index[:, 1] == _ABSENT))
    there &= np.all(places < np.array(inner.counts, np.int64), axis=1)
    offsets, lengths = index[there, 0], index[there, 1]
    if np.any(offsets > source.size_bytes) or np.any(lengths > source.size_bytes - offsets):
        raise unreadable(source.name, "the shard's index names bytes that the shard does not have")
    weights = np.ones(len(inner.counts), np.int64)
    for axis in range(len(inner.counts) - 2, -1, -1):
        weights[axis] = weights[axis + 1] * inner.counts[axis + 1]
    linear = places[there] @ weights
    return linear, offsets.astype(np.int64), lengths.astype(np.int64)
