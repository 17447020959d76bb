"""Bluesky's own queries find the runs that they name, as filters of their own and as plain ones."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.whole.conftest import KEY

if TYPE_CHECKING:
    from tests.whole.conftest import Running

SCRIPT = Path(__file__).parents[1] / "clients" / "run_queries.py"
FOUND = {
    "one scan": [1],
    "shared number": [0, 3],
    "range": [1, 2],
    "part of a uid": [2],
    "since": [2, 3],
    "until": [0],
    "bare key": [1, 3],
    "bare comparison": [2, 3],
    "words": [0, 1, 2, 3],
}


@pytest.fixture(scope="module")
def told(running: Running, clients_python: str) -> dict[str, Any]:
    done = subprocess.run(
        [clients_python, str(SCRIPT), f"{running.server.url}/api/v1/", KEY],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_the_filters_of_older_clients_find_runs(told: dict[str, Any]) -> None:
    assert told["plain"] == FOUND


def test_the_client_of_a_catalog_of_runs_finds_the_same(told: dict[str, Any]) -> None:
    assert told["client"] == "CatalogOfBlueskyRuns"
    assert told["runs"] == FOUND
