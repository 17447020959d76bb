"""Stored nested data: their rows window by window, and their buffers as one archive."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from lakeservice.codecs.batches import matching
from lakeservice.storage.archives import ArchiveReader, Member
from lakeservice.storage.conforming import array_of, window_of
from lakeservice.storage.forms import parse_form
from lakeservice.storage.intake import FORM, LENGTH
from lakeservice.storage.windows import Merger, windows
from schemas.errors import (
    CorruptError,
    ErrorKind,
    InvalidRequestError,
    NotFoundError,
    TooLargeError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from lakeservice.codecs.batches import Span
    from lakeservice.codecs.row_filters import Condition
    from lakeservice.storage.forms import Form
    from lakeservice.storage.objects import Objects
    from lakeservice.storage.windows import Window
    from schemas.chunks import Part, TableStorage

SPOOLED_BYTES = 16 << 20
"""Buffers that have to be put together wait in a temporary file above this size."""
Opened = tuple["Form", "Mapping[str, Any]"]


class StoredBuffers:
    """Buffers in an object of the lake, read in parts.

    Raises
    ------
    CorruptError
        ``corrupt-object``: it is not an archive of buffers, or one that is too short.
    """

    def __init__(self, file: Any, name: str) -> None:
        self._name = name
        with self._refused():
            self._archive = ArchiveReader(file)
            self.length = int.from_bytes(self._archive.whole(LENGTH, 8), "big")
            """Rows."""
            document = msgspec.json.decode(self._archive.whole(FORM, 1 << 26))
            self.form = parse_form(document)
            """What leads from one buffer to the next."""
        self.document: dict[str, Any] = document
        """The form as Awkward writes it."""

    def read(self, name: str, dtype: np.dtype[Any], start: int, stop: int) -> NDArray[Any]:
        """Return elements of a buffer."""
        with self._refused():
            width = dtype.itemsize
            payload = self._archive.read(name, start * width, (stop - start) * width)
            return np.frombuffer(payload, dtype)

    def members(self, names: Iterable[str]) -> list[Member]:
        """Return buffers as they are stored."""
        entries = (self._archive.entries[name] for name in names)
        return [
            Member(entry.name, entry.size, entry.checksum, self._pieces(entry.name))
            for entry in entries
        ]

    def _pieces(self, name: str) -> Callable[[], Iterator[bytes]]:
        def pieces() -> Iterator[bytes]:
            with self._refused():
                yield from self._archive.pieces(name)

        return pieces

    @contextmanager
    def _refused(self) -> Iterator[None]:
        try:
            yield
        except (InvalidRequestError, TooLargeError, KeyError, msgspec.DecodeError) as error:
            raise CorruptError(
                ErrorKind.CORRUPT_OBJECT, f"object {self._name!r} is damaged: {error}; run a check"
            ) from None


class BufferRows:
    """The rows of one archive of buffers as Arrow lists.

    Parameters
    ----------
    file
        The archive, open for random access.
    name
        What it is called in messages.
    """

    def __init__(self, file: Any, name: str) -> None:
        self._buffers = StoredBuffers(file, name)
        self.schema: pa.Schema = self._table(0, NOTHING).schema
        """Columns: the fields of records, or one without a name."""
        self.count = self._buffers.length
        """Number of rows."""

    def batches(
        self, columns: Sequence[str], condition: Condition | None, span: Span
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a range that match."""
        chosen = pa.schema([self.schema.field(name) for name in columns])
        stop = min(span[1], self.count)
        for rows, window in windows(self._buffers.form, stop, self._buffers, span[0]):
            table = self._table(rows, window).select(list(columns))
            table = table if table.schema == chosen else table.cast(chosen)
            yield from matching(table, condition).to_batches()

    def units(
        self, columns: Sequence[str], condition: Condition | None
    ) -> Iterator[tuple[int, int]]:
        """Yield all rows as one stretch."""
        del columns, condition
        yield self.count, 0

    def _table(self, rows: int, window: Window) -> pa.Table:
        return arrow_of(array_of(self._buffers.document, rows, window), plain=True)


class StoredNested:
    """Nested data in the lake, in the form that their node declares.

    Parameters
    ----------
    objects
        The lake's objects.
    storage
        Where the rows lie: as buffers, or as Arrow lists in Parquet and Arrow files.
    document
        Awkward's form, every node with its key.
    length
        Rows that there have to be.
    batches
        Reads rows of Arrow lists, from one row to another.
    """

    def __init__(
        self,
        objects: Objects,
        storage: TableStorage,
        document: Mapping[str, Any],
        length: int,
        batches: Callable[[int, int], Iterable[pa.RecordBatch]],
    ) -> None:
        self._objects = objects
        self._storage = storage
        self._batches = batches
        self.document = document
        """Awkward's form."""
        self.form = parse_form(document)
        """The same, taken apart."""
        self.length = length
        """Rows."""
        if storage.format == "buffers" or not storage.parts:
            there = sum(part.length for part in storage.parts)
            if there != length:
                raise NotFoundError(
                    ErrorKind.ASSET_NOT_FOUND,
                    f"{there} of {length} rows were written so far; write the others first",
                )

    def windows(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Window]]:
        """Yield rows in windows of bounded size, as pairs of a number of rows and their buffers."""
        stop = self.length if stop is None else stop
        if self._storage.format != "buffers":
            for batch in self._batches(start, stop):
                if batch.num_rows:
                    yield batch.num_rows, window_of(self.form, array_from(batch))
            return
        first = 0
        for part in self._storage.parts:
            low, high = max(start - first, 0), min(stop - first, part.length)
            if low < high:
                with self._opened(part) as buffers:
                    for rows, window in windows(buffers.form, high, buffers, low):
                        yield rows, self._declared(buffers, rows, window)
            first += part.length

    @property
    def is_one_archive(self) -> bool:
        """Whether all buffers lie in one archive."""
        return self._storage.format == "buffers" and len(self._storage.parts) == 1

    def arrays(self, start: int = 0, stop: int | None = None) -> Iterator[Any]:
        """Yield rows as `ak.Array` of bounded size; one without rows where there are none."""
        empty = True
        for rows, window in self.windows(start, stop):
            empty = False
            yield array_of(self.document, rows, window)
        if empty:
            yield self.none()

    def none(self) -> Any:
        """Return an `ak.Array` of this form without rows."""
        return array_of(self.document, 0, NOTHING)

    @contextmanager
    def members(
        self, names: Collection[str] | None = None, start: int = 0, stop: int | None = None
    ) -> Iterator[list[Member]]:
        """Give the buffers of some rows as files for an archive; read within the context.

        Parameters
        ----------
        names
            Buffers wanted; None for all.
        """
        wanted = [name for name in self.form.names() if names is None or name in names]
        whole = (start, stop) in ((0, None), (0, self.length))
        if whole and self.is_one_archive:
            with self._opened(self._storage.parts[0]) as buffers:
                if buffers.form == self.form:
                    yield buffers.members(wanted)
                    return
        with merged(self.form, self.windows(start, stop)) as joined:
            yield [member for member in joined.members if member.name in wanted]

    def _declared(self, buffers: StoredBuffers, rows: int, window: Window) -> Window:
        if buffers.form == self.form:
            return window
        return window_of(self.form, array_of(buffers.document, rows, window))

    @contextmanager
    def _opened(self, part: Part) -> Iterator[StoredBuffers]:
        with self._objects.open_input(part.name) as file:
            yield StoredBuffers(file, part.name)


class Joined(NamedTuple):
    """Rows that were put together."""

    members: list[Member]
    """Their buffers."""
    length: int
    """Their number."""


@contextmanager
def merged(form: Form, rows: Iterable[tuple[int, Window]]) -> Iterator[Joined]:
    """Give windows, one after another, as one set of buffers; kept in a temporary file."""
    with ExitStack() as stack:
        file: Any = tempfile.SpooledTemporaryFile(SPOOLED_BYTES)  # noqa: SIM115 (the stack)
        stack.enter_context(file)
        merger = Merger(form, file)
        for count, window in rows:
            merger.add(count, window)
        merger.finish()
        members = [
            Member(name, size, merger.checksums[name], _pieces_of(merger, name))
            for name, size in merger.sizes.items()
        ]
        yield Joined(members, merger.length)


def _pieces_of(merger: Merger, name: str) -> Callable[[], Iterator[bytes]]:
    return lambda: merger.pieces(name)


def arrow_of(array: Any, *, plain: bool) -> pa.Table:
    """Return an `ak.Array` as an Arrow table: its fields as columns, or one without a name.

    Parameters
    ----------
    plain
        Types that every reader of Arrow knows, instead of Awkward's extension types.
    """
    import awkward  # heavy

    try:
        return awkward.to_arrow_table(array, extensionarray=not plain)
    except (TypeError, ValueError, NotImplementedError, pa.ArrowException) as error:
        told = str(error).strip().partition("\n")[0][:200]
        raise InvalidRequestError(
            ErrorKind.UNKNOWN_FORMAT,
            f"data of type {str(array.type)[:200]!r} cannot be said in Arrow ({told}); "
            "fetch them as application/zip",
        ) from None


def batches_of(
    tables: Iterator[pa.Table], columns: Sequence[str] | None = None
) -> pa.RecordBatchReader:
    """Return tables of one schema, one at least, as a stream of batches."""
    first = next(tables)
    if columns is not None:
        first = first.select(list(columns))

    def batches() -> Iterator[pa.RecordBatch]:
        yield from first.to_batches()
        for table in tables:
            chosen = table if columns is None else table.select(list(columns))
            if chosen.schema.equals(first.schema):
                yield from chosen.to_batches()
            else:
                yield from chosen.cast(first.schema).to_batches()

    return pa.RecordBatchReader.from_batches(first.schema, batches())


def array_from(batch: pa.RecordBatch) -> Any:
    """Return rows of Arrow lists as an `ak.Array`."""
    import awkward  # heavy

    # Awkward reads the validity of a slice, and a slice of a union, from its beginning; what
    # comes out of IPC is no slice, except in unions.
    table = pa.Table.from_batches([batch])
    if any(_has_union(field.type) for field in batch.schema):
        table = table.take(pa.array(np.arange(batch.num_rows))).combine_chunks()
    else:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        table = pa.ipc.open_stream(sink.getvalue()).read_all()
    array = awkward.from_arrow(table)
    return array[""] if batch.schema.names == [""] and array.fields == [""] else array


def _has_union(kind: pa.DataType) -> bool:
    if pa.types.is_union(kind):
        return True
    return any(_has_union(kind.field(number).type) for number in range(kind.num_fields))


class _Nothing(dict[str, Any]):
    def __missing__(self, name: str) -> NDArray[Any]:
        return np.zeros(1 if name.endswith("-offsets") else 0, np.uint8).repeat(8)


NOTHING = _Nothing()
"""Buffers of no rows, whatever the form."""
