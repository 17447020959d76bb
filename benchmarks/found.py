"""What the measurements found, looked up by name; lines of the table are made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.report import Figure, Target

if TYPE_CHECKING:
    from benchmarks.report import Limit, Unit
    from benchmarks.timing import Values

MB = 1e6
MS = 1e3
SERVER = Target("at most", 600)
"""Resident memory of a server, in MB."""


class Found:
    """What the measurements of one server found; None where one was left out."""

    def __init__(self, values: dict[str, Values]) -> None:
        self._values = values

    def get(self, measurement: str, name: str, factor: float = 1.0) -> float | None:
        """Return one number, times ``factor``."""
        value = self._values.get(measurement, {}).get(name)
        return None if value is None or isinstance(value, str) else value * factor

    def text(self, measurement: str, name: str) -> str:
        """Return one text; empty where there is none."""
        return str(self._values.get(measurement, {}).get(name, ""))

    def best(
        self, measurement: str, names: tuple[str, ...], factor: float, pick: str
    ) -> float | None:
        """Return the best of several numbers: the peer is compared at what it does best."""
        found = [self.get(measurement, name, factor) for name in names]
        known = [value for value in found if value is not None]
        if not known:
            return None
        return max(known) if pick == "most" else min(known)

    def server_mb(self, measurement: str) -> float | None:
        """Return the peak of the server's resident memory during one measurement."""
        return self.get(measurement, "server_bytes", 1 / MB)


def line(
    name: str,
    unit: Unit,
    ours: float | None,
    peer: float | None = None,
    target: Target | None = None,
    note: str = "",
    limit: Limit | None = None,
    server_mb: float | None = None,
    group: str = "",
) -> Figure | None:
    """Return a line of the table, or None where nothing was measured for it."""
    if ours is None:
        return None
    return Figure(name, unit, ours, peer, target, note, limit, server_mb, group)


def times(value: float) -> Target:
    """Return the target of being so many times better than Tiled."""
    return Target("times the peer", value)
