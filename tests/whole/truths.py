"""What other people's libraries read from the corpus: the truth that answers are held against."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin  # noqa: F401  (its import registers the filters)
import numpy as np
import pyarrow.parquet as pq
import tifffile
import zarr

if TYPE_CHECKING:
    from pathlib import Path


class Unreadable(Exception):
    """The library itself cannot read it, and says why."""


def of_file(path: Path, inner: str) -> Any:
    """Return what lies at a path inside a file: an array, an Arrow table, or a list of texts.

    Raises
    ------
    Unreadable
        Its own library cannot read it either, or it is of a kind without defined elements.
    """
    suffix = path.suffix.lower()
    if suffix in (".h5", ".hdf5", ".nxs", ".nx5"):
        return _hdf5(path, inner)
    if suffix in (".tif", ".tiff"):
        return _tiff(path, inner)
    if suffix in (".zarr", ".zr"):
        return _zarr(path, inner)
    if suffix == ".parquet":
        return pq.read_table(path)
    raise AssertionError(f"no truth for {path.name}")


def datasets(path: Path) -> set[str]:
    """Return the paths of all datasets that lie in an HDF5 file itself."""
    found: set[str] = set()

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found.add(name)

    with h5py.File(path, locking=False) as file:
        file.visititems(visit)
    return found


def _hdf5(path: Path, inner: str) -> Any:
    with h5py.File(path, locking=False) as file:
        try:
            dataset = file[inner]
        except (KeyError, OSError) as error:
            raise Unreadable(str(error)) from None
        if dataset.shape is None:
            raise Unreadable("no elements")
        for source in dataset.virtual_sources() if dataset.is_virtual else ():
            if not _is_there(file, path, source):
                raise Unreadable("a source is missing, and reads as zeros")
        string = h5py.check_string_dtype(dataset.dtype)
        if string is not None and string.length is None:
            return np.asarray(dataset.asstr(errors="surrogateescape")[()], object)
        if h5py.check_ref_dtype(dataset.dtype) is not None:
            names = [file[one].name if one else "" for one in dataset[()].ravel()]
            return np.array(names, object).reshape(dataset.shape)
        if dataset.dtype.kind == "O" or dataset.dtype.hasobject:
            raise Unreadable("references or sequences of variable length")
        try:
            array = np.asarray(dataset[()])
            return array.astype(dataset.dtype) if array.dtype.kind == "S" else array
        except OSError as error:
            raise Unreadable(str(error)) from None


def _is_there(file: h5py.File, path: Path, source: Any) -> bool:
    if source.file_name != ".":
        return bool((path.parent / source.file_name).exists())
    try:
        return bool(file[source.dset_name])
    except (KeyError, OSError):
        return False


def _tiff(path: Path, inner: str) -> Any:
    with tifffile.TiffFile(path) as file:
        number = int("".join(c for c in inner if c.isdigit()) or 0) if inner else 0
        return file.series[number].asarray()


def _zarr(path: Path, inner: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", zarr.errors.ZarrUserWarning)
            item = zarr.open(path / inner, mode="r")
            array = np.asarray(item[...])
            return array.astype(object) if array.dtype.kind == "T" else array
    except (ValueError, TypeError, KeyError) as error:
        raise Unreadable(str(error)) from None
