"""What exporters write from: a node, or a part of one, that can be read more than once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    import numpy as np
    import pyarrow as pa

    from lakeservice.export.exporter import Piece
    from lakeservice.storage.archives import Member
    from schemas.entry import DataSource, Spec
    from schemas.structures import StructureFamily

Shape = tuple[int, ...]


class Source(Protocol):
    """What every source tells of its node."""

    @property
    def name(self) -> str:
        """Last segment of the path; empty for the root."""
        ...

    @property
    def family(self) -> StructureFamily:
        """The structure family: it says which of the protocols below this source has."""
        ...

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The node's metadata."""
        ...

    @property
    def specs(self) -> Sequence[Spec]:
        """What the node promises."""
        ...

    @property
    def options(self) -> Mapping[str, str]:
        """Options of the request by name, as text; see `Option`."""
        ...

    @property
    def data_sources(self) -> Sequence[DataSource]:
        """How the node's bytes lie, the addresses of its files as clients are told them."""
        ...

    @property
    def problem(self) -> str | None:
        """Why the data cannot be read; None where they can."""
        ...


class ArraySource(Source, Protocol):
    """An array, or the selection of one that was asked for."""

    @property
    def shape(self) -> Shape:
        """Shape of the selection, without dropped axes."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of an element; records are packed."""
        ...

    @property
    def dims(self) -> tuple[str, ...] | None:
        """Names of the axes that are left; None where nobody named them."""
        ...

    def blocks(self) -> Iterator[np.ndarray[Any, Any]]:
        """Yield all elements in C order, in blocks of bounded size.

        A block is consecutive rows of the first axis; where a single row is larger
        than a block, it is consecutive rows of the axis after it, and so on.
        """
        ...

    def read(self, index: Any = ()) -> np.ndarray[Any, Any]:
        """Return a part (a NumPy basic index on this source) as one array in memory."""
        ...


class TableSource(Source, Protocol):
    """Rows and columns of a table, projected and filtered as asked."""

    def read(self, columns: tuple[str, ...] | None = None) -> pa.RecordBatchReader:
        """Return a fresh reader, of all or of some of the columns."""
        ...


class SparseSource(TableSource, Protocol):
    """A sparse array, or the selection of one: columns ``dim0``… and ``data``."""

    @property
    def shape(self) -> Shape:
        """Shape of the selection, without dropped axes."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a value."""
        ...

    def values(self, column: pa.Array) -> np.ndarray[Any, Any]:
        """Return the values of a column ``data`` in their own type."""
        ...


class NestedSource(TableSource, Protocol):
    """Awkward or ragged data, or a part of them."""

    @property
    def form(self) -> Mapping[str, Any]:
        """Awkward's form of what is sent."""
        ...

    @property
    def length(self) -> int:
        """Rows of what is sent."""
        ...

    @property
    def is_stored(self) -> bool:
        """Whether its buffers lie in the lake as they are to be sent."""
        ...

    @property
    def is_scalar(self) -> bool:
        """Whether it is a single number, which has no rows."""
        ...

    def scalar(self) -> Any:
        """Return that number, as NumPy has it."""
        ...

    def arrays(self) -> Iterator[Any]:
        """Yield the rows as `ak.Array` of bounded size, one at least."""
        ...

    def members(self) -> AbstractContextManager[list[Member]]:
        """Give the buffers as files for an archive; they are read within the context."""
        ...


class ContainerSource(Source, Protocol):
    """A container and all that is below it, or the fields of it that were asked for."""

    def children(self) -> Iterator[Source]:
        """Yield a source for each child, in the container's order."""
        ...


class FileSource(Source, Protocol):
    """A file that nobody looks into."""

    def file(self) -> tuple[str, Iterator[Piece]] | None:
        """Return the file's name and its bytes; None where it is not given away."""
        ...
