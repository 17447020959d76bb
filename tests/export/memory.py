"""Sources for exporters from arrays, tables and containers in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lakeservice.export.exporter import Exporter
    from lakeservice.export.sources import Source
    from schemas.entry import DataSource, Spec
    from schemas.structures import StructureFamily

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class InMemory:
    """What every source tells of its node."""

    name: str = "eiger"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    specs: Sequence[Spec] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    data_sources: Sequence[DataSource] = ()
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class InMemoryArray(InMemory):
    """An array, cut into blocks as a reader does.

    Runs of ``length`` along axis ``level``; above it the axes are taken one by one.
    """

    array: Array
    dims: tuple[str, ...] | None = None
    level: int = 0
    length: int = 1 << 30
    family: StructureFamily = "array"

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = self.array.dtype
        return dtype

    def blocks(self) -> Iterator[Array]:
        if self.array.ndim <= self.level:
            yield self.array
            return
        for above in np.ndindex(self.array.shape[: self.level]):
            part = self.array[above]
            for start in range(0, len(part), self.length):
                yield part[start : start + self.length]

    def read(self, index: Any = ()) -> Array:
        return np.asarray(self.array[index])


@dataclass(frozen=True, kw_only=True)
class InMemoryTable(InMemory):
    """Rows of a table, in small batches."""

    table: pa.Table
    rows: int = 2
    family: StructureFamily = "table"

    def read(self, columns: tuple[str, ...] | None = None) -> pa.RecordBatchReader:
        chosen = self.table if columns is None else self.table.select(list(columns))
        return pa.RecordBatchReader.from_batches(
            chosen.schema, chosen.to_batches(max_chunksize=self.rows)
        )


@dataclass(frozen=True, kw_only=True)
class InMemoryContainer(InMemory):
    """A container of other sources."""

    below: Sequence[Source] = ()
    family: StructureFamily = "container"

    def children(self) -> Iterator[Source]:
        yield from self.below


def written(exporter: Exporter, source: Any) -> bytes:
    """Return what an exporter writes; where it told a size, that is the size."""
    exporter.check(source)
    pieces = [bytes(piece) for piece in exporter.write(source)]
    assert all(pieces)
    payload = b"".join(pieces)
    size = exporter.size(source)
    assert size is None or size == len(payload)
    if exporter.part is not None and payload:
        assert size is not None
        # Every range is that part of the whole; a few of them are tried.
        for start, stop in ((0, 1), (1, len(payload)), (len(payload) // 2, len(payload) - 1)):
            part = b"".join(bytes(piece) for piece in exporter.part(source, start, stop))
            assert part == payload[start:stop], (start, stop)
    return payload
