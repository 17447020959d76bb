"""Batches for Ray Data: a source whose read tasks are ranges of steps."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ray.data import Datasource, ReadTask
from ray.data.block import BlockAccessor, BlockMetadata

from lakeservice.client.loader.batch import DATA, Batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.client.loader.loader import Loader


class LakeDatasource(Datasource):  # type: ignore[misc]
    """The batches of an epoch; a block for each step.

    A row is a sample: ``data`` (or the columns of a table), labels, and ``node`` and
    ``row``, which say where it comes from. A transform returns a dict of such arrays.

    Parameters
    ----------
    loader
        Makes the batches; its present epoch is read, or what a loaded state leaves of it.

    Notes
    -----
    Ray hands out blocks as they get ready; ``DataContext.execution_options.preserve_order``
    keeps the order of the loader.
    """

    def __init__(self, loader: Loader) -> None:
        super().__init__()
        self._loader = loader

    def estimate_inmemory_data_size(self) -> int | None:
        """Return the bytes of all samples; None for tables."""
        size = self._loader.sample_bytes
        return None if size is None else self._loader.samples * size

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, **_context: Any
    ) -> list[ReadTask]:
        """Return tasks that read about as many steps each, in order."""
        loader = self._loader
        steps = range(loader.first_step, len(loader))
        count = max(1, min(parallelism, len(steps)))
        cuts = [steps.start + len(steps) * number // count for number in range(count + 1)]
        return [_task(loader, start, stop, per_task_row_limit) for start, stop in pairwise(cuts)]


def datasource(loader: Loader) -> LakeDatasource:
    """Return the source of a loader."""
    return LakeDatasource(loader)


def _task(loader: Loader, start: int, stop: int, limit: int | None) -> ReadTask:
    epoch = loader.epoch

    def read() -> Iterator[Any]:
        for step in range(start, stop):
            yield BlockAccessor.batch_to_block(_columns(loader.batch(step, epoch)))

    size = loader.sample_bytes
    rows = sum(loader.share(step) for step in range(start, stop))
    metadata = BlockMetadata(
        num_rows=rows,
        size_bytes=None if size is None else rows * size,
        input_files=None,
        exec_stats=None,
    )
    return ReadTask(read, metadata, per_task_row_limit=limit)


def _columns(batch: Any) -> Any:
    if not isinstance(batch, Batch):
        return batch
    data = batch.data if type(batch.data) is dict else {DATA: batch.data}
    nodes, rows = batch.indices[:, 0], batch.indices[:, 1]
    return {**data, **batch.labels, "node": nodes, "row": rows}
