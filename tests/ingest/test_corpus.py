"""Every file of the corpus that these formats read, against its own library."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
import zarr

from ingest.testing import ScratchLake, assert_same_values, take_alone

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.corpus
MODES = ["register", "convert"]


def tiff_arrays(path: Path) -> dict[str, Any]:
    with tifffile.TiffFile(path) as file:
        series = [one.asarray() for one in file.series]
    if len(series) == 1:
        return {"": series[0]}
    return {f"image_{number}": array for number, array in enumerate(series)}


def zarr_arrays(folder: Path) -> dict[str, Any]:
    """Every array that zarr-python reads; each opened alone, as one may be unknown to it."""
    found = {}
    for mark in [*folder.rglob(".zarray"), *folder.rglob("zarr.json")]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                array = zarr.open_array(str(mark.parent), mode="r")
                values = np.asarray(array[...])
            except Exception:
                continue
        if values.dtype == np.dtypes.StringDType():
            values = values.astype(f"U{max(1, int(np.strings.str_len(values).max()))}")
        found[mark.parent.relative_to(folder).as_posix()] = values
    return found


@pytest.mark.parametrize("mode", MODES)
def test_tiff(corpus: Path, tmp_path: Path, mode: Any) -> None:
    for path in sorted((corpus / "tiff").glob("*.tif")):
        lake = ScratchLake(tmp_path / path.stem)
        assert not lake.ingest(path, mode=mode).failed
        for inside, array in tiff_arrays(path).items():
            assert_same_values(lake.read(path.stem, inside), array)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("zarr_v2/implementations.zr", 4),
        ("zarr_v2/ome_simple_0.4.zarr", 3),
        ("zarr_v2/zarrita_fixtures.zarr", 30),
        ("zarr_v3/ome_simple_0.5.zarr", 3),
        ("zarr_v3/zarrita_fixtures.zarr", 45),
    ],
)
def test_zarr(corpus: Path, tmp_path: Path, mode: Any, name: str, count: int) -> None:
    folder = corpus / name
    expected = zarr_arrays(folder)
    assert len(expected) >= count
    lake = ScratchLake(tmp_path / "lake")
    assert not lake.ingest(folder, mode=mode).failed
    for inside, array in expected.items():
        assert_same_values(lake.read(folder.stem, inside), array)


def test_zarr_arrays_of_python_objects_are_listed(corpus: Path, tmp_path: Path) -> None:
    lake = ScratchLake(tmp_path / "lake")
    summary = lake.ingest(corpus / "zarr_v2" / "zarrita_fixtures.zarr")
    assert [problem.reason.split(":")[0] for problem in summary.problems] == [
        "1d.contiguous.json2.O"
    ]


def test_zarr_chunks_of_known_codecs_are_not_copied(corpus: Path, tmp_path: Path) -> None:
    lake = ScratchLake(tmp_path / "lake")
    lake.ingest(corpus / "zarr_v2" / "implementations.zr")
    assert "converted" not in lake.node("implementations").data_sources[0].properties


@pytest.mark.parametrize("mode", MODES)
def test_parquet(corpus: Path, tmp_path: Path, mode: Any) -> None:
    for path in sorted((corpus / "parquet").glob("*.parquet")):
        lake = ScratchLake(tmp_path / path.stem)
        assert not lake.ingest(path, mode=mode).failed
        expected = pq.read_table(path).replace_schema_metadata(None)
        found = lake.read(path.stem).replace_schema_metadata(None)
        assert found.to_pydict() == expected.to_pydict()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Alumina_usaxs.csv", {"delimiter": ","}),
        ("APS_DND-CAT.TXT", {}),
        ("encoding_ANSI.txt", {"encoding": "latin-1", "skip_header": 1}),
    ],
)
def test_text(corpus: Path, tmp_path: Path, name: str, options: Any) -> None:
    path = corpus / "ascii" / name
    lake = ScratchLake(tmp_path / "lake")
    assert not lake.ingest(path).failed
    found = lake.read(path.stem)
    expected = np.genfromtxt(path, **options)
    columns = [column.to_numpy() for column in found.columns]
    np.testing.assert_array_equal(np.stack(columns, axis=1), expected)


def test_a_header_in_latin_1_names_the_columns(corpus: Path, tmp_path: Path) -> None:
    lake = ScratchLake(tmp_path / "lake")
    lake.ingest(corpus / "ascii" / "encoding_ANSI.txt")
    assert lake.node("encoding_ANSI").structure.columns == (  # type: ignore[union-attr]
        "q Å-1",
        "I(q) cm-1",
        "Sig cm-1",
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Pilatus.tiff", "it ends after 383945 bytes"),
        ("crash-0c7e0e8e11ce787078f00b5b0ca409a167f070e0.tif", "Huffman"),
        ("crash-338516dbd2f0e83caddb8ce256c22db3bd6dc40f.tif", "Empty input file"),
        ("ARROW-GH-41317.parquet", "columns do not have the same size"),
        ("ARROW-RS-GH-6229-LEVELS.parquet", "do not match num_values"),
        ("clusterfuzz-testcase-minimized-arrow-ipc-file-fuzz-5186986363846656", "no format knows"),
        ("TestExtensions.nxs", "no format knows"),
        ("test_3_error.spec", "no format knows"),
    ],
)
def test_malformed_files_are_refused_with_a_reason(
    corpus: Path, tmp_path: Path, name: str, reason: str
) -> None:
    outcome = take_alone(corpus / "malformed" / name, tmp_path / "lake")
    assert outcome.node is None
    assert reason in (outcome.reason or "")


def test_malformed_files_do_not_keep_the_others_out(corpus: Path, tmp_path: Path) -> None:
    lake = ScratchLake(tmp_path / "lake")
    summary = lake.ingest(corpus / "malformed", corpus / "tiff", workers=2)
    assert len(summary.failed) == 8
    assert "tiff/stack" in lake.paths()
    assert "malformed/bad_00" in lake.paths()
