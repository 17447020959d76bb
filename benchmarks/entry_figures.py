"""The lines of the table about entries: created, searched, registered, in the index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.found import MS, line
from benchmarks.report import Target

if TYPE_CHECKING:
    from benchmarks.found import Found
    from benchmarks.report import Figure

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


def entry_figures(us: Found, them: Found) -> list[Figure | None]:
    """Return the lines, each with its target."""
    return [*_creates(us, them), *_rest(us, them), *_index(us)]


def _creates(us: Found, them: Found) -> list[Figure | None]:
    peer_median = them.get("create", "median_s", MS)
    peer_rate = them.get("create", "eight_per_s")
    count = int(us.get("bulk_create", "entries") or 0)
    lines = []
    for measurement, when in (("create", ""), ("create_late", f", {count:,} later")):
        lines += [
            line(
                f"one durable create{when}",
                "ms",
                us.get(measurement, "median_s", MS),
                peer_median,
                Target("at most", 12),
            ),
            line(
                f"8 writers together{when}",
                "1/s",
                us.get(measurement, "eight_per_s"),
                peer_rate,
                Target("at least", 800),
            ),
        ]
    lines.append(
        line(
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
        line(
            "search: one of 1 000 entries",
            "ms",
            us.get("search", "one_s", MS),
            them.get("search", "one_s", MS),
        ),
        line(
            "search: 100 of 1 000, sorted",
            "ms",
            us.get("search", "hundred_s", MS),
            them.get("search", "hundred_s", MS),
        ),
        line(
            "from start to ready",
            "s",
            us.get("start", "seconds"),
            them.get("start", "seconds"),
            Target("at most", 2),
            f"{entries:,} entries; Tiled: 1 000",
        ),
        line("converting the files", "s", us.get("convert", "seconds")),
        *_registering(us),
    ]


def _registering(us: Found) -> list[Figure | None]:
    files, taken = us.get("many", "files"), us.get("many", "seconds")
    rate = files / taken if files and taken else None
    target = Target("at least", 50)
    return [line(f"registering {files or 0:,.0f} HDF5 files", "files/s", rate, target=target)]


def _index(us: Found) -> list[Figure | None]:
    entries = int(us.get("index", "entries") or 0)
    return [
        *(
            line(
                f"index of {entries:,}: {name}",
                "ms",
                us.get("index_ms", name),
                target=Target("at most", most),
            )
            for name, most in INDEX_MS.items()
        ),
        line("index on disk", "MB", us.get("index", "index_mb"), target=INDEX_MB),
        line("index: resident", "MB", us.get("index", "resident_mb"), target=RESIDENT_MB),
    ]
