"""Searches in the index at a million wild entries: ``python -m benchmarks.search``.

The generator's entries go straight into the catalog, so this measures the index
and nothing else: how fast entries come in, how long a search takes while nobody
else works (median of 20, warm), what it takes on disk and in memory.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.metadata import ELEMENTS, KEYS, OPERATORS, PLANS, WORDS, metadata
from lakeservice.catalog import Catalog, parse_query
from lakeservice.storage.lake import Lake
from schemas.commit import Applied, Commit
from schemas.entry import Node
from schemas.query import And, Comparison, Eq, FullText, In, Page, Regex, SortKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BATCH = 5_000
"""Entries in one commit."""
CONTAINERS = 10
TARGETS_MS = {
    "equality": 10,
    "equality, 1 of 8 entries": 10,
    "range, sort, first 100": 30,
    "range, sort by another key": 30,
    "and of three": 30,
    "count": 30,
    "full text, two words": 150,
    "full text, a rare word": 150,
    "node by path": 1,
}


def main() -> None:
    """Load the catalog, time the searches, print a table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--keys", type=int, default=KEYS)
    parser.add_argument("--memory-limit-mb", type=int, default=400)
    parser.add_argument("--cache", type=Path, help="use the index in this folder, or make it there")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    asked = parser.parse_args()
    folder = asked.cache or Path(tempfile.mkdtemp(prefix="lake-bench-"))
    try:
        figures = _measure(folder, asked.entries, asked.keys, asked.memory_limit_mb)
    finally:
        if asked.cache is None:
            shutil.rmtree(folder)
    _print_table(figures)
    text = json.dumps(figures, indent=1)
    if asked.json is not None:
        asked.json.write_text(text)
    sys.stdout.write(text + "\n")


def commits(entries: int, keys: int, after: int = 0) -> Iterator[Commit]:
    """Yield commits that create the containers and then all entries."""
    containers = [f"beamline-{number}" for number in range(CONTAINERS)]
    version = after + 1
    yield _commit(version, [Node(path=path, id=path) for path in containers])
    documents = metadata(entries, keys=keys)
    index = 0
    while batch := list(islice(documents, BATCH)):
        version += 1
        nodes = [
            Node(
                path=f"{containers[number % CONTAINERS]}/run-{number:08d}",
                id=f"{number:020x}",
                metadata=document,
            )
            for number, document in enumerate(batch, index)
        ]
        index += len(batch)
        yield _commit(version, nodes)


def _commit(version: int, nodes: list[Node]) -> Commit:
    made = [_stamped(node, version, position) for position, node in enumerate(nodes)]
    lines = tuple(
        Applied(op="create", path=node.path, id=node.id, revision=1, node=node) for node in made
    )
    return Commit(version=version, writer="benchmark", time_ns=version, applied=lines)


def _stamped(node: Node, version: int, position: int) -> Node:
    return Node(
        path=node.path,
        id=node.id,
        metadata=node.metadata,
        seq=version << 24 | position,
        version=version,
    )


def _measure(folder: Path, entries: int, keys: int, memory_limit_mb: int) -> dict[str, Any]:
    uri = folder / "lake"
    lake = Lake.open(str(uri)) if uri.exists() else Lake.create(str(uri))
    catalog = Catalog.open(lake, folder / "cache", memory_limit_mb=memory_limit_mb)
    figures: dict[str, Any] = {"entries": entries, "keys": keys, "cpus": psutil.cpu_count()}
    if catalog.version == 0:
        figures["load"] = _load(catalog, lake, entries, keys)
    catalog.close()
    began = time.perf_counter()
    catalog = Catalog.open(lake, folder / "cache", memory_limit_mb=memory_limit_mb)
    figures["open_s"] = round(time.perf_counter() - began, 3)
    try:
        catalog.settle()
        figures["ms"] = _search(catalog, entries)
        figures["one_at_a_time_ms"] = _one_at_a_time(catalog, lake, keys)
    finally:
        catalog.close()
    index = sum(file.stat().st_size for file in (folder / "cache").rglob("*") if file.is_file())
    figures["index_mb"] = round(index / 1e6)
    figures["resident_mb"] = round(psutil.Process().memory_info().rss / 1e6)
    return figures


def _load(catalog: Catalog, lake: Lake, entries: int, keys: int) -> dict[str, float]:
    generating = applying = 0.0
    began = last = time.perf_counter()
    for commit in commits(entries, keys):
        now = time.perf_counter()
        generating += now - last
        catalog.apply([commit])
        last = time.perf_counter()
        applying += last - now
    catalog.count(deep=True)
    searchable = time.perf_counter() - began
    # The index recognises its log by the last commit alone, so the others need not be there.
    lake.log.put(commit)
    process = psutil.Process()
    return {
        "generating_s": round(generating, 1),
        "applying_s": round(applying, 1),
        "until_searchable_s": round(searchable, 1),
        "entries_per_s": round(entries / (searchable - generating)),
        "resident_mb": round(process.memory_info().rss / 1e6),
    }


def _search(catalog: Catalog, entries: int) -> dict[str, float]:
    draw = random.Random(5)
    page = Page(limit=100)
    paths = [
        f"beamline-{number % CONTAINERS}/run-{number:08d}"
        for number in (draw.randrange(entries) for _ in range(5_000))
    ]

    def sample() -> Eq:
        return Eq("sample.name", f"{draw.choice(ELEMENTS)}_{draw.randrange(20_000)}")

    def energy() -> Comparison:
        return Comparison("energy_ev", "gt", draw.uniform(11_000, 14_000))

    def three() -> And:
        return And((Eq("plan_name", draw.choice(PLANS)), energy(), _mode(draw)))

    def find(*args: Any, **kwargs: Any) -> Callable[[], object]:
        return lambda: catalog.search(*args, page=page, **kwargs)

    def typed(text: str) -> object:
        return catalog.search("", parse_query(text), page=page, deep=True)

    questions: dict[str, Callable[[], Callable[[], object]]] = {
        "equality": lambda: find("", sample(), deep=True),
        "equality, 1 of 8 entries": lambda: find(
            "", Eq("plan_name", draw.choice(PLANS)), deep=True
        ),
        "equality in one container": lambda: find("beamline-3", sample()),
        "one of twenty": lambda: find(
            "", In("sample.name", tuple(sample().value for _ in range(20))), deep=True
        ),
        "range, sort, first 100": lambda: find(
            "", energy(), sort=(SortKey("energy_ev"),), deep=True
        ),
        "range, sort by another key": lambda: find(
            "", energy(), sort=(SortKey("scan_id", descending=True),), deep=True
        ),
        "range, sort by text": lambda: find("", energy(), sort=(SortKey("uid"),), deep=True),
        "all, sort by two keys": lambda: find(
            "", sort=(SortKey("operator"), SortKey("time", descending=True)), deep=True
        ),
        "and of three": lambda: find("", three(), deep=True),
        "count": lambda: partial(catalog.count, "", three(), deep=True),
        "mixed types, range": lambda: find("", Comparison("setting_35", "lt", 60), deep=True),
        "full text, two words": lambda: find(
            "", FullText(" ".join(draw.sample(WORDS, 2))), deep=True
        ),
        "full text, a rare word": lambda: find(
            "", FullText(f"{draw.randrange(20_000)}"), deep=True
        ),
        "regular expression": lambda: find("", Regex("sample.name", r"^Si_1\d\d$"), deep=True),
        "distinct with counts": lambda: (
            lambda: catalog.distinct("", keys=["operator"], counts=True, deep=True)
        ),
        "text query": lambda: partial(typed, _typed(draw)),
        "first page of a container": lambda: find("beamline-7"),
        "names of a container": lambda: (
            lambda: catalog.names("beamline-7", page=Page(limit=1_000, offset=5_000))
        ),
        "node by path": lambda: partial(catalog.nodes, [draw.choice(paths)]),
        "5 000 nodes by path": lambda: lambda: catalog.nodes(paths),
    }
    return {name: _median_ms(question) for name, question in questions.items()}


def _mode(draw: random.Random) -> Eq:
    return Eq("operator", draw.choice(OPERATORS))


def _typed(draw: random.Random) -> str:
    return f"energy_ev > {draw.uniform(11e3, 14e3):.1f} AND plan_name IN ('scan', 'fly')"


def _one_at_a_time(catalog: Catalog, lake: Lake, keys: int) -> dict[str, float]:
    """Return how long one new entry takes, and the search right after it."""
    applied, searched = [], []
    new = metadata(50, keys=keys, seed=99)
    for number, document in enumerate(new):
        version = catalog.version + 1
        commit = _commit(version, [Node(path=f"new-{number}", id=f"n{number}", metadata=document)])
        began = time.perf_counter()
        catalog.apply([commit])
        applied.append(time.perf_counter() - began)
        began = time.perf_counter()
        catalog.search("", Eq("uid", document["uid"]))
        searched.append(time.perf_counter() - began)
    lake.log.put(commit)
    return {
        "apply": round(statistics.median(applied) * 1e3, 3),
        "search_after": round(statistics.median(searched) * 1e3, 2),
    }


def _median_ms(question: Callable[[], Callable[[], object]], times: int = 20) -> float:
    taken = []
    for turn in range(times + 3):
        ask = question()
        began = time.perf_counter()
        ask()
        if turn >= 3:
            taken.append(time.perf_counter() - began)
    return round(statistics.median(taken) * 1e3, 2)


def _print_table(figures: dict[str, Any]) -> None:
    lines = [f"{figures['entries']} entries of {figures['keys']} keys, {figures['cpus']} CPUs"]
    for name, value in figures["ms"].items():
        target = TARGETS_MS.get(name)
        lines.append(f"{name:32} {value:9.2f} ms" + (f"   (≤ {target})" if target else ""))
    lines += [
        f"{'open the cached index':32} {figures['open_s']:9.2f} s",
        f"{'index on disk':32} {figures['index_mb']:9} MB  (≤ 2000)",
        f"{'process, resident':32} {figures['resident_mb']:9} MB  (≤ 1500)",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
