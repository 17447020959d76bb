"""Where the bytes of any HDF5 dataset lie."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ingest.formats.hdf5_dataset import Dataset, Placement, ScatteredError
from ingest.formats.hdf5_stored import place_stored
from ingest.formats.hdf5_virtual import MOST_NESTED, place_virtual

if TYPE_CHECKING:
    from ingest.formats.hdf5_files import OpenFiles


def place_of(files: OpenFiles, dataset: Dataset, nested: int = 0) -> Placement:
    """Return where the bytes of a dataset lie as stored.

    Raises
    ------
    ScatteredError
        Not in one addressable form: it has to be converted.
    BrokenError
        They cannot be read at all: a source or a decoder is missing.
    """
    if not dataset.is_virtual:
        return place_stored(files, dataset)
    if nested >= MOST_NESTED:
        raise ScatteredError("virtual datasets are nested too deeply")
    return place_virtual(files, dataset, partial(_source_place, files, nested + 1))


def _source_place(files: OpenFiles, nested: int, source: Dataset) -> Placement:
    return place_of(files, source, nested)
