"""Stored tables: rows of Parquet and Arrow files as a stream of batches, or a part of them."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.dataset as pds
import pyarrow.parquet as pq

from lakeservice.storage.columns import ColumnRows
from lakeservice.storage.filters import columns_of, row_filter, unknown_column
from lakeservice.storage.nested import BufferRows
from schemas.errors import CorruptError, ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakeservice.storage.files import FileReader
    from lakeservice.storage.objects import Objects
    from schemas.chunks import TableStorage
    from schemas.entry import Asset
    from schemas.query import Query

BATCH_ROWS = 122_880
"""Most rows of a batch that is sent."""
_BUFFER_BYTES = 1 << 20  # read at once of each column: bounds memory where row groups are large
_ARROW_MAGIC = b"ARROW1"
Span = tuple[int, int]
"""First row and the row after the last."""


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
    """

    def __init__(
        self,
        objects: Objects,
        storage: TableStorage,
        assets: Sequence[Asset] = (),
        *,
        schema: pa.Schema | None = None,
        fetch_files: FileReader,
    ) -> None:
        self._objects = objects
        self._storage = storage
        self._files = fetch_files
        self._assets = {asset.num: asset for asset in assets}
        self._schema = schema
        self._parts: list[_Part] = [
            *(_LakePart(objects, part.name) for part in storage.parts),
            *(self._registered(number) for number in storage.assets),
        ]
        if storage.columns:
            rows = ColumnRows(objects, storage.columns, assets, fetch_files=fetch_files)
            self._parts.append(_ColumnsPart(rows))

    def _registered(self, number: int) -> _Part:
        if number not in self._assets:
            raise CorruptError(
                ErrorKind.ASSET_MISSING, f"the entry has no asset number {number}; ingest it again"
            )
        return _AssetPart(self._files, self._assets[number])

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of all columns."""
        if self._schema is None:
            if not self._parts:
                return pa.schema([])
            with self._opened(self._parts[0]) as rows:
                self._schema = rows.schema
        return self._schema

    @property
    def npartitions(self) -> int:
        """Number of partitions: one for each object."""
        return len(self._parts)

    @property
    def rows(self) -> int:
        """Number of rows; of registered files, from their footers."""
        lengths = sum(part.length for part in self._storage.parts)
        for part in self._parts[len(self._storage.parts) :]:
            with self._opened(part) as rows:
                lengths += rows.count
        return lengths

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
        schema = self.schema
        names = schema.names if columns is None else list(columns)
        for name in names:
            if name not in schema.names:
                raise unknown_column(name, schema)
        wanted = list(dict.fromkeys(names))
        expression = None
        if where is not None:
            expression = row_filter(where, schema)
            wanted = list(dict.fromkeys((*wanted, *columns_of(where, schema))))
        if partition is not None and not 0 <= partition < max(1, len(self._parts)):
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST,
                f"no partition {partition}; the table has {len(self._parts)} of them",
            )
        parts = self._parts if partition is None else self._parts[partition : partition + 1]
        answer = pa.schema([schema.field(name) for name in names], metadata=schema.metadata)
        found = self._stream(parts, wanted, expression, rows)
        found = (_shaped(batch, answer) for batch in found)
        if limit is not None:
            found = _first(found, limit)
        return pa.RecordBatchReader.from_batches(answer, found)

    def _stream(
        self, parts: Sequence[_Part], columns: list[str], expression: Any, span: Span | None
    ) -> Iterator[pa.RecordBatch]:
        start = 0
        for part in parts:
            with self._opened(part) as rows:
                inside: Span = (0, rows.count)
                if span is not None:
                    inside = (max(0, span[0] - start), min(rows.count, span[1] - start))
                start += rows.count
                if inside[0] >= inside[1]:
                    continue
                for batch in rows.batches(columns, expression, inside):
                    yield batch if expression is None else batch.filter(expression)
            if span is not None and start >= span[1]:
                return

    @contextmanager
    def _opened(self, part: _Part) -> Iterator[_Rows]:
        with part.open() as file:
            if isinstance(file, ColumnRows):
                yield file
                return
            if self._storage.format == "buffers":
                yield BufferRows(file, part.name)
                return
            try:
                if self._storage.format == "parquet":
                    yield _ParquetRows(file)
                else:
                    yield _ArrowRows(file)
            except (pa.ArrowException, OSError) as error:
                raise CorruptError(
                    ErrorKind.CORRUPT_OBJECT,
                    f"{part.name} is not a readable {self._storage.format} file",
                ) from error


class _Part(Protocol):
    """One file of a table."""

    name: str

    def open(self) -> Any:
        """Open it for pyarrow."""


class _ColumnsPart:
    name = "the columns"

    def __init__(self, rows: ColumnRows) -> None:
        self._rows = rows

    def open(self) -> Any:
        return nullcontext(self._rows)


class _LakePart:
    def __init__(self, objects: Objects, name: str) -> None:
        self._objects = objects
        self.name = f"object {name!r}"
        self._object = name

    def open(self) -> Any:
        return self._objects.open_input(self._object)


class _AssetPart:
    def __init__(self, files: FileReader, asset: Asset) -> None:
        self._files = files
        self._asset = asset
        self.name = "the registered file"

    def open(self) -> Any:
        return self._files.open_input(self._asset)


class _Rows(Protocol):
    """The rows of one open file."""

    schema: pa.Schema
    count: int

    def batches(self, columns: list[str], expression: Any, span: Span) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a range, without those that surely do not match."""


class _ParquetRows:
    def __init__(self, file: Any) -> None:
        self._file = file
        self._parquet = pq.ParquetFile(
            file,
            pre_buffer=False,
            buffer_size=_BUFFER_BYTES,
            page_checksum_verification=True,
        )
        self.schema = self._parquet.schema_arrow
        metadata = self._parquet.metadata
        self.count = metadata.num_rows
        groups = (metadata.row_group(number).num_rows for number in range(metadata.num_row_groups))
        self._starts = list(accumulate(groups, initial=0))

    def batches(self, columns: list[str], expression: Any, span: Span) -> Iterator[pa.RecordBatch]:
        groups = [
            number
            for number, (start, stop) in enumerate(
                zip(self._starts, self._starts[1:], strict=False)
            )
            if start < span[1] and stop > span[0]
        ]
        if expression is not None:
            groups = self._possible(groups, expression)
        for run in _consecutive(groups):
            done = self._starts[run[0]]
            for batch in self._parquet.iter_batches(BATCH_ROWS, run, columns):
                yield from _within(batch, done, span)
                done += batch.num_rows

    def _possible(self, groups: list[int], expression: Any) -> list[int]:
        """Return the row groups whose statistics do not rule the condition out."""
        fragment = pds.ParquetFileFormat().make_fragment(self._file, row_groups=groups)
        return [group.id for group in fragment.subset(expression).row_groups]


class _ArrowRows:
    def __init__(self, file: Any) -> None:
        self._file = file
        self._random_access = file.read(len(_ARROW_MAGIC)) == _ARROW_MAGIC
        file.seek(0)
        if self._random_access:
            self._ipc = pa.ipc.open_file(file)
            self.schema = self._ipc.schema
            self.count = pds.IpcFileFormat().make_fragment(file).count_rows()
        else:
            self.schema = pa.ipc.open_stream(file).schema
            self.count = sum(batch.num_rows for batch in self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        if self._random_access:
            yield from map(self._ipc.get_batch, range(self._ipc.num_record_batches))
        else:
            self._file.seek(0)
            yield from pa.ipc.open_stream(self._file)

    def batches(self, columns: list[str], _expression: Any, span: Span) -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in self._batches():
            if start >= span[1]:
                return
            chosen = batch.select(columns)
            chosen.validate(full=True)  # offsets that leave their buffer would be followed blindly
            for first in range(0, chosen.num_rows, BATCH_ROWS):
                yield from _within(chosen.slice(first, BATCH_ROWS), start + first, span)
            start += chosen.num_rows


def _within(batch: pa.RecordBatch, start: int, span: Span) -> Iterator[pa.RecordBatch]:
    low, high = max(0, span[0] - start), min(batch.num_rows, span[1] - start)
    if low < high:
        yield batch if high - low == batch.num_rows else batch.slice(low, high - low)


def _consecutive(numbers: Sequence[int]) -> Iterator[list[int]]:
    run: list[int] = []
    for number in numbers:
        if run and number != run[-1] + 1:
            yield run
            run = []
        run.append(number)
    if run:
        yield run


def _shaped(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    if batch.schema.equals(schema):
        return batch
    arrays = [batch.column(field.name).cast(field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _first(batches: Iterator[pa.RecordBatch], limit: int) -> Iterator[pa.RecordBatch]:
    left = limit
    while left > 0:
        batch = next(batches, None)
        if batch is None:
            return
        yield batch.slice(0, left)
        left -= batch.num_rows
