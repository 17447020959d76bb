"""Lakes: created once, opened by anybody, refused where writers could harm each other."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from lakeservice.storage.lake import Lake, probe_store
from lakeservice.storage.objects import Objects
from lakeservice.storage.remote import RemoteStore
from schemas.errors import (
    ConflictError,
    CorruptError,
    ErrorKind,
    InvalidRequestError,
    UnavailableError,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_a_created_lake_opens_again_as_the_same(tmp_path: Path) -> None:
    created = Lake.create(str(tmp_path / "a" / "lake"))
    opened = Lake.open((tmp_path / "a" / "lake").as_uri())
    assert opened.id == created.id
    assert opened.file.created == created.file.created
    assert opened.log.head() == 0


def test_lakes_have_different_ids() -> None:
    assert Lake.create("memory://").id != Lake.create("memory://").id


def test_a_lake_is_not_created_over_another(tmp_path: Path) -> None:
    first = Lake.create(str(tmp_path))
    with pytest.raises(ConflictError, match="a lake already") as caught:
        Lake.create(str(tmp_path))
    assert caught.value.kind is ErrorKind.PATH_TAKEN
    assert Lake.open(str(tmp_path)).id == first.id


def test_a_lake_may_share_its_folder_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "scan.h5").write_bytes(b"kept")
    Lake.create(str(tmp_path))
    assert (tmp_path / "scan.h5").read_bytes() == b"kept"


def test_creation_leaves_nothing_but_the_lake_file(tmp_path: Path) -> None:
    lake = Lake.create(str(tmp_path))
    assert [name for name, _ in lake.objects.list("")] == ["lake.json"]


def test_a_folder_without_a_lake_is_not_a_lake(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match=r"lake\.json is missing") as caught:
        Lake.open(str(tmp_path))
    assert caught.value.kind is ErrorKind.NOT_A_LAKE
    assert str(tmp_path) not in str(caught.value)


def test_a_lake_of_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    Lake.create(str(tmp_path))
    document = json.loads((tmp_path / "lake.json").read_bytes())
    # A newer format may have changed everything but the number.
    (tmp_path / "lake.json").write_text(json.dumps({"format": 2, "name": document["id"]}))
    with pytest.raises(InvalidRequestError, match=r"format 2.*up to 1") as caught:
        Lake.open(str(tmp_path))
    assert caught.value.kind is ErrorKind.NEWER_LAKE


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "{}", '{"format": 1}', '{"format": "x"}']
)
def test_a_damaged_lake_file_is_corruption(tmp_path: Path, content: str) -> None:
    Lake.create(str(tmp_path))
    (tmp_path / "lake.json").write_text(content)
    with pytest.raises(CorruptError, match=r"lake\.json is damaged") as caught:
        Lake.open(str(tmp_path))
    assert caught.value.kind is ErrorKind.CORRUPT_OBJECT


class CarelessStore(RemoteStore):
    """A store that ignores ``If-None-Match``, as some do."""

    def put_if_absent(self, name: str, payload: bytes) -> bool:
        self.put(name, [payload], durable=True)
        return True


class RefusingStore(RemoteStore):
    """A store that refuses every exclusive write."""

    def put_if_absent(self, name: str, payload: bytes) -> bool:
        return False


@pytest.mark.parametrize("store", [CarelessStore, RefusingStore])
def test_a_store_without_exclusive_writes_is_refused(store: Any) -> None:
    objects = Objects(store.open("memory://"), "memory://")
    with pytest.raises(UnavailableError, match="If-None-Match") as caught:
        probe_store(objects)
    assert caught.value.kind is ErrorKind.STORE_UNSAFE
    assert list(objects.list("")) == []
