"""Files registered over HTTP: what is believed, what is looked into again, what is given away."""

from __future__ import annotations

import json
import os
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import h5py
import numpy as np
import pytest
import tifffile
from starlette.testclient import TestClient

from ingest.indexer import IndexingProcesses
from lakeservice.access.keys import Authenticator
from lakeservice.fronts.http import create_app
from lakeservice.service import Draft, Service
from schemas.commit import Create
from schemas.entry import Asset, DataSource, Node
from schemas.errors import AccessError
from schemas.structures import ArrayStructure, BytesStructure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "secret"
HDF5 = "application/x-hdf5"
TIFFS = "multipart/related;type=image/tiff"


@pytest.fixture(scope="module")
def indexer() -> Iterator[IndexingProcesses]:
    with closing(IndexingProcesses(count=1)) as processes:
        yield processes


class Site:
    """A server in this process, and the folder whose files may be registered."""

    def __init__(self, http: TestClient, files: Path, service: Service) -> None:
        self.http = http
        self.files = files
        self.service = service

    def ask(self, method: str, route: str, content: Any = None, **headers: str) -> Any:
        body = None if content is None else json.dumps(content)
        told = {"Authorization": f"Apikey {KEY}", **headers}
        return self.http.request(method, f"/api/v1/{route}", content=body, headers=told)

    def register(self, key: str, *paths: Path, **source: Any) -> Any:
        family = source.pop("family", "array")
        given = {"assets": [asset(path) for path in paths], "management": "external", **source}
        document = {"structure_family": family, "data_sources": [given], "id": key}
        return self.ask("POST", "register/", document)

    def read(self, key: str) -> np.ndarray[Any, Any]:
        described = self.ask("GET", f"metadata/{key}").json()["data"]["attributes"]["structure"]
        kind, size = described["data_type"]["kind"], described["data_type"]["itemsize"]
        answer = self.ask("GET", f"array/full/{key}", Accept="application/octet-stream")
        assert answer.status_code == 200, answer.text
        return np.frombuffer(answer.content, f"{kind}{size}").reshape(described["shape"])


@pytest.fixture
def site(tmp_path: Path, indexer: IndexingProcesses) -> Iterator[Site]:
    files = tmp_path / "files"
    files.mkdir()
    with Service.open(
        str(tmp_path / "lake"),
        create=True,
        roots=[f"file://localhost{files}"],
        indexer=indexer,
    ) as service:
        app = create_app(service, Authenticator(KEY), about={"version": "test"})
        with TestClient(app, raise_server_exceptions=True) as http:
            yield Site(http, files, service)


def asset(path: Path) -> dict[str, Any]:
    return {"data_uri": f"file://localhost{path}", "is_directory": False, "parameter": "data_uris"}


def array(shape: tuple[int, ...], dtype: str = "<u2") -> dict[str, Any]:
    kind = np.dtype(dtype)
    return {
        "data_type": {
            "endianness": "little" if kind.itemsize > 1 else "not_applicable",
            "kind": kind.kind,
            "itemsize": kind.itemsize,
            "dt_units": None,
        },
        "shape": list(shape),
        "chunks": [[length] for length in shape],
        "dims": None,
        "resizable": False,
    }


def frames(path: Path, count: int, first: int = 0, **options: Any) -> np.ndarray[Any, Any]:
    values = np.arange(first * 12, (first + count) * 12, dtype="<u2").reshape(count, 3, 4)
    with h5py.File(path, "a") as file:
        if "data" not in file:
            file.create_dataset(
                "data", (0, 3, 4), "<u2", maxshape=(None, 3, 4), chunks=(1, 3, 4), **options
            )
        file["data"].resize(first + count, axis=0)
        file["data"][first:] = values
    return values


def test_a_file_that_grows_is_read_as_far_as_it_was_announced(site: Site) -> None:
    path = site.files / "run.h5"
    source = {"mimetype": HDF5, "parameters": {"dataset": "/data"}}
    assert site.register("run", path, structure=array((0, 3, 4)), **source).status_code == 200
    first = frames(path, 4, compression="gzip")
    changed = {"data_source": {**source, "structure": array((3, 3, 4)), "assets": [asset(path)]}}
    assert site.ask("PUT", "data_source/run", changed).status_code == 200
    np.testing.assert_array_equal(site.read("run"), first[:3])
    second = frames(path, 2, first=4)
    changed["data_source"]["structure"] = array((6, 3, 4))
    assert site.ask("PUT", "data_source/run", changed).status_code == 200
    np.testing.assert_array_equal(site.read("run"), np.concatenate([first, second]))


def test_a_file_that_comes_after_its_registration_is_found(site: Site) -> None:
    path = site.files / "late.h5"
    declared = {"mimetype": HDF5, "parameters": {"dataset": "data"}, "structure": array((4, 3, 4))}
    assert site.register("late", path, **declared).status_code == 200
    refused = site.ask("GET", "array/full/late", Accept="application/octet-stream")
    assert refused.status_code == 410
    values = frames(path, 4)
    site.service.registrar._looked.clear()  # as if a second had passed
    np.testing.assert_array_equal(site.read("late"), values)


def test_a_structure_is_believed_only_as_far_as_the_file_agrees(site: Site) -> None:
    path = site.files / "short.h5"
    values = frames(path, 4)
    source = {"mimetype": HDF5, "parameters": {"dataset": "data"}}
    assert site.register("more", path, structure=array((9, 3, 4)), **source).status_code == 200
    np.testing.assert_array_equal(site.read("more"), values)
    wrong = array((4, 3, 4), "<f8")
    assert site.register("other", path, structure=wrong, **source).status_code == 200
    np.testing.assert_array_equal(site.read("other"), values)
    pairs = array((2, 2, 3, 4))
    assert site.register("pairs", path, structure=pairs, **source).status_code == 200
    np.testing.assert_array_equal(site.read("pairs"), values.reshape(2, 2, 3, 4))


@pytest.mark.parametrize("lengths", [(4, 4, 3), (3, 5), (2, 2)])
@pytest.mark.parametrize("chunks", [None, (2, 3, 4)])
def test_several_files_follow_one_another(
    site: Site, lengths: tuple[int, ...], chunks: tuple[int, ...] | None
) -> None:
    whole = np.arange(sum(lengths) * 12, dtype="<u2").reshape(-1, 3, 4)
    parts = np.split(whole, np.cumsum(lengths)[:-1])
    paths = [site.files / f"part{number}.h5" for number in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        with h5py.File(path, "w") as file:
            file.create_dataset("data", data=part, chunks=chunks)
    answer = site.register(
        "all",
        *paths,
        mimetype=HDF5,
        parameters={"dataset": "data"},
        structure=array(whole.shape),
    )
    assert answer.status_code == 200, answer.text
    np.testing.assert_array_equal(site.read("all"), whole)


@pytest.mark.parametrize("shape", [(4, 2, 3, 4), (8, 3, 4), (2, 4, 3, 4), (4, 24)])
def test_a_series_of_images_has_the_declared_shape(site: Site, shape: tuple[int, ...]) -> None:
    whole = np.arange(96, dtype="<u2").reshape(4, 2, 3, 4)
    paths = [site.files / f"img_{number}.tif" for number in range(4)]
    for path, images in zip(paths, whole, strict=True):
        tifffile.imwrite(path, images, photometric="minisblack")
    answer = site.register("series", *paths, mimetype=TIFFS, structure=array(shape))
    assert answer.status_code == 200, answer.text
    np.testing.assert_array_equal(site.read("series"), whole.reshape(shape))


def test_files_outside_of_the_declared_folders_are_refused(site: Site, tmp_path: Path) -> None:
    outside = tmp_path / "secret.h5"
    frames(outside, 1)
    link = site.files / "link.h5"
    link.symlink_to(outside)
    for path in (outside, link, site.files / ".." / "secret.h5"):
        answer = site.register("x", path, mimetype=HDF5, structure=array((1, 3, 4)))
        assert answer.status_code == 403
        assert str(tmp_path) not in answer.text


def test_links_that_lead_out_of_the_declared_folders_are_not_followed(
    site: Site, tmp_path: Path
) -> None:
    outside = tmp_path / "secret.h5"
    frames(outside, 1)
    (tmp_path / "raw.bin").write_bytes(b"1234")
    path = site.files / "links.h5"
    with h5py.File(path, "w") as file:
        file["linked"] = h5py.ExternalLink("../secret.h5", "/data")
        layout = h5py.VirtualLayout((1, 3, 4), "<u2")
        layout[:] = h5py.VirtualSource("../secret.h5", "data", (1, 3, 4))
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("raw", (4,), "u1", external=[("../raw.bin", 0, 4)])
        file["own"] = np.arange(3)
    answer = site.register("links", path, mimetype=HDF5, family="container")
    assert answer.status_code == 200
    for name in ("linked", "virtual", "raw"):
        refused = site.ask("GET", f"array/full/links/{name}", Accept="application/octet-stream")
        assert refused.status_code == 410, name
        assert str(tmp_path) not in refused.text
    own = site.ask("GET", "array/full/links/own", Accept="application/json")
    assert own.json() == [0, 1, 2]


def test_chunks_that_are_links_out_of_the_declared_folders_are_not_read(
    site: Site, tmp_path: Path
) -> None:
    (tmp_path / "secret.bin").write_bytes(b"1234")
    folder = site.files / "linked.zarr"
    folder.mkdir()
    document = {
        "zarr_format": 2,
        "shape": [4],
        "chunks": [4],
        "dtype": "|u1",
        "compressor": None,
        "filters": None,
        "fill_value": 0,
        "order": "C",
    }
    (folder / ".zarray").write_text(json.dumps(document))
    (folder / "0").symlink_to(tmp_path / "secret.bin")
    site.register("linked", folder, mimetype="application/x-zarr", structure=array((4,), "|u1"))
    answer = site.ask("GET", "array/full/linked", Accept="application/octet-stream")
    assert answer.status_code == 410
    assert b"1234" not in answer.content


def test_a_registered_file_that_becomes_a_link_out_of_the_declared_folders_is_gone(
    site: Site, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.bin").write_bytes(b"secret")
    (site.files / "a.bin").write_bytes(b"public")
    inside = site.files / "folder"
    inside.mkdir()
    (inside / "a.bin").write_bytes(b"public")
    source = {"mimetype": "application/octet-stream", "family": "bytes"}
    assert site.register("file", site.files / "a.bin", **source).status_code == 200
    whole = {"data_uri": f"file://localhost{inside}", "is_directory": True, "parameter": "x"}
    given = {"assets": [whole], "management": "external", "mimetype": "application/octet-stream"}
    document = {"structure_family": "bytes", "data_sources": [given], "id": "folder"}
    assert site.ask("POST", "register/", document).status_code == 200
    routes = ("asset/bytes/file?id=1", "asset/bytes/folder?id=1&relative_path=a.bin")
    assert [site.ask("GET", route).content for route in routes] == [b"public", b"public"]
    (site.files / "a.bin").unlink()
    (site.files / "a.bin").symlink_to(outside / "a.bin")
    inside.rename(site.files / "other")
    inside.symlink_to(outside)
    site.service.assets._files.close()
    for route in (*routes, "asset/manifest/folder?id=1"):
        answer = site.ask("GET", route)
        assert answer.status_code == 410, route
        assert str(tmp_path) not in answer.text


def test_a_link_out_of_the_declared_folders_is_refused_from_clients_of_flight_too(
    site: Site, tmp_path: Path
) -> None:
    (tmp_path / "secret.bin").write_bytes(b"secret")
    (site.files / "link.bin").symlink_to(tmp_path / "secret.bin")
    linked = Asset(data_uri=f"file://localhost{site.files}/link.bin")
    source = DataSource(mimetype="application/octet-stream", assets=(linked,))
    node = Node(
        path="linked", id="n1", structure=BytesStructure(size_bytes=6), data_sources=(source,)
    )
    with pytest.raises(AccessError):
        site.service.commit([Create(node=node)])


def test_an_unknown_media_type_is_refused_by_its_own_status(site: Site) -> None:
    path = site.files / "x.xyz"
    path.write_bytes(b"?")
    answer = site.register("x", path, mimetype="application/x-unheard-of")
    assert answer.status_code == 415
    assert "application/x-hdf5" in answer.json()["detail"]


def test_names_and_media_types_of_files_add_no_header(site: Site) -> None:
    path = site.files / 'a"b\r\nX-Bad: 1\\é.bin'
    path.write_bytes(b"0123")
    given = {**asset(path), "data_uri": f"file://localhost{quote(str(path))}"}
    source = {"assets": [given], "management": "external", "mimetype": "a/b\r\nX-Bad: 1 €"}
    document = {"structure_family": "bytes", "data_sources": [source], "id": "notes"}
    assert site.ask("POST", "register/", document).status_code == 200
    answer = site.ask("GET", "asset/bytes/notes?id=1")
    assert answer.content == b"0123"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert all(text.isprintable() for text in answer.headers.values())
    assert 'filename="a_b__X-Bad: 1__.bin"' in answer.headers["content-disposition"]


def test_bytes_are_given_as_they_are_whole_and_in_ranges(site: Site) -> None:
    path = site.files / "notes of a day.bin"
    path.write_bytes(b"0123456789")
    assert site.register("notes", path, family="bytes").status_code == 200
    whole = site.ask("GET", "asset/bytes/notes?id=1")
    assert whole.content == b"0123456789"
    assert 'filename="notes of a day.bin"' in whole.headers["content-disposition"]
    part = site.ask("GET", "asset/bytes/notes?id=1", Range="bytes=2-4")
    assert (part.status_code, part.content) == (206, b"234")
    assert site.ask("GET", "asset/bytes/notes?id=2").status_code == 404
    assert site.ask("GET", "asset/bytes/notes").status_code == 400


def test_no_path_of_the_server_is_told(site: Site, tmp_path: Path) -> None:
    path = site.files / "run.h5"
    frames(path, 2)
    answer = site.register("run", path, mimetype=HDF5, family="container")
    described = site.ask("GET", "metadata/run?include_data_sources=true")
    for told in (answer.text, described.text):
        assert str(tmp_path) not in told
        assert "asset:0/run.h5" in told


def test_an_answer_of_ours_can_be_sent_back(site: Site) -> None:
    path = site.files / "run.h5"
    values = frames(path, 2)
    parameters = {"dataset": "data"}
    site.register("run", path, mimetype=HDF5, parameters=parameters, structure=array(values.shape))
    described = site.ask("GET", "metadata/run?include_data_sources=true").json()
    (source,) = described["data"]["attributes"]["data_sources"]
    more = frames(path, 2, first=2)
    source["structure"] = array((4, 3, 4))
    assert site.ask("PUT", "data_source/run", {"data_source": source}).status_code == 200
    np.testing.assert_array_equal(site.read("run"), np.concatenate([values, more]))


def test_the_folder_of_an_array_here_has_a_manifest_of_names(site: Site, tmp_path: Path) -> None:
    document = {"structure_family": "array", "data_sources": [{"structure": array((2, 3))}]}
    created = site.ask("POST", "metadata/", {**document, "id": "x"})
    assert created.status_code == 200, created.text
    manifest = site.ask("GET", "asset/manifest/x?id=1").json()["manifest"]
    assert "zarr.json" in manifest
    found = site.ask("GET", "asset/bytes/x?id=1&relative_path=zarr.json")
    assert found.json()["zarr_format"] == 3
    for bad in ("../lake.json", "/etc/passwd", "a/../../b"):
        refused = site.ask("GET", f"asset/bytes/x?id=1&relative_path={bad}")
        assert refused.status_code == 400


def test_a_file_that_cannot_be_read_for_long_fills_no_log(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lakeservice.service.registering.LOOK_S", 0)
    path = site.files / "broken.h5"
    values = frames(path, 2)
    site.register("broken", path, mimetype=HDF5, parameters={"dataset": "data"})
    np.testing.assert_array_equal(site.read("broken"), values)
    path.write_bytes(b"not HDF5 at all")
    site.ask("GET", "metadata/broken")
    version = site.service.nodes.version
    for _ in range(3):
        assert site.ask("GET", "metadata/broken").status_code == 200
    assert site.service.nodes.version == version


def test_rows_of_an_array_whose_asset_was_deleted_are_an_error_and_move_no_others(
    site: Site,
) -> None:
    rows = np.arange(6, dtype="<i4").reshape(2, 3)
    structure = ArrayStructure.from_numpy(rows.shape, rows.dtype, (2, 3))
    service = site.service
    service.write_array(Draft("one", structure, {}), [rows])
    service.write_array(Draft("two", structure, {}), [rows])
    service.publish(service.changes.append_rows(service.describe("two"), [rows + 10]))
    for key in ("one", "two"):
        gone = site.ask("DELETE", f"asset/{key}?id=1&external_only=false")
        assert gone.json() == {"asset_deleted": True, "data_deleted": True}
        assert site.ask("GET", f"array/full/{key}", Accept="application/json").status_code >= 400
    kept = site.ask("GET", "array/full/two?slice=2:4", Accept="application/json")
    assert kept.json() == (rows + 10).tolist()


def test_deleting_an_asset_spares_registered_files(site: Site) -> None:
    path = site.files / "kept.bin"
    path.write_bytes(b"kept")
    site.register("kept", path, family="bytes")
    gone = site.ask("DELETE", "asset/kept?id=1")
    assert gone.json() == {"asset_deleted": True, "data_deleted": False}
    assert path.read_bytes() == b"kept"
    assert site.ask("GET", "asset/bytes/kept?id=1").status_code == 404


def test_a_damaged_file_is_taken_and_told_about(site: Site) -> None:
    path = site.files / "damaged.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + os.urandom(400))
    declared = {"mimetype": HDF5, "structure": array((4, 3, 4)), "parameters": {"dataset": "data"}}
    assert site.register("damaged", path, **declared).status_code == 200
    refused = site.ask("GET", "array/full/damaged", Accept="application/octet-stream")
    assert refused.status_code == 410
    assert "cannot be read" in refused.json()["detail"]
