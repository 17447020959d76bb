"""The lines about how cost grows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.fast.growth import CHUNKS_KB, CLIENTS, DELIVERIES, ENTRIES, SIZES_MB
from benchmarks.found import MS, line

if TYPE_CHECKING:
    from benchmarks.found import Found
    from benchmarks.report import Figure

GROUP = "growth"


def growth_figures(us: Found) -> list[Figure | None]:
    """Return the lines; none has a target."""
    return [
        *(
            line(
                f"array of {size:,} MB, {how}",
                "GB/s",
                us.get("growth_sizes", f"{size}_{how}_gb_s"),
                group=GROUP,
            )
            for size in SIZES_MB
            for how in DELIVERIES
        ),
        *(
            line(
                f"chunks of {size:,} kB, {how}",
                "GB/s",
                us.get("growth_chunks", f"{size}_{how}_gb_s"),
                group=GROUP,
            )
            for size in CHUNKS_KB
            for how in DELIVERIES
        ),
        *(
            line(
                f"{count} clients, decoded, in sum",
                "GB/s",
                us.get(f"growth_clients_{count}", "gb_s"),
                server_mb=us.server_mb(f"growth_clients_{count}"),
                group=GROUP,
            )
            for count in CLIENTS
        ),
        *(
            line(
                f"{what} among {count:,} entries",
                "ms",
                us.get("growth_entries", f"{count}_{name}_s", MS),
                group=GROUP,
            )
            for name, what in (
                ("look", "a node by its path"),
                ("find", "a search for one"),
                ("slice", "100 × 100 pixels, decoded,"),
            )
            for count in ENTRIES
        ),
    ]
