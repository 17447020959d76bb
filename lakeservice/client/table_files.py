"""Direct delivery of tables: rows read from files on this machine."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from lakeservice.client.disk import UnreachableError, missing, name_of, refuse_changed, unavailable
from lakeservice.codecs.parquet_rows import Footer
from lakeservice.codecs.rows import RowRequest, check_partition, opened_rows
from schemas.direct import LocalFile, PlanTable, TablePlan, Unchanged
from schemas.errors import ConflictError, CorruptError, ErrorKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lakeservice.client.disk import Disk
    from lakeservice.client.remote import Remote
    from lakeservice.codecs.rows import Rows
    from schemas.query import Query
    from schemas.ticket import ReadTable

MOST_FOOTERS = 64
"""Footers of a table's files are kept where it has no more files."""
_MOST_TREES = 64
_ATTEMPTS = 8
_AGAIN = (CorruptError, UnreachableError)


class TableFiles:
    """The files of one version of a table.

    Parameters
    ----------
    ask
        The question that found them, for its path and version of the lake.
    plan
        The answer.
    disk
        Opens registered files.
    """

    def __init__(self, ask: PlanTable, plan: TablePlan, disk: Disk) -> None:
        self._ask = msgspec.structs.replace(ask, id=plan.id, version=plan.version, where=None)
        self.id = plan.id
        self.version = plan.version
        """Version of the lake in which the table changed last."""
        self.schema = pa.ipc.read_schema(pa.py_buffer(plan.schema))
        self.trees: dict[bytes, Query] = {}
        """Conditions that were asked about, as trees, by their JSON."""
        self.fresh_until = time.monotonic() + plan.fresh_s
        keep = len(plan.files) <= MOST_FOOTERS
        checksums = plan.checksums or (None,) * len(plan.files)
        self.parts = [
            _FilePart(file, plan, disk, length, checksum, keep=keep)
            for file, length, checksum in zip(plan.files, plan.lengths, checksums, strict=True)
        ]

    def verify(self, remote: Remote) -> bool:
        """Ask whether this is the present version."""
        answer = remote.plan(self._ask)
        if isinstance(answer, Unchanged):
            self.fresh_until = time.monotonic() + answer.fresh_s
            return True
        return False

    def request(self, asked: ReadTable, where: Query | None) -> RowRequest:
        """Return which columns and rows are asked for; errors as over the wire."""
        return RowRequest(self.schema, asked.columns, where)

    def read(self, request: RowRequest, asked: ReadTable) -> Iterator[pa.RecordBatch]:
        """Yield the rows that are asked for."""
        parts: Sequence[_FilePart] = self.parts
        if asked.partition is not None:
            check_partition(asked.partition, len(parts))
            parts = parts[asked.partition : asked.partition + 1]
        return request.read(parts, span=asked.rows, limit=asked.limit)


class _FilePart:
    def __init__(
        self,
        file: LocalFile,
        plan: TablePlan,
        disk: Disk,
        length: int | None,
        checksum: str | None,
        *,
        keep: bool,
    ) -> None:
        self._is_own = not file.path.startswith(b"/")
        self._file = LocalFile(plan.root + b"/" + file.path) if self._is_own else file
        self._format = plan.format
        self._disk = disk
        self._checksum = checksum
        self._footer = Footer(checksum) if keep else None
        self.name = f"the file {name_of(file)!r}"
        self.length = length

    @contextmanager
    def opened(self) -> Iterator[Rows]:
        if not self._is_own:
            self._disk.file(self._file)  # a pipe of that name would never open
        try:
            file = pa.OSFile(self._file.path, "rb")
        except OSError:
            raise UnreachableError(missing(self._file.path)) from None
        with file:
            self._check(file)
            try:
                footer = self._footer or Footer(self._checksum)
                with opened_rows(file, self._format, self.name, footer) as rows:
                    yield rows
            except CorruptError:
                self._check(file)
                raise
            self._check(file)

    def _check(self, file: Any) -> None:
        """See that a registered file is the one that was meant, also after it was read."""
        if not self._is_own:
            status = os.fstat(file.fileno())
            refuse_changed(self._file, status.st_size, status.st_mtime_ns)


def read(
    remote: Remote,
    version: int,
    asked: ReadTable,
    moved: Callable[[int], None] | None = None,
) -> pa.Table:
    """Return rows of a table as an Arrow table; all of one version.

    Parameters
    ----------
    remote
        The lake.
    version
        Version of the node that the caller knows: an older one is not read.
    asked
        What to read.
    moved
        Told the bytes of what was read.

    Raises
    ------
    UnreachableError
        There is no direct delivery of it, or a file cannot be opened here.
    InvalidRequestError
        ``unknown-column``, ``bad-query``.
    CorruptError
        ``corrupt-object``, ``asset-changed``.
    ConflictError
        ``revision-conflict``: it is changed again and again.
    """
    for _ in range(_ATTEMPTS):
        files, where = find_files(remote, version, asked)
        request = files.request(asked, where)
        try:
            batches = []
            for batch in files.read(request, asked):
                batches.append(batch)
                if moved is not None:
                    moved(batch.nbytes)
            return pa.Table.from_batches(batches, schema=request.schema)
        except _AGAIN as error:
            if files.verify(remote):
                raise _naming(error, asked.path) from None
    raise _restless(asked.path)


def batches(remote: Remote, version: int, asked: ReadTable) -> Iterator[pa.RecordBatch]:
    """Yield rows of a table in bounded memory; all of one version. Errors as in `read`.

    The first batch is read at once: what is wrong with the request or with direct
    delivery itself is an error here, before anything is yielded.
    """
    for _ in range(_ATTEMPTS):
        files, where = find_files(remote, version, asked)
        found = files.read(files.request(asked, where), asked)
        try:
            first = next(found, None)
        except _AGAIN as error:
            if files.verify(remote):
                raise _naming(error, asked.path) from None
        else:
            return _continued(remote, files, asked.path, first, found)
    raise _restless(asked.path)


def _continued(
    remote: Remote,
    files: TableFiles,
    path: str,
    first: pa.RecordBatch | None,
    rest: Iterator[pa.RecordBatch],
) -> Iterator[pa.RecordBatch]:
    if first is None:
        return
    yield first
    try:
        yield from rest
    except _AGAIN as error:
        if not files.verify(remote):
            raise ConflictError(
                ErrorKind.REVISION_CONFLICT,
                f"{path!r} was changed while it was read; read it again",
            ) from None
        named = _naming(error, path)
        raise (named.error if isinstance(named, UnreachableError) else named) from None


def find_files(remote: Remote, version: int, asked: ReadTable) -> tuple[TableFiles, Query | None]:
    """Return the files of a table, not older than the server allows, and the condition as a tree.

    Parameters
    ----------
    version
        The caller has seen this version of the node: an older one is not returned.
    asked
        What is to be read.

    Raises
    ------
    UnreachableError
        There is no direct delivery of it.
    """
    disk = remote.connection.disk
    key = ("table", asked.path, remote.as_of)
    files = disk.known.get(key)
    text = None if asked.where is None else _text(asked.where)
    trees: dict[bytes, Query] = {}
    if isinstance(files, TableFiles):
        trees = files.trees
        known = files.version >= version and (text is None or text in trees)
        if known and (time.monotonic() < files.fresh_until or files.verify(remote)):
            return files, None if text is None else trees[text]
    generation = disk.known.generation
    ask = PlanTable(path=asked.path, grant=b"", as_of=remote.as_of, where=asked.where)
    answer = remote.plan(ask)
    if not isinstance(answer, TablePlan):
        raise UnreachableError(unavailable(asked.path, answer))
    if not isinstance(files, TableFiles) or (files.id, files.version) != (
        answer.id,
        answer.version,
    ):
        files = TableFiles(ask, answer, disk)
    files.trees = dict(list(trees.items())[-_MOST_TREES:])
    if text is not None and answer.where is not None:
        files.trees[text] = answer.where
    files.fresh_until = time.monotonic() + answer.fresh_s
    disk.known.put(key, files, generation)
    return files, answer.where


def _text(where: Any) -> bytes:
    return msgspec.json.encode(where)


def _naming(error: CorruptError | UnreachableError, path: str) -> Exception:
    """Return an error that names the node."""
    known = error.error if isinstance(error, UnreachableError) else error
    named = CorruptError(known.kind, f"{path!r}: {known.message}")
    return UnreachableError(named) if isinstance(error, UnreachableError) else named


def _restless(path: str) -> ConflictError:
    return ConflictError(
        ErrorKind.REVISION_CONFLICT,
        f"{path!r} was changed again and again while it was read; try again later",
    )
