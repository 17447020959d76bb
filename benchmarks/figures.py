"""From what was measured to the lines of the table, each with its target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.entry_figures import entry_figures
from benchmarks.fast.figures import fast_figures
from benchmarks.fast.growth_figures import growth_figures
from benchmarks.found import MB, MS, SERVER, Found, line, times
from benchmarks.http_figures import http_figures
from benchmarks.report import Target

if TYPE_CHECKING:
    from benchmarks.report import Figure
    from benchmarks.timing import Values


def figures_of(ours: dict[str, Values], peer: dict[str, Values], stack_bytes: int) -> list[Figure]:
    """Return the lines of the table, in the order of the targets."""
    us, them = Found(ours), Found(peer)
    figures = [
        *_bulk(us, them, stack_bytes),
        *_small(us, them),
        *_tables(us, them),
        *entry_figures(us, them),
        *http_figures(us, them),
        *fast_figures(us, them),
        *growth_figures(us),
    ]
    return [figure for figure in figures if figure is not None]


def _bulk(us: Found, them: Found, stack_bytes: int) -> list[Figure | None]:
    peer = them.best("bulk", ("hdf5_gb_s", "zarr_gb_s"), 1.0, "most")
    lines = [
        line(
            "bulk array, converted",
            "GB/s",
            us.get("bulk_converted", "gb_s"),
            peer,
            times(8),
        ),
        line(
            "bulk array, registered HDF5",
            "GB/s",
            us.get("bulk_registered", "gb_s"),
            them.get("bulk", "hdf5_gb_s"),
        ),
        line("bulk array, decoded by server", "GB/s", us.get("bulk_decoded", "gb_s"), peer),
    ]
    for name, how in (("converted", ""), ("registered", ", registered"), ("decoded", ", decoded")):
        measurement = f"bulk_{name}"
        client = us.get(measurement, "client_bytes")
        lines.append(
            line(
                f"bulk: server's peak{how}",
                "MB",
                us.get(measurement, "server_bytes", 1 / MB),
                them.get("bulk", "server_bytes", 1 / MB),
                SERVER,
            )
        )
        lines.append(
            line(
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
            line(
                f"one frame, {stored}",
                "ms",
                us.get("frames", f"{stored}_s", MS),
                them.best("frames", names, MS, "least"),
                times(10),
            )
        )
        lines.append(
            line(
                f"100 × 100 pixels, {stored}",
                "ms",
                us.get("slices", f"{stored}_s", MS),
                them.best("slices", names, MS, "least"),
                times(40),
            )
        )
    return lines


def _tables(us: Found, them: Found) -> list[Figure | None]:
    refused = them.text("long_table", "refused").partition(". ")[0]
    short = int(us.get("table", "rows") or 0)
    long = int(us.get("long_table", "rows") or 0)
    return [
        line(
            f"table of {short:,} rows, to pandas",
            "ms",
            us.get("table", "seconds", MS),
            them.get("table", "seconds", MS),
        ),
        line(
            f"table of {long:,} rows, streamed",
            "s",
            us.get("long_table", "seconds"),
            them.get("long_table", "seconds"),
            note=f"Tiled: {refused}" if refused else "",
        ),
        line(
            f"table of {long:,} rows: server's peak",
            "MB",
            us.get("long_table", "server_bytes", 1 / MB),
            target=SERVER,
        ),
    ]
