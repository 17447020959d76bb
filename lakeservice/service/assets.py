"""Files behind nodes, as they are: which there are, their bytes, what is in a folder, removal."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast
from urllib.parse import quote, unquote, urlsplit

import msgspec

from lakeservice.service.writing import remove
from lakeservice.storage.mutations import stored_parts
from schemas.chunks import TableStorage, ZarrParts
from schemas.commit import Update
from schemas.entry import Asset, DataSource
from schemas.errors import (
    AccessError,
    ConflictError,
    CorruptError,
    ErrorKind,
    InvalidRequestError,
    NotFoundError,
)
from schemas.structures import TableStructure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lakeservice.service.registering import Registrar
    from lakeservice.storage.files import FileReader
    from lakeservice.storage.objects import Objects
    from schemas.entry import Node

PIECE_BYTES = 1 << 20
"""Bytes of a file that are sent at a time."""
MOST_LISTED = 100_000
"""Files of a folder that a manifest names."""


@dataclass(frozen=True)
class Behind:
    """A file or folder behind a node."""

    id: int
    """Number by which clients ask for it; from 1 up, its own in each node."""
    asset: Asset
    name: str | None = None
    """Object or prefix in the lake; None for a registered file."""

    @property
    def file_name(self) -> str:
        """Last segment of its address."""
        return unquote(urlsplit(self.asset.data_uri).path).rstrip("/").rpartition("/")[2]


class FileBytes(NamedTuple):
    """The bytes of one file."""

    file_name: str
    length: int
    read: Callable[[int, int], Iterator[bytes | memoryview]]
    """Yields the bytes between two positions."""


class Assets:
    """What lies behind nodes; thread-safe.

    Parameters
    ----------
    objects
        The lake's objects.
    files
        Reader of registered files.
    registrar
        Knows the files of registered nodes.
    show_paths
        Whether clients are told in which folders files lie.
    raw
        Whether they may have files as they are.
    """

    def __init__(
        self,
        objects: Objects,
        files: FileReader,
        registrar: Registrar,
        *,
        show_paths: bool = False,
        raw: bool = True,
    ) -> None:
        self._objects = objects
        self._files = files
        self._registrar = registrar
        self._show_paths = show_paths
        self._raw = raw

    def of(self, source: DataSource) -> list[Behind]:
        """Return what lies behind a data source: registered files, else its parts in the lake."""
        if not source.assets:
            return [
                Behind(number + 1, self._part_asset(number, part.name, source), part.name)
                for number, part in enumerate(stored_parts(source))
            ]
        assets = self._registrar.assets(source)
        if source.declared is not None:
            assets = [asset for asset in assets if asset.parameter is not None] or assets
        return [Behind(asset.num + 1, asset) for asset in assets]

    def address(self, behind: Behind) -> str:
        """Return the address of a file as clients are told it."""
        if self._show_paths:
            return behind.asset.data_uri
        return f"asset:{behind.asset.num}/{quote(behind.file_name)}"

    def bytes_of(self, node: Node, number: int, relative: str | None) -> FileBytes:
        """Return the bytes of a file, or of one in a folder.

        Raises
        ------
        NotFoundError
            ``asset-not-found``.
        InvalidRequestError
            ``bad-request``: a folder, and no file in it is named.
        AccessError
            ``forbidden``: files as they are are not given away here.
        """
        behind = self._behind(node, number)
        if behind.asset.is_directory:
            if not relative:
                raise InvalidRequestError(
                    ErrorKind.BAD_REQUEST,
                    f"asset {number} is a folder; add relative_path=, as the manifest has it",
                )
            return self._in_folder(behind, _clean(relative))
        if relative:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST, f"asset {number} is a single file; leave relative_path out"
            )
        if behind.name is not None:
            return self._object(behind.name)
        return self._file(behind.asset)

    def manifest(self, node: Node, number: int) -> list[str]:
        """Return the files of a folder, by their paths in it; raises like `bytes_of`."""
        behind = self._behind(node, number)
        if not behind.asset.is_directory:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST, f"asset {number} is a single file; it has no manifest"
            )
        if behind.name is not None:
            prefix = f"{behind.name}/"
            return [name.removeprefix(prefix) for name, _ in self._objects.list(behind.name)]
        return sorted(_listed(self._files.path(behind.asset)))

    def removal(self, node: Node, number: int, *, external_only: bool) -> tuple[Update, bool]:
        """Return the mutation that takes a file from a node, and whether its data goes too.

        Registered files themselves stay.

        Raises
        ------
        ConflictError
            ``not-empty``: the data is kept in this lake.
        """
        behind = self._behind(node, number)
        (source, *others) = node.data_sources
        if behind.name is not None and external_only:
            raise ConflictError(
                ErrorKind.NOT_EMPTY,
                f"asset {number} of {node.path!r} is kept in this lake and would be gone; "
                "say external_only=false to delete it too",
            )
        if behind.name is not None:
            changed = _without(source, behind.name)
        else:
            rest = [one for one in self._registrar.assets(source) if one.num != behind.asset.num]
            changed = msgspec.structs.replace(source, storage=None, tree=None, assets=tuple(rest))
        structure = node.structure
        if isinstance(structure, TableStructure) and isinstance(changed.storage, TableStorage):
            rows = sum(part.length for part in changed.storage.parts)
            structure = msgspec.structs.replace(structure, rows=rows)
        update = Update(
            path=node.path,
            id=node.id,
            expected_revision=node.revision,
            structure=None if structure is node.structure else structure,
            data_sources=(changed, *others),
        )
        return update, behind.name is not None

    def remove(self, node: Node, number: int) -> None:
        """Remove the data of an asset in the lake, for all times."""
        behind = self._behind(node, number)
        if behind.name is not None:
            remove(self._objects, behind.name)

    def _part_asset(self, number: int, name: str, source: DataSource) -> Asset:
        root = self._objects.root
        uri = f"{self._objects.uri.rstrip('/')}/{name}"
        if root is not None:
            uri = "file://localhost" + quote((root.absolute() / name).as_posix())
        return Asset(
            data_uri=uri,
            num=number,
            is_directory=not isinstance(source.storage, TableStorage),
            parameter="data_uri",
            size_bytes=stored_parts(source)[number].size_bytes,
        )

    def _behind(self, node: Node, number: int) -> Behind:
        if not self._raw:
            raise AccessError(
                ErrorKind.FORBIDDEN,
                "this server does not give files as they are; ask for the data in a format",
            )
        for source in node.data_sources[:1]:
            for behind in self.of(source):
                if behind.id == number:
                    return behind
        raise NotFoundError(
            ErrorKind.ASSET_NOT_FOUND,
            f"{node.path!r} has no asset {number}; ask with include_data_sources=true which it has",
        )

    def _object(self, name: str) -> FileBytes:
        size = self._objects.size(name)
        if size is None:
            raise NotFoundError(
                ErrorKind.ASSET_NOT_FOUND, "there is no such file; see the manifest"
            )

        def read(start: int, stop: int) -> Iterator[bytes | memoryview]:
            for position in range(start, stop, PIECE_BYTES):
                length = min(PIECE_BYTES, stop - position)
                yield memoryview(self._objects.get_range(name, position, length))

        return FileBytes(name.rpartition("/")[2], size, read)

    def _file(self, asset: Asset) -> FileBytes:
        uri = asset.data_uri
        extent = self._files.extent(Asset(data_uri=uri, confined=asset.confined), 0)

        def read(start: int, stop: int) -> Iterator[bytes | memoryview]:
            with extent:
                for position in range(start, stop, PIECE_BYTES):
                    yield memoryview(
                        cast("bytes", extent.read(position, min(PIECE_BYTES, stop - position)))
                    )

        return FileBytes(Path(_path(uri)).name, extent.length, read)

    def _in_folder(self, behind: Behind, relative: str) -> FileBytes:
        if behind.name is not None:
            return self._object(f"{behind.name}/{relative}")
        folder = os.path.realpath(self._files.path(behind.asset))
        path = os.path.realpath(os.path.join(folder, relative))
        if not path.startswith(folder + os.sep):
            raise NotFoundError(
                ErrorKind.ASSET_NOT_FOUND, "there is no such file; see the manifest"
            )
        uri = "file://localhost" + quote(path, errors="surrogateescape")
        return self._file(Asset(data_uri=uri, confined=behind.asset.confined))


def _without(source: DataSource, name: str) -> DataSource:
    """Return a data source without one of its parts.

    The rows of an array keep their places: those that are gone are an error to read,
    and not the fill value.
    """
    storage = source.storage
    replace = msgspec.structs.replace
    if isinstance(storage, TableStorage):
        parts = tuple(part for part in storage.parts if part.name != name)
        return replace(source, storage=replace(storage, parts=parts))
    if storage is not None and isinstance(storage.location, ZarrParts):
        location = storage.location
        if len(location.parts) == 1:
            return replace(source, storage=None)
        parts = tuple(
            replace(part, complete=True) if part.name == name else part for part in location.parts
        )
        return replace(source, storage=replace(storage, location=replace(location, parts=parts)))
    return source


def _clean(relative: str) -> str:
    segments = relative.split("/")
    if any(segment in ("", ".", "..") for segment in segments) or "\0" in relative:
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST,
            "relative_path is a path inside the folder, as the manifest has it",
        )
    return relative


def _path(uri: str) -> str:
    return unquote(urlsplit(uri).path, errors="surrogateescape")


def _listed(folder: str) -> Iterator[str]:
    """Yield the files below a folder; links are not followed out of it."""
    count = 0
    if not os.path.isdir(folder):
        raise CorruptError(ErrorKind.ASSET_MISSING, "the registered folder is gone")
    for above, folders, names in os.walk(folder):
        folders.sort()
        for name in names:
            path = os.path.join(above, name)
            if not stat.S_ISREG(os.lstat(path).st_mode):
                continue
            count += 1
            if count > MOST_LISTED:
                return
            yield os.path.relpath(path, folder).replace(os.sep, "/")
