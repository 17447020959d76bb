"""Datasets of xarray, and small-angle scattering: xarray and h5py read what went in."""

from __future__ import annotations

import io
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import xarray as xr

from lakeservice.export import dataset_hdf5, dataset_table, nxcansas
from lakeservice.export.dataset_table import DatasetTable
from schemas.entry import Spec
from schemas.errors import ErrorKind, InvalidRequestError
from tests.export.memory import InMemoryArray, InMemoryContainer, InMemoryTable, written

RNG = np.random.default_rng(3)
WEATHER = xr.Dataset(
    {
        "temperature": (["x", "y", "time"], RNG.random((2, 2, 3)), {"unit": "C"}),
        "rain": (["time", "x"], RNG.random((3, 2))),
        "label": (["y"], np.array(["a", "üb"])),
        "height": ((), 3.5),
    },
    coords={
        "lon": (["x", "y"], RNG.random((2, 2))),
        "time": np.array(["2024-01-01", "2024-01-02", "2024-01-03"], "M8[ns]"),
        "y": [10, 20],
    },
    attrs={"snow": "cold"},
)


def container(dataset: xr.Dataset) -> InMemoryContainer:
    def arrays(found: Any, spec: str) -> list[InMemoryArray]:
        return [
            InMemoryArray(
                name=str(name),
                array=np.asarray(one.values),
                dims=tuple(map(str, one.dims)),
                metadata={"attrs": dict(one.attrs)},
                specs=(Spec(spec),),
            )
            for name, one in found.items()
        ]

    return InMemoryContainer(
        name="weather",
        metadata={"attrs": dict(dataset.attrs)},
        specs=(Spec("xarray_dataset"),),
        below=[
            *arrays(dataset.data_vars, "xarray_data_var"),
            *arrays(dataset.coords, "xarray_coord"),
        ],
    )


@pytest.mark.parametrize("exporter", dataset_hdf5.EXPORTERS, ids=lambda one: one.media_type)
def test_xarray_opens_the_netcdf_file_as_the_dataset_that_it_was(exporter: Any) -> None:
    payload = written(exporter, container(WEATHER))
    with xr.open_dataset(io.BytesIO(payload), engine="h5netcdf") as opened:
        xr.testing.assert_identical(opened.load(), WEATHER)


@pytest.mark.parametrize("rows", [2, 65_536])
def test_the_table_of_a_dataset_is_that_of_xarray(
    monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(dataset_table, "ROWS", rows)
    frame = DatasetTable(container(WEATHER)).read().read_all().to_pandas()
    wanted = WEATHER.to_dataframe().reset_index()
    assert list(frame.columns[:2]) == ["y", "time"]
    for name in frame.columns:
        assert frame[name].tolist() == wanted[name].tolist()


@pytest.mark.parametrize("exporter", dataset_table.EXPORTERS, ids=lambda one: one.media_type)
def test_a_dataset_is_written_in_every_form_of_a_table(exporter: Any) -> None:
    assert written(exporter, container(WEATHER))


def test_a_wide_dataset_is_read_back_from_csv() -> None:
    wide = xr.Dataset({f"c{n}": ("time", np.full(4, n)) for n in range(9)}, {"time": range(4)})
    csv = next(one for one in dataset_table.EXPORTERS if "csv" in one.names)
    frame = pd.read_csv(io.BytesIO(written(csv, container(wide)))).set_index("time")
    assert frame.equals(wide.to_dataframe())


def test_axes_of_one_name_and_two_lengths_are_refused() -> None:
    source = InMemoryContainer(
        below=[
            InMemoryArray(name="a", array=np.ones(2), dims=("x",)),
            InMemoryArray(name="b", array=np.ones(3), dims=("x",)),
        ]
    )
    with pytest.raises(InvalidRequestError, match="'x' has 2 elements, and 3 in 'b'") as caught:
        dataset_hdf5.EXPORTERS[0].check(source)
    assert caught.value.kind is ErrorKind.UNKNOWN_FORMAT


def test_a_table_becomes_nxcansas() -> None:
    rows = pa.table({"Q": [0.1, 0.2], "I": [5.0, 6.0], "Idev": [0.1, 0.2]})
    metadata = {"title": "glassy carbon", "sample": {"name": "GC14"}, "more": {"a": 1}}
    source = InMemoryTable(name="saxs", table=rows, metadata=metadata)
    file = h5py.File(io.BytesIO(written(nxcansas.TABLE, source)))
    entry = file[file.attrs["default"]]
    assert entry["definition"].asstr()[()] == "NXcanSAS"
    assert entry["title"].asstr()[()] == "glassy carbon"
    assert entry["sassample/name"].asstr()[()] == "GC14"
    data = entry[entry.attrs["default"]]
    assert data.attrs["canSAS_class"] == "SASdata"
    assert data[data.attrs["signal"]][()].tolist() == [5.0, 6.0]
    assert data[data.attrs["I_axes"]].attrs["units"] == "1/angstrom"
    assert data[data["I"].attrs["uncertainties"]][()].tolist() == [0.1, 0.2]


def test_images_become_nxcansas_of_two_axes() -> None:
    below = [InMemoryArray(name=name, array=np.ones((2, 3))) for name in ("I", "Qx", "Qy")]
    source = InMemoryContainer(name="saxs", below=below)
    data = h5py.File(io.BytesIO(written(nxcansas.CONTAINER, source)))["sasentry/sasdata"]
    assert data.attrs["I_axes"] == "Q,Q"
    assert data.attrs["Q_indices"].tolist() == [0, 1]


def test_groups_of_the_definition_are_kept_as_they_are() -> None:
    inner = InMemoryContainer(
        name="sasentry01",
        metadata={"canSAS_class": "SASentry", "NX_class": "NXentry"},
        below=[InMemoryArray(name="I", array=np.ones(2))],
    )
    file = h5py.File(io.BytesIO(written(nxcansas.CONTAINER, InMemoryContainer(below=[inner]))))
    assert list(file) == ["sasentry01"]
    assert file["sasentry01"].attrs["NX_class"] == "NXentry"


def test_scattering_without_momentum_transfer_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="needs I and Q"):
        nxcansas.TABLE.check(InMemoryTable(table=pa.table({"I": [1.0]})))
