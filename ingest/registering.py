"""Files that a client registered, looked into: by the media type that it named, as it declared."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import msgspec

from ingest.arranging import concatenated, fitted, renumbered, stacked
from ingest.contents import MOST_ASSETS, Contents
from ingest.delimited import Delimited
from ingest.formats.arrow import ArrowFormat
from ingest.formats.hdf5_describe import describe_dataset
from ingest.formats.hdf5_files import BrokenError, OpenFiles
from ingest.formats.hdf5_links import open_path, root_of
from ingest.formats.hdf5_tree import Tree
from ingest.formats.jpeg import JpegFormat
from ingest.formats.npy import NpyFormat
from ingest.formats.parquet import ParquetFormat
from ingest.formats.tiff import TiffFormat
from ingest.formats.xlsx import XlsxFormat
from ingest.formats.zarr import ZarrFormat
from ingest.found import Found, Item
from ingest.names import Names
from ingest.sliced import sliced
from ingest.source import Source, unreadable, uri_of
from schemas.chunks import Codec, Inline, TableStorage
from schemas.entry import Asset, DataSource
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.registration import Registered, Registration
from schemas.structures import ArrayStructure, ContainerStructure, TableStructure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ingest.found import Format
    from lakeservice.storage.objects import Objects
    from schemas.structures import Structure

_FRAMES_KEPT = 20_000
OUTSIDE = "it leads out of the folders that files may be registered in"
"""Why a file is not read that lies, links followed, elsewhere."""
_GROWING = frozenset({"application/x-hdf5", "application/x-netcdf", "application/netcdf"})
"""Media types of files that are added to while they are read."""


class Registrar:
    """Looks into files; remembers the frames of series, which grow one by one."""

    def __init__(self) -> None:
        self._frames: OrderedDict[Source, Item] = OrderedDict()

    def register(
        self, asked: Registration, objects: Objects, beat: Callable[[], None] = lambda: None
    ) -> Registered:
        """Return what the files hold; indexes and converted values are in the lake then.

        Raises
        ------
        InvalidRequestError
            ``unknown-media-type``: no reader for it; ``unreadable-file``; ``bad-structure``:
            the files do not belong together.
        """
        media_type = media_type_of(asked.mimetype)
        reader = _READERS.get(media_type)
        if reader is None:
            raise InvalidRequestError(
                ErrorKind.UNKNOWN_MEDIA_TYPE,
                f"no reader for {asked.mimetype[:80]!r}; known are {', '.join(sorted(_READERS))}",
            )
        opened = [asset for asset in asked.assets if asset.parameter is not None]
        work = _Work(asked, [_source(asset, asked) for asset in opened or asked.assets], self)
        with work.files:
            found = reader(work)
            return _written(asked, work, found, objects, beat)

    def frame(self, source: Source, read: Callable[[Source], Item]) -> Item:
        """Return the one array of a file, from memory where the file is as it was."""
        item = self._frames.get(source)
        if item is None:
            item = read(source)
            self._frames[source] = item
            while len(self._frames) > _FRAMES_KEPT:
                self._frames.popitem(last=False)
        return item


@dataclasses.dataclass
class _Work:
    """What a reader gets."""

    asked: Registration
    sources: list[Source]
    registrar: Registrar
    files: ExitStack = dataclasses.field(default_factory=ExitStack)
    assets: list[Asset] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)
    _folders: dict[Path, Path] = dataclasses.field(default_factory=dict)

    @property
    def roots(self) -> tuple[Path, ...]:
        """Folders that may be read."""
        return tuple(map(Path, self.asked.roots))

    @property
    def single(self) -> Source:
        """The only file.

        Raises
        ------
        InvalidRequestError
            ``bad-request``: there are several.
        """
        if len(self.sources) != 1:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST,
                f"{len(self.sources)} files of type {self.asked.mimetype!r}; register one a node",
            )
        return self.sources[0]

    def numbers(self, assets: Sequence[Asset]) -> list[int]:
        """Return the numbers that the assets of one file have among all."""
        known = {asset.data_uri: asset.num for asset in self.assets}
        numbers = []
        for asset in assets:
            if asset.data_uri not in known:
                self._check(asset)
                known[asset.data_uri] = len(self.assets)
                self.assets.append(msgspec.structs.replace(asset, num=len(self.assets)))
            numbers.append(known[asset.data_uri])
        return numbers

    def _check(self, asset: Asset) -> None:
        """Refuse what a link leads out of the folders: in a folder, any file may be one."""
        path = Path(unquote(urlsplit(asset.data_uri).path, errors="surrogateescape"))
        folder = self._folders.get(path.parent)
        if folder is None:
            folder = self._folders.setdefault(path.parent, path.parent.resolve())
        real = path.resolve() if path.is_symlink() else folder / path.name
        if not any(map(real.is_relative_to, self.roots)):
            raise unreadable(path.name, OUTSIDE)

    def opened(self, found: Found) -> list[Item]:
        """Keep a file open until all is written; returns its nodes, assets numbered anew."""
        self.files.enter_context(found)
        self.problems += found.problems
        numbers = self.numbers(found.assets)
        return [renumbered(item, numbers) for item in found.items]


def media_type_of(mimetype: str) -> str:
    """Return the type of one file: of ``multipart/related;type=image/tiff`` the inner one."""
    base, _, rest = mimetype.lower().replace(" ", "").partition(";")
    inner = dict(part.split("=", 1) for part in rest.split(";") if "=" in part)
    return inner.get("type", base) if base == "multipart/related" else base


def _hdf5(work: _Work) -> list[Item]:
    """Return the nodes of HDF5 files; of several, arrays of one path follow one another."""
    if not work.sources:
        raise InvalidRequestError(ErrorKind.BAD_REQUEST, "no file is named")
    dataset = work.asked.parameters.get("dataset") or ""
    path = "/".join(dataset) if isinstance(dataset, list) else str(dataset)
    files = [
        work.opened(_hdf5_found(source, path.strip("/"), work.roots)) for source in work.sources
    ]
    if len(files) == 1:
        items = files[0]
    else:
        others = [{item.path: item for item in items} for items in files[1:]]
        items = []
        for first in files[0]:
            rest = [other[first.path] for other in others if first.path in other]
            if isinstance(first.structure, ArrayStructure) and len(rest) == len(others):
                items.append(concatenated([first, *rest]))
            elif not isinstance(first.structure, TableStructure):
                items.append(first)
    if len(items) == 1 and not items[0].path:
        return [sliced(items[0], work.asked.parameters)]
    return items


def _hdf5_found(source: Source, path: str, roots: Sequence[Path]) -> Found:
    try:
        files = OpenFiles(source, roots)
    except BrokenError as broken:
        raise unreadable(source.name, str(broken)) from None
    try:
        place = open_path(files, root_of(files.main), path.encode())
        if hasattr(place.handle, "links"):
            tree = Tree(files, place)
            items, problems = tree.items, tree.problems
        else:
            described = describe_dataset(files, place, path.rpartition("/")[2])
            items, problems = [Item("", **_fields(described))], []
    except BrokenError as broken:
        files.close()
        raise unreadable(source.name, f"{path!r}: {broken}") from None
    except BaseException:
        files.close()
        raise
    return Found(items, assets=files.assets, problems=problems, on_close=files.close)


def _fields(described: Any) -> dict[str, Any]:
    names = ("structure", "metadata", "layout", "location", "read", "problem")
    return {name: getattr(described, name) for name in names}


def _frames(work: _Work, reader: Format) -> list[Item]:
    """Return the image of a file, or the images of a series as one stack."""

    def read(source: Source) -> Item:
        with reader.open(source) as found:
            arrays = [item for item in found.items if isinstance(item.structure, ArrayStructure)]
            if not arrays:
                raise unreadable(source.name, "there is no array in it")
            return dataclasses.replace(arrays[0], path="")

    items = []
    for source in work.sources:
        item = work.registrar.frame(source, read)
        items.append(renumbered(item, work.numbers([source.asset()])))
    if not work.asked.mimetype.startswith("multipart/") and len(items) == 1:
        return items
    if not items:
        return [_nothing_yet(work.asked.declared)]
    return [stacked(items)]


def _nothing_yet(declared: Structure) -> Item:
    if not isinstance(declared, ArrayStructure):
        raise InvalidRequestError(ErrorKind.BAD_REQUEST, "no file is named")
    shape = (0, *declared.shape[1:])
    return Item("", ArrayStructure.from_numpy(shape, declared.dtype), read=lambda: iter(()))


def _tables(work: _Work, reader: Format) -> list[Item]:
    """Return files that are tables themselves as one, its rows in the order of the files."""
    first: Item | None = None
    numbers: list[int] = []
    rows = 0
    for source in work.sources:
        with reader.open(source) as found:
            (item,) = found.items
            if not isinstance(item.structure, TableStructure):
                raise unreadable(source.name, "it is no table")
            if first is None:
                first = item
            elif item.structure.arrow_schema != cast_table(first.structure).arrow_schema:
                raise unreadable(
                    source.name, f"its columns are not those of {work.sources[0].name!r}"
                )
            rows += item.structure.rows or 0
            numbers += work.numbers(found.assets)
    if first is None or not isinstance(first.location, TableStorage):
        raise InvalidRequestError(ErrorKind.BAD_REQUEST, "no file is named")
    structure = msgspec.structs.replace(
        cast_table(first.structure), rows=rows, npartitions=len(numbers)
    )
    location = msgspec.structs.replace(first.location, assets=tuple(numbers))
    return [Item("", structure, location=location)]


def cast_table(structure: Structure) -> TableStructure:
    """Return a structure that is known to be a table's."""
    if not isinstance(structure, TableStructure):
        raise InvalidRequestError(ErrorKind.BAD_STRUCTURE, "the file holds no table")
    return structure


def _csv(work: _Work) -> list[Item]:
    work.numbers([source.asset() for source in work.sources])
    absent = "header=absent" in work.asked.mimetype.replace(" ", "")
    files = Delimited(
        [source.path for source in work.sources], work.asked.parameters, header=not absent
    )
    as_array = absent or isinstance(work.asked.declared, ArrayStructure)
    return [files.array(work.asked.declared) if as_array else files.table(work.asked.declared)]


def _whole(work: _Work, reader: Format) -> list[Item]:
    return work.opened(reader.open(work.single))


_READERS: dict[str, Callable[[_Work], list[Item]]] = {
    "application/x-hdf5": _hdf5,
    "application/x-netcdf": _hdf5,
    "application/netcdf": _hdf5,
    "application/x-zarr": lambda work: _whole(work, ZarrFormat(work.roots)),
    "application/x-parquet": lambda work: _tables(work, ParquetFormat()),
    "application/vnd.apache.arrow.file": lambda work: _tables(work, ArrowFormat()),
    "image/tiff": lambda work: _frames(work, TiffFormat()),
    "image/jpeg": lambda work: _frames(work, JpegFormat()),
    "application/x-npy": lambda work: _frames(work, NpyFormat()),
    "text/csv": _csv,
    XlsxFormat.media_type: lambda work: _whole(work, XlsxFormat()),
}


def _written(
    asked: Registration,
    work: _Work,
    items: list[Item],
    objects: Objects,
    beat: Callable[[], None],
) -> Registered:
    """Write indexes and converted values, and return the node's structure and data source."""
    contents = Contents(objects, Names(asked.node_id, asked.generation), convert=False, beat=beat)
    structure: Structure = ContainerStructure()
    storage, tree = None, None
    if len(items) == 1 and not items[0].path:
        (item,) = items
        if isinstance(asked.declared, ArrayStructure) and isinstance(
            item.structure, ArrayStructure
        ):
            item, remark = fitted(item, asked.declared)
            work.problems += [remark] if remark else []
        if item.problem is not None:
            raise unreadable(work.sources[0].name, item.problem)
        structure, storage = contents.add(item)
    else:
        written = contents.tree(Found(items, problems=list(work.problems)))
        tree = written.name
    assets = _assets(asked, work, grows=len(items) == 1 and _stays(items[0]))
    kept = contents.finish(assets)
    source = DataSource(
        mimetype=asked.mimetype,
        management="external",
        parameters=asked.parameters,
        assets=kept if len(assets) > MOST_ASSETS else tuple(assets),
        storage=storage,
        tree=tree,
        declared=asked.declared,
    )
    return Registered(structure=structure, source=source, problems=tuple(work.problems))


def _stays(item: Item) -> bool:
    """Tell whether a writer that adds to an array leaves what there is where it lies.

    A chunk of several rows that is compressed anew may move.
    """
    layout = item.layout
    if layout is None or isinstance(item.location, Inline):
        return False
    plain = layout.codecs in ((), (Codec("bytes"),))
    return plain or (bool(layout.chunk_shape) and layout.chunk_shape[0] == 1)


def _assets(asked: Registration, work: _Work, *, grows: bool) -> list[Asset]:
    """Return every file once: those that are read by number, then those only named."""
    told = {asset.data_uri: asset for asset in asked.assets}
    assets = []
    for asset in work.assets:
        known = told.pop(asset.data_uri, None)
        parameter = None if known is None else known.parameter
        grown = grows and media_type_of(asked.mimetype) in _GROWING
        asset = msgspec.structs.replace(asset, parameter=parameter, grows=grown, confined=True)
        assets.append(asset)
    for asset in told.values():
        assets.append(msgspec.structs.replace(asset, num=len(assets)))
    return assets


def _source(asset: Asset, asked: Registration) -> Source:
    """Return a file that a client named, if it lies where files may lie."""
    path = Path(unquote(urlsplit(asset.data_uri).path, errors="surrogateescape"))
    source = Source.of(path)
    real = path.resolve()
    if not any(real.is_relative_to(root) for root in asked.roots):
        raise unreadable(source.name, OUTSIDE)
    if uri_of(source.path) != asset.data_uri:
        raise unreadable(source.name, "its address is not in its plain form")
    return source.measured()
