"""Awkward and ragged data: as their buffers in a ZIP archive, as JSON, Arrow and Parquet."""

from __future__ import annotations

import functools
import io
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.parquet

from lakeservice.export.arrow import (
    ARROW_FILE,
    PARQUET,
    write_arrow_file,
    write_parquet,
)
from lakeservice.export.exporter import Exporter
from lakeservice.export.prepared import written_out
from lakeservice.storage.archives import Member, archive_bytes, archived
from lakeservice.storage.nested import arrow_of, batches_of
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

    from lakeservice.export.exporter import Piece
    from lakeservice.export.prepared import Prepared
    from lakeservice.export.sources import NestedSource

ZIP = "application/zip"


def write_buffers(source: NestedSource) -> Iterator[Piece]:
    """Yield an archive of the buffers, without compression, named as the form says."""
    with source.members() as members:
        yield from archived(members)


def buffers_size(source: NestedSource) -> int | None:
    """Return the bytes of that archive, where they are known without going through the data."""
    if not source.is_stored:
        return None
    with source.members() as members:
        return archive_bytes(members)


def write_ragged(source: NestedSource) -> Iterator[Piece]:
    """Yield an archive of the buffers, the form and the length.

    The form is JSON text as a JSON document, and the length eight bytes, the highest
    first: so Tiled's clients read them.
    """
    with source.members() as members:
        yield from archived([*members, *_about(source)])


def ragged_size(source: NestedSource) -> int | None:
    """Return the bytes of that archive, where they are known without going through the data."""
    if not source.is_stored:
        return None
    with source.members() as members:
        return archive_bytes([*members, *_about(source)])


def _about(source: NestedSource) -> Iterator[Member]:
    form = msgspec.json.encode(msgspec.json.encode(source.form).decode())
    for name, payload in (("length", source.length.to_bytes(8, "big")), ("form", form)):
        yield Member(name, len(payload), zlib.crc32(payload), functools.partial(_once, payload))


def _once(payload: bytes) -> Iterator[bytes]:
    yield payload


def write_json(source: NestedSource) -> Iterator[Piece]:
    """Yield a list of the rows; NaN and infinities, which JSON does not have, are null."""
    if source.is_scalar:
        yield _json(source.scalar().item())
        return
    separator = b"["
    for array in source.arrays():
        text = _rows(array)
        if text:
            yield separator + text
            separator = b","
    yield b"]" if separator == b"," else b"[]"


def _rows(array: Any) -> bytes:
    import awkward  # heavy

    try:
        text: bytes = awkward.to_json(array).encode()
    except (ValueError, TypeError):
        text = _json(array.to_list())
    return text[1:-1]


def _json(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value, enc_hook=_plain)
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(
            ErrorKind.UNKNOWN_FORMAT, f"these data cannot be said in JSON: {error}"
        ) from None


def _plain(value: Any) -> Any:
    return [value.real, value.imag] if isinstance(value, complex) else str(value)


@dataclass(frozen=True)
class _Extended:
    """Rows as Arrow lists that keep what Arrow itself does not know, for Awkward's readers."""

    source: NestedSource

    def read(self, _columns: tuple[str, ...] | None = None) -> pa.RecordBatchReader:
        return batches_of(arrow_of(array, plain=False) for array in self.source.arrays())


def write_arrow(source: NestedSource) -> Iterator[Piece]:
    """Yield an Arrow IPC file with Awkward's extension types."""
    rows: Any = _Extended(source)
    yield from write_arrow_file(rows)


def write_parquet_file(source: NestedSource) -> Iterator[Piece]:
    """Yield a Parquet file with Awkward's extension types."""
    rows: Any = _Extended(source)
    yield from write_parquet(rows)


def check_rows(source: NestedSource) -> None:
    """Refuse a single number, which these forms cannot say.

    Raises
    ------
    InvalidRequestError
        ``unknown-format``.
    """
    if source.is_scalar:
        raise InvalidRequestError(
            ErrorKind.UNKNOWN_FORMAT,
            "a single number is sent as application/json; keep an axis for this form",
        )


def check_parquet(source: NestedSource) -> None:
    """Refuse what Parquet cannot hold: unions.

    Raises
    ------
    InvalidRequestError
        ``unknown-format``.
    """
    check_rows(source)
    schema = arrow_of(next(source.arrays())[:0], plain=False).schema
    try:
        pyarrow.parquet.ParquetWriter(io.BytesIO(), schema).close()
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        raise InvalidRequestError(
            ErrorKind.UNKNOWN_FORMAT,
            "Parquet cannot hold data of several types in one place; fetch them as "
            "application/zip, application/json or an Arrow file",
        ) from None


def _prepare_arrow(source: NestedSource) -> Prepared:
    return written_out(write_arrow(source))


def _prepare_parquet(source: NestedSource) -> Prepared:
    return written_out(write_parquet_file(source))


def _exporters(family: Literal["awkward", "ragged"]) -> tuple[Exporter, ...]:
    ragged = family == "ragged"
    return (
        Exporter(
            family=family,
            media_type=ZIP,
            names=("zip",),
            write=write_ragged if ragged else write_buffers,
            size=ragged_size if ragged else buffers_size,
            check=check_rows,
        ),
        Exporter(family=family, media_type="application/json", names=("json",), write=write_json),
        Exporter(
            family=family,
            media_type=ARROW_FILE,
            names=("arrow", "feather"),
            write=write_arrow,
            check=check_rows,
            prepare=_prepare_arrow,
            quick=False,
        ),
        Exporter(
            family=family,
            media_type=PARQUET,
            names=("parquet",),
            write=write_parquet_file,
            check=check_parquet,
            prepare=_prepare_parquet,
            quick=False,
        ),
    )


EXPORTERS = (*_exporters("awkward"), *_exporters("ragged"))
