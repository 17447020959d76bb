"""Containers as JSON and ZIP."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakeservice.export import walking
from lakeservice.export.container_json import DATA, TREE
from lakeservice.export.container_zip import ZIP
from lakeservice.export.walking import walk
from schemas.errors import ErrorKind, InvalidRequestError
from tests.export.memory import (
    InMemory,
    InMemoryArray,
    InMemoryContainer,
    InMemoryTable,
    written,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemas.structures import StructureFamily

ARRAY = InMemoryArray(name="image", array=np.arange(6).reshape(2, 3), metadata={"unit": "mm"})
ROWS = InMemoryTable(name="rows", table=pa.table({"x": [1, 2], "s": ["a", None]}))
INNER = InMemoryContainer(name="inner", below=[ARRAY], metadata={"deep": True})
TOP = InMemoryContainer(name="top", metadata={"uid": "u"}, below=[ROWS, INNER, ARRAY])


def unpacked(source: InMemoryContainer) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(written(ZIP, source)))


def test_the_tree_is_nested_objects_of_contents_and_metadata() -> None:
    leaf = {"metadata": {"unit": "mm"}, "contents": {}}
    assert json.loads(written(TREE, TOP)) == {
        "metadata": {"uid": "u"},
        "contents": {
            "rows": {"metadata": {}, "contents": {}},
            "inner": {"metadata": {"deep": True}, "contents": {"image": leaf}},
            "image": leaf,
        },
    }


def test_an_empty_container_is_an_empty_tree() -> None:
    assert json.loads(written(TREE, InMemoryContainer())) == {"metadata": {}, "contents": {}}


def test_data_are_one_flat_object_in_the_order_of_the_tree() -> None:
    document = json.loads(written(DATA, TOP))
    assert list(document) == ["x", "s", "image"]
    assert document == {"x": [1, 2], "s": ["a", None], "image": [[0, 1, 2], [3, 4, 5]]}


def test_a_zip_holds_a_file_for_each_node_and_their_metadata() -> None:
    archive = unpacked(TOP)
    assert archive.testzip() is None
    assert archive.namelist() == [
        "metadata.json",
        "rows.parquet",
        "inner/",
        "inner/image.npy",
        "image.npy",
    ]
    assert np.array_equal(np.load(io.BytesIO(archive.read("inner/image.npy"))), ARRAY.array)
    assert pq.read_table(io.BytesIO(archive.read("rows.parquet"))).equals(ROWS.table)
    assert json.loads(archive.read("metadata.json"))["metadata"] == {"uid": "u"}


def test_a_zip_holds_the_forms_that_are_asked_for() -> None:
    asked = InMemoryContainer(below=[ROWS, ARRAY], options={"table": "csv", "array": ".json"})
    archive = unpacked(asked)
    assert archive.read("rows.csv") == b"x,s\n1,a\n2,\n"
    assert json.loads(archive.read("image.json")) == ARRAY.array.tolist()


def test_a_form_that_is_not_known_is_refused_with_those_that_are() -> None:
    asked = InMemoryContainer(below=[ROWS], options={"table": "docx"})
    with pytest.raises(InvalidRequestError, match=r"'docx'; there are .*parquet") as caught:
        written(ZIP, asked)
    assert caught.value.kind is ErrorKind.UNKNOWN_FORMAT


def test_the_same_data_give_the_same_zip() -> None:
    assert written(ZIP, TOP) == written(ZIP, TOP)


def test_too_many_nodes_for_one_file_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "MAX_NODES", 2)
    with pytest.raises(InvalidRequestError, match="more than 2 nodes") as caught:
        list(walk(TOP))
    assert caught.value.kind is ErrorKind.TOO_LARGE


@dataclass(frozen=True, kw_only=True)
class InMemoryFile(InMemory):
    """A file of some bytes."""

    family: StructureFamily = "bytes"

    def file(self) -> tuple[str, Iterator[bytes]] | None:
        return ("notes.txt", iter((b"one ", b"two"))) if self.name else None


def test_a_zip_holds_files_as_they_are() -> None:
    files = [InMemoryFile(name="notes"), InMemoryFile(name="notes2.txt"), InMemoryFile(name="")]
    archive = unpacked(InMemoryContainer(below=files))
    assert archive.namelist() == ["metadata.json", "notes.txt", "notes2.txt"]
    assert archive.read("notes.txt") == b"one two"
