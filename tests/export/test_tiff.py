from __future__ import annotations

import io
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile

from lakeservice.export import tiff
from lakeservice.export.tiff import TIFF
from schemas.errors import ErrorKind, InvalidRequestError
from tests.export.memory import Array, InMemoryArray, written


def opened(array: Array, **more: Any) -> tifffile.TiffFile:
    return tifffile.TiffFile(io.BytesIO(written(TIFF, InMemoryArray(array=array, **more))))


def ramp(shape: tuple[int, ...], dtype: str) -> Array:
    return np.arange(1, np.prod(shape, dtype=int) + 1).reshape(shape).astype(dtype)


@pytest.mark.parametrize(
    "dtype",
    ["u1", "<u2", ">u2", "<u4", "<u8", "i1", "<i2", ">i4", "<i8", "<f4", ">f8", "<c8", "<c16"],
)
@pytest.mark.parametrize("shape", [(5, 7), (3, 5, 7), (2, 3, 5, 7), (2, 2, 3, 5, 7)])
def test_pages_are_what_tifffile_reads(shape: tuple[int, ...], dtype: str) -> None:
    array = ramp(shape, dtype)
    with opened(array, level=1, length=2) as file:
        assert len(file.pages) == np.prod(shape[:-2], dtype=int)
        assert file.byteorder == "<"
        assert not file.is_bigtiff
        back = file.asarray()
        assert back.shape == shape
        assert back.dtype == array.dtype.newbyteorder("<")
        assert (back == array).all()
        pages = np.stack([page.asarray() for page in file.pages])
        assert (pages.reshape(shape) == array).all()


@pytest.mark.parametrize(("shape", "page"), [((), (1, 1)), ((4,), (1, 4))])
def test_fewer_axes_are_one_page(shape: tuple[int, ...], page: tuple[int, ...]) -> None:
    with opened(ramp(shape, "<u2")) as file:
        assert file.pages[0].shape == page
        assert file.pages[0].asarray().ravel().tolist() == ramp(shape, "<u2").ravel().tolist()


def test_more_axes_than_a_hyperstack_has_are_frames() -> None:
    array = ramp((2, 2, 2, 2, 3, 4), "<u2")
    with opened(array) as file:
        assert file.asarray().shape == (4, 2, 2, 3, 4)
        assert (file.asarray().reshape(array.shape) == array).all()


def test_truth_values_are_bytes_and_half_precision_is_single() -> None:
    with opened(np.array([[True, False]])) as file:
        assert file.asarray().tolist() == [[1, 0]]
    with opened(np.array([[0.5, 2]], "f2")) as file:
        assert file.asarray().dtype == "<f4"


@pytest.mark.parametrize("option", [{"dtype": "float32"}, {"imagej": "true"}])
def test_double_precision_becomes_single_on_request(option: dict[str, str]) -> None:
    array = np.array([[0.1, 1e300, -1e-300, np.nan]])
    with opened(array, options=option) as file:
        back = file.asarray()
        assert back.dtype == "<f4"
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(back, array.astype("f4"))


def test_imagej_is_told_of_the_axes() -> None:
    with opened(ramp((2, 3, 4, 5), "<u2")) as file:
        assert file.is_imagej
        assert file.imagej_metadata is not None
        told = {name: file.imagej_metadata[name] for name in ("images", "slices", "frames")}
        assert told == {"images": 6, "slices": 3, "frames": 2}
        assert file.imagej_metadata["hyperstack"]


@pytest.mark.parametrize("colours", [3, 4])
@pytest.mark.parametrize("shape", [(6, 7), (2, 6, 7)])
def test_a_picture_in_colour_is_one(shape: tuple[int, ...], colours: int) -> None:
    array = ramp((*shape, colours), "u1")
    with opened(array) as file:
        assert file.pages[0].photometric == tifffile.PHOTOMETRIC.RGB
        assert (file.asarray() == array).all()
    first = imagecodecs.tiff_decode(written(TIFF, InMemoryArray(array=array)))
    assert (first == array.reshape(-1, *array.shape[-3:])[0]).all()


def test_a_last_axis_with_another_name_is_no_colour() -> None:
    with opened(ramp((6, 7, 3), "u1"), dims=("frame", "y", "x")) as file:
        assert len(file.pages) == 6


@pytest.mark.parametrize("colours", [1, 3, 4])
def test_a_file_beyond_four_gigabytes_is_a_big_one(
    monkeypatch: pytest.MonkeyPatch, colours: int
) -> None:
    monkeypatch.setattr(tiff, "CLASSIC_BYTES", 1000)
    array = ramp((3, 10, 12) if colours == 1 else (3, 10, 12, colours), "u1")
    with opened(array) as file:
        assert file.is_bigtiff
        assert (file.asarray() == array).all()
    with opened(array, options={"imagej": "true"}) as file:
        assert not file.is_bigtiff
        assert len(file.pages) == 1
        assert (file.asarray() == array).all()


def test_many_pages_cost_no_time_before_the_first_byte() -> None:
    whole = np.broadcast_to(np.uint16(7), (10**7, 8, 8))
    source = InMemoryArray(array=whole)
    assert len(next(TIFF.write(source))) > 0
    size = TIFF.size(source)
    assert size is not None
    assert TIFF.part is not None
    assert b"".join(TIFF.part(source, size - 4, size)) == b"\7\0\7\0"


@pytest.mark.parametrize("array", [np.array(["a"]), np.zeros(2, "i4,f8"), np.zeros((0, 3))])
def test_what_has_no_pixels_is_refused(array: Array) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        TIFF.check(InMemoryArray(array=array))
    assert caught.value.kind is ErrorKind.UNKNOWN_FORMAT


def test_an_option_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="imagej='maybe'; write true or false"):
        TIFF.check(InMemoryArray(array=np.zeros((2, 2)), options={"imagej": "maybe"}))
    with pytest.raises(InvalidRequestError, match="write float32"):
        TIFF.check(InMemoryArray(array=np.zeros((2, 2)), options={"dtype": "int7"}))
