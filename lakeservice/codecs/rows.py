"""Rows of tables out of the files that hold them: the same for servers and for clients."""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from lakeservice.codecs.arrow_rows import ArrowRows
from lakeservice.codecs.batches import Span, first, shaped, width_of
from lakeservice.codecs.parquet_rows import Footer, ParquetRows
from lakeservice.codecs.row_filters import Condition, refuse_ambiguous, unknown_column
from schemas.errors import CorruptError, ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from schemas.query import Query


_SMALL_BYTES = 4 << 20
_GUESSED_WIDTH = 32.0  # bytes of an element of varying width


class Rows(Protocol):
    """The rows of one open file."""

    schema: pa.Schema
    count: int

    def batches(
        self, columns: Sequence[str], condition: Condition | None, span: Span
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a range for which a condition holds; None is all."""

    def units(
        self, columns: Sequence[str], condition: Condition | None
    ) -> Iterator[tuple[int, int]]:
        """Yield rows and bytes, decoded, of stretches that are best read as a whole.

        A stretch of which it is known that nothing matches has 0 bytes.
        """


class RowPart(Protocol):
    """What holds some consecutive rows of a table."""

    name: str
    """What it is called in messages."""
    length: int | None
    """Number of rows, where it is known without opening."""

    def opened(self) -> AbstractContextManager[Rows]:
        """Open it."""


class RowRequest:
    """Which columns and rows of a table are wanted, checked against its schema.

    Parameters
    ----------
    schema
        Arrow schema of the table.
    columns
        Columns in the order wanted; None for all.
    where
        Condition on columns; rows for which it holds.

    Raises
    ------
    InvalidRequestError
        ``unknown-column``, ``bad-query``.
    """

    def __init__(
        self, schema: pa.Schema, columns: Sequence[str] | None = None, where: Query | None = None
    ) -> None:
        names = schema.names if columns is None else list(columns)
        counts = Counter(schema.names)
        for name in names:
            if not counts[name]:
                raise unknown_column(name, schema)
            if counts[name] > 1:
                refuse_ambiguous(name, schema)
        wanted = list(dict.fromkeys(names))
        self._types = {field.name: field.type for field in schema}
        self.condition = None if where is None else Condition(where, schema)
        """What rows must fulfil; None for all."""
        if self.condition is not None:
            wanted = list(dict.fromkeys((*wanted, *self.condition.columns)))
        self.columns = wanted
        """What has to be read, columns of the condition too."""
        self.schema = pa.schema([schema.field(name) for name in names], metadata=schema.metadata)
        """Schema of the answer."""

    def read(
        self, parts: Sequence[RowPart], *, span: Span | None = None, limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order; memory stays bounded whatever the table's size.

        Parameters
        ----------
        parts
            Of the table, or some of them.
        span
            Only rows in this range of the parts' rows, counted before the condition.
        limit
            Most rows.

        Raises
        ------
        CorruptError
            ``corrupt-object``, and as the parts raise it; also in the middle.
        """
        found = self._found(parts, span)
        return found if limit is None else first(found, limit)

    def units(self, parts: Sequence[RowPart]) -> Iterator[tuple[int, int]]:
        """Yield rows and bytes of stretches of the parts that are best read as a whole.

        Parts that are surely small are not opened for it.
        """
        width = sum(width_of(self._types[name]) or _GUESSED_WIDTH for name in self.columns)
        for part in parts:
            if part.length is not None and part.length * width <= _SMALL_BYTES:
                yield part.length, int(part.length * width)
                continue
            with part.opened() as rows:
                self._check(part, rows)
                yield from rows.units(self.columns, self.condition)

    def _found(self, parts: Sequence[RowPart], span: Span | None) -> Iterator[pa.RecordBatch]:
        start = 0
        for part in parts:
            if span is not None and start >= span[1]:
                return
            if span is not None and part.length is not None and start + part.length <= span[0]:
                start += part.length
                continue
            with part.opened() as rows:
                self._check(part, rows)
                inside: Span = (0, rows.count)
                if span is not None:
                    inside = (max(0, span[0] - start), min(rows.count, span[1] - start))
                start += rows.count
                if inside[0] < inside[1]:
                    for batch in rows.batches(self.columns, self.condition, inside):
                        if batch.num_rows:
                            yield shaped(batch, self.schema)
                        del batch  # before the next is decoded

    def _check(self, part: RowPart, rows: Rows) -> None:
        present = set(rows.schema.names)
        missing = [name for name in self.columns if name not in present]
        if missing or part.length not in (None, rows.count):
            found = f"no column {missing[0]!r}" if missing else f"{rows.count} rows"
            raise CorruptError(
                ErrorKind.CORRUPT_OBJECT, f"{part.name} has {found}, unlike the table; run a check"
            )


@contextmanager
def opened_rows(
    file: Any, form: str, name: str, footer: Footer
) -> Iterator[ParquetRows | ArrowRows]:
    """Read an open file as rows; what fails in it inside the block is a `CorruptError`.

    Parameters
    ----------
    file
        For pyarrow, random access.
    form
        ``parquet`` or ``arrow``.
    name
        What it is called in messages.
    footer
        Of the same file; kept from before, or new.
    """
    try:
        yield ParquetRows(file, footer) if form == "parquet" else ArrowRows(file)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise CorruptError(
            ErrorKind.CORRUPT_OBJECT, f"{name} is not a readable {form} file"
        ) from error


def check_partition(number: int, count: int) -> None:
    """Refuse a partition that there is not.

    Raises
    ------
    InvalidRequestError
        ``bad-request``.
    """
    if not 0 <= number < max(1, count):
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST, f"no partition {number}; the table has {count} of them"
        )
