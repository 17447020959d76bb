"""Arrays read from files on this machine: what NumPy, h5py and tifffile say, and who may."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import shared_memory
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin
import msgspec
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lakeservice
from ingest.ingest import ingest
from lakeservice.client import Lake, chunk_table
from lakeservice.commands.ingest import ServiceCommitter
from lakeservice.config import Limits, Secret, Serve
from lakeservice.server import Server
from lakeservice.service import Service
from schemas.errors import (
    AccessError,
    ConflictError,
    CorruptError,
    ErrorKind,
    InvalidRequestError,
    LakeError,
    NotFoundError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from lakeservice.client import Array
    from lakeservice.client.disk import Disk

KEY = "akeyofthetests"
RANDOM = np.random.default_rng(11)
STACK = RANDOM.poisson(3, (13, 70, 90)).astype("u2")
SELECTIONS: list[Any] = [
    (),
    5,
    (slice(None, None, -1), slice(3, 60, 7)),
    (slice(2, 12, 4), slice(60, 2, -5), 17),
    (-1, -1, -1),
    (slice(4, 4),),
]
_NAMES = itertools.count()


class Here:
    """A server in this process, and a client of it."""

    def __init__(self, folder: Path, serve: Serve, limits: Limits | None = None) -> None:
        self.folder = folder
        self.service = Service.open(str(folder / "lake"), create=True, limits=limits)
        self.server = Server(self.service, serve).start()
        self.lake: Any = lakeservice.connect(self.server.url, KEY)

    @property
    def disk(self) -> Disk:
        disk: Disk = self.lake._remote.connection.disk
        return disk

    def connect(self) -> Lake:
        return lakeservice.connect(self.server.url, KEY)

    def ingest(self, path: Path, mode: Any = "register") -> str:
        into = f"raw-{next(_NAMES)}"
        self.ingest_again(path, into, mode)
        return into

    def ingest_again(self, path: Path, into: str, mode: Any = "register") -> None:
        lake = self.service.lake.uri
        done = ingest([path], lake, ServiceCommitter(self.service), into=into, mode=mode, workers=0)
        assert not done.failed

    def array(self, path: str) -> Any:
        """Return the first array below a path."""
        node = self.lake[path]
        while not isinstance(node, lakeservice.client.Array):
            node = node[next(iter(node))]
        return node

    def close(self) -> None:
        self.lake.close()
        self.server.stop()
        self.service.close()


def serving(**others: Any) -> Serve:
    return Serve(port=0, flight_port=0, api_key=Secret(KEY), **others)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    made = Here(tmp_path_factory.mktemp("here"), serving())
    yield made
    made.close()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Here]:
    """A server whose clients ask again at each read."""
    made = Here(tmp_path, serving(), Limits(direct_fresh_ms=0))
    yield made
    made.close()


@pytest.fixture
def disk(here: Here, monkeypatch: pytest.MonkeyPatch) -> Disk:
    """The client's disk; a test may give it another opener."""
    monkeypatch.setattr(here.disk, "opener", here.disk.opener)
    return here.disk


def named() -> str:
    return f"array-{next(_NAMES)}"


def direct(node: Array, selection: Any = None, out: Any = None) -> NDArray[Any]:
    found = node.read(selection, out, delivery="direct")
    assert node.last_delivery == "direct"
    return found


def write_gzip(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=STACK, chunks=(2, 30, 40), compression="gzip", shuffle=True)


def write_contiguous(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = STACK


def write_bitshuffle(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=STACK, chunks=(1, 70, 90), **hdf5plugin.Bitshuffle())


def write_small_chunks(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=STACK, chunks=(1, 10, 10), fletcher32=True)


def write_tiff(path: Path) -> None:
    tifffile.imwrite(path, STACK, compression="zlib", tile=(16, 32))


def write_sharded(path: Path) -> None:
    array = zarr.create_array(
        store=str(path),
        shape=STACK.shape,
        dtype=STACK.dtype,
        chunks=(1, 14, 18),
        shards=(4, 70, 90),
    )
    array[...] = STACK


FILES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "gzip": ("a.h5", write_gzip),
    "contiguous": ("a.h5", write_contiguous),
    "bitshuffle": ("a.h5", write_bitshuffle),
    "small-chunks": ("a.h5", write_small_chunks),
    "tiff": ("a.tif", write_tiff),
    "sharded": ("a.zarr", write_sharded),
    "npy": ("a.npy", lambda path: np.save(path, STACK)),
}


@pytest.mark.parametrize("mode", ["register", "convert"])
@pytest.mark.parametrize("kind", FILES)
def test_files_read_directly_are_what_was_written(
    here: Here, tmp_path: Path, kind: str, mode: str
) -> None:
    name, write = FILES[kind]
    write(tmp_path / name)
    node = here.array(here.ingest(tmp_path / name, mode))
    for selection in SELECTIONS:
        assert np.array_equal(direct(node, selection), STACK[selection])


@st.composite
def cases(draw: st.DrawFn) -> tuple[NDArray[Any], tuple[int, ...], list[Any]]:
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    chunks = tuple(draw(st.integers(1, length)) for length in shape)
    dtype = np.dtype(draw(st.sampled_from(["u1", ">i4", "f8", "?", "c8", "S3", "M8[s]"])))
    payload = RANDOM.integers(0, 2, int(np.prod(shape)) * dtype.itemsize, "u1")
    array = payload.view(dtype).reshape(shape)
    selections = [
        tuple(
            draw(st.integers(-n, n - 1) | st.slices(n).filter(lambda part: part.step != 0))
            for n in shape
        )
        for _ in range(3)
    ]
    return array, chunks, selections


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(case=cases())
def test_any_selection_is_numpys(
    here: Here, case: tuple[NDArray[Any], tuple[int, ...], list[Any]]
) -> None:
    array, chunks, selections = case
    node = here.lake.write_array(named(), array, chunks=chunks)
    for selection in (None, *selections):
        wanted = np.asarray(array if selection is None else array[selection], array.dtype)
        found = direct(node, selection) if wanted.size else node.read(selection)
        assert found.dtype == array.dtype
        assert found.tobytes() == np.ascontiguousarray(wanted).tobytes()


def test_chunks_that_nobody_wrote_are_the_fill_value(here: Here, tmp_path: Path) -> None:
    array = zarr.create_array(
        store=str(tmp_path / "a.zarr"), shape=(6, 4), dtype="i2", chunks=(2, 4), fill_value=-7
    )
    array[2:4] = 5
    node = here.array(here.ingest(tmp_path / "a.zarr"))
    assert np.array_equal(direct(node), np.repeat([-7, 5, -7], 2)[:, None] * np.ones(4, "i2"))


def test_out_may_lie_anywhere(here: Here) -> None:
    node = here.lake.write_array(named(), STACK, chunks=(2, 30, 40))
    wide = np.zeros((13, 140, 180), "u2")
    direct(node, None, wide[:, ::2, ::-2])
    assert np.array_equal(wide[:, ::2, ::-2], STACK)
    assert not wide[:, 1::2].any()
    shared = shared_memory.SharedMemory(create=True, size=STACK.nbytes)
    try:
        place: NDArray[Any] = np.ndarray(STACK.shape, "u2", shared.buf)
        direct(node, None, place)
        assert np.array_equal(place, STACK)
        del place
    finally:
        shared.close()
        shared.unlink()


def test_out_of_another_shape_or_dtype_is_refused(here: Here) -> None:
    node = here.lake.write_array(named(), STACK)
    for wrong in (np.empty((13, 70, 91), "u2"), np.empty(STACK.shape, "u4")):
        with pytest.raises(InvalidRequestError, match="the answer needs a writeable array"):
            node.read(out=wrong, delivery="direct")


def test_the_past_is_read_directly_too(here: Here) -> None:
    node = here.lake.write_array(named(), STACK[:4], chunks=(2, 70, 90))
    version = node.version
    node.append(STACK[4:])
    assert np.array_equal(direct(node), STACK)
    past = here.lake.as_of(version)[node.path]
    assert np.array_equal(direct(past), STACK[:4])


def test_automatic_reads_are_direct_also_small_ones(here: Here) -> None:
    node = here.lake.write_array(named(), STACK, chunks=(1, 70, 90))
    assert np.array_equal(node[3], STACK[3])
    assert node.last_delivery == "direct"


def test_a_small_array_comes_in_one_message_at_first_and_then_from_its_file(here: Here) -> None:
    node = here.lake.write_array(named(), STACK[0])
    for delivery in ("decoded", "direct", "direct"):
        assert np.array_equal(node[:], STACK[0])
        assert node.last_delivery == delivery


def test_what_lies_in_no_files_comes_otherwise(here: Here) -> None:
    table = here.lake.write_table(named(), {"x": np.arange(5)})
    column = here.lake[f"{table.path}/x"]
    assert np.array_equal(column[:], np.arange(5))
    assert column.last_delivery != "direct"
    with pytest.raises(InvalidRequestError, match="cannot be read directly"):
        column.read(delivery="direct")


def test_own_changes_are_seen_at_once(here: Here) -> None:
    name = named()
    node = here.lake.write_array(name, STACK[:5], chunks=(1, 70, 90))
    assert np.array_equal(direct(node), STACK[:5])
    node.append(STACK[5:])
    assert np.array_equal(direct(node), STACK)
    node.delete()
    again = here.lake.write_array(name, STACK[::-1], chunks=(1, 70, 90))
    assert np.array_equal(direct(again), STACK[::-1])


def test_what_others_changed_is_seen_when_the_node_is_refreshed(here: Here) -> None:
    node = here.lake.write_array(named(), STACK[:5], chunks=(1, 70, 90))
    assert np.array_equal(direct(node), STACK[:5])
    with here.connect() as other:
        other[node.path].append(STACK[5:])
    node.refresh()
    assert np.array_equal(direct(node), STACK)


def test_a_node_of_another_dtype_is_a_conflict(fresh: Here) -> None:
    node = fresh.lake.write_array("a", STACK)
    assert node.dtype == STACK.dtype
    with fresh.connect() as other:
        other["a"].delete()
        other.write_array("a", STACK.astype("i4"))
    with pytest.raises(ConflictError) as caught:
        node.read(delivery="direct")
    assert caught.value.kind is ErrorKind.REVISION_CONFLICT


def test_a_node_that_is_replaced_during_a_read_is_one_or_the_other(
    here: Here, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = named()
    node = here.lake.write_array(name, STACK, chunks=(1, 70, 90))
    direct(node, 0)
    stored = here.folder / "lake" / "data" / node.id
    opened, opener = [], disk.opener

    def replaced_meanwhile(path: bytes) -> int:
        opened.append(path)
        if len(opened) == 5:
            with here.connect() as other:
                other[name].delete()
                other.write_array(name, STACK + 1, chunks=(1, 70, 90))
            shutil.rmtree(stored)
        return opener(path)

    monkeypatch.setattr(disk, "opener", replaced_meanwhile)
    assert np.array_equal(direct(node), STACK + 1)


def test_pages_of_two_versions_do_not_meet(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.h5"

    def write(value: int) -> None:
        with h5py.File(path, "w") as file:
            file.create_dataset("x", data=np.full((3000, 2), value, "i8"), chunks=(1, 2))

    write(1)
    into = here.ingest(path)
    node = here.array(into)
    monkeypatch.setattr(chunk_table, "MAX_PAGES", 1)
    asked, plan = [], here.disk.plan

    def rewritten_meanwhile(connection: Any, ask: Any) -> Any:
        asked.append(ask.pages)
        if len(asked) == 3:
            write(2)
            here.ingest_again(path, into)
        return plan(connection, ask)

    monkeypatch.setattr(here.disk, "plan", rewritten_meanwhile)
    assert np.unique(direct(node)).tolist() == [2]
    assert len(asked) > 3


def test_threads_that_turn_the_pages_of_one_array_do_not_disturb_each_other(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.arange(6000).reshape(3000, 2)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=values, chunks=(1, 2))
    node = here.array(here.ingest(tmp_path / "a.h5"))
    monkeypatch.setattr(chunk_table, "MAX_PAGES", 1)
    monkeypatch.setattr(chunk_table, "MOST_PAGES", 1)
    with ThreadPoolExecutor(4) as pool:
        reads = [pool.submit(direct, node, slice(None, None, 97)) for _ in range(40)]
        assert all(np.array_equal(read.result(120), values[::97]) for read in reads)


def test_reads_while_others_write_are_of_one_version(fresh: Here) -> None:
    def constant(value: int) -> NDArray[Any]:
        return np.full((40, 8, 8), value, "i4")

    fresh.lake.write_array("a", constant(0), chunks=(1, 8, 8))
    over, seen = threading.Event(), set()

    def look(node: Array) -> None:
        while not over.is_set():
            try:
                values = np.unique(direct(node))
            except NotFoundError:  # just now it is deleted, and not written yet
                continue
            assert values.size == 1
            seen.add(int(values[0]))

    def write() -> None:
        with fresh.connect() as other:
            for value in range(1, 6):
                other["a"].delete()
                other.write_array("a", constant(value), chunks=(1, 8, 8))
        over.set()

    nodes = [fresh.lake["a"] for _ in range(2)]
    with ThreadPoolExecutor(3) as pool:
        looks = [pool.submit(look, node) for node in nodes]
        try:
            pool.submit(write).result(120)
        finally:
            over.set()
        for each in looks:
            each.result(120)
    assert len(seen) > 1


def test_a_deleted_chunk_is_an_error_that_names_node_and_chunk(here: Here) -> None:
    node = here.lake.write_array(named(), STACK, chunks=(1, 70, 90))
    chunk = next((here.folder / "lake" / "data" / node.id).glob("*/c/7/0/0"))
    chunk.unlink()
    for delivery in ("direct", "auto"):
        with pytest.raises(CorruptError, match=r"\(7, 0, 0\)") as caught:
            node.read(delivery=delivery)
        assert caught.value.kind is ErrorKind.CORRUPT_CHUNK
        if delivery == "direct":
            assert node.path in caught.value.message
    assert np.array_equal(direct(node, 6), STACK[6])


def test_a_chunk_of_wrong_bytes_is_an_error_that_names_node_and_chunk(
    here: Here, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = here.lake.write_array(named(), STACK, chunks=(1, 70, 90))
    opener = disk.opener

    def damaged(damage: Callable[[bytearray], bytes | bytearray]) -> Callable[[bytes], int]:
        def opened(path: bytes) -> int:
            if not path.endswith(b"/4/0/0"):
                return opener(path)
            descriptor = os.memfd_create("damaged")
            os.write(descriptor, damage(bytearray(Path(os.fsdecode(path)).read_bytes())))
            return descriptor

        return opened

    def flipped(stored: bytearray) -> bytearray:
        stored[len(stored) // 2] ^= 0x10
        return stored

    faults = (flipped, lambda stored: stored[:-9], lambda stored: stored[:3], lambda _: b"")
    for damage in faults:
        monkeypatch.setattr(disk, "opener", damaged(damage))
        for selection in (None, 4, (4, slice(3, 5), 7)):
            with pytest.raises(CorruptError, match=r"chunk \(4, 0, 0\)") as caught:
                node.read(selection, delivery="direct")
            assert node.path in caught.value.message
        assert np.array_equal(direct(node, 5), STACK[5])


@pytest.mark.parametrize("selection", [None, 4, (4, slice(3, 5), 7)])
def test_a_disk_that_cannot_be_read_is_an_error_and_another_delivery_is_taken(
    here: Here, disk: Disk, monkeypatch: pytest.MonkeyPatch, selection: Any
) -> None:
    node = here.lake.write_array(named(), STACK, chunks=(1, 70, 90))
    opener = disk.opener

    def failing(path: bytes) -> int:
        # What is open only to be written answers each read with an error.
        return os.open(path, os.O_WRONLY) if path.endswith(b"/4/0/0") else opener(path)

    monkeypatch.setattr(disk, "opener", failing)
    with pytest.raises(UnavailableError, match=r"chunk \(4, 0, 0\)") as caught:
        node.read(selection, delivery="direct")
    assert caught.value.kind is ErrorKind.STORE_UNAVAILABLE
    assert node.path in caught.value.message
    assert np.array_equal(node.read(selection), STACK if selection is None else STACK[selection])
    assert node.last_delivery != "direct"


def test_a_registered_file_that_changed_is_an_error(here: Here, tmp_path: Path) -> None:
    write_gzip(tmp_path / "a.h5")
    node = here.array(here.ingest(tmp_path / "a.h5"))
    assert np.array_equal(direct(node, 1), STACK[1])
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("x", data=STACK + 1, chunks=(2, 30, 40), compression="gzip")
    os.replace(tmp_path / "b.h5", tmp_path / "a.h5")
    with here.connect() as other, pytest.raises(CorruptError) as caught:
        other[node.path].read(delivery="direct")
    assert caught.value.kind is ErrorKind.ASSET_CHANGED
    assert str(tmp_path) not in caught.value.message


def test_files_that_only_the_server_can_open_come_encoded(
    here: Here, disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bitshuffle(tmp_path / "a.h5")
    node = here.array(here.ingest(tmp_path / "a.h5"))

    def refused(path: bytes) -> int:
        raise PermissionError(path)

    monkeypatch.setattr(disk, "opener", refused)
    assert np.array_equal(node.read(), STACK)
    assert node.last_delivery != "direct"
    with pytest.raises(CorruptError) as caught:
        node.read(delivery="direct")
    assert caught.value.kind is ErrorKind.ASSET_MISSING
    assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize("action", ["direct", "plan"])
def test_answers_of_a_later_server_are_no_error_where_another_delivery_will_do(
    here: Here, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    path = here.lake.write_array(named(), STACK).path
    with here.connect() as lake:
        connection: Any = lake._remote.connection
        ask = connection.action

        def later(name: str, body: bytes) -> list[Any]:
            answers = ask(name, body)
            return [msgspec.msgpack.encode({"is": "new"})] if name == action else answers

        monkeypatch.setattr(connection, "action", later)
        node: Any = lake[path]
        assert np.array_equal(node.read(), STACK)
        assert node.last_delivery != "direct"
        with pytest.raises(InvalidRequestError, match="does not understand"):
            node.read(delivery="direct")


def test_a_file_that_grows_is_read_as_it_was_known(here: Here, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("x", data=STACK[:5], chunks=(1, 70, 90), maxshape=(None, 70, 90))
    into = here.ingest(path)
    assert np.array_equal(direct(here.array(into)), STACK[:5])
    with h5py.File(path, "a", libver="latest") as file:
        file["x"].resize(13, axis=0)
        file["x"][5:] = STACK[5:]
    here.ingest_again(path, into)
    assert np.array_equal(direct(here.array(into)), STACK)


def test_few_files_stay_open_and_none_after_closing(here: Here, tmp_path: Path) -> None:
    for number in range(80):
        np.save(tmp_path / f"{number:02}.npy", np.full(3, number))
    into = here.ingest(tmp_path)
    lake = here.connect()
    for number, key in enumerate(sorted(lake[into])):
        assert direct(lake[f"{into}/{key}"]).tolist() == [number] * 3
    opened = lake._remote.connection.disk._files
    assert len(opened) <= 64
    lake.close()
    assert not lake._remote.connection.disk._files
    assert direct(lake[f"{into}/07"]).tolist() == [7] * 3
    lake.close()


def test_parts_of_a_chunk_that_are_wanted_again_come_from_memory(
    here: Here, disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gzip(tmp_path / "a.h5")
    nodes = [
        here.array(here.ingest(tmp_path / "a.h5")),
        here.lake.write_array(named(), STACK, chunks=(2, 70, 90)),
    ]
    here.lake.cache_bytes = 4 * 2 * STACK[:2].nbytes
    for node in nodes:
        for column in range(9):
            wanted = np.s_[3, 5:9, column]
            assert np.array_equal(direct(node, wanted), STACK[wanted])
        rows = [2, 3, 7, 3]
        for _ in range(3):
            assert np.array_equal(node.take(rows), STACK[rows])
        assert 0 < disk.cache.size_bytes <= here.lake.cache_bytes
    here.lake.cache_bytes = 0
    assert np.array_equal(direct(nodes[0], np.s_[3, 5:9, 2]), STACK[3, 5:9, 2])
    assert len(disk.cache) == 0
    here.lake.cache_bytes = 1 << 27


def test_a_chunk_that_is_written_again_in_its_place_is_read_anew(here: Here) -> None:
    node = here.lake.write_array(named(), STACK, chunks=(1, 70, 90))
    other = here.lake.write_array(named(), STACK + 1, chunks=(1, 70, 90))
    wanted = np.s_[3, 5:9, 7]
    for _ in range(4):
        assert np.array_equal(direct(node, wanted), STACK[wanted])
    data = here.folder / "lake" / "data"
    chunks = [next((data / each.id).glob("*/c/3/0/0")) for each in (other, node)]
    os.replace(*chunks)
    assert np.array_equal(direct(node, wanted), STACK[wanted] + 1)


def test_nobody_is_given_files_where_the_server_never_does(tmp_path: Path) -> None:
    never = Here(tmp_path, serving(direct="never"))
    try:
        node = never.lake.write_array("a", STACK)
        assert np.array_equal(node.read(), STACK)
        assert node.last_delivery != "direct"
        with pytest.raises(InvalidRequestError, match="gives no files to this caller"):
            node.read(delivery="direct")
    finally:
        never.close()


@pytest.mark.parametrize(("policy", "given"), [("auto", False), ("always", True)])
def test_a_server_that_others_reach_gives_files_only_where_told_so(
    tmp_path: Path, policy: Any, given: bool
) -> None:
    wide = Here(tmp_path, serving(host="0.0.0.0", direct=policy))
    try:
        node = wide.lake.write_array("a", STACK)
        assert np.array_equal(node.read(), STACK)
        assert (node.last_delivery == "direct") is given
    finally:
        wide.close()


def test_passes_that_run_out_at_once_are_asked_for_twice_only(
    fresh: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = fresh.lake.write_array("a", STACK)
    monkeypatch.setattr(fresh.service.signer, "_lasts_s", -1)
    with pytest.raises(InvalidRequestError, match="refuses its own pass"):
        node.read(delivery="direct")
    assert np.array_equal(node.read(), STACK)
    monkeypatch.undo()
    assert np.array_equal(direct(node), STACK)


def test_a_pass_of_an_earlier_server_is_replaced(here: Here) -> None:
    node = here.lake.write_array(named(), STACK)
    direct(node)
    here.disk._grant = b"of a server that was here before"
    here.disk.known.clear()
    assert np.array_equal(direct(node), STACK)


def test_a_server_that_cannot_write_offers_nothing(here: Here) -> None:
    temporary = here.folder / "lake" / "tmp"
    node = here.lake.write_array(named(), STACK)
    other = here.connect()
    shutil.rmtree(temporary)
    temporary.write_bytes(b"")
    try:
        with pytest.raises(InvalidRequestError, match="cannot write into the lake's folder"):
            other[node.path].read(delivery="direct")
        assert np.array_equal(other[node.path].read(), STACK)
    finally:
        temporary.unlink()
        other.close()


def test_no_file_is_left_of_the_handshake(here: Here) -> None:
    direct(here.lake.write_array(named(), STACK))
    assert not list((here.folder / "lake" / "tmp").glob("direct-*"))


def test_without_the_scope_nothing_is_told(here: Here) -> None:
    with lakeservice.connect(here.server.url, KEY) as lake:
        lake.write_array(named(), STACK)
    anybody = lakeservice.client.connection.Connection(
        type(here.lake._remote.connection.address)(
            url=here.server.url,
            flight=here.lake._remote.connection.address.flight,
            api_key="not-a-key",
        )
    )
    for action in ("direct", "plan"):
        with pytest.raises(AccessError) as caught:
            anybody.action(action, b"\x81\xa2do\xa5hello")
        assert str(here.folder) not in str(caught.value)
    anybody.close()


FORKED = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
import lakeservice

def checksum(node):
    return int(node.read(delivery="direct").sum())

url, key, *paths = sys.argv[1:]
lake = lakeservice.connect(url, key)
nodes = [lake[path] for path in paths]
found = [checksum(node) for node in nodes]
with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
    found += pool.map(checksum, nodes * 3, timeout=60)
print(found + [checksum(node) for node in nodes])
"""


def test_forked_children_read_files_that_their_parent_opened(here: Here, tmp_path: Path) -> None:
    write_bitshuffle(tmp_path / "a.h5")
    registered = here.array(here.ingest(tmp_path / "a.h5"))
    written = here.lake.write_array(named(), STACK, chunks=(1, 70, 90))
    command = [sys.executable, "-c", FORKED, here.server.url, KEY, registered.path, written.path]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert answer.stdout.strip() == str([int(STACK.sum())] * 10)


def test_errors_name_no_folder(here: Here) -> None:
    node = here.lake.write_array(named(), STACK, chunks=(1, 70, 90))
    shutil.rmtree(here.folder / "lake" / "data" / node.id)
    with pytest.raises(LakeError) as caught:
        node.read(delivery="direct")
    assert str(here.folder) not in caught.value.message
