"""Bluesky's RunEngine writes runs through both TiledWriters, and all clients read them back."""

from __future__ import annotations

import json
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from ingest.indexer import IndexingProcesses
from lakeservice.config import Secret, Serve
from lakeservice.server import Server
from lakeservice.service import Service
from tests.whole.conftest import KEY

SCRIPT = Path(__file__).parents[1] / "clients" / "bluesky_runs.py"
CHECKS = 12
"""Checks in the script, each through two writers in two sizes of batch."""


@pytest.fixture(scope="module")
def told(clients_python: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """What each check of the script found, by its name."""
    folder = tmp_path_factory.mktemp("bluesky")
    files = folder / "files"
    files.mkdir()
    serve = Serve(port=0, flight_port=0, api_key=Secret(KEY))
    with (
        closing(IndexingProcesses()) as indexer,
        Service.open(
            str(folder / "lake"),
            create=True,
            roots=[f"file://localhost{files}"],
            indexer=indexer,
        ) as service,
        Server(service, serve) as server,
    ):
        command = [clients_python, str(SCRIPT), server.url, KEY, str(files)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert lines, done.stderr[-2000:]
    return {line["name"]: line["error"] for line in lines}


def test_every_check_ran(told: dict[str, str | None]) -> None:
    assert len(told) == 4 * CHECKS


@pytest.mark.parametrize("writer", ["bluesky", "bluesky_tiled_plugins"])
@pytest.mark.parametrize("batch", [1, 10_000])
@pytest.mark.parametrize(
    "check",
    [
        "count",
        "scan",
        "grid_scan",
        "baseline",
        "monitor",
        "hdf5",
        "hdf5 of several frames",
        "tiff",
        "tiff of several frames",
        "documents",
        "databroker",
        "broker",
    ],
)
def test_a_run_is_read_back_as_it_was_written(
    told: dict[str, str | None], check: str, writer: str, batch: int
) -> None:
    assert told[f"{check}, {writer}, batches of {batch}"] is None
