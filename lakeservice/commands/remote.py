"""Nodes of a server as sources for exporters: the data comes over Arrow Flight."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from schemas.selection import Selection, select

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from schemas.entry import DataSource, Spec
    from schemas.structures import StructureFamily

ROWS_BYTES = 64 << 20
"""Part of an array that is asked of a server at a time."""


@dataclass(frozen=True)
class Remote:
    """A node of a server as a source."""

    node: Any
    options: Mapping[str, str] = field(default_factory=dict, kw_only=True)

    @property
    def name(self) -> str:
        """Last segment of the path."""
        return str(self.node.path.rpartition("/")[2])

    @property
    def family(self) -> StructureFamily:
        """The structure family."""
        family: StructureFamily = self.node.family
        return family

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The node's metadata."""
        metadata: Mapping[str, Any] = self.node.metadata
        return metadata

    @property
    def specs(self) -> Sequence[Spec]:
        """Nothing: no form of a spec is written on this side."""
        return ()

    @property
    def data_sources(self) -> Sequence[DataSource]:
        """Nothing: the files lie with the server."""
        return ()

    @property
    def problem(self) -> str | None:
        """Nothing: what cannot be read is refused when it is."""
        return None


@dataclass(frozen=True)
class RemoteArray(Remote):
    """A selection of an array of a server."""

    selection: Selection

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the selection, without dropped axes."""
        return self.selection.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of an element."""
        dtype: np.dtype[Any] = self.node.dtype
        return dtype

    @property
    def dims(self) -> tuple[str, ...] | None:
        """Names of the axes that are left."""
        if self.node.dims is None:
            return None
        pairs = zip(self.node.dims, self.selection.axes, strict=True)
        return tuple(name for name, axis in pairs if not axis.drop)

    def blocks(self) -> Iterator[np.ndarray[Any, Any]]:
        """Yield all elements in C order, in blocks of bounded size."""
        index = self.selection.as_index()
        first = self.selection.axes[0] if self.selection.axes else None
        if first is None or first.drop:
            yield self.node.read(index)
            return
        row_bytes = max(1, self.selection.size // max(1, first.count) * self.dtype.itemsize)
        step = max(1, ROWS_BYTES // row_bytes)
        positions = range(first.start, first.start + first.count * first.step, first.step)
        for start in range(0, first.count, step):
            yield self.node.read((_slice(positions[start : start + step]), *index[1:]))

    def read(self, index: Any = ()) -> np.ndarray[Any, Any]:
        """Return a part as one array in memory."""
        part = self.selection.part(select(index, self.shape))
        return np.asarray(self.node.read(part.as_index()))


@dataclass(frozen=True)
class RemoteTable(Remote):
    """A table of a server."""

    def read(self, columns: tuple[str, ...] | None = None) -> pa.RecordBatchReader:
        """Return a fresh reader, of these columns where they are named."""
        return self.node.batches() if columns is None else self.node.batches(columns=list(columns))


def _slice(positions: range) -> slice:
    stop = positions.stop
    return slice(positions.start, stop if stop >= 0 else None, positions.step)
