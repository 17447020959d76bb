"""NeXus: named axes, what to plot, and what a file promises to follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from schemas.entry import Spec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.ingest.hdf5.conftest import Described

    Describe = Callable[[Path], Described]


def nexus_file(path: Path, attributes: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["default"] = "entry"
        entry = file.create_group("entry")
        entry.attrs["NX_class"], entry.attrs["default"] = "NXentry", "data"
        group = entry.create_group("data")
        group.attrs["NX_class"] = "NXdata"
        for name, value in attributes.items():
            field, _, attribute = name.partition("@")
            if not attribute:
                group.attrs[name] = value
        for name, shape in shapes.items():
            group[name] = np.zeros(shape)
        for name, value in attributes.items():
            field, _, attribute = name.partition("@")
            if attribute:
                group[field].attrs[attribute] = value


def test_axes_of_the_group_name_the_axes_of_the_signal(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.nxs"
    nexus_file(
        path,
        {
            "signal": "counts",
            "axes": ["y", ".", "energy"],
            "auxiliary_signals": ["monitor"],
            "y_set_indices": 0,
        },
        {
            "counts": (4, 5, 6),
            "counts_errors": (4, 5, 6),
            "monitor": (4, 5, 6),
            "y": (4,),
            "y_set": (4,),
            "energy": (6,),
            "other": (4, 5, 6),
        },
    )
    described = describe(path)
    for name in ("counts", "counts_errors", "monitor"):
        assert described.array(f"entry/data/{name}").dims == ("y", "dim_1", "energy")
    assert described.array("entry/data/y").dims == ("y",)
    assert described.array("entry/data/y_set").dims == ("y",)
    assert described.array("entry/data/energy").dims == ("energy",)
    assert described.array("entry/data/other").dims is None
    assert described.metadata["default_plot"] == {
        "group": "entry/data",
        "signal": "entry/data/counts",
        "axes": ["y", None, "energy"],
    }


@pytest.mark.parametrize(
    "attributes",
    [
        {"I@signal": 1, "I@axes": "q:t"},
        {"I@signal": "1", "I@axes": "[q, t]"},
        {"I@signal": 1, "q@axis": 1, "t@axis": "2"},
        {"signal": "I", "I_axes": "q,t"},
        {"signal": "I", "axes": ["t", "q"], "q_indices": 0, "t_indices": 1},
        {"signal": "I", "axes": "q t"},
    ],
)
def test_older_ways_to_name_axes(
    attributes: dict[str, Any], tmp_path: Path, describe: Describe
) -> None:
    path = tmp_path / "a.nxs"
    nexus_file(path, attributes, {"I": (4, 5), "q": (4,), "t": (5,)})
    described = describe(path)
    expected = ("t", "q") if attributes.get("axes") == ["t", "q"] else ("q", "t")
    assert described.array("entry/data/I").dims == expected


@pytest.mark.parametrize(
    "attributes",
    [
        {"signal": "I"},
        {"signal": "gone", "axes": ["q", "t"]},
        {"signal": "I", "axes": ["q", "q"]},
        {"signal": "I", "axes": ["q", "t", "z"]},
        {"signal": "I", "axes": 5},
        {"signal": ["I", "q"], "axes": np.zeros((2, 2))},
        {"signal": "I", "axes": [".", "."]},
        {"signal": "I", "axes": ["q"], "q_indices": "word"},
        {"I@signal": 1, "q@axis": "word", "t@axis": 99},
    ],
)
def test_contradictions_leave_axes_without_names(
    attributes: dict[str, Any], tmp_path: Path, describe: Describe
) -> None:
    path = tmp_path / "a.nxs"
    nexus_file(path, attributes, {"I": (4, 5), "q": (4,), "t": (5,)})
    assert describe(path).array("entry/data/I").dims is None


def test_dimension_labels_name_axes(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["a"] = np.zeros((2, 3))
        file["a"].dims[0].label, file["a"].dims[1].label = "time", "height"
        file["b"] = np.zeros((2, 3))
        file["b"].dims[1].label = "height"
    described = describe(path)
    assert described.array("a").dims == ("time", "height")
    assert described.array("b").dims == ("dim_0", "height")


def test_definitions_become_specs(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.nxs"
    with h5py.File(path, "w") as file:
        for name, definition in {"e1": "NXsas", "e2": "NXmx", "e3": " NXsas "}.items():
            entry = file.create_group(name)
            entry.attrs["NX_class"] = "NXentry"
            entry["definition"] = definition
        file["e2/definition"].attrs["version"] = "1.6"
        sas = file.create_group("sas")
        sas.attrs["canSAS_class"], sas.attrs["version"] = "SASentry", 1.1
    found = describe(path)
    assert found.found.specs == (Spec("NXsas"), Spec("NXmx", "1.6"), Spec("NXcanSAS", "1.1"))
    assert found.items["e2"].specs == (Spec("NXmx", "1.6"),)


def test_the_first_plot_is_taken_where_no_default_is_named(
    tmp_path: Path, describe: Describe
) -> None:
    path = tmp_path / "a.nxs"
    with h5py.File(path, "w") as file:
        file.attrs["default"] = "gone"
        file["entry/other/x"] = np.zeros(3)
        plot = file.create_group("entry/plot")
        plot.attrs["NX_class"], plot.attrs["signal"] = "NXdata", "y"
        plot["y"] = np.zeros(3)
    plotted = describe(path).metadata["default_plot"]
    assert plotted == {"group": "entry/plot", "signal": "entry/plot/y", "axes": []}


def test_linked_signals_carry_the_names_where_they_are_plotted(
    tmp_path: Path, describe: Describe
) -> None:
    path = tmp_path / "a.nxs"
    nexus_file(path, {"signal": "counts", "axes": ["x", "y"]}, {"x": (2,), "y": (3,)})
    with h5py.File(path, "a") as file:
        file["entry/detector/counts"] = np.zeros((2, 3))
        file["entry/data/counts"] = h5py.SoftLink("/entry/detector/counts")
    described = describe(path)
    assert described.array("entry/data/counts").dims == ("x", "y")
    assert described.array("entry/detector/counts").dims is None


def test_a_dataset_called_definition_that_is_no_text(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.nxs"
    with h5py.File(path, "w") as file:
        file["a/definition"] = 5
        file["b/definition"] = np.arange(4)
        file["c/definition/x"] = 1
    assert describe(path).found.specs == ()


def test_dimension_scales_name_axes(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.nc"
    with h5py.File(path, "w") as file:
        for name, length in {"time": 2, "height": 3}.items():
            file[name] = np.zeros(length)
            file[name].make_scale(name)
        file["t"] = np.zeros((2, 3))
        file["t"].dims[0].attach_scale(file["time"])
        file["t"].dims[1].attach_scale(file["height"])
        file["half"] = np.zeros((2, 3))
        file["half"].dims[1].attach_scale(file["height"])
    described = describe(path)
    assert described.array("t").dims == ("time", "height")
    assert described.array("half").dims == ("dim_0", "height")
    assert described.items["t"].metadata["DIMENSION_LIST"] == [["/time"], ["/height"]]
    assert not any("LIST" in key for key in described.metadata)
