from __future__ import annotations

from typing import Any

import imagecodecs
import numpy as np
import pytest

from lakeservice.export import png
from lakeservice.export.png import PNG
from schemas.errors import ErrorKind, LakeError
from tests.export.memory import Array, InMemoryArray, written


def picture(array: Array, dims: tuple[str, ...] | None = None, **options: str) -> Array:
    """Return the picture as another decoder sees it."""
    source = InMemoryArray(array=array, options=options, dims=dims)
    decoded: Array = imagecodecs.png_decode(written(PNG, source))
    return decoded


RAMP = np.arange(200 * 300, dtype="<f8").reshape(200, 300)


def expected(array: Array, low: float = 1, high: float = 99) -> Array:
    first, last = np.percentile(array, (low, high))
    scaled: Array = np.clip((array - first) / (last - first), 0, 1) * 255
    return scaled


@pytest.mark.parametrize("dtype", ["u2", ">u2", "i4", "u8", "f4", "f8", "f2"])
def test_values_are_scaled_between_two_percentiles(dtype: str) -> None:
    array = (RAMP % 30_000).astype(dtype)
    seen = picture(array)
    assert seen.dtype == np.uint8
    assert abs(seen - expected(array.astype("f8"))).max() <= 1


def test_the_percentiles_are_those_that_are_asked_for() -> None:
    assert abs(picture(RAMP, percentile="10,60") - expected(RAMP, 10, 60)).max() <= 1
    assert abs(picture(RAMP, percentile="0,100") - expected(RAMP, 0, 100)).max() <= 1


def test_a_logarithm_shows_what_is_faint() -> None:
    array = 10.0 ** (RAMP / 10_000)
    seen = picture(array, log="true", percentile="0,100")
    assert abs(seen - expected(np.log(array), 0, 100)).max() <= 1
    assert picture(np.array([[-1.0, 0, 1, 10]]), log="yes").tolist()[0][:2] == [0, 0]


def test_what_is_not_a_number_is_black() -> None:
    array = RAMP.copy()
    array[0, 0], array[0, 1], array[0, 2] = np.nan, np.inf, -np.inf
    assert picture(array)[0, :3].tolist() == [0, 255, 0]
    assert not picture(np.full((3, 3), np.nan)).any()


def test_a_flat_picture_is_dark_and_a_lonely_spot_is_seen() -> None:
    assert not picture(np.full((4, 4), 7)).any()
    spot = np.zeros((100, 100))
    spot[3, 4] = 1
    assert np.argwhere(picture(spot) == 255).tolist() == [[3, 4]]


def test_truth_values_and_complex_numbers_are_seen() -> None:
    assert picture(np.array([[True, False]]), percentile="0,100").tolist() == [[255, 0]]
    assert picture(np.array([[3 + 4j, 0]]), percentile="0,100").tolist() == [[255, 0]]


def test_a_colour_map_is_a_palette() -> None:
    seen = picture(RAMP, cmap="viridis", percentile="0,100")
    assert seen.shape == (200, 300, 3)
    assert seen[0, 0].tolist() == [0x44, 0x01, 0x54]
    assert seen[-1, -1].tolist() == [0xFD, 0xE7, 0x25]
    assert (
        picture(RAMP, cmap="viridis_r")[::-1, ::-1] == picture(RAMP, cmap="viridis")
    ).mean() > 0.9


@pytest.mark.parametrize(
    ("most", "shape"), [("100", (67, 100)), ("300", (200, 300)), ("7", (5, 7))]
)
def test_a_shrunk_picture_is_the_mean_of_squares(most: str, shape: tuple[int, int]) -> None:
    seen = picture(RAMP, max_size=most, percentile="0,100")
    assert seen.shape == shape
    factor = -(-300 // int(most))
    means = [
        [RAMP[y : y + factor, x : x + factor].mean() for x in range(0, 300, factor)]
        for y in range(0, 200, factor)
    ]
    assert abs(seen - expected(np.array(means), 0, 100)).max() <= 1


def test_a_large_picture_is_shrunk_band_by_band(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = picture(RAMP, max_size="50")
    monkeypatch.setattr(png, "ROWS_BYTES", 1000)
    assert (picture(RAMP, max_size="50") == whole).all()


def test_a_thumbnail_is_small_and_of_the_first_image() -> None:
    stack = np.stack([np.kron(RAMP, np.ones((3, 3))), np.zeros((600, 900))])
    seen = picture(stack, thumbnail="true")
    assert max(seen.shape) <= 256
    assert (seen == picture(stack[0], thumbnail="true")).all()


@pytest.mark.parametrize(("shape", "size"), [((), (1, 1)), ((5,), (1, 5)), ((1, 1, 4, 5), (4, 5))])
def test_other_numbers_of_axes(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    assert picture(np.zeros(shape)).shape == size


@pytest.mark.parametrize("colours", [3, 4])
def test_a_picture_in_colour_stays_as_it_is(colours: int) -> None:
    array = np.random.default_rng(1).integers(0, 256, (40, 60, colours), "u1")
    assert (picture(array) == array).all()
    assert picture(array, max_size="30").shape == (20, 30, colours)


@pytest.mark.parametrize(
    ("array", "options", "kind", "told"),
    [
        (np.zeros((3, 4, 5)), {}, "unknown-format", r"slice=0$|slice=0; "),
        (np.zeros((3, 0)), {}, "unknown-format", "at least one pixel"),
        (np.array(["a"]), {}, "unknown-format", "numbers"),
        (np.zeros((2, 2)), {"percentile": "5"}, "bad-request", "2 numbers with commas"),
        (np.zeros((2, 2)), {"percentile": "60,40"}, "bad-request", "the lower first"),
        (np.zeros((2, 2)), {"percentile": "nan,40"}, "bad-request", "2 numbers"),
        (np.zeros((2, 2)), {"cmap": "beige"}, "bad-request", "viridis"),
        (np.zeros((2, 2)), {"max_size": "0"}, "bad-request", "whole number from 1"),
        (np.broadcast_to(np.uint8(1), (1 << 14, 1 << 14)), {}, "too-large", "max_size"),
    ],
)
def test_what_is_no_picture_is_refused(
    array: Array, options: dict[str, Any], kind: str, told: str
) -> None:
    with pytest.raises(LakeError, match=told) as caught:
        PNG.check(InMemoryArray(array=array, options=options))
    assert caught.value.kind is ErrorKind(kind)
