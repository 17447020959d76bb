"""Faults of disks, files and neighbours: a clear error, and nothing lost."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import lakeservice
from ingest.ingest import ingest
from lakeservice.commands.ingest import ServiceCommitter
from lakeservice.config import Secret, Serve
from lakeservice.server import Server
from lakeservice.service import Service
from lakeservice.storage.check import check
from lakeservice.storage.lake import Lake
from schemas.errors import CorruptError, ErrorKind, UnavailableError
from tests.whole.conftest import KEY, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.whole.conftest import Running

STACK = np.random.default_rng(3).poisson(9, (5, 64, 64)).astype("u2")


@pytest.fixture
def stack_file(tmp_path: Path) -> Path:
    path = tmp_path / "stack.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=STACK, chunks=(1, 64, 64), compression="gzip")
    return path


def register(running: Running, path: Path, into: str) -> None:
    service = running.service
    summary = ingest([path], service.lake.uri, ServiceCommitter(service), into=into, workers=0)
    assert summary.added == 1


def told(running: Running, path: str) -> dict[str, Any]:
    answer = running.get("array/full", path, format="application/octet-stream")
    document: dict[str, Any] = json.loads(answer.data)
    assert 400 <= answer.status < 500
    return document


@pytest.mark.parametrize("fault", ["changed", "vanished", "truncated"])
def test_a_registered_file_that_is_not_the_same_any_more_gives_an_error_and_no_numbers(
    running: Running, stack_file: Path, fault: str
) -> None:
    register(running, stack_file, fault)
    node = running.lake[f"{fault}/stack/data"]
    np.testing.assert_array_equal(node.read(), STACK)
    if fault == "changed":
        with h5py.File(stack_file, "r+") as file:
            file["data"][0] = 0
        os.utime(stack_file, ns=(1, 1))
    elif fault == "vanished":
        stack_file.unlink()
    else:
        os.truncate(stack_file, stack_file.stat().st_size // 2)
    running.service.reader._files.close()  # instead of waiting for the next second's look
    for delivery in ("encoded", "decoded"):
        with pytest.raises(CorruptError) as caught:
            node.read(delivery=delivery)
        assert caught.value.kind in (ErrorKind.ASSET_CHANGED, ErrorKind.ASSET_MISSING)
        assert str(stack_file.parent) not in str(caught.value)
    document = told(running, f"{fault}/stack/data")
    assert document["kind"] in ("asset-changed", "asset-missing")
    assert str(stack_file.parent) not in json.dumps(document)


def test_a_file_that_changed_is_right_again_after_it_was_ingested_again(
    running: Running, stack_file: Path
) -> None:
    register(running, stack_file, "again")
    with h5py.File(stack_file, "r+") as file:
        file["data"][0] = 7
    os.utime(stack_file, ns=(1, 1))
    running.service.reader._files.close()
    summary = ingest(
        [stack_file],
        running.service.lake.uri,
        ServiceCommitter(running.service),
        into="again",
        workers=0,
    )
    assert (summary.added, summary.changed) == (0, 1)
    expected = STACK.copy()
    expected[0] = 7
    np.testing.assert_array_equal(running.lake["again/stack/data"].read(), expected)


def test_two_servers_on_one_lake_see_each_others_writes_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    with contextmanager(run_server)(folder) as one, contextmanager(run_server)(folder) as other:
        for number in range(10):
            one.lake.write_array(f"one{number}", STACK[:1])
            np.testing.assert_array_equal(other.lake[f"one{number}"].read(), STACK[:1])
            other.lake.create_container(f"other{number}", metadata={"number": number})
            found = one.lake.search(f"number = {number}")
            assert [node.path for node in found] == [f"other{number}"]
        assert sorted(one.lake.keys()) == sorted(other.lake.keys())


def test_a_lake_of_a_newer_format_is_refused_with_what_to_do(tmp_path: Path) -> None:
    Lake.create(str(tmp_path / "lake"))
    file = tmp_path / "lake" / "lake.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 99}))
    with pytest.raises(ValueError, match="99") as caught:
        Service.open(str(tmp_path / "lake"))
    assert getattr(caught.value, "kind", None) is ErrorKind.NEWER_LAKE


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_refuses_the_write_and_keeps_what_was_there(small_disk: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 2**16, (40, 256, 256), "u2")
    serve = Serve(port=0, flight_port=0, api_key=Secret(KEY))
    with (
        Service.open(str(small_disk / "lake"), create=True) as service,
        Server(service, serve) as server,
    ):
        lake = lakeservice.connect(server.url, KEY)
        lake.write_array("before", noise[:4], chunks=(1, 256, 256))
        with pytest.raises(UnavailableError) as caught:
            lake.write_array("large", noise, chunks=(1, 256, 256))
        assert caught.value.kind is ErrorKind.STORE_FULL
        assert "large" not in lake
        lake.write_array("after", noise[:2], chunks=(1, 256, 256))
        np.testing.assert_array_equal(lake["before"].read(), noise[:4])
        np.testing.assert_array_equal(lake["after"].read(), noise[:2])
        report = check(service.lake, older_than_s=0)
        assert (report.broken, report.garbage, report.temporary) == ((), (), ())
