from __future__ import annotations

import io
import subprocess
import sys
from typing import TYPE_CHECKING

import h5py
import hdf5plugin  # noqa: F401  (its filters)
import numpy as np
import pytest
import tifffile
from rich.console import Console

import lakeservice
from lakeservice.commands.ingest import run_ingest
from lakeservice.config import Secret, Serve
from lakeservice.demo.detector import Detector
from lakeservice.demo.generate import DATA, SIZES, Run, Size, generate
from lakeservice.demo.http import HttpReader
from lakeservice.demo.process import ServerProcess
from lakeservice.demo.readings import Reader, Reading, Truth
from lakeservice.demo.run import run_demo
from lakeservice.server import Server
from lakeservice.service import Service
from schemas.errors import InvalidRequestError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TINY = Size(frames=5, height=70, width=90, tiff_frames=3, rows=50)
KEY = "demo"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return generate(tmp_path_factory.mktemp("run") / "files", TINY)


@pytest.fixture(scope="module")
def read(
    run: Run, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Truth], list[Reading]]]:
    lake = tmp_path_factory.mktemp("lake") / "lake"
    quiet = Console(file=io.StringIO())
    assert run_ingest(
        [run.folder],
        lake=str(lake),
        url="",
        api_key="",
        into="raw",
        convert=False,
        workers=0,
        cache=lake.parent / "cache",
        console=quiet,
    )
    serve = Serve(port=0, flight_port=0, api_key=Secret(KEY))
    with Service.open(str(lake)) as service, Server(service, serve) as server:
        client = lakeservice.connect(server.url, api_key=KEY)
        http = HttpReader(server.url, KEY)
        yield lambda truth: list(Reader(client, http, "raw", truth).readings())
        client.close()


def test_the_same_seed_makes_the_same_run(run: Run, tmp_path: Path) -> None:
    again = generate(tmp_path / "files", TINY)
    with h5py.File(run.nexus) as one, h5py.File(again.nexus) as other:
        np.testing.assert_array_equal(one[DATA][...], other[DATA][...])
    for first, second in zip(run.tiffs, again.tiffs, strict=True):
        np.testing.assert_array_equal(tifffile.imread(first), tifffile.imread(second))
    assert run.table.read_bytes() == again.table.read_bytes()


def test_the_background_has_the_variance_of_counts() -> None:
    frames = np.stack(list(Detector(64, 64, background=12.0, spots=0).frames(200)))
    mean, variance = frames.mean(axis=0), frames.var(axis=0)
    assert mean.max() == pytest.approx(12.0, rel=0.1)
    assert mean.min() < 4
    assert (variance / mean).mean() == pytest.approx(1.0, abs=0.05)


def test_spots_stand_above_the_background() -> None:
    plain = Detector(128, 128, spots=0, seed=3).frame()
    spotted = Detector(128, 128, spots=20, seed=3).frame()
    assert spotted.max() > 5 * plain.max()


def test_what_is_served_equals_the_files(read: Callable[[Truth], list[Reading]], run: Run) -> None:
    readings = read(Truth(run))
    assert [reading for reading in readings if not reading.equal] == []
    assert {reading.via for reading in readings} == {
        "Flight",
        "Flight, encoded",
        "Flight, decoded",
        "HTTP",
    }


def test_one_count_that_differs_is_noticed(
    read: Callable[[Truth], list[Reading]], run: Run
) -> None:
    truth = Truth(run)
    truth.stack[-1, 0, 0] += 1
    truth.table["counts"][7] += 1
    wrong = {reading.what for reading in read(truth) if not reading.equal}
    assert wrong == {"the whole stack", "CSV table"}


@pytest.mark.slow
def test_the_demo_ends_well_and_shows_its_figures() -> None:
    shown = io.StringIO()
    assert run_demo(keep=False, size="small", console=Console(file=shown, width=140)) == 0
    assert "every reading equals the files" in shown.getvalue()
    assert "GB/s" in shown.getvalue()


def test_a_size_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="there are small, full"):
        run_demo(keep=False, size="huge")
    assert set(SIZES) == {"small", "full"}


def test_a_server_that_does_not_start_says_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no port is free')"]
    server = ServerProcess(command, "http://127.0.0.1:9/", tmp_path / "log")
    with pytest.raises(UnavailableError, match="no port is free"):
        server.start()
    server.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="VmHWM is Linux's")
def test_peak_memory_is_what_the_system_counted() -> None:
    program = (
        "from lakeservice.demo.memory import peak_resident, touch\n"
        "before = peak_resident(); touch(100_000_000); print(peak_resident() - before)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert 90_000_000 < int(answer.stdout) < 200_000_000
