"""Reductions as sources for exporters: a mean frame as a picture, a histogram as a table."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lakeservice.service.node_source import NodeSource
from lakeservice.service.reduction import part_of
from lakeservice.service.reductions import HISTOGRAM_SCHEMA
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.selection import select

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lakeservice.service.reduction import Reduction
    from schemas.structures import StructureFamily
    from schemas.ticket import BinArray, HistogramArray, ReduceArray

WHOLE_BYTES = 64 << 20
"""Answers up to this size are made once, however often they are looked at."""


@dataclass(frozen=True, kw_only=True)
class ReducedRows(NodeSource):
    """An array that a reduction makes, as an `ArraySource`."""

    request: ReduceArray | BinArray
    reduction: Reduction
    is_over: Callable[[], bool] = lambda: False
    """Whether the client is gone."""
    _made: list[np.ndarray[Any, Any]] = field(default_factory=list)

    @property
    def identity(self) -> tuple[object, ...]:
        """What the bytes depend on."""
        return (*super().identity, self.request, self.reduction.selection.to_text())

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the answer."""
        return self.reduction.answer.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of an element."""
        return self.reduction.answer.dtype

    @property
    def dims(self) -> tuple[str, ...] | None:
        """Names of the axes that are left."""
        return self.reduction.answer.dims

    def blocks(self) -> Iterator[np.ndarray[Any, Any]]:
        """Yield all elements in C order, in blocks of bounded size."""
        if self._is_small:
            yield self._whole()
        else:
            yield from self.service.reductions.read(self.node, self.reduction, self.is_over)

    def read(self, index: Any = ()) -> np.ndarray[Any, Any]:
        """Return a part as one array in memory."""
        if self._is_small:
            return np.asarray(self._whole()[index])
        part, rest = part_of(self.reduction, select(index, self.shape))
        return np.asarray(self._joined(part)[rest])

    @property
    def _is_small(self) -> bool:
        return self.reduction.answer.size_bytes <= WHOLE_BYTES

    def _whole(self) -> np.ndarray[Any, Any]:
        if not self._made:
            self._made.append(self._joined(self.reduction))
        return self._made[0]

    def _joined(self, reduction: Reduction) -> np.ndarray[Any, Any]:
        found = np.empty(math.prod(reduction.answer.shape), reduction.answer.dtype)
        seen = 0
        for block in self.service.reductions.read(self.node, reduction, self.is_over):
            found[seen : seen + block.size] = block.reshape(-1)
            seen += block.size
        return found.reshape(reduction.answer.shape)


@dataclass(frozen=True, kw_only=True)
class HistogramRows(NodeSource):
    """A histogram as a `TableSource`: ``low``, ``high`` and ``count`` of each interval."""

    request: HistogramArray
    is_over: Callable[[], bool] = lambda: False
    """Whether the client is gone."""
    _made: list[pa.RecordBatch] = field(default_factory=list)

    @property
    def identity(self) -> tuple[object, ...]:
        """What the bytes depend on."""
        return (*super().identity, self.request)

    @property
    def family(self) -> StructureFamily:
        """A table, whatever the node is."""
        return "table"

    def read(self, columns: tuple[str, ...] | None = None) -> pa.RecordBatchReader:
        """Return a fresh reader, of these columns where they are named."""
        if columns is not None and not set(columns) <= set(HISTOGRAM_SCHEMA.names):
            raise InvalidRequestError(
                ErrorKind.UNKNOWN_COLUMN, f"a histogram has {', '.join(HISTOGRAM_SCHEMA.names)}"
            )
        if not self._made:
            asked = (self.node, self.request, self.is_over)
            self._made.append(self.service.reductions.histogram(*asked))
        batch = self._made[0].select(list(columns or HISTOGRAM_SCHEMA.names))
        return pa.RecordBatchReader.from_batches(batch.schema, [batch])
