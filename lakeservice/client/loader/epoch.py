"""An epoch that is running: its batches in order, made ahead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from lakeservice.client.loader.loader import Loader
    from lakeservice.client.loader.prefetch import Prefetch


class Epoch:
    """Iterator over the batches of an epoch, from a step on.

    A batch that could not be made raises where it would have come; the next call tries
    it again.
    """

    def __init__(self, loader: Loader, epoch: int, batches: Prefetch) -> None:
        self._loader = loader
        self._epoch = epoch
        self._batches = batches
        self._over = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        try:
            batch = next(self._batches)
        except StopIteration:
            if not self._over and self._batches.next >= len(self._loader):  # else it was closed
                self._loader.handed_out(self._epoch, -1)
            self._over = True
            raise
        self._loader.handed_out(self._epoch, self._batches.next)
        return batch

    def close(self) -> None:
        """End it: no more batches come, and its threads are gone when this returns."""
        self._over = True
        self._batches.close()

    def __del__(self) -> None:
        self._batches.stop()
