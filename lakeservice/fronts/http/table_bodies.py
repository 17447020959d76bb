"""Tables that a client sends: Arrow, Parquet or CSV, brought to the declared columns."""

from __future__ import annotations

import re
import tempfile
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from starlette.requests import ClientDisconnect

from lakeservice.export.arrow import ARROW_FILE, ARROW_STREAM, PARQUET
from lakeservice.fronts.http.arrow_bodies import CheckedMessages
from lakeservice.fronts.http.body import BodyStream
from lakeservice.fronts.http.call import media_type_of
from lakeservice.fronts.received import checked
from schemas.errors import ErrorKind, InvalidRequestError, LakeError, TooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.fronts.http.call import Call

ARROW_MAGIC = b"ARROW1\0\0"
"""An Arrow file is this, then an Arrow stream, then a footer that a reader forwards can miss."""
SPOOLED_BYTES = 16 << 20
"""A Parquet upload above this size waits in a temporary file."""
UNNAMED_INDEX = re.compile(r"__index_level_\d+__")
"""Names that pandas gives to columns of an index without a name."""
CSV = "text/csv"
FORMS = (ARROW_FILE, ARROW_STREAM, PARQUET, CSV)


@contextmanager
def uploaded_table(call: Call, declared: pa.Schema) -> Iterator[pa.RecordBatchReader]:
    """Give a reader of the rows in a request, with the declared columns and types.

    The rows are read while the client sends them. Columns are found by name; an
    unnamed index of pandas that was not declared is left out; a declared column
    of nulls takes the type that is sent.

    Raises
    ------
    InvalidRequestError
        ``bad-body``: another form, columns missing or not declared, values that do
        not convert, or bytes that end too early; the last two while it is read.
    TooLargeError
        ``too-large``: more than ``limits.upload_bytes``.
    """
    sent = media_type_of(call.headers.get("content-type")) or ARROW_FILE
    if sent not in FORMS:
        raise _bad(f"cannot read a table sent as {sent[:80]!r}; known are {', '.join(FORMS)}")
    limit = call.service.limits.upload_bytes
    if call.body.length is not None and call.body.length > limit:
        raise _too_large(limit)
    with ExitStack() as stack:
        try:
            schema, batches = _opened(call, sent, declared, stack)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(sent, error) from None
        target = _target(declared, schema)
        yield pa.RecordBatchReader.from_batches(target, _conformed(sent, batches, target))


def _opened(
    call: Call, sent: str, declared: pa.Schema, stack: ExitStack
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    if sent == PARQUET:
        # Parquet is read from its end.
        spooled: Any = tempfile.SpooledTemporaryFile(SPOOLED_BYTES)  # noqa: SIM115 (the stack)
        stack.enter_context(spooled)
        for piece in _bounded(call):
            spooled.write(piece)
        spooled.seek(0)
        file = stack.enter_context(pyarrow.parquet.ParquetFile(spooled))
        return file.schema_arrow, file.iter_batches()
    stream = BodyStream(_bounded(call))
    if sent == CSV:
        types = {field.name: field.type for field in declared if not pa.types.is_null(field.type)}
        options = pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=True)
        reader = pyarrow.csv.open_csv(stream, convert_options=options)
        return reader.schema, iter(reader)
    if sent == ARROW_FILE and stream.read(len(ARROW_MAGIC)) != ARROW_MAGIC:
        raise _bad("this is not an Arrow file: it does not begin with ARROW1")
    reader = pa.ipc.open_stream(CheckedMessages(stream))
    return reader.schema, checked(reader)


def _bounded(call: Call) -> Iterator[bytes]:
    """Yield the body, also one that did not announce its length, up to the limit."""
    limit, size = call.service.limits.upload_bytes, 0
    for piece in call.body.pieces():
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        yield piece


def _target(declared: pa.Schema, sent: pa.Schema) -> pa.Schema:
    names = sent.names
    if len(set(names)) != len(names):
        raise _bad("two of the columns sent have one name; columns are told apart by name")
    missing = [name for name in declared.names if name not in names]
    unknown = [
        name for name in names if name not in declared.names and not UNNAMED_INDEX.fullmatch(name)
    ]
    if missing or unknown:
        told = [f"{', '.join(missing[:8])} missing"] if missing else []
        told += [f"{', '.join(unknown[:8])} not declared"] if unknown else []
        raise _bad(
            f"the columns sent do not match: {' and '.join(told)}; "
            f"declared are {', '.join(declared.names[:20])}"
        )
    fields = [
        sent.field(field.name).with_metadata(field.metadata)
        if pa.types.is_null(field.type)
        else field
        for field in declared
    ]
    return pa.schema(fields, metadata=declared.metadata)


def _conformed(
    sent: str, batches: Iterator[pa.RecordBatch], target: pa.Schema
) -> Iterator[pa.RecordBatch]:
    try:
        for batch in batches:
            columns = [_cast(batch.column(field.name), field) for field in target]
            yield pa.RecordBatch.from_arrays(columns, schema=target)
    except (LakeError, ClientDisconnect):
        raise
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(sent, error) from None


def _cast(column: pa.Array, field: pa.Field) -> pa.Array:
    if column.type == field.type:
        return column
    try:
        return column.cast(field.type)
    except pa.ArrowException as error:
        raise _bad(
            f"column {field.name!r} was declared {field.type}, and {column.type} was sent: {error}"
        ) from None


def _unreadable(sent: str, error: Exception) -> InvalidRequestError:
    return _bad(f"the body cannot be read as {sent}: {str(error)[:300]}")


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(
        ErrorKind.TOO_LARGE, f"a table of more than {limit} bytes; so many are accepted at a time"
    )


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_BODY, message)
