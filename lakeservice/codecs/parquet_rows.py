"""Rows of an open Parquet file: row groups that may match, decoded side by side."""

from __future__ import annotations

import zlib
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds
import pyarrow.parquet as pq

from lakeservice.codecs.ahead import in_order, one_ahead
from lakeservice.codecs.batches import (
    BATCH_BYTES,
    BATCH_ROWS,
    matching,
    width_of,
    within,
    without_columns,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from lakeservice.codecs.batches import Span
    from lakeservice.codecs.row_filters import Bound, Condition

    _Ranges = tuple[NDArray[np.float64], NDArray[np.float64]]

WHOLE_BYTES = 24 << 20
"""Row groups up to this size are decoded as a whole; larger ones batch by batch."""
_MAGIC = b"PAR1"
_TAIL_BYTES = 64 << 10
_BUFFER_BYTES = 1 << 20  # read at once of each column: bounds memory where row groups are large
_UNSEEN_ROWS = 8192  # of a batch whose texts may be far longer than their dictionary


class Footer:
    """What the end of a Parquet file says; read once and kept as long as the file is the same.

    Parameters
    ----------
    checksum
        As `footer_checksum` gives it; None where nobody knows it.
    """

    def __init__(self, checksum: str | None = None) -> None:
        self._checksum = checksum
        self.fragment: Any = None
        """The file as a fragment that knows its metadata and holds nothing else of it."""
        self.widths: dict[str, float] = {}
        """Most bytes per row, decoded, that a column of varying width was found to have."""
        self._ranges: dict[str, _Ranges | None] = {}

    def read(self, file: Any) -> None:
        """Read it, where that was not done before."""
        if self.fragment is None:
            tail = _tail(file)
            if self._checksum not in (None, footer_checksum(tail)):
                raise pa.ArrowInvalid("the metadata at the end of the file are damaged")
            alone = pa.BufferReader(_MAGIC + tail)
            fragment = pds.ParquetFileFormat().make_fragment(alone)
            fragment.ensure_complete_metadata()
            self.fragment = fragment

    def within(self, bounds: Iterable[Bound], groups: list[int]) -> list[int]:
        """Return the row groups some rows of which may be within all bounds."""
        for bound in bounds:
            ranges = self._range(bound.column)
            if ranges is not None:
                least, most = ranges
                reached = most >= bound.number if bound.is_least else least <= bound.number
                groups = [number for number in groups if reached[number]]
        return groups

    def _range(self, name: str) -> _Ranges | None:
        """Return least and greatest number of a column in each row group."""
        if name not in self._ranges:
            self._ranges[name] = _ranges(self.fragment.metadata, name)
        return self._ranges[name]


class ParquetRows:
    """The rows of a Parquet file.

    Parameters
    ----------
    file
        Open for random access, also by several threads at once.
    footer
        Kept from an earlier time that this very file was open; empty at first.
    """

    def __init__(self, file: Any, footer: Footer | None = None) -> None:
        self._file = file
        self._footer = footer or Footer()
        self._footer.read(file)
        self._widths = self._footer.widths
        self._metadata = self._footer.fragment.metadata
        self._idle: list[Any] = []
        self.schema: pa.Schema = self._reader().schema_arrow
        self.count: int = self._metadata.num_rows
        metadata = self._metadata
        counts = (metadata.row_group(number).num_rows for number in range(metadata.num_row_groups))
        self._starts: list[int] = list(accumulate(counts, initial=0))

    def batches(
        self, columns: Sequence[str], condition: Condition | None, span: Span
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a range that match."""
        wanted = list(columns)
        if not wanted:
            yield from _counted(span)
            return
        groups = self._touched(condition, span)
        whole: list[int] = []
        for number in groups:
            if self._is_small(number, wanted):
                whole.append(number)
                continue
            yield from self._side_by_side(whole, wanted, condition, span)
            yield from self._streamed(number, wanted, condition, span)
            whole = []
        yield from self._side_by_side(whole, wanted, condition, span)

    def units(
        self, columns: Sequence[str], condition: Condition | None
    ) -> Iterator[tuple[int, int]]:
        """Yield rows and bytes, decoded, of each row group; none of those that cannot match."""
        possible = set(self._touched(condition, (0, self.count)))
        for number in range(self._metadata.num_row_groups):
            rows = self._rows(number)
            size = self._bytes(number, columns) if number in possible else 0
            yield rows, size

    def _touched(self, condition: Condition | None, span: Span) -> list[int]:
        """Return the row groups in a range whose statistics do not rule the condition out."""
        numbers = list(range(self._metadata.num_row_groups))
        if condition is not None:
            numbers = self._footer.within(condition.bounds, numbers)
            if not condition.may_want_nan:
                possible = self._footer.fragment.subset(row_group_ids=numbers)
                numbers = [group.id for group in possible.subset(condition.expression).row_groups]
        starts = self._starts
        return [n for n in numbers if starts[n] < span[1] and starts[n + 1] > span[0]]

    def _side_by_side(
        self, groups: list[int], columns: list[str], condition: Condition | None, span: Span
    ) -> Iterator[pa.RecordBatch]:
        if len(groups) == 1:
            yield from self._whole(groups[0], columns, condition, span, use_threads=True)
            return
        jobs = (
            (
                self._bytes(number, columns),
                partial(self._whole, number, columns, condition, span),
            )
            for number in groups
        )
        for batches in in_order(jobs):
            batches.reverse()
            while batches:  # none is held while the next ones are decoded
                yield batches.pop()

    def _whole(
        self,
        number: int,
        columns: list[str],
        condition: Condition | None,
        span: Span,
        *,
        use_threads: bool = False,
    ) -> list[pa.RecordBatch]:
        table = self._with_reader(
            lambda reader: reader.read_row_group(number, columns, use_threads=use_threads)
        )
        table.validate()  # columns of different lengths are no error before
        self._confirm(number, table.num_rows)
        self._measure(table)
        rows = self._cut(table.num_rows, table.nbytes)
        found: list[pa.RecordBatch] = []
        start = self._starts[number]
        for batch in table.to_batches(rows):
            for part in within(batch, start, span):
                chosen = matching(part, condition)
                if chosen.num_rows:
                    found.append(chosen)
            start += batch.num_rows
        return found

    def _streamed(
        self, number: int, columns: list[str], condition: Condition | None, span: Span
    ) -> Iterator[pa.RecordBatch]:
        rows = self._cut(self._rows(number), self._bytes(number, columns))
        if self._unseen(columns):
            rows = min(rows, _UNSEEN_ROWS)
        reader = self._reader(buffer_size=_BUFFER_BYTES)
        start = self._starts[number]
        for batch in one_ahead(reader.iter_batches(rows, [number], columns)):
            self._measure(batch)
            for part in within(batch, start, span):
                yield matching(part, condition)
            start += batch.num_rows
            if start >= span[1]:
                return
        self._confirm(number, start - self._starts[number])

    def _confirm(self, number: int, rows: int) -> None:
        if rows != self._rows(number):
            raise pa.ArrowInvalid(f"row group {number} has {rows} of {self._rows(number)} rows")

    def _rows(self, number: int) -> int:
        return self._starts[number + 1] - self._starts[number]

    def _is_small(self, number: int, columns: Sequence[str]) -> bool:
        return not self._unseen(columns) and self._bytes(number, columns) <= WHOLE_BYTES

    def _unseen(self, columns: Sequence[str]) -> bool:
        """Tell whether nothing is known of how long texts behind a dictionary may be."""
        return any(self._width(name) is None and name not in self._widths for name in columns)

    def _width(self, name: str) -> float | None:
        return width_of(self.schema.field(name).type)

    def _bytes(self, number: int, columns: Sequence[str]) -> int:
        """Return about how many bytes columns of a row group have, decoded."""
        rows, size = self._rows(number), 0.0
        for name in columns:
            width = self._width(name)
            width = self._widths.get(name) if width is None else width
            if width is None:  # what is known without looking at single columns
                return int(self._metadata.row_group(number).total_byte_size) + 8 * rows
            size += rows * width
        return int(size)

    def _measure(self, rows: Any) -> None:
        """Remember how wide columns of varying width are."""
        for field in rows.schema:
            if width_of(field.type) is None and rows.num_rows:
                width = rows.column(field.name).nbytes / rows.num_rows
                self._widths[field.name] = max(width, self._widths.get(field.name, 0.0))

    def _cut(self, rows: int, size: int) -> int:
        """Return how many rows the batches of so many rows and bytes have, all about the same."""
        most = max(1, min(BATCH_ROWS, BATCH_BYTES * rows // max(1, size)))
        return -(-rows // -(-rows // most)) if rows else most

    def _with_reader(self, read: Callable[[Any], Any]) -> Any:
        """Call with a reader that no other thread has."""
        try:
            reader = self._idle.pop()
        except IndexError:
            reader = self._reader()
        found = read(reader)
        self._idle.append(reader)
        return found

    def _reader(self, buffer_size: int = 0) -> Any:
        return pq.ParquetFile(
            self._file,
            metadata=self._metadata,
            pre_buffer=False,
            buffer_size=buffer_size,
            page_checksum_verification=True,
        )


def _ranges(metadata: Any, name: str) -> _Ranges | None:
    paths = [metadata.schema.column(place).path for place in range(metadata.num_columns)]
    if paths.count(name) != 1:
        return None
    place = paths.index(name)
    least = np.full(metadata.num_row_groups, -np.inf)
    most = np.full(metadata.num_row_groups, np.inf)
    for number in range(metadata.num_row_groups):
        known = metadata.row_group(number).column(place).statistics
        if known is not None and known.has_min_max and type(known.min) in (int, float):
            least[number], most[number] = known.min, known.max
    unknown = np.isnan(least) | np.isnan(most)
    least[unknown], most[unknown] = -np.inf, np.inf
    return least, most


def footer_bytes(tail: bytes) -> int:
    """Return how many bytes the metadata at the end of a file are, with their length and magic."""
    return int.from_bytes(tail[-8:-4], "little") + 8


def footer_checksum(footer: bytes) -> str:
    """Return the checksum of the end of a file, of so many bytes as `footer_bytes` says."""
    return f"crc32:{zlib.crc32(footer):08x}"


def _tail(file: Any) -> bytes:
    """Return the end of a Parquet file: its metadata, their length and the magic bytes."""
    size = file.size()
    tail: bytes = file.read_at(min(size, _TAIL_BYTES), max(0, size - _TAIL_BYTES))
    length = footer_bytes(tail)
    if tail[-4:] != _MAGIC or length > size:
        raise pa.ArrowInvalid("no metadata at the end of the file")
    if length > len(tail):
        tail = file.read_at(length, size - length)
    return tail[-length:]


def _counted(span: Span) -> Iterator[pa.RecordBatch]:
    for start in range(*span, BATCH_ROWS):
        yield without_columns(min(BATCH_ROWS, span[1] - start))
