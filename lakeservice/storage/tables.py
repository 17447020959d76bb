"""Stored tables: rows of Parquet and Arrow files as a stream of batches, or a part of them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa

from lakeservice.codecs.parquet_rows import Footer
from lakeservice.codecs.rows import RowRequest, check_partition, opened_rows
from lakeservice.storage.columns import ColumnRows
from lakeservice.storage.nested import BufferRows
from schemas.errors import CorruptError, ErrorKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakeservice.codecs.batches import Span
    from lakeservice.codecs.rows import RowPart, Rows
    from lakeservice.storage.files import FileReader
    from lakeservice.storage.objects import Objects
    from schemas.chunks import Part, TableStorage
    from schemas.entry import Asset
    from schemas.query import Query

MOST_FOOTERS = 64
"""Footers of a table's files are kept where it has no more files."""


class StoredTable:
    """A table in the lake or in registered files; its parts follow one another.

    Sparse data (columns ``dim0``… and ``data``) and awkward data (Arrow lists)
    are tables too.

    Parameters
    ----------
    objects
        The lake's objects.
    storage
        Where the rows lie.
    assets
        Registered files that ``storage`` refers to by number.
    schema
        Arrow schema, where it is known; None reads it from the first part.
    fetch_files
        Reader of registered files.
    path
        Of the node, for errors.
    """

    def __init__(
        self,
        objects: Objects,
        storage: TableStorage,
        assets: Sequence[Asset] = (),
        *,
        schema: pa.Schema | None = None,
        fetch_files: FileReader,
        path: str = "",
    ) -> None:
        self.storage = storage
        """Where the rows lie."""
        self._objects = objects
        self._files = fetch_files
        self._assets = {asset.num: asset for asset in assets}
        self._schema = schema
        keep = len(storage.parts) + len(storage.assets) <= MOST_FOOTERS
        self._parts: list[RowPart] = [
            *(_LakePart(objects, part, storage.format, keep=keep) for part in storage.parts),
            *(self._registered(number, keep=keep) for number in storage.assets),
        ]
        if storage.columns:
            rows = ColumnRows(objects, storage.columns, assets, fetch_files=fetch_files, path=path)
            self._parts.append(_ColumnsPart(rows))

    def _registered(self, number: int, *, keep: bool) -> RowPart:
        return _AssetPart(self._files, self.asset(number), self.storage.format, keep=keep)

    def asset(self, number: int) -> Asset:
        """Return a registered file by its number.

        Raises
        ------
        CorruptError
            ``asset-missing``: the entry has no such asset.
        """
        if number not in self._assets:
            raise CorruptError(
                ErrorKind.ASSET_MISSING, f"the entry has no asset number {number}; ingest it again"
            )
        return self._assets[number]

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of all columns."""
        if self._schema is None:
            if not self._parts:
                return pa.schema([])
            with self._parts[0].opened() as rows:
                self._schema = rows.schema
        return self._schema

    @property
    def npartitions(self) -> int:
        """Number of partitions: one for each object."""
        return len(self._parts)

    @property
    def rows(self) -> int:
        """Number of rows; of registered files, from their footers."""
        total = 0
        for part in self._parts:
            if part.length is not None:
                total += part.length
                continue
            with part.opened() as rows:
                total += rows.count
        return total

    def batches(
        self,
        columns: Sequence[str] | None = None,
        where: Query | None = None,
        limit: int | None = None,
        partition: int | None = None,
        rows: Span | None = None,
    ) -> pa.RecordBatchReader:
        """Return rows as a stream of batches; memory stays bounded whatever the table's size.

        Parameters
        ----------
        columns
            Columns in the order wanted; None for all.
        where
            Condition on columns; rows for which it holds.
        limit
            Most rows.
        partition
            Only the rows of this partition.
        rows
            Only rows in this range, counted before ``where``, after ``partition``.

        Raises
        ------
        InvalidRequestError
            ``unknown-column``, ``bad-query``, ``bad-request`` (no such partition);
            at once, not in the middle of the stream.
        CorruptError
            ``corrupt-object``, ``asset-missing``, ``asset-changed``; also in the
            middle of the stream.
        """
        request = RowRequest(self.schema, columns, where)
        found = request.read(self._chosen(partition), span=rows, limit=limit)
        return pa.RecordBatchReader.from_batches(request.schema, found)

    def units(
        self,
        columns: Sequence[str] | None = None,
        where: Query | None = None,
        partition: int | None = None,
    ) -> Iterator[tuple[int, int]]:
        """Yield rows and bytes of stretches that are best read as a whole; see `Rows.units`."""
        request = RowRequest(self.schema, columns, where)
        return request.units(self._chosen(partition))

    def _chosen(self, partition: int | None) -> list[RowPart]:
        if partition is None:
            return self._parts
        check_partition(partition, len(self._parts))
        return self._parts[partition : partition + 1]


class _ColumnsPart:
    name = "the columns"
    length: int | None = None

    def __init__(self, rows: ColumnRows) -> None:
        self._rows = rows

    @contextmanager
    def opened(self) -> Iterator[Rows]:
        yield self._rows


class _LakePart:
    def __init__(self, objects: Objects, part: Part, form: str, *, keep: bool) -> None:
        self._objects = objects
        self._object = part.name
        self._format = form
        self._checksum = part.checksum
        self._footer = Footer(part.checksum) if keep else None
        self.name = f"object {part.name!r}"
        self.length: int | None = part.length

    @contextmanager
    def opened(self) -> Iterator[Rows]:
        with self._objects.open_input(self._object) as file:
            if self._format == "buffers":
                yield BufferRows(file, self.name)
                return
            footer = self._footer or Footer(self._checksum)
            with opened_rows(file, self._format, self.name, footer) as rows:
                yield rows


class _AssetPart:
    name = "the registered file"
    length: int | None = None

    def __init__(self, files: FileReader, asset: Asset, form: str, *, keep: bool) -> None:
        self._files = files
        self._asset = asset
        self._format = form
        self._footer = Footer() if keep else None

    @contextmanager
    def opened(self) -> Iterator[Rows]:
        with (
            self._files.open_input(self._asset) as file,
            opened_rows(file, self._format, self.name, self._footer or Footer()) as rows,
        ):
            yield rows
