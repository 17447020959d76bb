"""Look after a lake: build its index again, check it, clean it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lakeservice.catalog import Catalog
from lakeservice.storage.check import check
from lakeservice.storage.lake import Lake

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console


def run_reindex(uri: str, cache: Path, console: Console) -> None:
    """Throw the index of a lake away and build it again from snapshot and log."""
    began = time.perf_counter()
    lake = Lake.open(uri)
    catalog = Catalog.open(lake, cache, rebuild=True)
    try:
        count = catalog.count("", deep=True)
        seconds = time.perf_counter() - began
        console.print(
            f"{count} entries at version {catalog.version}, indexed in {seconds:.1f} s",
            highlight=False,
        )
    finally:
        catalog.close()


def run_check(uri: str, *, clean: bool, chunks: bool, console: Console) -> bool:
    """Report broken entries and garbage; True when no entry is broken."""
    report = check(Lake.open(uri), clean=clean, chunks=chunks)
    for broken in report.broken:
        console.print(f"broken: {broken.path or 'the log'}: {broken.reason}", soft_wrap=True)
    for name in report.garbage:
        console.print(f"belongs to nothing: {name}", highlight=False, soft_wrap=True)
    for name in report.temporary:
        console.print(f"interrupted: {name}", highlight=False, soft_wrap=True)
    unused = (report.garbage_bytes + report.temporary_bytes) / 1e6
    console.print(
        f"version {report.version}: {report.nodes} entries, {len(report.broken)} broken; "
        f"{unused:.1f} MB belong to nothing"
        + (f", {report.deleted} objects deleted" if clean else ""),
        highlight=False,
    )
    return report.ok
