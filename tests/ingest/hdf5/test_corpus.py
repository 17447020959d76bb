"""Every dataset of the real files, against h5py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin  # noqa: F401 - h5py reads with its filters
import numpy as np
import pytest

from schemas.structures import ArrayStructure, ContainerStructure, TableStructure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from tests.ingest.hdf5.conftest import Described

FILES = [
    "eiger_hdf5/artificial_small/test_data_000001.h5",
    "eiger_hdf5/artificial_small/test_master.h5",
    "eiger_hdf5/dataset_v112.h5",
    "eiger_hdf5/dataset_v112_external.h5",
    "eiger_hdf5/eiger1_testmode10_2datafiles_4images_bslz4_data_000001.h5",
    "eiger_hdf5/eiger1_testmode10_2datafiles_4images_lz4_data_000001.h5",
    "eiger_hdf5/eiger2_simread7_2datafiles_4images_bslz4_data_000001.h5",
    "eiger_hdf5/eiger2_simread7_2datafiles_4images_bslz4_data_000002.h5",
    "hdf5_misc/attr_datatypes.hdf5",
    "hdf5_misc/compressed.h5",
    "hdf5_misc/earliest.hdf5",
    "hdf5_misc/pylhe-testfile-hpcgen.hdf5",
    "hdf5_misc/references.hdf5",
    "hdf5_misc/regression_0.1.3.h5",
    "nexus/AgBehenate_228.hdf5",
    "nexus/ID34_not_complete.h5",
    "nexus/Sample_Image_2021-03-16_095.hdf5",
    "nexus/Therm_6_2.nxs",
    "nexus/chopper.nxs",
    "nexus/darfix_strain.hdf5",
    "nexus/external/external_angles.hdf5",
    "nexus/external/external_counts.hdf5",
    "nexus/external/external_master.hdf5",
    "nexus/fluo.nxs",
    "nexus/lrcs3701.nx5",
    "nexus/mrinal_001.h5",
    "nexus/nexus-example.hdf5",
    "nxcansas/33837rear_1D_1.75_16.5_NXcanSAS_v3.h5",
    "nxcansas/33837rear_2D_1.75_16.5_NXcanSAS_v3.h5",
    "nxcansas/bimodal-test1.h5",
    "nxcansas/cs_collagen.h5",
    "nxcansas/gc14-dls-i22.h5",
]
UNREADABLE = {
    ("nexus/Therm_6_2.nxs", "entry/data/data"): "Therm_6_2_000001.h5",
    ("nexus/Therm_6_2.nxs", "entry/data/data_000001"): "Therm_6_2_000001.h5",
}
"""What cannot be read, and the file that is missing beside it."""


def paths_of(group: h5py.Group, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every path that h5py can walk, links followed."""
    for name in group:
        path = f"{prefix}{name}"
        found = group.get(name)
        yield path, found
        if isinstance(found, h5py.Group):
            yield from paths_of(found, path + "/")


def truth_of(dataset: h5py.Dataset) -> NDArray[Any]:
    if dataset.shape is None:
        return np.empty(0)
    if h5py.check_string_dtype(dataset.dtype) and dataset.dtype.kind == "O":
        return np.asarray(dataset.asstr()[...], "U")
    values = np.asarray(dataset[...])
    if h5py.check_ref_dtype(dataset.dtype) is not None:
        names = [dataset.file[ref].name if ref else "" for ref in values.flat]
        return np.array(names, "U").reshape(values.shape)
    return values


def equal(ours: NDArray[Any], theirs: NDArray[Any]) -> bool:
    if ours.dtype.kind in "fc":
        return np.array_equal(ours, theirs, equal_nan=True)
    return ours.shape == theirs.shape and bool((ours == theirs).all())


@pytest.mark.corpus
@pytest.mark.parametrize("name", FILES)
def test_every_dataset_equals_h5py_or_is_named_with_its_reason(
    name: str, corpus: Path, describe: Callable[[Path], Described]
) -> None:
    described = describe(corpus / name)
    items = described.items
    with h5py.File(corpus / name, locking=False) as file:
        expected = dict(paths_of(file))
        tables = {path for path in items if path.endswith("@table")}
        assert set(items) - tables == set(expected)
        for path, found in expected.items():
            item = items[path]
            if item.problem is not None:
                missing = UNREADABLE[name, path]
                assert missing in item.problem
                assert not (corpus / name).with_name(missing).exists()
            elif isinstance(found, h5py.Dataset):
                assert isinstance(item.structure, ArrayStructure)
                assert equal(described.read(path), truth_of(found)), path
            else:
                assert isinstance(item.structure, ContainerStructure)
        for path in tables:
            structure = items[path].structure
            assert isinstance(structure, TableStructure)
            rows = described.rows(path)
            assert rows.num_rows == structure.rows
            group = path.removesuffix("@table")
            for column in structure.columns:
                theirs = truth_of(expected[f"{group}/{column}" if group else column])
                ours = np.array(rows[column].to_pylist())
                assert equal(ours, np.char.decode(theirs) if theirs.dtype.kind == "S" else theirs)


@pytest.mark.corpus
@pytest.mark.parametrize("name", FILES)
def test_slices_of_arrays_equal_h5py(
    name: str, corpus: Path, describe: Callable[[Path], Described]
) -> None:
    described = describe(corpus / name)
    with h5py.File(corpus / name, locking=False) as file:
        for path, item in described.items.items():
            if item.problem is not None or not isinstance(item.structure, ArrayStructure):
                continue
            shape = item.structure.shape
            if not shape or 0 in shape:
                continue
            index = tuple(slice(length // 3, length, 2) for length in shape)
            theirs = truth_of(file[path])[index]
            assert equal(described.read(path, index), theirs), path


@pytest.mark.corpus
def test_names_stay_when_the_corpus_changes(corpus: Path) -> None:
    folders = ("nexus", "hdf5_misc", "eiger_hdf5", "nxcansas")
    there = {
        path.relative_to(corpus).as_posix()
        for folder in folders
        for path in (corpus / folder).rglob("*")
        if path.suffix in (".h5", ".hdf5", ".nxs", ".nx5")
    }
    assert there == set(FILES)
