"""Links: followed within and across files, and reported where they lead nowhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from schemas.structures import ContainerStructure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.ingest.hdf5.conftest import Described

    Describe = Callable[[Path], Described]


def test_soft_links_are_followed_step_by_step(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["entry/detector/data"] = np.arange(6)
        file["entry/detector/gain"] = 2.0
        file["absolute"] = h5py.SoftLink("/entry/detector/data")
        file["entry/near"] = h5py.SoftLink("detector")
        file["twice"] = h5py.SoftLink("/entry/near/data")
    described = describe(path)
    for name in ("absolute", "entry/near/data", "twice"):
        np.testing.assert_array_equal(described.read(name), np.arange(6))
    assert described.metadata == {"entry": {"detector": {"gain": 2.0}}}


def test_external_links_read_from_the_other_file(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "master.h5"
    (tmp_path / "sub").mkdir()
    with h5py.File(tmp_path / "sub" / "data.h5", "w") as file:
        file["entry/data"] = np.arange(12).reshape(3, 4)
        file["entry/again"] = h5py.SoftLink("/entry/data")
        file["entry/time"] = 5
        file["entry/back"] = h5py.ExternalLink("../master.h5", "/own")
    with h5py.File(path, "w") as file:
        file["own"] = [1, 2]
        file["data"] = h5py.ExternalLink("sub/data.h5", "/entry/data")
        file["soft"] = h5py.SoftLink("/group/again")
        file["group"] = h5py.ExternalLink("sub/data.h5", "entry")
        file["moved"] = h5py.ExternalLink(str(tmp_path / "nowhere" / "own.h5"), "/x")
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file["x"] = 3
    described = describe(path)
    for name in ("data", "soft", "group/data", "group/again"):
        np.testing.assert_array_equal(described.read(name), np.arange(12).reshape(3, 4))
    np.testing.assert_array_equal(described.read("group/back"), [1, 2])
    assert described.read("moved") == 3
    assert described.metadata == {"moved": 3, "group": {"time": 5}}
    names = [asset.data_uri.rpartition("/")[2] for asset in described.found.assets]
    assert names == ["master.h5", "data.h5", "own.h5"]
    assert described.found.problems == []


def test_dangling_links_are_nodes_with_a_problem(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    (tmp_path / "text.h5").write_text("no HDF5")
    os.mkfifo(tmp_path / "pipe.h5")
    with h5py.File(path, "w") as file:
        file["soft"] = h5py.SoftLink("/entry/nothing")
        file["file"] = h5py.ExternalLink("/somewhere/secret/gone.h5", "/x")
        file["inside"] = h5py.ExternalLink("a.h5", "/x")
        file["text"] = h5py.ExternalLink("text.h5", "/x")
        file["pipe"] = h5py.ExternalLink("pipe.h5", "/x")
        file["one"] = h5py.SoftLink("/two")
        file["two"] = h5py.SoftLink("/one")
        file["through"] = h5py.SoftLink("/good/deeper")
        file["good"] = np.arange(4)
    described = describe(path)
    problems = {name: item.problem or "" for name, item in described.items.items()}
    assert "nothing at '/entry/nothing'" in problems["soft"]
    assert "file 'gone.h5' is not there" in problems["file"]
    assert "secret" not in problems["file"]
    assert "nothing at '/x'" in problems["inside"]
    assert "file signature not found" in problems["text"]
    assert "file 'pipe.h5' is not there" in problems["pipe"]
    assert "circle" in problems["one"]
    assert "nothing at '/good/deeper'" in problems["through"]
    assert isinstance(described.items["soft"].structure, ContainerStructure)
    np.testing.assert_array_equal(described.read("good"), np.arange(4))


def test_groups_that_lead_back_to_themselves_end(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("a/b")
        group["x"] = 1
        group["up"] = h5py.SoftLink("/a")
        group["hard"] = file["a"]
        group["root"] = file["/"]
        file["self"] = h5py.ExternalLink("a.h5", "/")
    described = describe(path)
    assert described.items["a/b/up"].metadata == {"@same_as": "a"}
    assert described.items["a/b/hard"].metadata == {"@same_as": "a"}
    assert described.items["a/b/root"].metadata == {"@same_as": ""}
    assert set(described.items) == {
        *("a", "a/b", "a/b/x", "a/b/up", "a/b/hard", "a/b/root", "self")
    }


def test_a_lattice_of_links_is_not_unrolled_for_ever(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        below = file.create_group("level0")
        below["x"] = 1
        for level in range(1, 40):
            group = file.create_group(f"level{level}")
            group["left"] = below
            group["right"] = below
            below = group
    described = describe(path)
    assert len(described.items) < 12_000
    assert described.metadata["level0"] == {"x": 1}


def test_deep_nesting_is_walked_without_recursion(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        group = file
        for _ in range(3000):
            group = group.create_group("g")
    described = describe(path)
    assert len(described.items) == 2048
    assert described.found.problems == [f"{'g/' * 32}…: its path is too long to be listed"]


@pytest.mark.parametrize(
    ("name", "segment"),
    [
        (b"..", "%2E%2E"),
        (b"two\nlines", "two%0Alines"),
        ("größe".encode(), "größe"),
        (b"\xe9t\xe9", "été"),
        (b"a b@c", "a b@c"),
    ],
)
def test_odd_names_become_segments_of_paths(
    name: bytes, segment: str, tmp_path: Path, describe: Describe
) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        space = h5py.h5s.create_simple((3,))
        h5py.h5d.create(file.id, name, h5py.h5t.STD_I32LE, space)
    assert list(describe(path).items) == [segment]


def test_long_names_are_cut_and_stay_different(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x" * 3000 + "1"] = 1
        file["x" * 3000 + "2"] = 2
    names = list(describe(path).items)
    assert len(set(names)) == 2
    assert all(len(name) < 1024 for name in names)


def test_children_come_in_the_order_of_creation_where_it_is_kept(
    tmp_path: Path, describe: Describe
) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", track_order=True) as file:
        for name in ("z", "a", "m"):
            file[name] = 1
    assert list(describe(path).items) == ["z", "a", "m"]
    other = tmp_path / "b.h5"
    with h5py.File(other, "w") as file:
        for name in ("z", "a", "m"):
            file[name] = 1
    assert list(describe(other).items) == ["a", "m", "z"]


def test_named_types_are_no_nodes(tmp_path: Path, describe: Describe) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = 1
        file["named_type"] = np.dtype("f4")
    assert list(describe(path).items) == ["x"]
