"""Steps: which samples of an epoch a rank gets when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lakeservice.client.loader.order import Order


@dataclass(frozen=True)
class Steps:
    """Global batches of an epoch, cut into shares of contiguous samples, one for each rank."""

    samples: int
    """Samples in an epoch."""
    batch_size: int
    """Samples of a global batch, over all ranks."""
    rank: int = 0
    world_size: int = 1
    drop_last: bool = False
    """Leave out a last batch that is not full."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST, f"batch_size={self.batch_size}; it must be 1 or more"
            )
        if not 0 <= self.rank < self.world_size:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST,
                f"rank={self.rank} of world_size={self.world_size}; ranks count from 0",
            )

    def __len__(self) -> int:
        whole, rest = divmod(self.samples, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    @property
    def largest_share(self) -> int:
        """Most samples that a rank gets in a step."""
        return -(-min(self.batch_size, self.samples) // self.world_size)

    def share(self, step: int) -> tuple[int, int]:
        """Return the first place of this rank's share in the epoch, and the one after its last.

        Shares differ by one sample at most, the larger ones first, as `numpy.array_split`
        cuts; those of a last short batch may be empty.
        """
        first = step * self.batch_size
        size = min(self.batch_size, self.samples - first)
        each, more = divmod(size, self.world_size)
        start = first + self.rank * each + min(self.rank, more)
        return start, start + each + (self.rank < more)

    def indices(self, order: Order, epoch: int, step: int) -> NDArray[np.int64]:
        """Return node and row of each sample of this rank's share; shape (n, 2)."""
        return order.take(epoch, *self.share(step))
