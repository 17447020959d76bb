"""Registered files, looked at: are they still there, and still what was indexed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from lakeservice.storage.snapshots import latest_snapshot, read_nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lakeservice.storage.lake import Lake
    from schemas.entry import Asset, DataSource, Node


def registered_faults(
    lake: Lake, version: int, is_present: Callable[[Node], bool]
) -> Iterator[tuple[str, str]]:
    """Yield path and reason of each entry whose registered files are not what they were.

    Goes through the log once more, so that no assets have to be kept in memory. Of a file
    that a client registered only its absence is told: when it has changed, the next read
    looks into it again.

    Parameters
    ----------
    version
        Log version to stop at.
    is_present
        Tells whether this very state of an entry is the present one.
    """
    for node in _nodes(lake, version):
        if not any(source.management == "external" for source in node.data_sources):
            continue
        if is_present(node):
            for source in node.data_sources:
                yield from ((node.path, reason) for reason in _faults(source))


def _nodes(lake: Lake, version: int) -> Iterator[Node]:
    start = 0
    if lake.log.read(1) is None:
        snapshot = latest_snapshot(lake)
        if snapshot is not None:
            start = snapshot.version
            yield from read_nodes(lake, snapshot)
    for commit in lake.log.follow(start):
        if commit.version > version:
            return
        for line in commit.applied:
            if line.node is not None:
                yield line.node


def _faults(source: DataSource) -> Iterator[str]:
    if source.management != "external":
        return
    for asset in source.assets:
        reason = _fault(asset, must_be_same=source.declared is None)
        if reason is not None:
            yield reason


def _fault(asset: Asset, *, must_be_same: bool) -> str | None:
    parts = urlsplit(asset.data_uri)
    name = unquote(parts.path).rstrip("/").rpartition("/")[2]
    try:
        status = os.stat(unquote(parts.path, errors="surrogateescape"))
    except (OSError, ValueError):
        return f"the registered file {name!r} is gone or cannot be read"
    if asset.is_directory or not must_be_same:
        return None
    same = asset.size_bytes in (None, status.st_size) and asset.mtime_ns in (
        None,
        status.st_mtime_ns,
    )
    return None if same else f"the file {name!r} changed since it was registered; ingest it again"
