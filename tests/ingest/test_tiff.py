"""TIFF files and series, against tifffile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
import tifffile

from ingest.formats.tiff import TiffFormat
from ingest.formats.tiff_header import comment_values
from ingest.testing import FormatSuite, ScratchLake, assert_same_values, take_alone
from schemas.chunks import ArrayStorage, Contiguous, Indexed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

STACK = (np.arange(5 * 40 * 48) * 7 % 4099).astype("u2").reshape(5, 40, 48)
FLOATS = np.sin(np.arange(3 * 40 * 48)).astype("f4").reshape(3, 40, 48)
RGB = (np.arange(40 * 48 * 3) % 251).astype("u1").reshape(40, 48, 3)


class TestTiffStack(FormatSuite):
    format = TiffFormat()
    array: ClassVar[Any] = STACK
    options: ClassVar[dict[str, Any]] = {}

    def sample(self, folder: Path) -> Path:
        path = folder / "stack.tif"
        tifffile.imwrite(path, self.array, **self.options)
        return path

    def expected(self) -> Mapping[str, Any]:
        return {"": self.array}


class TestTiffBigEndian(TestTiffStack):
    options: ClassVar[dict[str, Any]] = {"byteorder": ">"}


class TestTiffDeflateStripsWithPredictor(TestTiffStack):
    options: ClassVar[dict[str, Any]] = {
        "compression": "zlib",
        "predictor": 2,
        "rowsperstrip": 16,
        "byteorder": ">",
    }


class TestTiffLzwTiles(TestTiffStack):
    options: ClassVar[dict[str, Any]] = {"compression": "lzw", "tile": (32, 32)}


class TestTiffPackBits(TestTiffStack):
    options: ClassVar[dict[str, Any]] = {"compression": "packbits", "rowsperstrip": 7}


class TestTiffZstdFloatPredictor(TestTiffStack):
    array = FLOATS
    options: ClassVar[dict[str, Any]] = {
        "compression": "zstd",
        "predictor": 3,
        "photometric": "minisblack",
    }


class TestTiffColour(TestTiffStack):
    array = RGB
    options: ClassVar[dict[str, Any]] = {
        "photometric": "rgb",
        "compression": "zlib",
        "predictor": 2,
    }


class TestTiffColourPlanes(TestTiffStack):
    array = np.ascontiguousarray(np.moveaxis(RGB, -1, 0))
    options: ClassVar[dict[str, Any]] = {
        "photometric": "rgb",
        "planarconfig": "separate",
        "compression": "zlib",
        "tile": (16, 16),
    }


class TestBigTiff(TestTiffStack):
    options: ClassVar[dict[str, Any]] = {"bigtiff": True, "compression": "zlib"}


class TestTiffThatOnlyTifffileDecodes(TestTiffStack):
    array = STACK
    options: ClassVar[dict[str, Any]] = {"compression": "jpeg2000"}


class TestTiffOfOneBitPixels(TestTiffStack):
    array = STACK[0] > 2000


def storage_of(lake: ScratchLake, path: str) -> ArrayStorage:
    storage = lake.node(path).data_sources[0].storage
    assert isinstance(storage, ArrayStorage)
    return storage


def dims_of(lake: ScratchLake, path: str) -> tuple[str, ...] | None:
    dims: tuple[str, ...] | None = lake.node(path).structure.dims  # type: ignore[union-attr]
    return dims


def test_an_uncompressed_stack_lies_in_one_piece(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK)
    lake = ScratchLake(tmp_path / "lake")
    lake.ingest(tmp_path / "a.tif")
    assert isinstance(storage_of(lake, "a").location, Contiguous)


def test_compressed_strips_are_indexed_not_copied(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK, compression="zlib", rowsperstrip=16)
    lake = ScratchLake(tmp_path / "lake")
    lake.ingest(tmp_path / "a.tif")
    location = storage_of(lake, "a").location
    assert isinstance(location, Indexed)
    assert location.count == 5 * 3
    assert "converted" not in lake.node("a").data_sources[0].properties


def test_a_codec_that_we_do_not_have_is_converted_and_the_entry_says_so(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK, compression="jpeg2000")
    lake = ScratchLake(tmp_path / "lake")
    lake.ingest(tmp_path / "a.tif")
    assert lake.node("a").data_sources[0].properties["converted"] == 1


def test_imagej_hyperstacks_keep_their_axes(tmp_path: Path) -> None:
    array = np.arange(2 * 3 * 4 * 16 * 20, dtype="u2").reshape(2, 3, 4, 16, 20)
    tifffile.imwrite(
        tmp_path / "a.tif", array, imagej=True, metadata={"axes": "TZCYX", "finterval": 0.5}
    )
    lake = ScratchLake(tmp_path / "lake")
    lake.ingest(tmp_path / "a.tif")
    assert dims_of(lake, "a") == ("t", "z", "c", "y", "x")
    assert lake.node("a").metadata["imagej"]["finterval"] == 0.5
    assert_same_values(lake.read("a"), array)


def test_ome_axes_and_fields_are_kept(tmp_path: Path) -> None:
    array = np.arange(3 * 2 * 16 * 20, dtype="u2").reshape(3, 2, 16, 20)
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        array,
        metadata={"axes": "TCYX", "PhysicalSizeX": 0.65, "Name": "cells"},
        compression="zlib",
    )
    lake = ScratchLake(tmp_path / "lake")
    lake.ingest(tmp_path / "a.ome.tif")
    (path,) = lake.paths()
    assert dims_of(lake, path) == ("t", "c", "y", "x")
    assert lake.node(path).metadata["ome"]["Image"]["Pixels"]["PhysicalSizeX"] == 0.65
    assert_same_values(lake.read(path), array)


def test_several_series_are_several_arrays(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(STACK)
        writer.write(RGB, photometric="rgb")
    lake = ScratchLake(tmp_path / "lake")
    lake.ingest(tmp_path / "a.tif")
    assert sorted(lake.inner("a")) == ["image_0", "image_1"]
    assert_same_values(lake.read("a", "image_0"), STACK)
    assert_same_values(lake.read("a", "image_1"), RGB)


def test_the_description_of_a_detector_becomes_metadata() -> None:
    text = (
        "# Pixel_size 172e-6 m x 172e-6 m\r\n# Silicon sensor, thickness 0.000320 m\r\n"
        "# Exposure_time 0.0950000 s\r\n# Tau = 199.1e-09 s\r\n# Count_cutoff 1079734 counts\r\n"
        "# N_excluded_pixels = 7\r\n# Excluded_pixels: mask.tif\r\n# Flat_field: (nil)\r\n"
        "# Beam_xy (243.1, 97.2) pixels\r\n# Gain_setting: low gain (vrf = -0.300)\r\n"
    )
    values = comment_values(text)
    assert values["Pixel_size"] == [172e-6, 172e-6]
    assert values["Pixel_size@units"] == "m"
    assert values["Sensor_thickness"] == 0.00032
    assert values["Exposure_time"] == 0.095
    assert values["Exposure_time@units"] == "s"
    assert values["Tau"] == 199.1e-9
    assert values["Count_cutoff"] == 1079734
    assert values["N_excluded_pixels"] == 7
    assert values["Excluded_pixels"] == "mask.tif"


def series(folder: Path, count: int, **options: Any) -> list[Any]:
    frames = [(STACK[0] + number).astype("u2") for number in range(count)]
    for number, frame in enumerate(frames, 1):
        tifffile.imwrite(folder / f"img_{number:04}.tif", frame, **options)
    return frames


@pytest.mark.parametrize("options", [{}, {"compression": "zlib", "rowsperstrip": 16}])
@pytest.mark.parametrize("mode", ["register", "convert"])
def test_numbered_files_are_one_stack(tmp_path: Path, options: Any, mode: Any) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    frames = series(folder, 12, **options)
    lake = ScratchLake(tmp_path / "lake")
    summary = lake.ingest(folder, mode=mode)
    assert (summary.added, summary.failed, summary.problems) == (1, [], [])
    assert lake.paths() == ["img"]
    assert dims_of(lake, "img") == ("frame", "y", "x")
    assert len(lake.node("img").data_sources[0].assets) == 12
    assert_same_values(lake.read("img"), np.stack(frames))


def test_missing_numbers_of_a_series_are_reported(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    frames = series(folder, 9)
    for number in (3, 6, 7):
        (folder / f"img_{number:04}.tif").unlink()
    lake = ScratchLake(tmp_path / "lake")
    summary = lake.ingest(folder)
    assert [problem.reason for problem in summary.problems] == [
        "3 numbers are missing between 1 and 9: 3, 6-7"
    ]
    assert_same_values(lake.read("img"), np.stack([frames[n - 1] for n in (1, 2, 4, 5, 8, 9)]))


def test_files_that_do_not_fit_a_series_stand_on_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    frames = series(folder, 4)
    tifffile.imwrite(folder / "img_0005.tif", RGB, photometric="rgb")
    (folder / "img_0006.tif").write_bytes(b"II*\0 not really")
    lake = ScratchLake(tmp_path / "lake")
    summary = lake.ingest(folder)
    assert lake.paths() == ["img", "img_0005"]
    assert_same_values(lake.read("img"), np.stack(frames))
    assert_same_values(lake.read("img_0005"), RGB)
    assert [failure.name for failure in summary.failed] == ["img_0006.tif"]
    assert any("does not fit a stack" in problem.reason for problem in summary.problems)
    version = lake.state.version
    again = lake.ingest(folder)
    assert (again.unchanged, again.changed, again.added) == (2, 0, 0)
    assert [failure.name for failure in again.failed] == ["img_0006.tif"]
    assert lake.state.version == version


def test_a_series_that_grows_is_one_entry_and_takes_single_files_over(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    lake = ScratchLake(tmp_path / "lake")
    series(folder, 1)
    lake.ingest(folder)
    assert lake.paths() == ["img_0001"]
    series(folder, 3)
    lake.ingest(folder)
    assert lake.paths() == ["img"]
    first = lake.node("img").id
    frames = series(folder, 5)
    summary = lake.ingest(folder)
    assert summary.changed == 1
    assert lake.node("img").id == first
    assert_same_values(lake.read("img"), np.stack(frames))


def test_numbered_files_that_are_no_tiffs_are_what_their_bytes_say(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for number in (1, 2):
        with (folder / f"a_{number}.tif").open("wb") as file:
            np.save(file, STACK + number)
    lake = ScratchLake(tmp_path / "lake")
    assert not lake.ingest(folder).failed
    assert lake.paths() == ["a_1", "a_2"]
    assert_same_values(lake.read("a_2"), STACK + 2)


def test_a_truncated_strip_is_found_at_ingest(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, compression="zlib")
    with tifffile.TiffFile(path) as file:
        end = max(page.dataoffsets[0] + page.databytecounts[0] for page in file.pages)
    path.write_bytes(path.read_bytes()[: end - 10])
    assert take_alone(path, tmp_path / "lake").node is None


@pytest.mark.parametrize("mode", ["register", "convert"])
def test_the_files_of_a_long_series_are_not_listed_in_its_entry(tmp_path: Path, mode: Any) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    frames = series(folder, 300)
    lake = ScratchLake(tmp_path / "lake")
    lake.ingest(folder, mode=mode)
    assert len(lake.node("img").data_sources[0].assets) == 1
    assert_same_values(lake.read("img"), np.stack(frames))
    assert lake.ingest(folder, mode=mode).unchanged == 1
    tifffile.imwrite(folder / "img_0200.tif", frames[0])
    assert lake.ingest(folder, mode=mode).changed == 1
    assert_same_values(lake.read("img")[199], frames[0])
