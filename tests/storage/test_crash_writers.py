"""Writers in processes of their own, racing and killed: nothing acknowledged is lost."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from lakeservice.storage.check import check
from lakeservice.storage.commits import MemoryState
from lakeservice.storage.lake import Lake
from schemas.chunks import TableStorage
from schemas.structures import TableStructure

KILLS = int(os.environ.get("LAKE_TEST_KILLS", "20"))
SCRIPT = Path(__file__).with_name("writer_process.py")
ROOT = Path(__file__).parents[2]


class Writer:
    """A process that writes entries ``<name>/<number>`` once it is told to go."""

    def __init__(self, lake: Lake, name: str, *, entries: int, threads: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), lake.uri, name, str(entries), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            text=True,
        )

    def read(self) -> str:
        """Return the next line; empty at the end."""
        if self.process.stdout is None:
            raise AssertionError
        return self.process.stdout.readline().rstrip("\n")

    def go(self) -> None:
        """Let it go on."""
        if self.process.stdin is None:
            raise AssertionError
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def read_until(self, last: str) -> list[str]:
        """Return the lines up to one, without it."""
        lines: list[str] = []
        while (line := self.read()) != last:
            assert line, f"the writer ended early: {lines[-3:]}"
            lines.append(line)
        return lines

    def rest(self) -> list[str]:
        """Return all that it has still said, once it is dead."""
        if self.process.stdout is None:
            raise AssertionError
        return self.process.stdout.read().splitlines()

    def end(self) -> None:
        """Close its pipes and wait for it."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.process.wait()


def replayed(lake: Lake) -> MemoryState:
    """A state made from the log alone; the log must have no gap."""
    state = MemoryState()
    state.apply(list(lake.log.follow(0)))
    assert state.version == len(list(lake.objects.list("log")))
    return state


def test_two_processes_commit_a_thousand_entries_each_to_one_lake(tmp_path: Path) -> None:
    lake = Lake.create(str(tmp_path))
    writers = [Writer(lake, name, entries=1000, threads=4) for name in ("one", "two")]
    for writer in writers:
        writer.read_until("ready")
    for writer in writers:
        writer.go()
    said = [writer.read_until("done") for writer in writers]
    for writer in writers:
        writer.go()
    histories = [writer.read() for writer in writers]
    for writer in writers:
        writer.end()
    words = Counter(line for lines in said for line in lines)
    assert set(words.values()) == {1}
    entries = {f"{name}/{number}" for name in ("one", "two") for number in range(1000)}
    shared = {f"shared/{number}" for number in range(1000)}
    for word, paths in (("acknowledged", entries), ("appended", entries), ("won", shared)):
        assert {line.split(" ")[1] for line in words if line.startswith(word)} == paths
    assert histories[0] == histories[1]
    state = replayed(lake)
    assert {node.path for node in state} == entries | shared | {"one", "two", "shared"}
    created = Counter(
        line.path for commit in lake.log.follow(0) for line in commit.applied if line.op == "create"
    )
    assert set(created.values()) == {1}
    report = check(lake)
    assert (report.broken, report.garbage, report.temporary) == ((), (), ())


def test_a_killed_writer_loses_nothing_that_it_has_acknowledged(tmp_path: Path) -> None:
    """Each round kills one of two writers at a random moment, then looks at the lake."""
    lake = Lake.create(str(tmp_path))
    chance = random.Random(int(os.environ.get("LAKE_TEST_SEED", "1")))
    survivor = Writer(lake, "survivor", entries=10**6, threads=1)
    survivor.read_until("ready")
    survivor.go()
    try:
        acknowledged: set[str] = set()
        appended: set[str] = set()
        for round_number in range(KILLS):
            victim = Writer(lake, f"round-{round_number}", entries=10**6, threads=4)
            victim.read_until("ready")
            victim.go()
            # Some die before their first commit, some in the middle of many.
            time.sleep(chance.choice([0.0, 0.001, 0.01, 0.1]) * chance.random())
            lines = [victim.read() for _ in range(chance.choice([0, 1, 20]))]
            victim.process.kill()
            for line in [*lines, *victim.rest()]:
                word, path = line.split(" ")
                {"acknowledged": acknowledged, "appended": appended}.get(word, set()).add(path)
            victim.end()
    finally:
        survivor.process.kill()
        survivor.end()
    state = replayed(lake)
    nodes = {node.path: node for node in state}
    assert acknowledged <= nodes.keys()
    for path, node in nodes.items():
        if isinstance(node.structure, TableStructure):
            storage = node.data_sources[0].storage
            assert isinstance(storage, TableStorage)
            assert len(storage.parts) == node.structure.rows == node.revision
            assert path not in appended or node.revision == 2
            assert node.metadata == {"path": path}
    assert len({node.id for node in state}) == len(state)
    assert len({node.seq for node in state}) == len(state)
    report = check(lake, clean=True, older_than_s=-60)
    assert report.broken == ()
    assert report.nodes == len(state)
    again = check(lake, older_than_s=-60)
    assert (again.broken, again.garbage, again.temporary) == ((), (), ())
    assert again.nodes == len(state)


def test_a_killed_writer_leaves_only_what_check_finds(tmp_path: Path) -> None:
    lake = Lake.create(str(tmp_path))
    lake.objects.put("data/never-committed/0.parquet", b"x" * 100)
    (tmp_path / "tmp" / "half-written").write_bytes(b"y" * 10)
    report = check(lake, older_than_s=-60)
    assert report.ok
    assert report.garbage == ("data/never-committed/0.parquet",)
    assert (report.garbage_bytes, report.temporary_bytes) == (100, 10)
    assert report.temporary == ("tmp/half-written",)
    assert check(lake, clean=True, older_than_s=-60).deleted == 2
    assert [name for name, _ in lake.objects.list("")] == ["lake.json"]


@pytest.mark.parametrize("older_than_s", [3600.0, 60.0])
def test_what_was_written_lately_is_left_alone(tmp_path: Path, older_than_s: float) -> None:
    lake = Lake.create(str(tmp_path))
    lake.objects.put("data/being-written/0.parquet", b"x" * 100)
    (tmp_path / "tmp" / "half-written").write_bytes(b"y" * 10)
    report = check(lake, clean=True, older_than_s=older_than_s)
    assert (report.garbage, report.temporary, report.deleted) == ((), (), 0)
    assert lake.objects.size("data/being-written/0.parquet") == 100
