"""Programs that people have open what the server sends, at addresses as they type them."""

from __future__ import annotations

import csv
import io
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import igor2.binarywave
import numpy as np
import pyarrow as pa
import pytest

from lakeservice.service.writing import Draft
from schemas.structures import ArrayStructure, TableStructure
from tests.whole.conftest import KEY

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.whole.conftest import Running

IMAGEJ = Path("/usr/share/java/ij.jar")
LONGEST_S = 120
"""A program that hangs is ended; none of them needs a tenth of it."""

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def stacks(running: Running) -> dict[str, Array]:
    """Stacks of images in the types of detectors, by name, served."""
    random = np.random.default_rng(1)
    made: dict[str, Array] = {}
    for dtype, most in (("<u2", 60_000), ("<i4", 10**6), ("<f4", 100), ("<f8", 100), ("<i2", 9999)):
        low = 0 if dtype == "<u2" else -most
        made[f"stack_{dtype[1:]}"] = random.uniform(low, most, (4, 30, 41)).astype(dtype)
    made["series"] = random.integers(0, 1000, (2, 4, 20, 30)).astype("<u2")
    for name, stack in made.items():
        dims = ("time", "frame", "y", "x")[-stack.ndim :]
        structure = ArrayStructure.from_numpy(stack.shape, stack.dtype, dims=dims)
        running.service.write_array(Draft(path=name, structure=structure, metadata={}), [stack])
    return made


def address(running: Running, route: str, **query: str) -> str:
    """Return an address with the key in it, as for programs that know no headers."""
    # The key must not be the last: some programs look at the end.
    parts = [f"api_key={KEY}", *[f"{name}={value}" for name, value in query.items()]]
    return f"{running.server.url}/api/v1/{route}?{'&'.join(parts)}"


def outcome(*command: str, **environment: str) -> str:
    """Return what a program prints; it must end well."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        env=os.environ | environment,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def numbers(text: str) -> list[float]:
    return [float(line) for line in text.splitlines() if line.strip()]


@pytest.mark.external
def test_imagej_opens_stacks_and_sees_the_same_means(
    running: Running,
    stacks: dict[str, Array],
    program: Callable[[str], str],
    tmp_path: Path,
) -> None:
    if not IMAGEJ.exists():
        program("imagej")
    addresses = [
        # ImageJ looks at the end of an address; a suffix of the path is the end of one, too.
        address(running, "array/full/stack_u2", format=".tif"),
        address(running, "array/full/stack_i4.tif", format=".tif"),
        address(running, "array/full/stack_f4", slice="1:3", format=".tif"),
        address(running, "array/full/stack_f8", imagej="true", format=".tif"),
        address(running, "array/full/stack_i2", format=".tif"),
        address(running, "array/full/series", format=".tif"),
    ]
    wanted = [stacks["stack_u2"], stacks["stack_i4"], stacks["stack_f4"][1:3]]
    wanted += [stacks["stack_f8"].astype("f4"), stacks["stack_i2"]]
    wanted += list(stacks["series"])
    macro = tmp_path / "means.ijm"
    lines = [
        f'open("{one}"); for (i = 1; i <= nSlices; i++) {{ setSlice(i); '
        "getStatistics(area, mean); print(d2s(mean, 6)); } close();"
        for one in addresses
    ]
    # The last is a series of stacks, which ImageJ takes for what it is.
    lines[-1] = lines[-1].replace("close();", "getDimensions(w, h, c, z, t); print(z); print(t);")
    macro.write_text("\n".join(lines))
    command = ("java", "-jar", str(IMAGEJ), "-ijpath", str(tmp_path), "-batch", str(macro))
    told = numbers(outcome(program("xvfb-run"), "-a", *command))
    means = [float(frame.mean(dtype="f8")) for stack in wanted for frame in stack]
    assert told[:-2] == pytest.approx(means, abs=1e-5)
    assert told[-2:] == [4, 2]


@pytest.mark.external
def test_octave_reads_json_csv_and_stacks_by_address(
    running: Running,
    stacks: dict[str, Array],
    program: Callable[[str], str],
    tmp_path: Path,
) -> None:
    stack = stacks["stack_u2"]
    script = tmp_path / "means.m"
    script.write_text(
        f"""
        j = jsondecode(urlread("{address(running, "array/full/stack_u2.json")}"));
        printf("%d\\n", size(j)); printf("%.6f\\n", mean(j(2, :)));
        urlwrite("{address(running, "array/full/stack_f8", slice="2", format="csv")}", "f.csv");
        c = csvread("f.csv"); printf("%.12f\\n", mean(c(:)));
        t = "{address(running, "array/full/stack_u2", format=".tif")}";
        printf("%d\\n", numel(imfinfo(t)));
        for k = 1:4; m = imread(t, "Index", k); printf("%.6f\\n", mean(double(m(:)))); end
        """
    )
    octave = (program("octave"), "--no-gui", "--quiet", "--norc")
    told = numbers(outcome(*octave, "--eval", f'cd "{tmp_path}"; run("means.m")'))
    assert told[:3] == [4, 30, 41]
    assert told[3] == pytest.approx(float(stack[1].mean()))
    assert told[4] == pytest.approx(float(stacks["stack_f8"][2].mean()), abs=1e-11)
    assert told[5] == 4
    assert told[6:] == pytest.approx([float(frame.mean()) for frame in stack])


@pytest.mark.external
def test_libreoffice_opens_comma_separated_values_and_workbooks(
    running: Running,
    stacks: dict[str, Array],
    program: Callable[[str], str],
    tmp_path: Path,
) -> None:
    table = pa.table({"energy": [8.5, 9.25, 12.0], "name": ["plain", 'q"uo,te', "Fe₂O₃"]})
    structure = TableStructure.from_arrow(table.schema)
    running.service.write_table(
        Draft(path="log", structure=structure, metadata={}), table.to_reader()
    )
    asked = {
        "array.csv": ("array/full", "stack_i4", {"slice": "0", "format": "csv"}),
        "table.csv": ("table/full", "log.csv", {}),
        "book.xlsx": ("table/full", "log.xlsx", {}),
    }
    for name, (route, path, query) in asked.items():
        answer = running.get(route, path, **query)
        assert answer.status == 200, answer.data
        (tmp_path / name).write_bytes(answer.data)
    opened = tmp_path / "opened"
    # Comma, double quote, UTF-8: so text is read, and everything written.
    text = "Text - txt - csv (StarCalc):44,34,76"
    for names, how in ((["array.csv", "table.csv"], [f"--infilter={text}"]), (["book.xlsx"], [])):
        outcome(
            program("soffice"),
            f"-env:UserInstallation=file://{tmp_path}/profile",
            "--headless",
            *how,
            *("--convert-to", f"csv:{text}", "--outdir", str(opened)),
            *[str(tmp_path / name) for name in names],
            HOME=str(tmp_path),
        )

    def rows(name: str) -> list[list[str]]:
        return list(csv.reader(io.StringIO((opened / name).read_text())))

    image = stacks["stack_i4"][0]
    assert [[float(cell) for cell in row] for row in rows("array.csv")] == image.tolist()
    for name in ("table.csv", "book.csv"):
        told = rows(name)
        assert told[0] == ["energy", "name"]
        assert [(float(row[0]), row[1]) for row in told[1:]] == list(
            zip(*table.to_pydict().values(), strict=True)
        )


def test_igor2_loads_a_binary_wave(running: Running, stacks: dict[str, Array]) -> None:
    for name, stack in stacks.items():
        answer = running.get("array/full", f"{name}.ibw")
        assert answer.status == 200, answer.data
        loaded = igor2.binarywave.load(io.BytesIO(answer.data))["wave"]
        assert loaded["wData"].dtype == stack.dtype
        assert (loaded["wData"] == stack).all()
        labels = [label[0] for label in loaded["labels"] if label]
        assert labels[-3:] == [b"frame", b"y", b"x"]


def test_h5py_follows_the_default_plot_of_nexus(
    running: Running, stacks: dict[str, Array], tmp_path: Path
) -> None:
    path = tmp_path / "stack.nxs"
    path.write_bytes(running.get("array/full", "stack_f4.nxs").data)
    with h5py.File(path) as file:
        group = file[file.attrs["default"]]
        group = group[group.attrs["default"]]
        assert group.attrs["NX_class"] == "NXdata"
        assert (group[group.attrs["signal"]][()] == stacks["stack_f4"]).all()
