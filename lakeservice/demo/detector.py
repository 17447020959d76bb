"""A detector that is not there: frames of photon counts with spots, fast enough to fill a disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

LEVELS = 32
"""Steps into which the background is divided; each has a table of Poisson counts."""
DRAWS = 1 << 16
"""Length of such a table: a random uint16 picks from it."""
SPOT_RADIUS = 4
"""Half the side of a spot, in pixels."""


class Detector:
    """Frames of Poisson counts over a background that falls off radially, with Bragg-like spots.

    Parameters
    ----------
    height, width
        Pixels of a frame, slow and fast axis.
    background
        Mean counts of a pixel at the centre of the beam.
    spots
        Number of spots in a frame; they move from frame to frame.
    seed
        The same seed gives the same frames.
    """

    def __init__(
        self, height: int, width: int, *, background: float = 12.0, spots: int = 80, seed: int = 1
    ) -> None:
        self.height = height
        self.width = width
        self.spots = spots
        self._random = np.random.default_rng(seed)
        y, x = np.ogrid[:height, :width]
        radius = np.hypot((y - height / 2) / height, (x - width / 2) / width)
        means = background * np.linspace(1.0, 0.1, LEVELS)
        self._level = np.minimum(radius * LEVELS / 0.71, LEVELS - 1).astype(np.uint32) * DRAWS
        counts = self._random.poisson(means[:, None], (LEVELS, DRAWS))
        self._counts: np.ndarray = np.sort(counts, axis=1).astype(np.uint16).ravel()
        offset = np.arange(-SPOT_RADIUS, SPOT_RADIUS + 1)
        self._profile = np.exp(-(offset[:, None] ** 2 + offset[None, :] ** 2) / 3.0)

    def frame(self) -> np.ndarray:
        """Return the next frame: uint16, shape (height, width)."""
        draws = self._random.integers(0, DRAWS, (self.height, self.width), dtype=np.uint16)
        frame: np.ndarray = self._counts[self._level + draws]
        side = 2 * SPOT_RADIUS + 1
        rows = self._random.integers(0, self.height - side, self.spots)
        columns = self._random.integers(0, self.width - side, self.spots)
        heights = self._random.lognormal(5.0, 1.2, self.spots)
        for row, column, height in zip(rows, columns, heights, strict=True):
            spot = self._random.poisson(np.minimum(height * self._profile, 20_000.0))
            frame[row : row + side, column : column + side] += spot.astype(np.uint16)
        return frame

    def frames(self, count: int) -> Iterator[np.ndarray]:
        """Yield the next ``count`` frames."""
        for _ in range(count):
            yield self.frame()
