"""Tables as they are stored: one Parquet file in the lake goes out as it lies there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakeservice.export.arrow import PARQUET
from lakeservice.fronts.http.call import Reply
from lakeservice.service.sources import TableRows
from schemas.chunks import TableStorage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.export.exporter import Exporter, Piece
    from lakeservice.fronts.http.call import Call
    from lakeservice.service.node_source import NodeSource

PIECE_BYTES = 4 << 20
"""Bytes that are read from the store at a time."""


def as_stored_table(call: Call, source: NodeSource, form: Exporter) -> Reply | None:
    """Return the one Parquet file that a table is stored in; None where rows are to be read.

    Its length is known, and any range of it is one read of the store: readers of
    Parquet fetch the footer and then only what they need.
    """
    if form.media_type != PARQUET or form.family != "table" or not isinstance(source, TableRows):
        return None
    if (source.columns, source.where, source.limit) != (None, None, None):
        return None
    storage = source.node.data_sources[0].storage if source.node.data_sources else None
    if not isinstance(storage, TableStorage) or storage.format != "parquet":
        return None
    if len(storage.parts) != 1 or storage.assets or storage.columns:
        return None
    part = storage.parts[0]
    if not part.size_bytes or source.parts not in (None, range(1)):
        return None
    name, size = part.name, part.size_bytes
    objects = call.service.lake.objects

    def pieces(start: int, stop: int) -> Iterator[Piece]:
        for position in range(start, stop, PIECE_BYTES):
            length = min(PIECE_BYTES, stop - position)
            yield memoryview(objects.get_range(name, position, length))

    return Reply(pieces(0, size), form.sent_as, length=size, part=pieces)
