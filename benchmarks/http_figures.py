"""The lines of the table about HTTP: Tiled's own client on both servers, exports, readers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.found import MB, MS, SERVER, line, times
from benchmarks.report import Target

if TYPE_CHECKING:
    from benchmarks.found import Found
    from benchmarks.report import Figure

PEER_STACKS = ("hdf5", "zarr")


def http_figures(us: Found, them: Found) -> list[Figure | None]:
    """Return the lines, each with its target."""
    return [*_stock(us, them), *_exports(us), *_readers(us)]


def _stock(us: Found, them: Found) -> list[Figure | None]:
    lines: list[Figure | None] = []
    for stored, how in (("converted", ""), ("registered", ", registered")):
        of_peer = them.best("bulk", tuple(f"{one}_gb_s" for one in PEER_STACKS), 1.0, "most")
        ours = us.get("stock_bulk", f"{stored}_gb_s")
        lines.append(line(f"Tiled's client: bulk array{how}", "GB/s", ours, of_peer, times(4.5)))
        for name, what, factor in (("frames", "one frame", 6), ("slices", "100 × 100 pixels", 10)):
            of_peer = them.best(name, tuple(f"{one}_s" for one in PEER_STACKS), MS, "least")
            ours = us.get(f"stock_{name}", f"{stored}_s", MS)
            lines.append(line(f"Tiled's client: {what}{how}", "ms", ours, of_peer, times(factor)))
    lines.append(
        line(
            "Tiled's client: bulk, server's peak",
            "MB",
            us.get("stock_bulk", "server_bytes", 1 / MB),
            them.get("bulk", "server_bytes", 1 / MB),
            SERVER,
        )
    )
    for measurement, value, what, factor in (
        ("table", "seconds", "short table", 4),
        ("search", "one_s", "search, one of 1 000", 5),
        ("search", "hundred_s", "search, 100 sorted", 5),
        ("listing", "names_s", "names of 1 000 children", 10),
        ("listing", "nodes_s", "1 000 children", 10),
        ("create", "median_s", "one create", 3),
    ):
        ours = us.get(f"stock_{measurement}", value, MS)
        of_peer = them.get(measurement, value, MS)
        lines.append(line(f"Tiled's client: {what}", "ms", ours, of_peer, times(factor)))
    refused = them.text("long_table", "refused").partition(". ")[0]
    lines.append(
        line(
            "Tiled's client: long table",
            "s",
            us.get("stock_long_table", "seconds"),
            them.get("long_table", "seconds"),
            note=f"Tiled: {refused}" if refused else us.text("stock_long_table", "refused"),
        )
    )
    return lines


def _exports(us: Found) -> list[Figure | None]:
    lines: list[Figure | None] = []
    for name, what in (("export_hdf5", "container to HDF5"), ("export_tiff", "stack to TIFF")):
        size = us.get(name, "bytes") or 0
        lines += [
            line(
                f"{what}: first byte",
                "s",
                us.get(name, "first_s"),
                target=Target("at most", 2),
                note=f"{size / 1e9:.2g} GB",
            ),
            line(f"{what}: whole", "GB/s", us.get(name, "gb_s")),
            line(
                f"{what}: server's peak",
                "MB",
                us.get(name, "server_bytes", 1 / MB),
                target=SERVER,
            ),
        ]
    return lines


def _readers(us: Found) -> list[Figure | None]:
    rate, size = us.get("readers", "requests_per_s"), us.get("readers", "mb_per_s")
    idle = us.get("readers", "idle_s", MS)
    note = "" if rate is None or size is None else f"{rate:,.0f} requests/s, {size:,.0f} MB/s"
    return [
        line(
            "64 readers: errors",
            "1",
            us.get("readers", "errors"),
            target=Target("at most", 0),
            note=us.text("readers", "first_error") or note,
        ),
        line(
            "64 readers: p99 of metadata ÷ idle median",
            "1",
            us.get("readers", "times_idle"),
            target=Target("at most", 10),
            note="" if idle is None else f"idle {idle:.2g} ms",
        ),
        line(
            "64 readers: server's peak",
            "MB",
            us.get("readers", "server_bytes", 1 / MB),
            target=SERVER,
        ),
    ]
