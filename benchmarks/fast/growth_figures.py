"""The lines about how cost grows.

``python -m benchmarks.fast.growth_figures FILE`` prints those of a saved run as Markdown tables.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.fast.growth import CHUNKS_KB, CLIENTS, DELIVERIES, ENTRIES, SIZES_MB
from benchmarks.found import MS, line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.found import Found
    from benchmarks.report import Figure

GROUP = "growth"
ASKED = {
    "a node by its path": "look",
    "a search for one": "find",
    "100 × 100 pixels, decoded,": "slice",
}
"""What is asked among more and more entries, and how `benchmarks.fast.growth` calls it."""


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
            for what, name in ASKED.items()
            for count in ENTRIES
        ),
    ]


def markdown(document: dict[str, Any]) -> str:
    """Return the lines of a saved run as tables with a column for each delivery or count."""
    found = {figure["name"]: figure["ours"] for figure in document["figures"]}

    def table(head: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], unit: str) -> str:
        lines = [f"| {unit} | {' | '.join(head)} |", f"|{'---|' * (len(head) + 1)}"]
        for title, names in rows:
            cells = ["" if name not in found else f"{found[name]:.3g}" for name in names]
            if any(cells):
                lines.append(f"| {title} | {' | '.join(cells)} |")
        return "\n".join(lines) + "\n"

    arrays = [f"array of {size:,} MB" for size in SIZES_MB]
    arrays += [f"chunks of {size:,} kB" for size in CHUNKS_KB]
    clients = [f"{count} clients, decoded, in sum" for count in CLIENTS]
    among = [f"among {count:,} entries" for count in ENTRIES]
    return "\n".join(
        (
            table(DELIVERIES, [(a, [f"{a}, {how}" for how in DELIVERIES]) for a in arrays], "GB/s"),
            table(
                [f"{count}" for count in CLIENTS], [("clients, decoded, in sum", clients)], "GB/s"
            ),
            table(
                among,
                [(what.rstrip(","), [f"{what} {each}" for each in among]) for what in ASKED],
                "ms",
            ),
        )
    )


if __name__ == "__main__":
    sys.stdout.write(markdown(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
