"""Direct delivery of tables: which files hold the rows of one version."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from schemas.direct import LocalFile, TablePlan, Unavailable

if TYPE_CHECKING:
    from lakeservice.storage.files import FileReader
    from lakeservice.storage.tables import StoredTable
    from schemas.entry import Node
    from schemas.query import Query

MOST_FILES = 4096
"""Tables of more files are read through the server."""


def table_plan(
    node: Node,
    table: StoredTable,
    files: FileReader,
    *,
    root: bytes,
    fresh_s: float,
    where: Query | None,
) -> TablePlan | Unavailable:
    """Return the files of a table, in the order of its rows.

    Parameters
    ----------
    files
        Knows which registered files may be read.
    root
        Folder of the lake; empty where it is not on a disk.
    fresh_s
        How long the answer may be used before asking again, in s.
    where
        The condition that is asked about.

    Raises
    ------
    CorruptError
        ``asset-missing``: a registered file that may not be read.
    """
    storage = table.storage
    if storage.format == "buffers" or storage.columns or not root:
        return Unavailable("its rows do not lie in Parquet or Arrow files")
    if len(storage.parts) + len(storage.assets) > MOST_FILES:
        return Unavailable("its rows lie in too many files")
    found = [LocalFile(os.fsencode(part.name)) for part in storage.parts]
    lengths: list[int | None] = [part.length for part in storage.parts]
    for number in storage.assets:
        asset = table.asset(number)
        path = os.fsencode(files.path(asset))
        found.append(LocalFile(path, asset.size_bytes, asset.mtime_ns, asset.grows))
        lengths.append(None)
    return TablePlan(
        id=node.id,
        version=node.version,
        fresh_s=fresh_s,
        format=storage.format,
        schema=table.schema.serialize().to_pybytes(),
        root=root,
        files=tuple(found),
        lengths=tuple(lengths),
        checksums=(*(part.checksum for part in storage.parts), *(None for _ in storage.assets)),
        where=where,
    )
