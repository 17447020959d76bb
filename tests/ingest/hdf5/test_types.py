"""Element types, against what h5py reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
from h5py import h5t

from schemas.structures import TableStructure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.ingest.hdf5.conftest import Described

    Describe = Callable[[Path], Described]

RANDOM = np.random.default_rng(11)
RECORD = np.dtype(
    {
        "names": ["x", "name", "image", "flag"],
        "formats": [">i4", "S3", (">f4", (2, 3)), "?"],
        "offsets": [0, 8, 16, 44],
        "itemsize": 48,
    }
)
PLAIN = [
    *("i1", "u1", "<i2", ">i2", "<u4", ">u4", "<i8", ">u8"),
    *("<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "<c8", ">c8", "<c16", ">c16"),
    *("?", "S5", "V6", RECORD, np.longdouble),
]


@pytest.mark.parametrize("dtype", PLAIN, ids=str)
@pytest.mark.parametrize("chunks", [None, (2, 3)])
def test_plain_elements_are_read_where_they_lie(
    dtype: Any, chunks: tuple[int, ...] | None, tmp_path: Path, describe: Describe
) -> None:
    path = tmp_path / "a.h5"
    dtype = np.dtype(dtype)
    values = np.frombuffer(RANDOM.bytes(24 * dtype.itemsize), dtype).reshape(4, 6)
    if dtype.kind in "?f" or dtype.names:
        values = RANDOM.integers(0, 2, (4, 6)).astype("i8" if dtype.names else dtype)
    if dtype.names:
        values = np.zeros((4, 6), dtype)
        values["x"], values["image"], values["name"] = 258, 1.5, b"ab"
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=values, chunks=chunks)
        expected = file["a"][...]
    described = describe(path)
    assert described.is_addressable("a")
    ours = described.read("a")
    assert ours.dtype == dtype.newbyteorder("=")
    assert ours.tobytes() == expected.astype(ours.dtype).tobytes() or (ours == expected).all()


def test_array_types_add_axes_behind(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    values = np.arange(5 * 2 * 3, dtype="i4").reshape(5, 2, 3)
    with h5py.File(path, "w") as file:
        stored = file.create_dataset("a", (5,), np.dtype((">i4", (2, 3))), chunks=(2,))
        stored[...] = values
        file.create_dataset("b", (), np.dtype((">i4", (2, 3))))[...] = values[0]
    described = describe(path)
    assert described.array("a").shape == (5, 2, 3)
    assert described.array("a").chunks == (2, 2, 3)
    np.testing.assert_array_equal(described.read("a"), values)
    np.testing.assert_array_equal(described.read("b"), values[0])


def test_enumerations_are_numbers_with_names(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    kind = h5py.enum_dtype({"OPEN": 1, "SHUT": 4}, ">i2")
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=np.array([1, 4, 1], ">i2"), dtype=kind)
        file.create_dataset("state", data=4, dtype=kind)
        file.attrs.create("shutter", 1, dtype=kind)
        file.create_dataset("flags", data=[True, False])
    described = describe(path)
    np.testing.assert_array_equal(described.read("a"), [1, 4, 1])
    assert described.items["a"].metadata == {"enum": {"OPEN": 1, "SHUT": 4}}
    assert described.metadata["state"] == "SHUT"
    assert described.metadata["shutter"] == "OPEN"
    assert described.read("flags").dtype == np.dtype(bool)


@pytest.mark.parametrize("padding", ["STR_NULLTERM", "STR_NULLPAD", "STR_SPACEPAD"])
def test_fixed_strings_of_every_padding(padding: str, tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    kind = h5t.C_S1.copy()
    kind.set_size(6)
    kind.set_strpad(getattr(h5t, padding))
    raw = b"ab\0?!?" if padding == "STR_NULLTERM" else b"ab    "
    with h5py.File(path, "w") as file:
        space = h5py.h5s.create_simple((3,))
        stored = h5py.h5d.create(file.id, b"a", kind, space)
        stored.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array([raw, b"cd", b"efghi"], "S6"), kind)
        expected = file["a"][...]
    described = describe(path)
    assert described.is_addressable("a") == (padding == "STR_NULLPAD")
    np.testing.assert_array_equal(described.read("a"), expected)


def test_texts_become_arrays_of_the_longest(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    words = np.array([["ä", "beta"], ["", "delta"]], object)
    with h5py.File(path, "w") as file:
        file.create_dataset("words", data=words, dtype=h5py.string_dtype())
        file.create_dataset("many", data=["x" * 7] * 30_000, dtype=h5py.string_dtype())
        file["title"] = "a title"
        file["empty"] = ""
        file["story"] = "wörd " * 10_000
        file.create_dataset("latin", data=b"\xe9t\xe9", dtype=h5py.string_dtype())
    described = describe(path)
    assert described.read("words").tolist() == words.tolist()
    assert described.read("many").tolist() == ["x" * 7] * 30_000
    assert not described.is_addressable("many")
    assert described.read("title") == "a title"
    assert described.array("empty").dtype == np.dtype("U1")
    assert described.read("story") == "wörd " * 10_000
    assert described.metadata["title"] == "a title"
    assert described.metadata["latin"] == "été"
    assert "story" not in described.metadata


def test_long_texts_become_rows(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    lines = ["short", "long" * 1000, ""]
    with h5py.File(path, "w") as file:
        file.create_dataset("lines", data=lines, dtype=h5py.string_dtype())
    described = describe(path)
    assert isinstance(described.items["lines"].structure, TableStructure)
    assert described.rows("lines") == pa.table({"lines": lines})


def test_sequences_become_lists(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    rows = [np.arange(n, dtype="f4") for n in (3, 0, 5)]
    with h5py.File(path, "w") as file:
        stored = file.create_dataset("events", (3,), h5py.vlen_dtype("f4"))
        grid = file.create_dataset("grid", (2, 2), h5py.vlen_dtype("f4"))
        grid[0, 0] = [1, 2]
        for number, row in enumerate(rows):
            stored[number] = row
    described = describe(path)
    assert described.rows("events")["events"].to_pylist() == [row.tolist() for row in rows]
    assert "lie on 2 axes" in (described.items["grid"].problem or "")


def test_sequences_of_texts_and_references_become_lists(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["there"] = 1
        names = file.create_dataset("names", (2,), h5py.vlen_dtype(h5py.string_dtype()))
        names[0] = np.array(["a", "bcd"], object)
        targets = file.create_dataset("targets", (2,), h5py.vlen_dtype(h5py.ref_dtype))
        targets[1] = np.array([file["there"].ref], h5py.ref_dtype)
    described = describe(path)
    assert described.rows("names")["names"].to_pylist() == [["a", "bcd"], []]
    assert described.rows("targets")["targets"].to_pylist() == [[], ["/there"]]


@pytest.mark.parametrize("kind", ["text", "nullterm", "number", "vlen"])
def test_arrays_without_elements(kind: str, tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    kinds = {
        "text": h5py.string_dtype(),
        "nullterm": h5py.string_dtype(length=6),
        "number": np.dtype(">f4"),
        "vlen": h5py.vlen_dtype("i4"),
    }
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (0, 4) if kind != "vlen" else (0,), kinds[kind])
    described = describe(path)
    if kind == "vlen":
        assert described.rows("a").num_rows == 0
    else:
        assert described.read("a").shape == (0, 4)


def test_records_with_texts_become_rows(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    kind = np.dtype(
        [
            ("name", h5py.string_dtype()),
            ("x", ">f8"),
            ("at", "i4", (2,)),
            ("target", h5py.ref_dtype),
            ("hits", h5py.vlen_dtype("u2")),
            ("z", "c8"),
        ]
    )
    with h5py.File(path, "w") as file:
        file["there"] = 1
        stored = file.create_dataset("rows", (2,), kind)
        first = np.zeros(1, kind)
        first["name"], first["x"], first["at"], first["z"] = "é", 1.5, [3, 4], 1 + 2j
        first["target"][0], first["hits"][0] = file["there"].ref, np.array([5, 6], "u2")
        stored[:1] = first
        file.create_dataset("one", data=first[0], dtype=kind)
    described = describe(path)
    rows = described.rows("rows").to_pylist()
    expected = {
        "name": "é",
        "x": 1.5,
        "at": [3, 4],
        "target": "/there",
        "hits": [5, 6],
        "z": {"real": 1.0, "imag": 2.0},
    }
    assert rows[0] == expected
    assert rows[1]["name"] == ""
    assert rows[1]["target"] is None
    assert described.rows("one").to_pylist() == [expected]
    structure = described.items["rows"].structure
    assert isinstance(structure, TableStructure)
    assert structure.to_arrow() == described.rows("rows").schema


def test_references_are_paths(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["g/there"] = np.arange(9)
        file.create_dataset("refs", data=[file["g/there"].ref, file["g"].ref], dtype=h5py.ref_dtype)
        file.create_dataset("null", (2,), h5py.ref_dtype)
        region = file["g/there"].regionref[2:5]
        file.create_dataset("regions", (1,), h5py.regionref_dtype)[0] = region
        file.attrs["target"] = file["g/there"].ref
    described = describe(path)
    assert described.read("refs").tolist() == ["/g/there", "/g"]
    assert described.read("null").tolist() == ["", ""]
    assert described.read("regions").tolist() == ["/g/there"]
    assert described.metadata["target"] == "/g/there"


def test_datetimes_of_opaque_bytes(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    times = np.array(["2026-01-02", "2026-03-04T05:06:07"], "M8[us]")
    with h5py.File(path, "w") as file:
        file["times"] = times.astype(h5py.opaque_dtype(times.dtype))
    described = describe(path)
    assert described.is_addressable("times")
    np.testing.assert_array_equal(described.read("times"), times)


def _bfloat16() -> h5t.TypeID:
    kind = h5t.IEEE_F16LE.copy()
    kind.set_fields(15, 7, 8, 0, 7)
    kind.set_ebias(127)
    return kind


def _twelve_bits() -> h5t.TypeID:
    kind = h5t.STD_I16LE.copy()
    kind.set_precision(12)
    return kind


def _three_bytes() -> h5t.TypeID:
    kind = h5t.STD_U32BE.copy()
    kind.set_size(3)
    return kind


@pytest.mark.parametrize("make", [_bfloat16, _twelve_bits, _three_bytes])
def test_numbers_that_numpy_has_not_are_converted(
    make: Callable[[], h5t.TypeID], tmp_path: Path, describe: Describe
) -> None:
    path = tmp_path / "a.h5"
    values = np.arange(20).reshape(4, 5)
    with h5py.File(path, "w") as file:
        h5py.h5d.create(file.id, b"a", make(), h5py.h5s.create_simple((4, 5)))
        file["a"].id.write(h5py.h5s.ALL, h5py.h5s.ALL, values)
    described = describe(path)
    assert not described.is_addressable("a")
    np.testing.assert_array_equal(described.read("a"), values)


@pytest.mark.parametrize("name", ["STD_B8LE", "STD_B32BE", "STD_B64LE"])
def test_bit_fields_are_unsigned(name: str, tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    kind = getattr(h5t, name)
    size = kind.get_size()
    values = np.arange(200, 212, dtype=f"{'>' if name.endswith('BE') else '<'}u{size}")
    with h5py.File(path, "w") as file:
        stored = h5py.h5d.create(file.id, b"a", kind, h5py.h5s.create_simple((12,)))
        stored.write(h5py.h5s.ALL, h5py.h5s.ALL, values, kind)
    described = describe(path)
    assert described.is_addressable("a")
    np.testing.assert_array_equal(described.read("a"), values)


def test_a_time_type_is_a_problem_of_its_array_alone(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        h5py.h5d.create(file.id, b"t", h5t.UNIX_D32LE, h5py.h5s.create_simple((3,)))
        file["x"] = [1, 2]
    described = describe(path)
    assert "no meaning" in (described.items["t"].problem or "")
    assert described.array("t").shape == (3,)
    np.testing.assert_array_equal(described.read("x"), [1, 2])


def test_datasets_without_a_dataspace_are_empty(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["a"] = h5py.Empty("f4")
        file["s"] = h5py.Empty(h5py.string_dtype())
        file.attrs["e"] = h5py.Empty("f8")
    described = describe(path)
    assert described.read("a").shape == (0,)
    assert described.read("a").dtype == np.dtype("f4")
    assert described.read("s").shape == (0,)
    assert described.metadata == {"e": None, "a": None, "s": None}
