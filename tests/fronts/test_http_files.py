from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pyarrow as pa
import pytest

from ingest.ingest import ingest
from lakeservice.commands.ingest import ServiceCommitter

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.testclient import TestClient

    from lakeservice.service.service import Service

STACK = np.random.default_rng(0).integers(0, 9, (6, 40, 50), dtype="u2")


@pytest.fixture
def scan(service: Service, tmp_path: Path) -> Path:
    """A NeXus file with a stack of frames and two columns, registered as ``raw/scan``."""
    path = tmp_path / "files" / "scan.h5"
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        entry["title"] = "a scan"
        frames = entry.create_dataset(
            "detector/frames", data=STACK, chunks=(1, 40, 50), compression="gzip", shuffle=True
        )
        frames.attrs["units"] = "counts"
        columns = entry.create_group("columns")
        columns.attrs["NX_class"] = "NXdata"
        columns["x"] = np.linspace(0, 1, 6)
        columns["y"] = np.arange(6)
    summary = ingest([path], service.lake.uri, ServiceCommitter(service), into="raw", workers=0)
    assert not summary.failed
    return path


def item(http: TestClient, path: str, **params: Any) -> dict[str, Any]:
    answer = http.get(f"/api/v1/metadata/{path}", params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["data"]
    return found


def test_what_lies_in_a_file_is_described_like_any_node(http: TestClient, scan: Path) -> None:
    file = item(http, "raw/scan")
    assert file["attributes"]["structure_family"] == "container"
    assert file["attributes"]["structure"]["count"] == 1
    frames = item(http, "raw/scan/entry/detector/frames")
    assert frames["id"] == "frames"
    assert frames["attributes"]["ancestors"] == ["raw", "scan", "entry", "detector"]
    structure = frames["attributes"]["structure"]
    assert structure["shape"] == [6, 40, 50]
    assert structure["chunks"] == [[1] * 6, [40], [50]]
    assert structure["data_type"]["kind"] == "u"


def test_the_children_of_a_group_are_listed_and_searched(http: TestClient, scan: Path) -> None:
    answer = http.get("/api/v1/search/raw/scan/entry", params={"fields": ""}).json()
    names = [child["id"] for child in answer["data"]]
    assert {"detector", "columns"} <= set(names)
    assert answer["meta"]["count"] == len(names)
    paged: list[str] = []
    url = "/api/v1/search/raw/scan/entry?page[limit]=1"
    while url:
        page = http.get(url).json()
        paged += [child["id"] for child in page["data"]]
        url = page["links"]["next"]
    assert paged == names
    arrays = http.get(
        "/api/v1/search-deep/raw/scan",
        params={"filter[structure_family][condition][value]": "array", "fields": ""},
    ).json()
    assert "frames" in [child["id"] for child in arrays["data"]]


def test_arrays_of_a_file_are_what_h5py_reads(http: TestClient, scan: Path) -> None:
    url = "/api/v1/array/full/raw/scan/entry/detector/frames"
    with h5py.File(scan) as file:
        frames = file["entry/detector/frames"]
        assert http.get(url).content == frames[()].tobytes()
        answer = http.get(url, params={"slice": "2:5,::7,3"})
        assert answer.content == frames[2:5, ::7, 3].tobytes()
    block = http.get(url.replace("full", "block"), params={"block": "4,0,0"})
    assert block.content == STACK[4].tobytes()


def test_columns_of_a_group_are_a_table(http: TestClient, scan: Path) -> None:
    answer = http.get(
        "/api/v1/search-deep/raw/scan",
        params={"filter[structure_family][condition][value]": "table"},
    ).json()
    (table,) = answer["data"]
    back = pa.ipc.open_file(http.get(table["links"]["full"]).content).read_all()
    assert back.select(["x", "y"]).to_pydict() == {
        "x": np.linspace(0, 1, 6).tolist(),
        "y": [0, 1, 2, 3, 4, 5],
    }


def test_the_place_of_a_file_is_told_to_nobody(http: TestClient, scan: Path) -> None:
    for path in ("raw/scan", "raw/scan/entry/detector/frames"):
        answer = http.get(f"/api/v1/metadata/{path}", params={"include_data_sources": True})
        assert str(scan.parent) not in answer.text
        (source,) = answer.json()["data"]["attributes"]["data_sources"]
        assert source["management"] == "external"
        assert source["assets"][0]["data_uri"] == "asset:0/scan.h5"
        assert source["assets"][0]["size"] == scan.stat().st_size


def test_a_file_that_changed_or_vanished_is_told_and_not_read(http: TestClient, scan: Path) -> None:
    url = "/api/v1/array/full/raw/scan/entry/detector/frames"
    payload = scan.read_bytes()
    scan.write_bytes(payload[:-100])
    answer = http.get(url)
    assert (answer.status_code, answer.json()["kind"]) == (409, "asset-changed")
    assert str(scan.parent) not in answer.text
    scan.unlink()
    answer = http.get(url)
    assert answer.status_code in (409, 410)
    assert str(scan.parent) not in answer.text
    assert item(http, "raw/scan/entry/detector/frames")["id"] == "frames"


def test_a_file_is_not_written_through_the_server(http: TestClient, scan: Path) -> None:
    frames = "raw/scan/entry/detector/frames"
    merge = {"content-type": "application/merge-patch+json", "metadata": {"a": 1}}
    for answer in (
        http.put(f"/api/v1/array/full/{frames}", content=STACK.tobytes()),
        http.put(f"/api/v1/array/block/{frames}?block=0,0,0", content=STACK[0].tobytes()),
        http.patch(f"/api/v1/metadata/{frames}", json=merge),
        http.delete(f"/api/v1/metadata/{frames}"),
        http.post("/api/v1/metadata/raw/scan", json={"structure_family": "container", "id": "z"}),
        http.post(
            "/api/v1/metadata/raw/scan/entry", json={"structure_family": "container", "id": "z"}
        ),
    ):
        assert 400 <= answer.status_code < 500, answer.text
    assert http.get(f"/api/v1/array/full/{frames}").content == STACK.tobytes()


def test_a_registered_file_is_forgotten_without_being_deleted(http: TestClient, scan: Path) -> None:
    answer = http.delete("/api/v1/metadata/raw/scan")
    assert answer.status_code == 200, answer.text
    assert scan.exists()
    assert http.get("/api/v1/metadata/raw/scan").status_code == 404


def test_metadata_of_a_file_is_searched_and_changed_at_its_entry(
    http: TestClient, scan: Path
) -> None:
    params = {
        "filter[eq][condition][key]": "entry.title",
        "filter[eq][condition][value]": '"a scan"',
        "fields": "",
    }
    found = http.get("/api/v1/search/raw", params=params).json()["data"]
    assert [child["id"] for child in found] == ["scan"]
    merge = {"content-type": "application/merge-patch+json", "metadata": {"mine": 1}}
    assert http.patch("/api/v1/metadata/raw/scan", json=merge).status_code == 200
    assert item(http, "raw/scan")["attributes"]["metadata"]["mine"] == 1


def test_clients_read_large_arrays_of_files_in_blocks_of_several_chunks(
    http: TestClient, scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lakeservice.service.nodes.GATHERED_ARRAY_BYTES", 1)
    monkeypatch.setattr("lakeservice.service.nodes.BLOCK_BYTES", 4 * 4000 + 1)
    structure = item(http, "raw/scan/entry/detector/frames")["attributes"]["structure"]
    assert structure["chunks"] == [[4, 2], [40], [50]]
    for number, rows in enumerate((STACK[:4], STACK[4:])):
        answer = http.get(
            "/api/v1/array/block/raw/scan/entry/detector/frames",
            params={"block": f"{number},0,0", "expected_shape": f"{len(rows)},40,50"},
        )
        assert answer.status_code == 200, answer.text
        assert answer.content == rows.tobytes()
