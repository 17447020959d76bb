"""A store that delays, truncates, turns bits and fails at random gives right data or an error.

An error names node and chunk. Every chunk that we write carries a checksum; what registered
files are protected by is in docs/decisions/0013-checksums-in-the-chain.md.
"""

from __future__ import annotations

import errno
import os
import random
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import urllib3

import lakeservice
from lakeservice.config import Limits, Secret, Serve
from lakeservice.server import Server
from lakeservice.service import Service
from lakeservice.service.writing import Draft
from lakeservice.storage.lake import Lake
from schemas.errors import ErrorKind, LakeError, UnavailableError
from schemas.selection import select
from schemas.structures import ArrayStructure
from tests.whole.conftest import KEY, Running
from tests.whole.making import Maker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

READS = int(os.environ.get("LAKE_TEST_FAULTS", "600"))
FAULTS = ("delay", "truncate", "bit", "fail", "lose")
TOLD = {ErrorKind.CORRUPT_CHUNK, ErrorKind.STORE_UNAVAILABLE}
ARRAYS = {
    "frames": ((12, 60, 80), "<u2", (1, 60, 80)),
    "large": ((4, 300, 400), "<f4", (1, 300, 400)),
    "tiles": ((90, 70), ">i4", (16, 16)),
    "line": ((5000,), "<f8", (300,)),
}


class Faults:
    """What goes wrong with the bytes of one chunk in so many, counted by kind."""

    def __init__(self, seed: int, one_in: int = 6) -> None:
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._one_in = one_in
        self.active = False
        self.seen: Counter[str] = Counter()

    def choose(self, name: str) -> str | None:
        """Return a fault for an object, if any; only chunks have faults."""
        if not self.active or "/c/" not in name:
            return None
        with self._lock:
            if self._random.randrange(self._one_in):
                return None
            fault = self._random.choice(FAULTS)
            self.seen[fault] += 1
            return fault

    def damaged(self, payload: bytes, fault: str) -> bytes:
        """Return bytes with a fault of theirs: cut, or one bit turned."""
        with self._lock:
            if fault == "truncate":
                return payload[: self._random.randrange(len(payload))]
            if fault == "bit":
                bit = self._random.randrange(8 * len(payload))
                turned = bytearray(payload)
                turned[bit // 8] ^= 1 << bit % 8
                return bytes(turned)
        return payload


class FaultyStore:
    """A store between the lake and the one that holds it."""

    def __init__(self, store: Any, faults: Faults) -> None:
        self._store = store
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get(self, name: str) -> bytes | None:
        """Return an object, or what a bad store makes of it."""
        fault = self._faults.choose(name)
        if fault == "delay":
            time.sleep(0.002)
        if fault == "fail":
            raise UnavailableError(ErrorKind.STORE_UNAVAILABLE, "the store does not answer")
        payload: bytes | None = None if fault == "lose" else self._store.get(name)
        return payload if payload is None or fault is None else self._faults.damaged(payload, fault)


def opener(faults: Faults, folder: Path) -> Callable[[bytes], int]:
    """Return what opens files for a client, as a bad disk does."""

    def open_file(path: bytes) -> int:
        fault = faults.choose(os.fsdecode(path))
        if fault == "delay":
            time.sleep(0.002)
        if fault == "fail":
            raise OSError(errno.EIO, "input/output error")
        if fault == "lose":
            raise FileNotFoundError(errno.ENOENT, "no such file")
        if fault in ("truncate", "bit"):
            with open(path, "rb") as file:
                payload = faults.damaged(file.read(), fault)
            damaged = folder / f"damaged-{threading.get_ident()}"
            damaged.write_bytes(payload)
            descriptor = os.open(damaged, os.O_RDONLY)
            damaged.unlink()
            return descriptor
        return os.open(path, os.O_RDONLY)

    return open_file


def serve(lake: Lake, cache: Path) -> Iterator[Running]:
    serving = Serve(port=0, flight_port=0, api_key=Secret(KEY))
    with (
        Service(lake, cache=cache, limits=Limits(chunk_cache_mb=1)) as service,
        Server(service, serving) as server,
    ):
        http = urllib3.PoolManager(retries=False)
        yield Running(service, server, lakeservice.connect(server.url, KEY), http)
        http.clear()


def write(running: Running) -> dict[str, NDArray[Any]]:
    make, truths = Maker(8), {}
    for path, (shape, dtype, chunks) in ARRAYS.items():
        array = make.elements(shape, np.dtype(dtype))
        structure = ArrayStructure.from_numpy(shape, array.dtype, chunks)
        running.service.write_array(Draft(path, structure, {}), [array])
        truths[path] = array
    return truths


class Reading:
    """Reads at random, in any delivery; counts what came of it."""

    def __init__(self, running: Running, truths: dict[str, NDArray[Any]]) -> None:
        self._running = running
        self._truths = truths
        self._make = Maker(9)
        self.right: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def once(self, deliveries: tuple[str, ...]) -> None:
        """Read one selection; it is right, or an error that names node and chunk."""
        make = self._make
        path = make.one_of(tuple(self._truths))
        truth, delivery = self._truths[path], make.one_of(deliveries)
        index = make.index(truth.shape)
        expected = np.asarray(truth[index], truth.dtype)
        try:
            found = self._read(path, index, delivery)
        except LakeError as error:
            assert error.kind in TOLD, error
            assert repr(path) in error.message, error
            assert "chunk (" in error.message, error
            assert "data/" not in error.message, error
            self.refused[delivery] += 1
            return
        assert found.shape == expected.shape
        np.testing.assert_array_equal(found, expected, f"{path}{index} {delivery}")
        self.right[delivery] += 1

    def _read(self, path: str, index: Any, delivery: str) -> NDArray[Any]:
        node = self._running.lake[path]
        if delivery == "http":
            return self._over_http(path, index)
        if delivery.startswith("take"):
            how = "direct" if delivery == "take-direct" else "decoded"
            return np.asarray(node.take([index], delivery=how)[0])
        return np.asarray(node.read(index, delivery=delivery))

    def _over_http(self, path: str, index: Any) -> NDArray[Any]:
        truth = self._truths[path]
        selection = select(index, truth.shape)
        answer: urllib3.BaseHTTPResponse = self._running.get(
            "array/full", path, slice=selection.to_text(), format="application/octet-stream"
        )
        if answer.status != 200:
            told = answer.json()
            raise LakeError(ErrorKind(told["kind"]), told["detail"])
        return np.frombuffer(answer.data, truth.dtype).reshape(selection.shape)


def check(reading: Reading, faults: Faults, deliveries: tuple[str, ...]) -> None:
    faults.active = True
    for _ in range(READS // 2):
        reading.once(deliveries)
    faults.active = False
    print(dict(faults.seen), "right", dict(reading.right), "refused", dict(reading.refused))
    assert set(faults.seen) == set(FAULTS)
    assert set(reading.right) == set(reading.refused) == set(deliveries)
    assert sum(reading.right.values()) > READS // 8


def test_a_bad_store_gives_no_wrong_data(tmp_path: Path) -> None:
    faults = Faults(1)
    lake = Lake.create("memory://")
    for running in serve(lake, tmp_path):
        truths = write(running)
        lake.objects._store = FaultyStore(lake.objects._store, faults)
        check(Reading(running, truths), faults, ("decoded", "encoded", "take", "http"))


def test_a_bad_disk_gives_no_wrong_data_to_clients_that_read_files(tmp_path: Path) -> None:
    faults = Faults(2)
    for running in serve(Lake.create(str(tmp_path / "lake")), tmp_path):
        truths = write(running)
        running.lake._remote.connection.disk.opener = opener(faults, tmp_path)
        check(Reading(running, truths), faults, ("direct", "take-direct"))


@pytest.mark.parametrize("fault", ["truncate", "bit", "lose"])
def test_damaged_files_give_no_wrong_data_in_any_delivery(tmp_path: Path, fault: str) -> None:
    faults = Faults(3)
    deliveries = ("decoded", "encoded", "direct", "auto", "take", "take-direct", "http")
    for running in serve(Lake.create(str(tmp_path / "lake")), tmp_path):
        truths = write(running)
        root = running.service.lake.objects.root
        assert root is not None
        files = [path for path in (root / "data").rglob("*") if "/c/" in str(path)]
        files = [path for path in files if path.is_file()]
        for path in random.Random(4).sample(files, len(files) // 3):
            payload = path.read_bytes()
            path.unlink()
            if fault != "lose":
                path.write_bytes(faults.damaged(payload, fault))
        reading = Reading(running, truths)
        for _ in range(READS // 4):
            reading.once(deliveries)
        assert set(reading.refused) == set(deliveries)
        assert sum(reading.right.values()) > 0
