"""A batch: samples, their labels, and where they come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DATA = "data"


class Batch(Mapping[str, Any]):
    """What a loader hands out at a step: a mapping of ``"data"`` and the labels by name.

    Parameters
    ----------
    data
        Samples of arrays: shape (sample, …). Of tables: a dict from columns to
        arrays of shape (sample, …).
    labels
        By name, an array of shape (sample, …).
    epoch, step
        Which batch of which epoch it is.
    indices
        Number of the node in `Loader.nodes`, and row in it; shape (sample, 2).
    """

    __slots__ = ("data", "epoch", "indices", "labels", "step")

    def __init__(
        self,
        data: Any,
        labels: dict[str, NDArray[Any]],
        *,
        epoch: int,
        step: int,
        indices: NDArray[np.int64],
    ) -> None:
        self.data = data
        self.labels = labels
        self.epoch = epoch
        self.step = step
        self.indices = indices

    @property
    def size(self) -> int:
        """Number of samples; 0 for a rank that gets none of a last short batch."""
        return len(self.indices)

    def __getitem__(self, name: str) -> Any:
        return self.data if name == DATA else self.labels[name]

    def __iter__(self) -> Iterator[str]:
        yield DATA
        yield from self.labels

    def __len__(self) -> int:
        return 1 + len(self.labels)

    def __repr__(self) -> str:
        labels = "".join(f" {name}" for name in self.labels)
        return f"<Batch epoch {self.epoch} step {self.step}: {self.size} samples{labels}>"
