"""A server that is killed at any moment loses nothing that it acknowledged."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lakeservice
from lakeservice.catalog import Catalog
from lakeservice.storage.check import check
from lakeservice.storage.lake import Lake
from schemas.query import EVERYTHING, Page
from tests.whole.processes import KEY, ServerProcess
from tests.whole.writer import array_of

KILLS = int(os.environ.get("LAKE_TEST_KILLS", "4"))
"""Rounds; set LAKE_TEST_KILLS=200 for the long run."""
WRITER = Path(__file__).with_name("writer.py")


def rounds_of_writing(folder: Path) -> dict[str, int]:
    """Write, kill server and writer, start again; return what was acknowledged."""
    draw = random.Random(11)
    acknowledged: dict[str, int] = {}
    checked: set[str] = set()
    for number in range(KILLS):
        with ServerProcess(folder / "lake", folder / "cache") as server:
            lake = lakeservice.connect(server.url, KEY)
            for path in acknowledged.keys() - checked:
                verify(lake, path, acknowledged[path])
                checked.add(path)
            writer = subprocess.Popen(
                [sys.executable, str(WRITER), server.url, KEY, str(number * 1000), f"{number}"],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(WRITER.parents[2])},
            )
            assert writer.stdout is not None
            first = writer.stdout.readline()
            time.sleep(draw.uniform(0, 0.6))
            server.kill()
            time.sleep(0.05)
            writer.kill()
            for line in [first, *writer.stdout.readlines()]:
                if line.endswith("\n"):
                    begin, path = line.split()
                    acknowledged[path] = int(begin)
            writer.stdout.close()
            writer.wait()
    return acknowledged


def verify(lake: Any, path: str, number: int) -> None:
    node = lake[path]
    rows = np.arange(number, number + 50)
    if path[0] == "a":
        np.testing.assert_array_equal(node.read(), array_of(number))
    elif path[0] == "t":
        np.testing.assert_array_equal(node.to_arrow()["x"].to_numpy(), rows)
    else:
        assert node.metadata == {"number": number}
    if path[0] == "r":
        np.testing.assert_array_equal(lake[f"{path}/frames"].read(), array_of(number))
        np.testing.assert_array_equal(lake[f"{path}/rows"].to_arrow()["x"].to_numpy(), rows)


def number_of(path: str) -> int:
    return int(path.split("/")[0].rpartition("-")[2])


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_and_nothing_broken_is_seen(tmp_path: Path) -> None:
    acknowledged = rounds_of_writing(tmp_path)
    assert len(acknowledged) > KILLS
    with ServerProcess(tmp_path / "lake", tmp_path / "cache") as server:
        lake = lakeservice.connect(server.url, KEY)
        present = set(lake.keys())
        assert acknowledged.keys() <= present
        for path in present:
            verify(lake, path, number_of(path))
    opened = Lake.open(str(tmp_path / "lake"))
    assert check(opened).broken == ()
    before, after = listing(opened, tmp_path / "cache"), listing(opened, tmp_path / "other")
    assert before == after
    assert {node.path for node in after} >= acknowledged.keys()


def listing(lake: Lake, cache: Path) -> list[Any]:
    """Return every node as an index tells it: the one that was killed, or one built anew."""
    catalog = Catalog.open(lake, cache)
    try:
        return list(catalog.search("", EVERYTHING, page=Page(limit=1_000_000), deep=True).nodes)
    finally:
        catalog.close()
