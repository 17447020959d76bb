"""The stored chunks of one array: fetched as they are, or decoded into their places."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from lakeservice.codecs.engine import naming
from lakeservice.codecs.extent import Held
from lakeservice.codecs.memory import empty_apart
from lakeservice.codecs.steps import whole_elements
from lakeservice.storage.chunk_index import ChunkIndex
from lakeservice.storage.disk import OwnFile
from schemas.chunks import Indexed, Inline
from schemas.errors import CorruptError, ErrorKind

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray

    from lakeservice.codecs.cache import ChunkCache
    from lakeservice.codecs.chain import Chain
    from lakeservice.codecs.extent import Extent
    from lakeservice.codecs.gathering import Gathered
    from lakeservice.codecs.grid import Piece
    from lakeservice.codecs.steps import Buffer
    from lakeservice.storage.files import FileReader
    from lakeservice.storage.locations import ByteRange
    from lakeservice.storage.objects import Objects
    from schemas.chunks import ArrayStorage
    from schemas.entry import Asset


class ChunkReader:
    """Reads chunks where `locations` says that they lie; safe to share between threads.

    Parameters
    ----------
    objects
        The lake's objects.
    storage
        Where the array's bytes lie.
    chain
        Decodes its chunks.
    assets
        Registered files that ``storage`` refers to by number.
    files
        Reader of registered files.
    path
        Of the node, for errors.
    cache
        Keeps decoded chunks that are read again and again; None keeps none.
    version
        What tells this version of the node from all others: id and version.
    """

    def __init__(
        self,
        objects: Objects,
        storage: ArrayStorage,
        chain: Chain,
        assets: Sequence[Asset],
        files: FileReader,
        *,
        path: str = "",
        cache: ChunkCache | None = None,
        version: Hashable = None,
    ) -> None:
        self._objects = objects
        self._location = storage.location
        self._chain = chain
        self._assets = {asset.num: asset for asset in assets}
        self._files = files
        self._path = path
        self._cache = None if chain.is_plain or version is None else cache
        self._version = version
        self._root = None if objects.root is None else os.fspath(objects.root)

    @property
    def path(self) -> str:
        """Path of the node, for errors."""
        return self._path

    def asset(self, number: int) -> Asset:
        """Return a registered file by the number that chunks refer to it.

        Raises
        ------
        CorruptError
            ``asset-missing``: the entry has no such file.
        """
        found = self._assets.get(number)
        if found is None and isinstance(self._location, Indexed):
            index = ChunkIndex.of(self._objects, self._location.index)
            found = index.assets.get(number)
        if found is None:
            raise CorruptError(
                ErrorKind.ASSET_MISSING, f"the entry has no asset number {number}; ingest it again"
            )
        return found

    def fetch(self, place: ByteRange | None) -> Buffer | None:
        """Return the stored bytes of a chunk; None where it is absent.

        Raises
        ------
        CorruptError
            ``corrupt-chunk``, ``asset-missing``, ``asset-changed``.
        """
        if place is None:
            return None
        if place.name is not None:
            found = self._objects.get(place.name)
            if found is None and place.required:
                raise _lost()
            return found
        if isinstance(self._location, Inline):
            return self._location.payload
        return self._files.read(self.asset(place.asset), place.offset, place.length)

    def extent(self, place: ByteRange | None) -> Extent | None:
        """Return the stored bytes of a chunk, to be read as needed; None where it is absent.

        Raises
        ------
        CorruptError
            ``corrupt-chunk``, ``asset-missing``, ``asset-changed``.
        """
        if place is None:
            return None
        if place.name is None:
            if isinstance(self._location, Inline):
                return Held(self._location.payload)
            return self._files.extent(self.asset(place.asset), place.offset, place.length)
        if self._root is None:
            found = self.fetch(place)
            return None if found is None else Held(found)
        file = OwnFile.open(f"{self._root}/{place.name}")
        if file is None and place.required:
            raise _lost()
        return file

    def fill(
        self, piece: Piece, place: ByteRange | None, out: NDArray[Any], *, again: bool = False
    ) -> None:
        """Put what one chunk gives into its place in an answer.

        Parameters
        ----------
        piece, place
            What is wanted of which chunk, and where the chunk lies.
        out
            The whole answer.
        again
            Whether the chunk may be wanted again soon: the read is a small one.

        Raises
        ------
        CorruptError
            As in `fetch`, naming node and chunk.
        """
        target = piece.place_in(out)
        if place is None:
            self._chain.fill_into(target)
            return
        with naming(piece.position, self._path):
            if again and self._cache is not None and self._from_memory(piece, place, target):
                return
            self._decode(piece, place, piece.source, target)

    def fill_gathered(self, gathered: Gathered, place: ByteRange | None) -> None:
        """Put what several selections want of one chunk into their places; errors as in `fill`.

        Its checksum is compared once, and not once for each.
        """
        chain, cache = self._chain, self._cache
        alone = len(gathered.wanted) == 1 or not chain.is_sealed
        size = chain.stored_bytes(gathered.piece.shape)
        kept = cache is not None and cache.may_keep(size)
        if place is None or alone or kept or place.filter_mask:
            gathered.fill(lambda piece, out: self.fill(piece, place, out, again=True))
            return
        with naming(gathered.piece.position, self._path):
            stored = self.fetch(place)
            payload = None if stored is None else Held(chain.unsealed(stored))

            def fill(piece: Piece, out: NDArray[Any]) -> None:
                target = piece.place_in(out)
                if payload is None:
                    chain.fill_into(target)
                else:
                    chain.decode_part(payload, piece.shape, piece.source, target, is_sealed=False)

            gathered.fill(fill)

    def _from_memory(self, piece: Piece, place: ByteRange, target: NDArray[Any]) -> bool:
        """Copy from a chunk that is kept, or is decoded now to be kept; tell whether it is so."""
        cache = self._cache
        if cache is None:
            return False
        key = self._version, piece.position
        kept = None
        if key in cache:
            kept = cache.get(key, self._stamp(place))
        if kept is None:
            size = self._chain.stored_bytes(piece.shape)
            if not cache.is_worth(key, size):
                return False
            # before the bytes are read: what is written in between has another stamp
            stamp = self._stamp(place)
            if stamp is None:
                return False
            kept = empty_apart(piece.shape, self._chain.dtype)
            whole = tuple(slice(0, length, 1) for length in piece.shape)
            self._decode(piece, place, whole, kept)
            cache.put(key, stamp, kept)
        index: Any = (*piece.source, ...)
        found = kept[index]
        if found.dtype == target.dtype:
            target, found = whole_elements(target), whole_elements(found)
        target[...] = found
        return True

    def _stamp(self, place: ByteRange) -> Hashable:
        """Return what tells a chunk's bytes from others written in its place; None: nothing."""
        if place.name is not None:
            return self._objects.stamp(place.name)
        if isinstance(self._location, Inline):
            return None
        asset = self.asset(place.asset)
        if asset.grows or asset.mtime_ns is None or asset.size_bytes is None:
            return None
        self._files.extent(asset, place.offset, place.length)  # it is still the indexed one
        return asset.data_uri, asset.mtime_ns, asset.size_bytes

    def _decode(
        self, piece: Piece, place: ByteRange, source: tuple[slice, ...], target: NDArray[Any]
    ) -> None:
        extent = self.extent(place)
        if extent is None:
            self._chain.fill_into(target)
        else:
            self._chain.decode_part(
                extent, piece.shape, source, target, filter_mask=place.filter_mask
            )


def _lost() -> CorruptError:
    return CorruptError(ErrorKind.CORRUPT_CHUNK, "it was written, but is not there any more")
