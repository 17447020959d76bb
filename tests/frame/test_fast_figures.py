"""The fast lane in `make bench`: limits, its lines, the picture, profiles, and the bare parts."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
import zarr
from rich.console import Console
from zarr.codecs import BloscCodec, Crc32cCodec

from benchmarks import datasets
from benchmarks.fast import growth_figures
from benchmarks.fast.bare_flight import SMALL_BYTES, BareClient, bare_server
from benchmarks.fast.crowd import gather, share
from benchmarks.fast.decoding import DecodeLoop
from benchmarks.fast.files import zarr_folder
from benchmarks.figures import figures_of
from benchmarks.found import times
from benchmarks.measure import FAST, GROUPS, groups_of
from benchmarks.plot import draw, figure_of
from benchmarks.profiling import KINDS, kind_of, table_of
from benchmarks.report import Figure, Limit, markdown, save, show
from benchmarks.servers import Bench
from benchmarks.timing import contest
from benchmarks.workload import WORKS

if TYPE_CHECKING:
    from benchmarks.timing import Values

ROOT = Path(__file__).parents[2]
OURS: dict[str, Values] = {
    "fast_direct": {
        "touched_gb_s": 3.9,
        "fresh_gb_s": 2.0,
        "loop_touched_gb_s": 4.0,
        "loop_fresh_gb_s": 2.5,
        "loop_unverified_gb_s": 4.2,
        "server_bytes": 250e6,
    },
    "other_zarrs": {"touched_gb_s": 2.0, "fresh_gb_s": 1.9},
    "fast_slice": {"auto_s": 0.0004, "bare_s": 0.0003, "server_bytes": 700e6},
    "crowd_auto_16": {"gb_s": 3.8},
    "crowd_auto_1": {"gb_s": 3.9},
    "growth_sizes": {"10_direct_gb_s": 1.5},
}
PEER: dict[str, Values] = {
    "bulk": {"hdf5_gb_s": 0.09, "zarr_gb_s": 0.1},
    "slices": {"hdf5_s": 0.040, "zarr_s": 0.050},
    "crowd_hdf5": {"gb_s": 0.15},
}


def lines() -> dict[str, Figure]:
    return {figure.name: figure for figure in figures_of(OURS, PEER, 2_000_000_000)}


@pytest.mark.parametrize(
    ("figure", "share_of_limit", "met"),
    [
        (Figure("bulk", "GB/s", 3.8, limit=Limit(4.0, "loop", 0.9)), 0.95, True),
        (Figure("bulk", "GB/s", 3.0, limit=Limit(4.0, "loop", 0.9)), 0.75, False),
        (Figure("slice", "ms", 0.5, limit=Limit(0.4, "DoGet", 0.6)), 0.8, True),
        (Figure("slice", "ms", 1.0, limit=Limit(0.4, "DoGet", 0.6)), 0.4, False),
        (Figure("table", "ms", 1.0, limit=Limit(0.4, "pyarrow")), 0.4, None),
        (Figure("a", "GB/s", 3.8, 0.1, times(40), "", Limit(4, "", 0.9)), 0.95, False),
        (Figure("b", "GB/s", 3.8, 0.1, times(36), "", Limit(4, "", 0.9)), 0.95, True),
        (Figure("c", "GB/s", 3.8, limit=Limit(4.0, "loop", 0.9), server_mb=601), 0.95, False),
    ],
)
def test_a_figure_has_to_reach_peer_limit_and_memory(
    figure: Figure, share_of_limit: float, met: bool | None
) -> None:
    assert figure.share == pytest.approx(share_of_limit)
    assert figure.met is met


def test_each_line_is_compared_with_its_own_limit() -> None:
    found = lines()
    used = found["stack, direct, memory used before"]
    assert used.peer == 0.1
    assert used.ratio == pytest.approx(39.0)
    assert used.limit == Limit(4.0, "bare loop", 0.9)
    assert used.server_mb == pytest.approx(250)
    assert used.met is True
    assert found["stack, direct, fresh memory"].met is False
    beside = found["stack, direct, fresh memory, and zarr-python with zarrs"]
    assert beside.limit == Limit(1.9, "zarr-python with zarrs", 1.5)
    assert beside.met is False
    crowd = found["16 clients at once, auto, in sum"]
    assert crowd.ratio == pytest.approx(25.3, rel=0.01)
    assert crowd.share == pytest.approx(0.974, rel=0.01)
    assert found["array of 10 MB, direct"].group == "growth"


def test_memory_above_the_limit_fails_a_line_that_is_fast_enough() -> None:
    line = lines()["100 × 100 pixels, one by one, auto"]
    assert line.ratio == pytest.approx(100)
    assert line.share == pytest.approx(0.75)
    assert line.met is False


def test_the_table_shows_limits_and_leaves_empty_columns_out() -> None:
    text = io.StringIO()
    show(list(lines().values()), "figures", Console(file=text, width=200))
    assert "limit: bare loop; loop without checksums 4.2" in text.getvalue()
    plain = io.StringIO()
    show([Figure("alone", "ms", 1.0)], "figures", Console(file=plain, width=200))
    assert "limit" not in plain.getvalue()


def test_a_saved_run_becomes_markdown_and_the_same_figures_again(tmp_path: Path) -> None:
    figures = list(lines().values())
    path = save(figures, tmp_path, 0.5, {"ours": OURS, "peer": PEER})
    document = json.loads(path.read_text(encoding="utf-8"))
    assert [figure_of(saved) for saved in document["figures"]] == figures
    assert document["measured"]["peer"]["crowd_hdf5"] == {"gb_s": 0.15}
    text = markdown(document)
    row = next(line for line in text.splitlines() if "memory used before |" in line)
    assert row == (
        "| stack, direct, memory used before | 3.9 GB/s | 0.1 GB/s | 39 × | 4 GB/s, bare loop "
        "| 0.97 | 250 MB |"
    )
    assert "array of 10 MB" not in text
    assert "array of 10 MB, direct | 1.5 GB/s" in markdown(document, "growth")
    assert "| array of 10 MB | 1.5 |  |  |" in growth_figures.markdown(document)
    command = [sys.executable, "-m", "benchmarks.report", str(path)]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout == text


def test_the_picture_is_a_png_that_can_be_looked_at(tmp_path: Path) -> None:
    path = draw(list(lines().values()), tmp_path / "figures.png", "a run")
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG\r\n")
    width, height = (int.from_bytes(head[at : at + 4], "big") for at in (16, 20))
    assert width > 1000
    assert height > 200
    assert path.stat().st_size > 10_000


def test_groups_are_named_one_by_one_or_all_of_the_fast_lane() -> None:
    assert groups_of("") == GROUPS
    assert groups_of("take,bulk") == ("bulk", "take")
    assert set(groups_of("fast")) >= {"direct", "eiger", "loader", "clients16", "growth"}
    assert "bulk" not in groups_of("fast")
    with pytest.raises(ValueError, match="unknown fats; known are bulk"):
        groups_of("fats")


def test_contestants_take_turns_in_both_orders() -> None:
    order: list[str] = []
    taken = contest({name: partial(order.append, name) for name in "abc"}, rounds=2)
    assert "".join(order) == "abccba"
    assert set(taken) == {"a", "b", "c"}


@pytest.fixture
def stack(tmp_path: Path) -> tuple[Path, np.ndarray]:
    folder = tmp_path / "array"
    values = np.random.default_rng(5).poisson(9, (6, 40, 50)).astype("<u2")
    array = zarr.create_array(
        folder,
        shape=values.shape,
        dtype=values.dtype,
        chunks=(2, 40, 50),
        compressors=[BloscCodec(cname="lz4", shuffle="bitshuffle"), Crc32cCodec()],
    )
    array[:] = values
    return folder, values


def test_the_bare_loop_reads_what_zarr_wrote_and_compares_checksums(
    stack: tuple[Path, np.ndarray],
) -> None:
    folder, values = stack
    loop = DecodeLoop(folder)
    assert loop.has_checksum
    np.testing.assert_array_equal(loop.read(), values)
    chunk = folder / "c" / "1" / "0" / "0"
    stored = bytearray(chunk.read_bytes())
    stored[-20] ^= 1
    chunk.write_bytes(stored)
    with pytest.raises(SystemExit, match="chunk 1 is damaged"):
        loop.read()


@pytest.mark.parametrize("streams", [1, 2])
def test_the_bare_server_sends_the_same_bytes(
    stack: tuple[Path, np.ndarray], streams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, values = stack
    monkeypatch.chdir(ROOT)
    with bare_server(folder) as port:
        client = BareClient(port, streams)
        out = np.zeros_like(values)
        client.into(out)
        np.testing.assert_array_equal(out, values)
        assert client.small().nbytes == min(SMALL_BYTES, values.nbytes)


def test_every_row_belongs_to_one_client() -> None:
    rows = [row for number in range(16) for row in share(45, number, 16)]
    assert rows == list(range(45))


def test_clients_of_a_crowd_wait_for_one_another_and_a_failure_is_told(tmp_path: Path) -> None:
    client = tmp_path / "client.py"
    client.write_text(
        "import json, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from benchmarks.fast.crowd import take_part\n"
        "crowd = json.load(open(sys.argv[1]))['crowd']\n"
        "if crowd['fails'] and crowd['number'] == 1: sys.exit(3)\n"
        "take_part(lambda: 1000)\n"
    )
    bench = Bench(tmp_path, 1.0)
    together = gather(bench, [sys.executable, str(client)], 3, fails=False)
    assert together["bytes"] == 3000
    assert bench.failures == []
    assert gather(bench, [sys.executable, str(client)], 3, fails=True) == {}
    assert len(bench.failures) == 1


def test_a_profile_tells_shares_and_leaves_waiting_out() -> None:
    stacks = (
        "main (a.py:3);blosc_d (libblosc.so);0x7f00 (libc.so.6) 30\n"
        "main (a.py:3);preadv64v2 (libc.so.6) 50\n"
        "main (a.py:9) 20\n"
        "loop (b.py:1);epoll_wait (libc.so.6) 900\n"
    )
    text = table_of(stacks)
    assert text.startswith("100 samples")
    assert "50.0%  read\n30.0%  decode\n20.0%  Python" in text
    assert "50.0%  preadv64v2 (libc.so.6)" in text
    assert "epoll" not in text


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("f (x.py:1)", "grpc_call (libarrow_flight.so)", "memcpy (libc.so.6)"), "wire"),
        (("f (x.py:1)", "memcpy (libc.so.6)"), "copy"),
        (("f (x.py:1)", "PyThread_acquire_lock (libpython.so)", "0x7f (libc.so.6)"), "waits"),
        (("f (blosc.py:1)",), "Python"),
        (("f (blosc.py:1)", "PyObject_Call (libpython.so)"), "rest"),
        (("f (x.py:1)", "crc32c::Extend (libcrc32c.so)"), "verify"),
    ],
)
def test_what_a_stack_does_is_told_by_the_libraries_at_its_end(
    names: tuple[str, ...], kind: str
) -> None:
    assert kind_of(names) == kind


def test_frames_of_the_eiger_are_sparse_with_gaps_between_modules(tmp_path: Path) -> None:
    datasets.write_eiger(tmp_path / "eiger.h5", 1)
    with h5py.File(tmp_path / "eiger.h5") as file:
        frame = file["entry/data/data"][0]
    assert (frame.shape, frame.dtype) == ((2167, 2070), np.dtype("<u4"))
    assert (frame[514:551] == 0xFFFFFFFF).all()
    assert (frame[:, 1030:1040] == 0xFFFFFFFF).all()
    counts = frame[:514, :1030]
    assert counts.max() < 1 << 20
    assert 0.5 < np.mean(counts == 0) < 0.95


def test_the_folder_of_an_array_is_found_by_its_shape(
    stack: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    (lake / "data" / "id").mkdir(parents=True)
    stack[0].rename(lake / "data" / "id" / "0")
    assert zarr_folder(lake, [6, 40, 50]) == lake / "data" / "id" / "0"
    with pytest.raises(SystemExit, match="no Zarr array"):
        zarr_folder(lake, [7, 40, 50])


def test_the_page_names_every_group() -> None:
    page = (ROOT / "docs" / "how-to" / "benchmark.md").read_text(encoding="utf-8")
    assert [group for group in (*GROUPS, FAST) if f"`{group}`" not in page] == []


def test_the_page_of_profiles_names_every_dataset() -> None:
    page = (ROOT / "docs" / "how-to" / "profile.md").read_text(encoding="utf-8")
    assert [name for name in WORKS if f"`{name}`" not in page] == []
    assert [kind for kind in (*KINDS, "Python", "rest") if f"| {kind} |" not in page] == []
