from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import h5py
import netCDF4
import numpy as np
import pytest
import xarray

from lakeservice.export.array_hdf5 import HDF5_ARRAY
from lakeservice.export.array_netcdf import NETCDF_ARRAY
from schemas.errors import ErrorKind, InvalidRequestError
from tests.export.memory import Array, InMemoryArray, written

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def opened(array: Array, **more: Any) -> h5py.File:
    return h5py.File(io.BytesIO(written(HDF5_ARRAY, InMemoryArray(array=array, **more))))


def default_plot(file: h5py.File) -> h5py.Dataset:
    """Return what a viewer plots: it follows the defaults, as the NeXus manual tells."""
    assert file.attrs["NX_class"] == "NXroot"
    entry = file[file.attrs["default"]]
    assert entry.attrs["NX_class"] == "NXentry"
    data = entry[entry.attrs["default"]]
    assert data.attrs["NX_class"] == "NXdata"
    signal = data[data.attrs["signal"]]
    assert len(data.attrs.get("axes", ())) == signal.ndim
    return signal


@pytest.mark.parametrize("dtype", ["u1", ">u2", "<i8", "<f4", ">f8", "<c8", "f2"])
@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (4, 3, 5)])
def test_viewers_find_the_array_as_the_default_plot(shape: tuple[int, ...], dtype: str) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    with opened(array, level=0, length=2) as file:
        signal = default_plot(file)
        assert signal.name == "/entry/data/eiger"
        assert signal.dtype == array.dtype
        assert (signal[()] == array).all()
        seen_as = {0: "scalar", 1: "spectrum"}.get(array.ndim, "image")
        assert signal.attrs["interpretation"] == seen_as


def test_metadata_and_names_of_axes_go_with_the_array() -> None:
    metadata = {"exposure_s": 0.5, "sample": {"name": "Fe"}, "tags": ["a", "b"]}
    with opened(np.zeros((2, 3)), dims=("frame", "x"), metadata=metadata) as file:
        signal = default_plot(file)
        assert signal.attrs["exposure_s"] == 0.5
        assert signal.attrs["sample"] == '{"name":"Fe"}'
        assert list(signal.attrs["tags"]) == ["a", "b"]
        assert list(signal.attrs["dims"]) == ["frame", "x"]
        assert [axis.label for axis in signal.dims] == ["frame", "x"]


def test_text_times_flags_and_records_are_there_too() -> None:
    with opened(np.array(["ä", "bc"])) as file:
        assert [text.decode() for text in default_plot(file)[()]] == ["ä", "bc"]
    with opened(np.array([True, False])) as file:
        assert default_plot(file)[()].tolist() == [True, False]
    record = np.array([(1, 2.5)], [("a", "<i4"), ("b", "<f8")])
    with opened(record) as file:
        assert (default_plot(file)[()] == record).all()
    with opened(np.zeros((0, 3))) as file:
        assert default_plot(file).shape == (0, 3)


@pytest.fixture
def netcdf(tmp_path: Path) -> Iterator[Any]:
    """Return what opens the NetCDF file of an array with the netCDF library."""
    held: list[netCDF4.Dataset] = []

    def open_(array: Array, **more: Any) -> netCDF4.Dataset:
        path = tmp_path / f"{len(held)}.nc"
        path.write_bytes(written(NETCDF_ARRAY, InMemoryArray(array=array, **more)))
        held.append(netCDF4.Dataset(path))
        return held[-1]

    yield open_
    for one in held:
        one.close()


@pytest.mark.parametrize("dtype", ["u1", ">u2", "<i8", "<u8", "<f4", ">f8", "i1"])
@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (4, 4, 5)])
def test_the_netcdf_library_reads_the_array(
    netcdf: Any, shape: tuple[int, ...], dtype: str
) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    file = netcdf(array)
    variable = file["eiger"]
    assert list(file.variables) == ["eiger"]
    assert variable.dimensions == tuple(f"dim_{axis}" for axis in range(len(shape)))
    assert variable.shape == shape
    assert variable.dtype == array.dtype.newbyteorder("=") or variable.dtype == array.dtype
    assert (np.asarray(variable[...]) == array).all()


def test_dimensions_are_named(netcdf: Any) -> None:
    file = netcdf(np.zeros((2, 3, 3)), dims=("frame", "x", "x"), metadata={"exposure_s": 0.5})
    assert file["eiger"].dimensions == ("frame", "x", "x_2")
    assert {name: len(one) for name, one in file.dimensions.items()} == {
        "frame": 2,
        "x": 3,
        "x_2": 3,
    }
    assert file["eiger"].exposure_s == 0.5


def test_a_variable_is_not_called_as_its_dimension(netcdf: Any) -> None:
    assert list(netcdf(np.zeros(2), dims=("eiger",)).variables) == ["data"]


def test_xarray_sees_times_flags_and_text(tmp_path: Path) -> None:
    arrays = {
        "time": np.array(["2020-01-01T00:00:01", "NaT"], "M8[ns]"),
        "flag": np.array([True, False]),
        "text": np.array(["ä", "bc"]),
        "half": np.array([0.5, 2], "f2"),
    }
    for name, array in arrays.items():
        path = tmp_path / f"{name}.nc"
        path.write_bytes(written(NETCDF_ARRAY, InMemoryArray(array=array, name=name)))
        with xarray.open_dataset(path, engine="netcdf4") as opened:
            back = opened[name].values
            assert back.dtype == array.dtype or array.dtype.kind in "Uf"
            assert str(back.tolist()) == str(array.tolist())


@pytest.mark.parametrize(
    "array", [np.zeros(2, "c8"), np.zeros(2, "i4,f8"), np.zeros((0, 2))], ids=str
)
def test_what_netcdf_has_no_type_for_is_refused(array: Array) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        NETCDF_ARRAY.check(InMemoryArray(array=array))
    assert caught.value.kind is ErrorKind.UNKNOWN_FORMAT
