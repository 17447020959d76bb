"""Which files make which entries."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr

from ingest.recognise import checked, installed_formats, recognise
from ingest.source import Source, uri_of
from ingest.testing import ScratchLake
from ingest.walk import Walker
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from pathlib import Path


def touch(path: Path, *, number: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.save(file, np.arange(3) + number)
    return path


def paths_in(*sources: Path, into: str = "", skip: Path | None = None) -> list[str]:
    walk = Walker(installed_formats(), skip).run(sources, into)
    assert walk.failed == []
    return [candidate.node_path for candidate in walk.candidates]


def test_a_stem_is_the_name_and_folders_are_containers(tmp_path: Path) -> None:
    touch(tmp_path / "scan1.npy")
    touch(tmp_path / "night" / "scan2.npy")
    assert paths_in(tmp_path, into="raw") == ["raw/scan1", "raw/night/scan2"]


def test_full_names_are_used_where_two_stems_collide(tmp_path: Path) -> None:
    for name in ("scan1.npy", "scan1.csv", "scan2.npy"):
        touch(tmp_path / name)
    assert paths_in(tmp_path) == ["scan1.csv", "scan1.npy", "scan2"]


def test_a_folder_keeps_its_name_where_a_file_has_the_same_stem(tmp_path: Path) -> None:
    touch(tmp_path / "scan1.npy")
    touch(tmp_path / "scan1" / "a.npy")
    assert paths_in(tmp_path) == ["scan1.npy", "scan1/a"]


def test_numbers_in_names_are_sorted_as_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 100):
        touch(tmp_path / f"scan{number}.npy")
    assert paths_in(tmp_path) == ["scan9", "scan10", "scan100"]


def test_of_several_sources_each_folder_is_a_container(tmp_path: Path) -> None:
    touch(tmp_path / "one" / "a.npy")
    touch(tmp_path / "two" / "a.npy")
    single = touch(tmp_path / "b.npy")
    found = paths_in(tmp_path / "one", tmp_path / "two", single)
    assert sorted(found) == ["b", "one/a", "two/a"]


def test_hidden_files_and_the_lake_itself_are_skipped(tmp_path: Path) -> None:
    touch(tmp_path / "a.npy")
    touch(tmp_path / ".b.npy")
    touch(tmp_path / ".lake" / "c.npy")
    touch(tmp_path / "my-lake" / "d.npy")
    assert paths_in(tmp_path, skip=tmp_path / "my-lake") == ["a"]


def test_a_zarr_folder_is_one_entry(tmp_path: Path) -> None:
    zarr.create_array(str(tmp_path / "x.zarr"), shape=(3,), dtype="i4")
    zarr.open_group(str(tmp_path / "plain" / "y"), mode="w")
    assert paths_in(tmp_path) == ["x", "plain/y"]


def test_links_that_lead_back_up_end(tmp_path: Path) -> None:
    touch(tmp_path / "sub" / "a.npy")
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    assert paths_in(tmp_path) == ["sub/a"]


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux only")
def test_names_that_cannot_be_paths_are_reported(tmp_path: Path) -> None:
    touch(tmp_path / "good.npy")
    touch(tmp_path / "bad\nname.npy")
    touch(tmp_path / os.fsdecode(b"\xff\xfe.npy"))
    (tmp_path / "dangling.npy").symlink_to(tmp_path / "nowhere")
    lake = ScratchLake(tmp_path / ".lake")
    summary = lake.ingest(tmp_path)
    assert lake.paths() == ["good"]
    reasons = {failure.name: failure.reason for failure in summary.failed}
    assert "control characters" in reasons["bad\nname.npy"]
    assert "not valid Unicode" in reasons["\\udcff\\udcfe.npy"]
    assert "no such file" in reasons["dangling.npy"]


def test_sources_that_are_not_there_are_reported(tmp_path: Path) -> None:
    walk = Walker(installed_formats()).run([tmp_path / "nothing", touch(tmp_path / "a.npy")])
    assert [failure.name for failure in walk.failed] == ["nothing"]
    assert [candidate.node_path for candidate in walk.candidates] == ["a"]


def test_a_mislabelled_file_is_what_its_bytes_say(tmp_path: Path) -> None:
    path = touch(tmp_path / "image.tif")
    assert recognise(Source.of(path)).media_type == "application/x-npy"


def test_an_empty_file_is_called_empty(tmp_path: Path) -> None:
    (tmp_path / "a.h5").touch()
    with pytest.raises(InvalidRequestError, match=r"'a.h5' is empty"):
        recognise(Source.of(tmp_path / "a.h5"))


def test_an_unknown_format_names_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_bytes(bytes(range(256)))
    with pytest.raises(InvalidRequestError, match="application/x-hdf5") as caught:
        recognise(Source.of(tmp_path / "a.xyz"))
    assert caught.value.kind is ErrorKind.UNKNOWN_FORMAT


def test_two_formats_of_one_media_type_are_refused() -> None:
    npy = next(one for one in installed_formats() if one.media_type == "application/x-npy")
    other = type(npy)()
    with pytest.raises(InvalidRequestError, match="both claim 'application/x-npy'"):
        checked([npy, other])


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux only")
def test_uris_of_any_name_lead_back_to_it(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"100%\xff #1 \xc3\xa4?.npy")
    assert uri_of(path).endswith("/100%25%FF%20%231%20%C3%A4%3F.npy")
