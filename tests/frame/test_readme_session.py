"""The session in README, typed as it stands there."""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from lakeservice.demo.process import ServerProcess, free_ports

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
KEY = "readme"


def commands() -> list[list[str]]:
    lines = "".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL)).splitlines()
    typed = [shlex.split(line, comments=True) for line in lines]
    return [words for words in typed if words and words[0] == "lakeservice"]


def program() -> str:
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    return str(block)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with the files that README names."""
    frames = np.arange(3 * 640 * 640, dtype="<u2").reshape(3, 640, 640)
    with h5py.File(tmp_path / "scan1.h5", "w") as file:
        file.attrs.update({"detector": "eiger", "energy_ev": 12_658.0})
        file["entry/title"] = "lysozyme"
        file["entry/start_time"] = "2026-03-14T09:26:53"
        file["entry/data/data"] = frames
    (tmp_path / "tiffs").mkdir()
    for number in range(3):
        tifffile.imwrite(tmp_path / "tiffs" / f"dark_{number}.tif", frames[number])
    (tmp_path / "my_files").mkdir()
    for path in (tmp_path / "ring_current.csv", tmp_path / "my_files" / "slits.csv"):
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([["time_s", "current_ma"], [0.0, 300.5], [0.1, 298.5]])
    return tmp_path


@pytest.mark.slow
def test_the_session_works_as_it_is_written(desk: Path) -> None:
    environment = {"LAKE_CACHE": str(desk / "cache")}
    served = []
    for words in commands():
        command = [sys.executable, "-m", *words]
        if words[1] != "serve":
            subprocess.run(command, cwd=desk, env={**os.environ, **environment}, check=True)
            continue
        http, flight = free_ports(2)
        url = f"http://127.0.0.1:{http}"
        command[-1] = str(desk / command[-1])
        command += ["--port", str(http), "--flight-port", str(flight), "--api-key", KEY]
        with ServerProcess(command, f"{url}/api/v1/", desk / "log", environment):
            served.append(words[2])
            if words[2] == "my_lake":
                text = program().replace("http://127.0.0.1:8000", url).replace("…", KEY)
                answer = subprocess.run(
                    [sys.executable, "-c", text],
                    cwd=desk,
                    capture_output=True,
                    text=True,
                    check=True,
                )
    frame = np.arange(640 * 640, dtype="<u2").reshape(640, 640)
    np.testing.assert_array_equal(np.load(desk / "first.npy"), frame)
    lines = answer.stdout.splitlines()
    assert lines[:3] == ["raw/scan1 lysozyme", str(frame.mean()), "(3, 100, 100)"]
    assert "300.5" in answer.stdout
    assert "298.5" not in answer.stdout
    assert served == ["my_files/", "my_lake"]
