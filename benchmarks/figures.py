"""From what was measured to the lines of the table, each with its target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.http_figures import http_figures
from benchmarks.report import Figure, Target

if TYPE_CHECKING:
    from benchmarks.report import Unit
    from benchmarks.timing import Values

MB = 1e6
MS = 1e3
SERVER_MB = Target("at most", 600)
INDEX_MB = Target("at most", 2000)
RESIDENT_MB = Target("at most", 1500)
INDEX_MS = {
    "equality": 10,
    "range, sort, first 100": 30,
    "and of three": 30,
    "count": 30,
    "full text, two words": 150,
    "full text, a rare word": 150,
}


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


def figures_of(ours: dict[str, Values], peer: dict[str, Values], stack_bytes: int) -> list[Figure]:
    """Return the lines of the table, in the order of the targets."""
    us, them = Found(ours), Found(peer)
    figures = [
        *_bulk(us, them, stack_bytes),
        *_small(us, them),
        *_tables(us, them),
        *_creates(us, them),
        *_rest(us, them),
        *_index(us),
        *http_figures(us, them),
    ]
    return [figure for figure in figures if figure is not None]


def _figure(
    name: str,
    unit: Unit,
    ours: float | None,
    peer: float | None = None,
    target: Target | None = None,
    note: str = "",
) -> Figure | None:
    return None if ours is None else Figure(name, unit, ours, peer, target, note)


def _bulk(us: Found, them: Found, stack_bytes: int) -> list[Figure | None]:
    peer = them.best("bulk", ("hdf5_gb_s", "zarr_gb_s"), 1.0, "most")
    lines = [
        _figure(
            "bulk array, converted",
            "GB/s",
            us.get("bulk_converted", "gb_s"),
            peer,
            Target("times the peer", 8),
        ),
        _figure(
            "bulk array, registered HDF5",
            "GB/s",
            us.get("bulk_registered", "gb_s"),
            them.get("bulk", "hdf5_gb_s"),
        ),
        _figure("bulk array, decoded by server", "GB/s", us.get("bulk_decoded", "gb_s"), peer),
    ]
    for name, how in (("converted", ""), ("registered", ", registered"), ("decoded", ", decoded")):
        measurement = f"bulk_{name}"
        client = us.get(measurement, "client_bytes")
        lines.append(
            _figure(
                f"bulk: server's peak{how}",
                "MB",
                us.get(measurement, "server_bytes", 1 / MB),
                them.get("bulk", "server_bytes", 1 / MB),
                SERVER_MB,
            )
        )
        lines.append(
            _figure(
                f"bulk: client's peak − array{how}",
                "MB",
                None if client is None else (client - stack_bytes) / MB,
                target=Target("at most", 300),
            )
        )
    return lines


def _small(us: Found, them: Found) -> list[Figure | None]:
    lines: list[Figure | None] = []
    for stored in ("converted", "registered"):
        names = ("hdf5_s", "zarr_s")
        lines.append(
            _figure(
                f"one frame, {stored}",
                "ms",
                us.get("frames", f"{stored}_s", MS),
                them.best("frames", names, MS, "least"),
                Target("times the peer", 10),
            )
        )
        lines.append(
            _figure(
                f"100 × 100 pixels, {stored}",
                "ms",
                us.get("slices", f"{stored}_s", MS),
                them.best("slices", names, MS, "least"),
                Target("times the peer", 40),
            )
        )
    return lines


def _tables(us: Found, them: Found) -> list[Figure | None]:
    refused = them.text("long_table", "refused").partition(". ")[0]
    short = int(us.get("table", "rows") or 0)
    long = int(us.get("long_table", "rows") or 0)
    return [
        _figure(
            f"table of {short:,} rows, to pandas",
            "ms",
            us.get("table", "seconds", MS),
            them.get("table", "seconds", MS),
        ),
        _figure(
            f"table of {long:,} rows, streamed",
            "s",
            us.get("long_table", "seconds"),
            them.get("long_table", "seconds"),
            note=f"Tiled: {refused}" if refused else "",
        ),
        _figure(
            f"table of {long:,} rows: server's peak",
            "MB",
            us.get("long_table", "server_bytes", 1 / MB),
            target=SERVER_MB,
        ),
    ]


def _creates(us: Found, them: Found) -> list[Figure | None]:
    peer_median = them.get("create", "median_s", MS)
    peer_rate = them.get("create", "eight_per_s")
    count = int(us.get("bulk_create", "entries") or 0)
    lines = []
    for measurement, when in (("create", ""), ("create_late", f", {count:,} later")):
        lines += [
            _figure(
                f"one durable create{when}",
                "ms",
                us.get(measurement, "median_s", MS),
                peer_median,
                Target("at most", 12),
            ),
            _figure(
                f"8 writers together{when}",
                "1/s",
                us.get(measurement, "eight_per_s"),
                peer_rate,
                Target("at least", 800),
            ),
        ]
    lines.append(
        _figure(
            f"{count:,} entries created in bulk",
            "s",
            us.get("bulk_create", "seconds"),
            target=Target("at most", 15),
        )
    )
    return lines


def _rest(us: Found, them: Found) -> list[Figure | None]:
    entries = int(us.get("bulk_create", "entries") or 0)
    return [
        _figure(
            "search: one of 1 000 entries",
            "ms",
            us.get("search", "one_s", MS),
            them.get("search", "one_s", MS),
        ),
        _figure(
            "search: 100 of 1 000, sorted",
            "ms",
            us.get("search", "hundred_s", MS),
            them.get("search", "hundred_s", MS),
        ),
        _figure(
            "from start to ready",
            "s",
            us.get("start", "seconds"),
            them.get("start", "seconds"),
            Target("at most", 2),
            f"{entries:,} entries; Tiled: 1 000",
        ),
        _figure("converting the files", "s", us.get("convert", "seconds")),
        *_registering(us),
    ]


def _registering(us: Found) -> list[Figure | None]:
    files, taken = us.get("many", "files"), us.get("many", "seconds")
    rate = files / taken if files and taken else None
    target = Target("at least", 50)
    return [_figure(f"registering {files or 0:,.0f} HDF5 files", "files/s", rate, target=target)]


def _index(us: Found) -> list[Figure | None]:
    entries = int(us.get("index", "entries") or 0)
    return [
        *(
            _figure(
                f"index of {entries:,}: {name}",
                "ms",
                us.get("index_ms", name),
                target=Target("at most", most),
            )
            for name, most in INDEX_MS.items()
        ),
        _figure("index on disk", "MB", us.get("index", "index_mb"), target=INDEX_MB),
        _figure("index: resident", "MB", us.get("index", "resident_mb"), target=RESIDENT_MB),
    ]
