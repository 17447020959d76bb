"""Whether a file is in the lake already, and whether it is still the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec

from ingest.job import Mode, checksum_of, members
from ingest.names import index_beside
from ingest.source import Source, uri_of
from lakeservice.storage.chunk_index import ChunkIndex
from schemas.entry import Asset
from schemas.errors import LakeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.walk import Candidate
    from lakeservice.storage.objects import Objects
    from schemas.entry import DataSource, Node


class Known(NamedTuple):
    """How an entry that exists compares with the file that would make it."""

    is_ours: bool
    """The entry was made from this file, or from one that is no longer there."""
    is_same: bool = False
    """Nothing has changed: size and time of every asset, or else its checksum."""
    touched: tuple[DataSource, ...] | None = None
    """Data sources with new times, where only those have changed."""
    left_out: tuple[Path, ...] = ()
    """Members of the series that stand on their own."""


def compare(node: Node, candidate: Candidate, mode: Mode, objects: Objects) -> Known:
    """Compare an entry with the files that are to make it."""
    if not node.data_sources or not node.data_sources[0].assets:
        return Known(is_ours=False)
    source = node.data_sources[0]
    first = source.assets[0]
    if first.data_uri not in {uri_of(path) for path in candidate.paths}:
        return Known(is_ours=_found(first) is None)
    left_out = _left_out(candidate, source)
    mode_then: Mode = "register" if source.management == "external" else "convert"
    if mode_then != mode:
        return Known(is_ours=True)
    there = _assets(source, candidate, left_out, objects)
    if there is None:
        return Known(is_ours=True)
    assets = [_compared(asset) for asset in there]
    if any(asset is None for asset in assets):
        return Known(is_ours=True)
    if assets == list(there):
        return Known(is_ours=True, is_same=True, left_out=left_out)
    now = {asset.num: asset for asset in assets if asset is not None}
    changed: Any = msgspec.structs.replace(
        source, assets=tuple(now.get(asset.num, asset) for asset in source.assets)
    )
    touched = (changed, *node.data_sources[1:])
    return Known(is_ours=True, is_same=True, touched=touched, left_out=left_out)


def _assets(
    source: DataSource, candidate: Candidate, left_out: tuple[Path, ...], objects: Objects
) -> Sequence[Asset] | None:
    """Return the assets to look at one by one; None where it is plain that they have changed."""
    first = source.assets[0]
    if first.is_directory:
        return [first]  # its size and time are those of all that is in it
    many = source.properties.get("assets")
    if candidate.is_series:
        paths = [path for path in candidate.paths if path not in left_out]
        if many is not None:
            now = [_found(Asset(data_uri=uri_of(path))) for path in paths]
            there = [one.asset() for one in now if one is not None]
            return [] if members(there) == many.get("members") else None
        uris = [asset.data_uri for asset in source.assets]
        return source.assets if uris == [uri_of(path) for path in paths] else None
    if many is None or source.tree is None:
        return source.assets
    try:
        index = ChunkIndex.read(objects, index_beside(source.tree))
    except LakeError:
        return None
    return [*source.assets, *index.assets.values()]


def _left_out(candidate: Candidate, source: DataSource) -> tuple[Path, ...]:
    """Return the members that did not fit the series, and have not changed since."""
    then: dict[str, list[int]] = source.properties.get("left_out", {})
    found = []
    for path in candidate.paths:
        if path.name in then:
            now = _found(Asset(data_uri=uri_of(path)))
            if now is not None and [now.size_bytes, now.mtime_ns] == then[path.name]:
                found.append(path)
    return tuple(found)


def made_from(node: Node, path: Path) -> bool:
    """Tell whether an entry was made from this one file."""
    assets = node.data_sources[0].assets if node.data_sources else ()
    return bool(assets) and assets[0].data_uri == uri_of(path)


def _compared(asset: Asset) -> Asset | None:
    """Return the asset as it is now if its bytes are the same; None if they are not."""
    found = _found(asset)
    if found is None or found.size_bytes != asset.size_bytes:
        return None
    if found.mtime_ns == asset.mtime_ns:
        return asset
    if asset.checksum is None or checksum_of(found.path) != asset.checksum:
        return None
    return msgspec.structs.replace(asset, mtime_ns=found.mtime_ns)


def _found(asset: Asset) -> Source | None:
    parts = urlsplit(asset.data_uri)
    if parts.scheme != "file":
        return None
    try:
        return Source.of(Path(unquote(parts.path, errors="surrogateescape"))).measured()
    except LakeError:
        return None
