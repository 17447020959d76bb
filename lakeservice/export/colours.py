"""Colour maps for pictures: 256 colours between a few well-known ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

_ANCHORS: Mapping[str, str] = {
    # The four perceptual maps are those of matplotlib (CC0), at nine points.
    "viridis": "440154 472c7a 3b518b 2c718e 21908d 27ad81 5cc863 aadc32 fde725",
    "magma": "000004 1c1044 4f127b 812581 b5367a e55064 fb8761 fec287 fcfdbf",
    "inferno": "000004 1f0c48 550f6d 88226a ba3655 e35933 f98c0a f9c932 fcffa4",
    "plasma": "0d0887 4c02a1 7e03a8 aa2395 cc4778 e66c5c f89540 fdc527 f0f921",
    "hot": "0b0000 550000 aa0000 ff0000 ff5500 ffaa00 ffff00 ffff80 ffffff",
    "jet": "000080 0000ff 0080ff 00ffff 80ff80 ffff00 ff8000 ff0000 800000",
    "coolwarm": "3b4cc0 8db0fe dddddd f4987a b40426",
    "gray": "000000 ffffff",
}
MAPS = tuple(sorted([*_ANCHORS, *(f"{name}_r" for name in _ANCHORS)]))
"""Names of the colour maps; ``_r`` is a map backwards."""


def palette(name: str) -> bytes:
    """Return the 256 colours of a map, three bytes each."""
    anchors = [bytes.fromhex(text) for text in _ANCHORS[name.removesuffix("_r")].split()]
    known = np.array([list(colour) for colour in anchors], np.float64)
    places = np.linspace(0, len(known) - 1, 256)
    columns = [np.interp(places, np.arange(len(known)), column) for column in known.T]
    table = np.stack(columns, axis=1).round().astype(np.uint8)
    return (table[::-1] if name.endswith("_r") else table).tobytes()
