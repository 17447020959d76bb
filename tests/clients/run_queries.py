"""Bluesky's own queries, sent to a catalog of runs by its clients of two ages.

``run_queries.py URL KEY`` writes four runs, asks for them and prints what was found.
A container without the spec of a catalog is asked with the queries' own filters, as
the older clients do; one with it by a client that writes them as plain filters.
"""

from __future__ import annotations

import json
import sys

from bluesky_tiled_plugins.queries import PartialUID, ScanID, ScanIDRange, TimeRange
from tiled.client import from_uri
from tiled.queries import Eq, FullText, Key
from tiled.structures.core import Spec

ZERO = 1_700_000_000


def fill(catalog):
    """Write four runs, the last with the scan number of the first."""
    for number in range(4):
        start = {
            "uid": f"{number}abc{number}",
            "scan_id": number % 3,
            "time": ZERO + 100.0 * number,
            "plan_name": "count" if number % 2 else "scan",
            "sample": f"Ni {number}",
        }
        metadata = {"start": start, "stop": {"exit_status": "success"}}
        catalog.create_container(start["uid"], metadata=metadata, specs=[Spec("BlueskyRun", "3.0")])


def asked(catalog):
    """Return the numbers of the runs that each query finds."""
    queries = {
        "one scan": ScanID(1),
        "shared number": ScanID(0, duplicates="all"),
        "range": ScanIDRange(1, 3),
        "part of a uid": PartialUID("2a"),
        "since": TimeRange(since=ZERO + 150.0, timezone="US/Central"),
        "until": TimeRange(until=ZERO + 100.0, timezone="US/Central"),
        "bare key": Eq("plan_name", "count"),
        "bare comparison": Key("time") > ZERO + 150,
        "words": FullText("Ni"),
    }
    return {name: [int(key[0]) for key in catalog.search(query)] for name, query in queries.items()}


def main(url, key):
    """Ask both ways and print a JSON document."""
    root = from_uri(url, api_key=key)
    plain = root.create_container("plain")
    fill(plain)
    runs = root.create_container("runs", specs=[Spec("CatalogOfBlueskyRuns", "3.0")])
    fill(runs)
    told = {"plain": asked(root["plain"]), "runs": asked(root["runs"])}
    told["client"] = type(root["runs"]).__name__
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
