"""The command line, as people type it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import h5py
import imagecodecs
import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile

import lakeservice
from tests.whole.processes import KEY, ServerProcess

if TYPE_CHECKING:
    from pathlib import Path

FRAMES = np.random.default_rng(1).poisson(3, (6, 20, 30)).astype("u2")


def run(*words: str, cache: Path, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "lakeservice", *words],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "LAKE_CACHE": str(cache), "COLUMNS": "200"},
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    (folder / "day1").mkdir(parents=True)
    with h5py.File(folder / "day1" / "scan1.h5", "w") as file:
        file.create_dataset("entry/data/data", data=FRAMES, chunks=(1, 20, 30), compression="gzip")
        file["entry/sample/name"] = "LaB6"
        file["entry/sample/temperature"] = 295.5
    (folder / "monitor.csv").write_text("time,current\n0,100.5\n1,100.25\n")
    (folder / "broken.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 50)
    return folder


def test_a_folder_goes_in_and_comes_out(files: Path, tmp_path: Path) -> None:
    lake, cache = str(tmp_path / "lake"), tmp_path / "cache"
    told = run("ingest", str(files), "--lake", lake, "--into", "raw", cache=cache, code=1)
    assert "2 added" in told
    assert "broken.h5" in told
    again = run("ingest", str(files), "--lake", lake, "--into", "raw", cache=cache, code=1)
    assert "0 added, 0 changed, 2 unchanged" in again
    found = run("search", "entry.sample.temperature > 290", "--lake", lake, "--json", cache=cache)
    assert json.loads(found)["path"] == "raw/day1/scan1"
    out = tmp_path / "out.npy"
    run(
        "export", "raw/day1/scan1/entry/data/data", str(out), "--lake", lake, "--slice", "1:3",
        cache=cache,
    )  # fmt: skip
    np.testing.assert_array_equal(np.load(out), FRAMES[1:3])
    stack, picture = tmp_path / "out.tif", tmp_path / "out.png"
    run("export", "raw/day1/scan1/entry/data/data", str(stack), "--lake", lake, cache=cache)
    np.testing.assert_array_equal(tifffile.imread(stack), FRAMES)
    run(
        "export", "raw/day1/scan1/entry/data/data", str(picture), "--lake", lake, "--slice", "0",
        "--option", "cmap=viridis", "--option", "max_size=10", cache=cache,
    )  # fmt: skip
    assert max(imagecodecs.imread(picture).shape[:2]) <= 10
    rows = tmp_path / "rows.parquet"
    run("export", "raw/monitor", str(rows), "--lake", lake, cache=cache)
    assert pq.read_table(rows)["current"].to_pylist() == [100.5, 100.25]
    assert "4 entries" in run("reindex", lake, cache=cache)
    assert "0 broken" in run("check", lake, "--clean", cache=cache)


def test_a_folder_is_served_with_its_files_and_takes_more_through_the_server(
    files: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    with ServerProcess(files, cache, "--watch") as server:
        lake = lakeservice.connect(server.url, KEY)
        wait_for(lake, "day1/scan1")
        node = lake["day1/scan1/entry/data/data"]
        np.testing.assert_array_equal(node.read(), FRAMES)
        (files / "later.csv").write_text("a,b\n1,2\n")
        wait_for(lake, "later")
        more = files / "more.npy"
        np.save(more, FRAMES[0])
        words = ["ingest", str(more), "--lake", str(files / ".lake"), "--into", "extra"]
        run(*words, "--url", server.url, "--api-key", KEY, cache=cache)
        np.testing.assert_array_equal(lake["extra/more"].read(), FRAMES[0])
        outside = tmp_path / "outside.npy"
        np.save(outside, FRAMES[0])
        words[1] = str(outside)
        told = run(*words, "--url", server.url, "--api-key", KEY, cache=cache, code=1)
        assert "operator" in told
        assert "extra/outside" not in lake
        out = tmp_path / "served.npy"
        run(
            "export", "day1/scan1/entry/data/data", str(out), "--url", server.url,
            "--api-key", KEY, "--slice", "::-1,3", cache=cache,
        )  # fmt: skip
        np.testing.assert_array_equal(np.load(out), FRAMES[::-1, 3])
        whole = tmp_path / "scan1.h5"
        run("export", "day1/scan1", str(whole), "--url", f"{server.url}?api_key={KEY}", cache=cache)
        with h5py.File(whole) as file:
            np.testing.assert_array_equal(file["entry/data/data"][()], FRAMES)
        told = run(
            "export", "day1/scan1", str(whole), "--url", server.url, "--api-key", KEY,
            "--slice", "0", cache=cache, code=1,
        )  # fmt: skip
        assert "only an array has axes" in told


def wait_for(lake: lakeservice.client.Container, path: str) -> None:
    import time

    for _ in range(200):
        if path in lake:
            return
        time.sleep(0.1)
    pytest.fail(f"{path} did not appear")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("serve", "FILE"), "is a file"),
        (("check", "NOWHERE"), "lake"),
        (("ingest", "NOWHERE", "--lake", "LAKE"), "there is no"),
        (("search", "a >", "--lake", "LAKE"), "bad-query"),
        (("export", "none", "x.npy", "--lake", "LAKE"), "no node 'none'"),
        (("export", "", "x.h5", "--lake", "LAKE", "--option", "cmap"), "name=value"),
        (("export", "", "x.h5", "--lake", "LAKE", "--option", "cmap=hot"), "no option 'cmap'"),
    ],
)
def test_what_cannot_be_done_is_a_sentence_and_exit_code_1(
    words: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    names = {"FILE": "file", "NOWHERE": "nowhere", "LAKE": "lake"}
    run("ingest", str(tmp_path / "file"), "--lake", str(tmp_path / "lake"), cache=tmp_path, code=1)
    given = [str(tmp_path / names[word]) if word in names else word for word in words]
    assert told in run(*given, cache=tmp_path / "cache", code=1)
