"""Which file holds which chunk: pages of one version of an array, kept for a while."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from lakeservice.client.disk import UnreachableError, unavailable
from lakeservice.codecs.chain import Chain
from lakeservice.codecs.grid import Grid
from schemas.direct import (
    MAX_PAGES,
    PAGE_CHUNKS,
    ArrayPlan,
    ChunkPage,
    LocalFile,
    PlanArray,
    Unchanged,
)
from schemas.errors import CorruptError, ErrorKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakeservice.client.remote import Remote

MOST_PAGES = 64
"""Pages of one array that are remembered."""
VOUCHED_S = 1.0
"""How long a table is taken for fresh when somebody vouches for it, in s."""
_SEEN_SHIFT = PAGE_CHUNKS.bit_length() - 1


class ChangedError(Exception):
    """There is another version of the node than the one whose pages were read so far."""


class Page:
    """Where consecutive chunks lie; a column's element by a chunk's place in the page."""

    __slots__ = ("file", "files", "length", "mask", "offset", "required")

    def __init__(self, page: ChunkPage, count: int, root: bytes) -> None:
        self.files: list[LocalFile] = [
            file if file.path.startswith(b"/") else LocalFile(root + b"/" + file.path)
            for file in page.files
        ]
        self.file = _column(page.file, "<i4", count)
        self.offset = _column(page.offset, "<i8", count)
        self.length = _column(page.length, "<i8", count)
        self.required = _column(page.required, "u1", count)
        self.mask = _column(page.filter_mask, "<u4", count) if page.filter_mask else None
        if max(self.file, default=-1) >= len(self.files):
            raise _contradiction()


class ChunkTable:
    """The pages of one version of an array, as far as they were asked for.

    Parameters
    ----------
    ask
        The question that found it, for its path and version of the lake.
    plan
        The answer.
    """

    def __init__(self, ask: PlanArray, plan: ArrayPlan) -> None:
        if plan.head is None:
            raise _contradiction()
        self._ask = msgspec.structs.replace(ask, id=plan.id, version=plan.version, pages=())
        self.id = plan.id
        self.version = plan.version
        """Version of the lake in which the node changed last."""
        self.shape = plan.head.structure.shape
        self.dtype = plan.head.structure.dtype
        self.grid = Grid.of(plan.head.structure)
        self.chain = Chain.of(plan.head.layout)
        self.chunk_bytes = self.chain.stored_bytes(plan.head.layout.chunk_shape)
        """Bytes of a whole chunk, decoded."""
        self.pages: dict[int, Page] = {}
        """Those that are remembered, by number."""
        self._root = plan.head.root
        self.fresh_until = 0.0
        self.take(plan)

    def take(self, plan: ArrayPlan) -> dict[int, Page]:
        """Keep the pages of an answer of this version, and return them by number."""
        found = {}
        for page in plan.pages:
            count = min(PAGE_CHUNKS, self.grid.size - page.number * PAGE_CHUNKS)
            found[page.number] = Page(page, count, self._root)
        self.pages.update(found)
        self.fresh_until = time.monotonic() + plan.fresh_s
        return found

    def page(self, remote: Remote, number: int, last: int) -> Page:
        """Return a page, from memory or from the server.

        Parameters
        ----------
        last
            Last page that will be wanted after this one.

        Raises
        ------
        ChangedError
            The server has another version.
        """
        found = self.pages.get(number)
        if found is None:
            wanted = range(number, min(last + 1, number + MAX_PAGES))
            numbers = tuple(n for n in wanted if n not in self.pages)
            answer = remote.plan(msgspec.structs.replace(self._ask, pages=numbers))
            if not isinstance(answer, ArrayPlan) or not self.is_of(answer):
                raise ChangedError
            found = self.take(answer).get(number)
            # Other threads put pages in meanwhile: what is gone through is a copy.
            for oldest in list(self.pages)[: max(0, len(self.pages) - MOST_PAGES)]:
                self.pages.pop(oldest, None)
            remote.connection.disk.known.shrink()
            if found is None:
                raise _contradiction()
        return found

    @property
    def places(self) -> int:
        """How many places of chunks it remembers."""
        return len(self.pages) * PAGE_CHUNKS

    def is_of(self, plan: ArrayPlan) -> bool:
        """Tell whether an answer is about this version."""
        return (plan.id, plan.version) == (self.id, self.version)

    def verify(self, remote: Remote) -> bool:
        """Ask whether this is the present version."""
        answer = remote.plan(self._ask)
        if isinstance(answer, Unchanged):
            self.fresh_until = time.monotonic() + answer.fresh_s
            return True
        self.fresh_until = 0.0
        return False


def find_table(remote: Remote, path: str, version: int, page: int) -> ChunkTable:
    """Return the table of an array, not older than the server allows.

    Parameters
    ----------
    version
        The caller has seen this version of the node: an older one is not returned.
    page
        A page to bring along where it has to be asked for.

    Raises
    ------
    UnreachableError
        There is no direct delivery of it.
    """
    known = remote.connection.disk.known
    key = ("array", path, remote.as_of)
    table = known.get(key)
    if isinstance(table, ChunkTable) and table.version >= version:
        fresh = time.monotonic() < table.fresh_until
        if fresh or table.verify(remote):
            return table
    generation = known.generation
    ask = PlanArray(path=path, grant=b"", as_of=remote.as_of, pages=(page,))
    answer = remote.plan(ask)
    if not isinstance(answer, ArrayPlan):
        raise UnreachableError(unavailable(path, answer))
    table = ChunkTable(ask, answer)
    known.put(key, table, generation)
    return table


def vouch(remote: Remote, path: str, identity: str, version: int) -> None:
    """Take what is known of this version of an array for fresh, without asking.

    For who reads many arrays and asks for the versions of all of them afterwards.
    """
    table = remote.connection.disk.known.get(("array", path, remote.as_of))
    if isinstance(table, ChunkTable) and (table.id, table.version) == (identity, version):
        table.fresh_until = max(table.fresh_until, time.monotonic() + VOUCHED_S)


def page_of(chunk: int) -> int:
    """Return the number of the page that tells of a chunk."""
    return chunk >> _SEEN_SHIFT


def _column(payload: bytes, dtype: str, count: int) -> Sequence[int]:
    values = np.frombuffer(payload, dtype)
    if values.size != count:
        raise _contradiction()
    return memoryview(values.astype(values.dtype.newbyteorder("="), copy=False).data)


def _contradiction() -> CorruptError:
    return CorruptError(
        ErrorKind.CORRUPT_OBJECT, "the server's list of files contradicts itself; read again"
    )
