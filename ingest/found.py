"""What a format says about one file: its nodes, and where in it their bytes lie."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from schemas.structures import ContainerStructure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    import pyarrow as pa
    from numpy.typing import ArrayLike

    from ingest.source import Source
    from schemas.chunks import ChunkLayout, Contiguous, Inline, TableStorage
    from schemas.entry import Asset, Spec
    from schemas.structures import Structure

ReadRows = Callable[[], Iterator[NDArray[Any]]]
"""Opens a stream of blocks of consecutive rows (first axis), each of bounded size."""
ReadBatches = Callable[[], "pa.RecordBatchReader"]
"""Opens a stream of record batches, each of bounded size."""


@dataclasses.dataclass(frozen=True)
class ChunkRows:
    """Where each stored chunk of one array lies; parallel columns, sorted by ``chunk``."""

    chunk: NDArray[np.int64]
    """Position in the chunk grid, C order; a chunk that is not named is fill."""
    asset: NDArray[np.int32]
    offset: NDArray[np.int64]
    length: NDArray[np.int64]
    filter_mask: NDArray[np.uint32]
    """Bit i set: codec i of the chain was skipped for this chunk."""

    @classmethod
    def of(
        cls,
        chunk: ArrayLike,
        offset: ArrayLike,
        length: ArrayLike,
        *,
        asset: ArrayLike = 0,
        filter_mask: ArrayLike = 0,
    ) -> ChunkRows:
        """Build sorted rows from columns in any order; scalars stand for every row."""
        chunks = np.atleast_1d(np.asarray(chunk, np.int64))
        order = np.argsort(chunks, kind="stable")

        def column(values: ArrayLike, dtype: type[np.generic]) -> NDArray[Any]:
            return np.broadcast_to(np.asarray(values, dtype), chunks.shape)[order]

        return cls(
            chunk=chunks[order],
            asset=column(asset, np.int32),
            offset=column(offset, np.int64),
            length=column(length, np.int64),
            filter_mask=column(filter_mask, np.uint32),
        )

    def __len__(self) -> int:
        return len(self.chunk)


@dataclasses.dataclass(frozen=True)
class Columns:
    """A table whose columns are arrays of one axis and one length in the same file."""

    paths: dict[str, str]
    """Path of the item that each column is, by the column's name; they come before the table."""


@dataclasses.dataclass
class Item:
    """One node in a file."""

    path: str
    """Relative to the file's entry; empty when the file is a single node."""
    structure: Structure = dataclasses.field(default_factory=ContainerStructure)
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)
    specs: tuple[Spec, ...] = ()
    layout: ChunkLayout | None = None
    location: Contiguous | Inline | ChunkRows | TableStorage | Columns | None = None
    """Where the bytes lie as stored; None where they have to be converted. `TableStorage` names
    assets that are Parquet or Arrow files themselves."""
    read: ReadRows | ReadBatches | None = None
    """Reads the values with the format's own library: rows of an array, batches of a table.
    Called where there is no ``location``, and for every item when the file is converted."""
    problem: str | None = None
    """Why its data cannot be read at all; the node is still described."""


@dataclasses.dataclass
class Found:
    """One file, opened: everything but the values themselves."""

    items: list[Item]
    """Parents before children, in the file's order; a single item with path "" is the file."""
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Of the whole file, searchable; JSON values only."""
    specs: tuple[Spec, ...] = ()
    assets: list[Asset] = dataclasses.field(default_factory=list)
    """Number 0 is the file itself."""
    problems: list[str] = dataclasses.field(default_factory=list)
    """What could not be followed or read, in words."""
    left_out: list[Source] = dataclasses.field(default_factory=list)
    """Members of a series that do not fit and have to be taken on their own."""
    on_close: Callable[[], None] | None = None

    def close(self) -> None:
        """Let go of what ``read`` needed open."""
        on_close, self.on_close = self.on_close, None
        if on_close is not None:
            on_close()

    def __enter__(self) -> Found:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Format(Protocol):
    """Reads one file format; made without arguments, holds no state."""

    @property
    def media_type(self) -> str:
        """Unique among the installed formats; a plain class attribute will do."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Usual endings, lower case with the dot; never decide, only order the questions."""

    def sniff(self, source: Source) -> bool:
        """Tell from the first bytes whether the file is of this format."""

    def open(self, source: Source) -> Found:
        """Describe the file from its headers.

        Raises
        ------
        InvalidRequestError
            ``unreadable-file``: truncated or damaged beyond a description. Any
            other exception is taken for the same, with its text as reason.
        """


@runtime_checkable
class SeriesFormat(Protocol):
    """A format whose numbered files make one stack."""

    def open_series(self, sources: Sequence[Source]) -> Found:
        """Describe files, ordered by number, as one array with a new first axis.

        Those that do not fit come back in ``left_out``, with a problem each.
        """
