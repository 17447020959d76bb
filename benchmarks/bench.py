"""``make bench``: the same data, the same machine, one run, Tiled and us."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from pathlib import Path

from benchmarks import datasets
from benchmarks.fast import files, measuring
from benchmarks.figures import figures_of
from benchmarks.measure import FAST, GROUPS, groups_of, measure_ours, measure_peer
from benchmarks.plot import draw
from benchmarks.report import save, show, summary
from benchmarks.servers import Bench, say
from lakeservice.demo.memory import available, touch

TOUCHED_BYTES = 16 << 30
"""Memory touched before anything is measured at scale 1: arrays, servers, pages of files."""
SPARED = 0.25
"""Share of the free memory that is left alone."""


def main() -> int:
    """Measure, print, save; the exit status tells whether every target is met."""
    given = _arguments()
    try:
        only = groups_of(given.only)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    bench = Bench(given.folder.absolute() / f"{given.scale:g}", given.scale)
    say("touching memory")
    wanted = (2 << 30) + int(TOUCHED_BYTES * min(given.scale, 1.0))
    touch(min(wanted, int(available() * (1 - SPARED))))
    prepare(bench)
    if groups := measuring.chosen(only):
        files.prepare(bench, groups)
    ours = measure_ours(bench, only, given.peer)
    peer = measure_peer(bench, only, given.peer) if given.peer else {}
    figures = figures_of(ours, peer, bench.plan["stack_bytes"])
    show(figures, f"lakeservice beside Tiled 0.2.20, scale {given.scale:g}")
    path = save(figures, given.results, given.scale, {"ours": ours, "peer": peer})
    say(f"written to {path}")
    if plotted := [figure for figure in figures if figure.group == FAST]:
        title = summary(json.loads(path.read_text(encoding="utf-8")))
        say(f"drawn in {draw(plotted, path.with_suffix('.png'), title)}")
    if not given.keep:
        shutil.rmtree(bench.folder)
    if bench.failures:
        say(f"failed, and missing in the table: {', '.join(bench.failures)}")
    return 1 if bench.failures or any(figure.met is False for figure in figures) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.bench", description=__doc__)
    parser.add_argument("--peer", type=Path, help="Python of an environment with tiled[all]")
    parser.add_argument("--scale", type=float, default=1.0, help="0.1 for a tenth of the data")
    parser.add_argument("--only", default="", help=f"some of {','.join((*GROUPS, FAST))}")
    parser.add_argument("--folder", type=Path, default=Path(".bench"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--keep", action="store_true", help="keep the data for the next run")
    return parser.parse_args()


def prepare(bench: Bench) -> None:
    """Make the files that both servers read, where they are not there yet, and the plan."""
    stack = datasets.STACK.scaled(bench.scale, 40)
    short_rows = int(datasets.SHORT_TABLE_ROWS * bench.scale)
    long_rows = int(datasets.LONG_TABLE_ROWS * bench.scale)
    if not (bench.folder / "made").exists():
        say("making the data")
        shutil.rmtree(bench.folder, ignore_errors=True)
        bench.files.mkdir(parents=True)
        datasets.write_stack(bench.files / "stack.h5", stack)
        datasets.write_table(bench.files / "table_short.parquet", short_rows)
        datasets.write_table(bench.files / "table_long.parquet", long_rows)
        (bench.folder / "made").touch()
    chosen = random.Random(3).sample(range(stack.frames), k=40)
    bench.plan |= {
        "files": str(bench.files),
        "scale": bench.scale,
        "stack_bytes": stack.size_bytes,
        "stack_frames": stack.frames,
        "short_rows": short_rows,
        "long_rows": long_rows,
        "frames": [*chosen, *reversed(chosen)],
        "entries": [datasets.entry_metadata(n) for n in range(datasets.SEARCHED_ENTRIES)],
    }


if __name__ == "__main__":
    sys.exit(main())
