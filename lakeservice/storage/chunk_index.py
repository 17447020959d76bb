"""Chunk indexes: the byte range of every chunk of the arrays in a registered file."""

from __future__ import annotations

import base64
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from schemas.chunks import CHUNK_INDEX_COLUMNS
from schemas.entry import Asset
from schemas.errors import CorruptError, ErrorKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from lakeservice.storage.objects import Objects

_TYPES = (np.int64, np.int32, np.int64, np.int64, np.uint32)
_SCHEMA = pa.schema(
    [
        (name, pa.from_numpy_dtype(dtype))
        for name, dtype in zip(CHUNK_INDEX_COLUMNS, _TYPES, strict=True)
    ]
)
_CACHE_BYTES = 256 << 20
_ASSETS = b"assets"  # key of the Parquet file's metadata
_ASSET_BYTES = 500  # that one takes in memory, about

Row = tuple[int, int, int, int]
"""Asset, offset, length, filter mask."""


def write_chunk_index(
    objects: Objects,
    name: str,
    columns: Mapping[str, NDArray[Any]],
    assets: Sequence[Asset] = (),
) -> None:
    """Write a chunk index as one Parquet object.

    Parameters
    ----------
    name
        Object name: ``data/<id>/chunks.parquet``.
    columns
        An array for each of `CHUNK_INDEX_COLUMNS`, all of one length. The rows of one
        array of the file follow one another and ascend by ``chunk``.
    assets
        Assets that the rows name by number and that are too many for the entry:
        the chunk files of a Zarr folder, the images of a long series.
    """
    arrays = [
        pa.array(np.ascontiguousarray(columns[column], dtype))
        for column, dtype in zip(CHUNK_INDEX_COLUMNS, _TYPES, strict=True)
    ]
    with (
        objects.open_output(name) as file,
        pq.ParquetWriter(
            file,
            _SCHEMA,
            compression="zstd",
            use_dictionary=False,
            column_encoding=dict.fromkeys(CHUNK_INDEX_COLUMNS, "DELTA_BINARY_PACKED"),
            write_statistics=False,
            store_schema=False,
        ) as writer,
    ):
        writer.write_table(pa.table(arrays, schema=_SCHEMA))
        if assets:
            packed = zstandard.compress(msgspec.msgpack.encode(tuple(assets)))
            writer.add_key_value_metadata({_ASSETS: base64.b64encode(packed)})


class ChunkIndex:
    """The columns of a chunk index, in memory."""

    def __init__(
        self, columns: tuple[NDArray[Any], ...], assets: Mapping[int, Asset] | None = None
    ) -> None:
        self._chunk, *self._places = columns
        self.assets = assets or {}
        """Assets by number that the entry does not name itself."""
        self.size_bytes = sum(column.nbytes for column in columns)
        self.size_bytes += _ASSET_BYTES * len(self.assets)
        """Memory that it takes."""

    @classmethod
    def read(cls, objects: Objects, name: str) -> ChunkIndex:
        """Read an index.

        Raises
        ------
        NotFoundError
            ``asset-not-found``: no such object.
        CorruptError
            ``corrupt-object``: it is not a chunk index.
        """
        try:
            with objects.open_input(name) as file, pq.ParquetFile(file) as parquet:
                table = parquet.read(use_threads=False).cast(_SCHEMA)
                packed = (parquet.metadata.metadata or {}).get(_ASSETS)
            assets = _unpacked(packed) if packed else ()
        except (pa.ArrowException, OSError, ValueError, zstandard.ZstdError) as error:
            raise CorruptError(
                ErrorKind.CORRUPT_OBJECT, f"the chunk index {name!r} cannot be read"
            ) from error
        columns = tuple(table.column(column).to_numpy() for column in CHUNK_INDEX_COLUMNS)
        return cls(columns, {asset.num: asset for asset in assets})

    @classmethod
    def of(cls, objects: Objects, name: str) -> ChunkIndex:
        """Return an index from memory, or read it; raises like `read`."""
        return _CACHE.get(objects, name)

    def lookup(self, first: int, count: int, chunks: NDArray[np.int64]) -> list[Row | None]:
        """Return where chunks of one array lie.

        Parameters
        ----------
        first, count
            Rows of the array in this index.
        chunks
            Positions in the grid, counted in C order.

        Returns
        -------
        list
            One row for each of ``chunks``; None where a chunk is absent.

        Raises
        ------
        CorruptError
            ``corrupt-object``: the index has fewer rows than the array says.
        """
        mine = self._chunk[first : first + count]
        if mine.size != count:
            raise CorruptError(
                ErrorKind.CORRUPT_OBJECT,
                f"the chunk index has {self._chunk.size} rows, not {first + count}",
            )
        if not count:
            return [None] * len(chunks)
        rows = np.searchsorted(mine, chunks)
        rows[rows == count] = 0
        found = (mine[rows] == chunks).tolist()
        rows += first
        places = zip(*(column[rows].tolist() for column in self._places), strict=True)
        return [place if there else None for place, there in zip(places, found, strict=True)]


def _unpacked(packed: bytes) -> tuple[Asset, ...]:
    payload = zstandard.decompress(base64.b64decode(packed))
    return msgspec.msgpack.decode(payload, type=tuple[Asset, ...])


class _Cache:
    """Indexes used lately, up to a number of bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._indexes: OrderedDict[tuple[int, str], tuple[Objects, ChunkIndex]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, objects: Objects, name: str) -> ChunkIndex:
        # the store is kept beside its index, so that its id() stays its own
        key = (id(objects), name)
        with self._lock:
            if key in self._indexes:
                self._indexes.move_to_end(key)
                return self._indexes[key][1]
        index = ChunkIndex.read(objects, name)
        with self._lock:
            if key not in self._indexes:
                self._indexes[key] = (objects, index)
                self._held += index.size_bytes
            while self._held > self._limit and len(self._indexes) > 1:
                self._held -= self._indexes.popitem(last=False)[1][1].size_bytes
        return index


_CACHE = _Cache(_CACHE_BYTES)
