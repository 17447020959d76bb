"""Metadata as wild as a facility's: 60 keys an entry of a vocabulary of 400, some of mixed type."""

from __future__ import annotations

import random
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VOCABULARY = 400
"""Distinct leaf keys."""
KEYS = 60
"""Leaf keys of one entry."""
MIXED = 0.05
"""Share of the keys whose values are of several types."""

PLANS = ("count", "scan", "rel_scan", "grid_scan", "fly", "tomo", "list_scan", "mesh")
ELEMENTS = ("Fe", "Ni", "Cu", "LaB6", "CeO2", "Si", "Al2O3", "TiO2", "Au", "ZnS")
OPERATORS = ("A. Weber", "B. Rossi", "C. Dubois", "D. Novak", "E. Tanaka", "F. Okafor", "G. Silva")
_TEXT = (
    "sample aligned beam lost shutter open detector saturated repeat after refill cryo unstable "
    "good pattern ring texture strain peak shifted background high low flux test calibration "
    "powder single crystal capillary furnace ramp hold quench annealed as received polished"
)
WORDS = _TEXT.split()
GROUPS = ("start", "start.sample", "entry.instrument", "entry.instrument.detector", "baseline")

COMMON = ("uid", "scan_id", "plan_name", "time", "sample.name", "operator", "energy_ev", "comment")
"""Keys that every entry has; the others come and go."""


def leaf_keys() -> list[str]:
    """Return the vocabulary: dotted keys of one to four levels, the common ones first."""
    others = [
        f"{GROUPS[number % len(GROUPS)]}.{('temp', 'pos', 'mode', 'gain')[number % 4]}_{number}"
        if number % 7
        else f"setting_{number}"
        for number in range(VOCABULARY - len(COMMON))
    ]
    return [*COMMON, *others]


def metadata(count: int, *, keys: int = KEYS, seed: int = 1) -> Iterator[dict[str, Any]]:
    """Yield ``count`` nested metadata documents of ``keys`` leaves each, the same for one seed."""
    rng = np.random.default_rng(seed)
    draw = random.Random(seed)
    vocabulary = leaf_keys()
    paths = [key.split(".") for key in vocabulary]
    makers = [_maker(number, draw) for number in range(VOCABULARY)]
    rest = np.arange(len(COMMON), VOCABULARY)
    common = len(COMMON)
    numbers: list[float] = []
    for index in range(count):
        if index % 256 == 0:
            numbers = rng.normal(100.0, 40.0, 256 * keys).round(4).tolist()
            order = rng.permuted(np.tile(rest, (256, 1)), axis=1)[:, : max(0, keys - common)]
            chosen = order.tolist()
        document: dict[str, Any] = {
            "uid": str(uuid.UUID(int=draw.getrandbits(128))),
            "scan_id": index,
            "plan_name": PLANS[index % 1009 % len(PLANS)],
            "time": 1_700_000_000.0 + index * 1.5,
            "sample": {"name": f"{ELEMENTS[index % 10]}_{index % 20_000}"},
            "operator": OPERATORS[index % 7],
            "energy_ev": 5_000.0 + numbers[index % 256] * 60,
            "comment": " ".join(draw.choices(WORDS, k=6)),
        }
        offset = index % 256 * keys
        for position, number in enumerate(chosen[index % 256]):
            path = paths[number]
            place = document
            for segment in path[:-1]:
                place = place.setdefault(segment, {})
            place[path[-1]] = makers[number](numbers[offset + position])
        yield document


def _maker(number: int, draw: random.Random) -> Callable[[float], Any]:
    """Return what makes the values of one key: mostly floats and text, some of several types."""
    if number % round(1 / MIXED) == 3:
        return lambda x: (x, f"{x:.1f} K", x > 100, int(x))[int(x) % 4]
    labels = [" ".join(draw.choices(WORDS, k=1 + number % 2)) for _ in range(4 + number % 200)]
    kinds: tuple[Callable[[float], Any], ...] = (
        lambda x: x,
        lambda x: int(x),
        lambda x: labels[int(x * 7) % len(labels)],
        lambda x: x / 7,
        lambda x: labels[int(x * 7) % len(labels)],
        lambda x: x > 90,
        lambda x: x * 1e-3,
        lambda x: [labels[int(x) % len(labels)], labels[int(x * 3) % len(labels)]],
        lambda x: int(x) * 10,
        lambda x: labels[int(x * 7) % len(labels)],
    )
    return kinds[number % len(kinds)]
