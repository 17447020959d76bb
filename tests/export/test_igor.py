from __future__ import annotations

import io
import json
import warnings
from typing import Any

import igor2.binarywave
import igorwriter
import numpy as np
import pytest

from lakeservice.export import array_itx, igor
from lakeservice.export.array_itx import ITX
from lakeservice.export.ibw import IBW
from schemas.errors import LakeError
from tests.export.memory import Array, InMemoryArray, written

SHAPES = [(7,), (3, 4), (3, 4, 5), (2, 3, 4, 5)]


def ramp(shape: tuple[int, ...], dtype: str = "<f8") -> Array:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    return array * (1 - 2j) if array.dtype.kind == "c" else array


def wave(array: Array, **more: Any) -> dict[str, Any]:
    """Return what igor2 reads."""
    payload = written(IBW, InMemoryArray(array=array, **more))
    loaded: dict[str, Any] = igor2.binarywave.load(io.BytesIO(payload))["wave"]
    return loaded


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "dtype",
    ["i1", "<i2", ">i4", "u1", "<u2", "<u4", "<f4", ">f8", "<c8", "<c16"],
)
def test_a_binary_wave_is_the_array(shape: tuple[int, ...], dtype: str) -> None:
    array = ramp(shape, dtype)
    back = wave(array)["wData"]
    assert back.shape == shape
    assert back.dtype == array.dtype.newbyteorder("<")
    assert (back == array).all()


@pytest.mark.parametrize("dtype", ["f8", "i8", "u8", "c8", "u2"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_binary_wave_is_what_igorwriter_writes(shape: tuple[int, ...], dtype: str) -> None:
    array = ramp(shape, dtype)
    other = io.BytesIO()
    igorwriter.IgorWave(array, name="eiger", int64_support=True).save(other)
    assert written(IBW, InMemoryArray(array=array)) == other.getvalue()


@pytest.mark.parametrize("most", [1, 16, 100, 1 << 20])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("turned", ["true", "false"])
def test_however_little_is_held_the_file_is_the_same(
    monkeypatch: pytest.MonkeyPatch, most: int, shape: tuple[int, ...], turned: str
) -> None:
    source = InMemoryArray(array=ramp(shape), options={"image": turned})
    whole = written(IBW, source), written(ITX, source)
    monkeypatch.setattr(igor, "SLAB_BYTES", most)
    monkeypatch.setattr(array_itx, "SLAB_BYTES", most)
    assert (written(IBW, source), written(ITX, source)) == whole


def test_an_image_stands_upright_on_request() -> None:
    stack = ramp((3, 4, 5))
    back = wave(stack, options={"image": "true"}, dims=("n", "y", "x"))
    assert (back["wData"] == stack.T).all()
    assert [label[0] for label in back["labels"][:3]] == [b"x", b"y", b"n"]


def test_what_igor_does_not_have_is_what_comes_nearest() -> None:
    assert wave(np.array([True, False]))["wData"].dtype == "i1"
    assert wave(np.array([0.5], "f2"))["wData"].dtype == "<f4"
    times = wave(np.array(["1904-01-02", "NaT", "2020-01-01"], "M8[ns]"))
    np.testing.assert_array_equal(times["wData"], [86400, np.nan, 3660681600])
    assert times["wave_header"]["dataUnits"].ravel()[0] == b"d"
    assert wave(np.array(2.5))["wData"].tolist() == [2.5]
    assert wave(np.zeros((0, 3)))["wData"].size == 0


def test_the_note_is_the_metadata() -> None:
    metadata = {"sample": "Fe₂O₃", "n": [1, 2]}
    assert json.loads(wave(ramp((3,)), metadata=metadata)["note"]) == metadata


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("eiger", "eiger"),
        ("sin", "sin_"),
        ("t", "t_"),
        ("a:b;'c'", "a_b__c_"),
        ("n" * 40, "n" * 31),
        ("ä" * 20, "ä" * 15),
        ("", "wave0"),
    ],
)
def test_a_wave_has_a_name_that_igor_can_use(name: str, wanted: str) -> None:
    header = wave(ramp((3,)), name=name)["wave_header"]
    assert header["bname"].rstrip(b"\0").decode() == wanted
    assert f"'{wanted}'\n" in written(ITX, InMemoryArray(array=ramp((3,)), name=name)).decode()


@pytest.mark.parametrize("dtype", ["i1", "u2", "i8", "f4", "f8", "c8", "?", "M8[s]"])
@pytest.mark.parametrize("shape", SHAPES)
def test_igor_text_holds_the_values_that_igorwriter_writes(
    shape: tuple[int, ...], dtype: str
) -> None:
    array = ramp(shape, "i8").astype(dtype) if dtype == "M8[s]" else ramp(shape, dtype)
    other = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        igorwriter.IgorWave(array, name="eiger", int64_support=True).save_itx(other)
    ours = written(ITX, InMemoryArray(array=array)).decode()
    assert values(ours) == values(other.getvalue())
    assert planes(ours) == int(np.prod(shape[2:], dtype=int))


def values(text: str) -> list[list[str]]:
    inner = text.partition("BEGIN\n")[2].partition("END\n")[0]
    return [line.split() for line in inner.splitlines() if line.strip()]


def planes(text: str) -> int:
    inner = text.partition("BEGIN\n")[2].partition("END\n")[0]
    return len([plane for plane in inner.split("\n\n") if plane.strip()])


def test_igor_text_says_what_it_is() -> None:
    source = InMemoryArray(
        array=np.array([[1.5, np.nan, np.inf]]), dims=("y", "x"), metadata={"a": 'q"\t'}
    )
    assert written(ITX, source).decode() == (
        "IGOR\nWAVES/D/N=(1,3)\t'eiger'\nBEGIN\n\t1.5\tNaN\tINF\nEND\n"
        "X SetDimLabel 0, -1, 'y', 'eiger'\nX SetDimLabel 1, -1, 'x', 'eiger'\n"
        'X Note \'eiger\', "{\\"a\\":\\"q\\\\\\"\\\\t\\"}"\n'
    )


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.array(["a"]), "numbers and times"),
        (np.zeros(2, "i4,f8"), "numbers and times"),
        (np.zeros((1,) * 5), "slice="),
        (np.broadcast_to(0.0, (1 << 14, 1 << 14)), "2 GB"),
    ],
)
def test_what_no_wave_holds_is_refused(array: Array, told: str) -> None:
    with pytest.raises(LakeError, match=told):
        IBW.check(InMemoryArray(array=array))
