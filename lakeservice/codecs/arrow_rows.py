"""Rows of an open Arrow file or stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as pds

from lakeservice.codecs.ahead import one_ahead
from lakeservice.codecs.batches import BATCH_BYTES, BATCH_ROWS, matching, within

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakeservice.codecs.batches import Span
    from lakeservice.codecs.row_filters import Condition

_MAGIC = b"ARROW1"
_LARGEST = (1 << 31) - 1  # batches are told as they are, not cut


class ArrowRows:
    """The rows of an Arrow IPC file or stream.

    Parameters
    ----------
    file
        Open for random access.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._random_access = file.read(len(_MAGIC)) == _MAGIC
        file.seek(0)
        if self._random_access:
            self.schema = pa.ipc.open_file(file).schema
            self.count = pds.IpcFileFormat().make_fragment(file).count_rows()
        else:
            self.schema = pa.ipc.open_stream(file).schema
            self.count = sum(batch.num_rows for batch in self._batches(None))

    def batches(
        self, columns: Sequence[str], condition: Condition | None, span: Span
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a range that match."""
        yield from one_ahead(self._chosen(list(columns), condition, span))

    def units(
        self, columns: Sequence[str], condition: Condition | None
    ) -> Iterator[tuple[int, int]]:
        """Yield rows and bytes of stretches that are best read as a whole."""
        del columns, condition
        row_bytes = self._file.size() / max(1, self.count)
        for rows in self._lengths() or [self.count]:
            yield rows, int(rows * row_bytes)

    def _lengths(self) -> list[int]:
        """Return the rows of each batch of a file; none where only reading would tell."""
        if not self._random_access:
            return []
        fragment = pds.IpcFileFormat().make_fragment(self._file)
        found = [batch.num_rows for batch in fragment.to_batches(columns=[], batch_size=_LARGEST)]
        return found if len(found) == pa.ipc.open_file(self._file).num_record_batches else []

    def _chosen(
        self, columns: list[str], condition: Condition | None, span: Span
    ) -> Iterator[pa.RecordBatch]:
        skipped, start = 0, 0
        if span[0] > 0:
            for rows in self._lengths():
                if start + rows > span[0]:
                    break
                start += rows
                skipped += 1
        for batch in self._batches(columns, skipped):
            if start >= span[1]:
                return
            count = batch.num_rows
            if start + count > span[0]:
                chosen = batch.select(columns)
                # Offsets that leave their buffer would be followed blindly.
                chosen.validate(full=True)
                rows = chosen.nbytes // max(1, count)
                step = max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, rows)))
                for first in range(0, count, step):
                    for part in within(chosen.slice(first, step), start + first, span):
                        yield matching(part, condition)
            start += count

    def _batches(self, columns: list[str] | None, skipped: int = 0) -> Iterator[pa.RecordBatch]:
        if not self._random_access:
            self._file.seek(0)
            yield from pa.ipc.open_stream(self._file)
            return
        options = pa.ipc.IpcReadOptions()
        if columns:
            options.included_fields = sorted(
                self.schema.get_field_index(name) for name in set(columns)
            )
        reader = pa.ipc.open_file(self._file, options=options)
        yield from map(reader.get_batch, range(skipped, reader.num_record_batches))
