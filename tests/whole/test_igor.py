"""What two programs for Igor Pro send, asked over a socket exactly as they write it.

SAXS_IgorCode asks without a key, TiledRSoXS adds it to the address. Whether Igor
encodes brackets, quotes and commas depends on its version, so both forms are asked.
"""

from __future__ import annotations

import csv
import http.client
import io
import json
import urllib.parse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import tifffile

from lakeservice.config import Secret, Serve
from lakeservice.server import Server
from lakeservice.service import Service
from lakeservice.service.writing import Draft
from schemas.entry import Spec
from schemas.structures import ArrayStructure, ContainerStructure

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "thekeyofigor"
SCAN, IMAGES, LATER = (f"{number:08d}-0000-4000-8000-000000000000" for number in range(3))
ZERO = 1_700_000_000.0
TIME = ZERO + np.arange(5) / 4
COUNTS = np.array([5.0, 7.5, 11.0, 7.0, 4.5])
STACK = np.arange(4 * 1 * 6 * 8, dtype=np.uint16).reshape(4, 1, 6, 8)

Get = Callable[[str], bytes]


def fill(service: Service) -> None:
    """Make a catalog of three runs: two scans of a point detector, one of an area detector."""

    def make(path: str, specs: tuple[str, ...] = (), **metadata: Any) -> None:
        named = tuple(Spec(*spec.split(" ")) for spec in specs)
        draft = Draft(path=path, structure=ContainerStructure(), metadata=metadata, specs=named)
        service.create_empty(draft)

    def array(path: str, values: np.ndarray[Any, Any]) -> None:
        dims = ("time", *(f"dim_{axis}" for axis in range(1, values.ndim)))
        structure = ArrayStructure.from_numpy(values.shape, values.dtype)
        structure = msgspec.structs.replace(structure, dims=dims)
        service.write_array(Draft(path=path, structure=structure, metadata={}), [values])

    make("raw", ("CatalogOfBlueskyRuns 1",))
    for number, (uid, plan) in enumerate(((SCAN, "scan"), (IMAGES, "count"), (LATER, "scan"))):
        start = {
            "uid": uid, "scan_id": number + 1, "time": ZERO + 3600 * number, "plan_name": plan,
            "detectors": ["det"], "motors": ["motor"], "title": f"Sample {number}",
            "plan_args": {"scan_title": f"Scan {number}"}, "num_points": 5,
            "hdf5_file": "a.hdf5", "hdf5_path": "/share", "sample_name": "PS 1",
        }  # fmt: skip
        stop = {"exit_status": "success", "num_events": {"primary": 5}}
        names = {"stream_names": ["primary"]}
        make(f"raw/{uid}", ("BlueskyRun 1",), start=start, stop=stop, summary=names)
        keys: dict[str, Any] = {"det": {}, "motor": {}}
        if uid == IMAGES:
            keys["saxs_image"] = {}
        below = f"raw/{uid}/primary"
        make(below, ("BlueskyEventStream 1",))
        make(f"{below}/data", ("xarray_dataset",), descriptors=[{"data_keys": keys}])
        array(f"{below}/data/det", COUNTS * (number + 1))
        array(f"{below}/data/motor", np.linspace(0, 1, 5))
        if uid == IMAGES:
            array(f"{below}/data/time", TIME)
            array(f"{below}/data/saxs_image", STACK)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    serve = Serve(port=0, flight_port=0, api_key=Secret(KEY), public=True)
    folder = str(tmp_path_factory.mktemp("lake"))
    with Service.open(folder, create=True) as service, Server(service, serve) as server:
        fill(service)
        host = urllib.parse.urlsplit(server.url)
        assert host.hostname is not None
        assert host.port is not None
        yield host.hostname, host.port


@pytest.fixture(params=["raw", "encoded"])
def get(request: pytest.FixtureRequest, address: tuple[str, int]) -> Get:
    """Send an address as it is written, or with everything unusual percent-encoded."""

    def ask(target: str) -> bytes:
        if request.param == "encoded":
            target = urllib.parse.quote(target, safe="/?&=%")
        connection = http.client.HTTPConnection(*address, timeout=30)
        try:
            connection.putrequest("GET", target)
            connection.endheaders()
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        assert answer.status == 200, content[:300]
        return content

    return ask


def ids(answer: bytes) -> list[str]:
    told = json.loads(answer)
    return [told["data"][at]["id"] for at in range(min(len(told["data"]), told["meta"]["count"]))]


def test_saxs_finds_the_catalog_and_the_place_of_its_runs(get: Get) -> None:
    assert ids(get("/api/v1/search/?fields=&sort=")) == ["raw"]
    catalog = json.loads(get("/api/v1/metadata/raw"))
    search = urllib.parse.urlsplit(catalog["data"]["links"]["search"]).path
    run = json.loads(get(search))["data"][0]
    place = run["links"]["search"].split("/search", 1)[1].split("/")
    assert [segment for segment in place if segment and len(segment) < 36] == ["raw"]


SELECT = (
    "{detectors:start.detectors,motors:start.motors,plan_name:start.plan_name,time:start.time,"
    "scan_title:start.plan_args.scan_title,title:start.title,hdf5_file:start.hdf5_file,"
    "hdf5_path:start.hdf5_path}"
)


def test_saxs_lists_the_scans_of_a_time_with_what_it_selects(get: Get) -> None:
    answer = get(
        "/api/v1/search//raw/?page[offset]=0&page[limit]=250"
        f"&filter[time_range][condition][since]={ZERO - 10:.0f}"
        f"&filter[time_range][condition][until]={ZERO + 8000:.0f}"
        "&filter[time_range][condition][timezone]=US/Central"
        "&filter[eq][condition][key]=plan_name"
        '&filter[eq][condition][value]="scan"'
        f"&sort=-time&fields=metadata&omit_links=true&select_metadata={SELECT}"
    )
    assert ids(answer) == [LATER, SCAN]
    selected = json.loads(answer)["data"][0]["attributes"]["metadata"]["selected"]
    assert selected["plan_name"] == "scan"
    assert selected["time"] == ZERO + 7200
    assert selected["detectors"][0] == "det"
    assert selected["motors"][0] == "motor"
    assert selected["scan_title"] == "Scan 2"
    assert selected["hdf5_path"] == "/share"


def test_saxs_lists_in_order_of_time(get: Get) -> None:
    assert ids(get("/api/v1/search//raw/?page[offset]=00&page[limit]=10&sort=time")) == [
        SCAN, IMAGES, LATER,
    ]  # fmt: skip
    second = json.loads(get("/api/v1/search//raw/?page[offset]=2&page[limit]=2&sort=-time"))
    assert second["data"][0]["attributes"]["metadata"]["start"]["plan_name"] == "scan"


def test_saxs_reads_a_scan_as_one_object_of_columns_in_their_order(get: Get) -> None:
    answer = get(f"/api/v1/node/full//raw/{SCAN}/primary/data?format=json&include=data")
    columns = json.loads(answer, object_pairs_hook=list)
    assert [name for name, _ in columns] == ["det", "motor"]
    np.testing.assert_array_equal(columns[0][1], COUNTS)
    np.testing.assert_array_equal(columns[1][1], np.linspace(0, 1, 5))


RSOXS = f"&api_key={KEY}"


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ("", [SCAN, IMAGES, LATER]),
        ("&filter[fulltext][condition][text]=PS&filter[fulltext][condition][case_sensitive]=false",
         [SCAN, IMAGES, LATER]),
        ('&filter[eq][condition][key]=start.plan_name&filter[eq][condition][value]="count"',
         [IMAGES]),
        ('&filter[contains][condition][key]=start.detectors'
         '&filter[contains][condition][value]="det"', [SCAN, IMAGES, LATER]),
        ("&filter[comparison][condition][operator]=gt&filter[comparison][condition][key]=start.scan_id"
         "&filter[comparison][condition][value]=1", [IMAGES, LATER]),
        ("&filter[regex][condition][key]=start.title&filter[regex][condition][pattern]=ple.0"
         "&filter[regex][condition][case_sensitive]=false", [SCAN]),
    ],
)  # fmt: skip
def test_rsoxs_finds_runs(get: Get, filters: str, found: list[str]) -> None:
    answer = get(
        f"/api/v1/search/raw?fields=metadata{filters}&page%5Boffset%5D=0&page%5Blimit%5D=28"
        f"&omit_links=true{RSOXS}"
    )
    assert ids(answer) == found
    told = json.loads(answer)["data"][0]["attributes"]["metadata"]
    assert told["start"]["uid"] == found[0]
    assert told["stop"]["exit_status"] == "success"
    assert told["summary"]["stream_names"] == ["primary"]


def test_rsoxs_learns_the_shape_of_images(get: Get) -> None:
    answer = json.loads(get(f"/api/v1/search/raw/{IMAGES}/primary?field=metadata{RSOXS}"))
    told = answer["data"][0]["attributes"]
    assert "saxs_image" in told["metadata"]["descriptors"][0]["data_keys"]
    image = told["structure"]["contents"]["saxs_image"]
    assert image["attributes"]["structure"]["shape"] == [4, 1, 6, 8]


def test_rsoxs_reads_columns_as_csv(get: Get) -> None:
    answer = get(
        f"/api/v1/node/full/raw/{SCAN}/primary/data/?field=motor&field=det&format=text/csv{RSOXS}"
    ).decode()
    head, *rows = csv.reader(io.StringIO(answer))
    assert sorted(head) == ["det", "motor"]
    at = head.index("det")
    np.testing.assert_array_equal([float(row[at]) for row in rows], COUNTS)
    assert '"' not in answer
    whole = get(f"/api/v1/node/full/raw/{SCAN}/primary/data?format=text/csv{RSOXS}").decode()
    assert whole.split("\n", 1)[0].strip() == "det,motor"


def test_rsoxs_reads_arrays_as_text_and_as_doubles(get: Get) -> None:
    place = f"/api/v1/array/full/raw/{IMAGES}/primary/data/time"
    text = get(f"{place}?format=text/csv{RSOXS}").decode().split()
    np.testing.assert_array_equal([float(line) for line in text], TIME)
    doubles = get(f"{place}/?format=application/octet-stream{RSOXS}")
    np.testing.assert_array_equal(np.frombuffer(doubles, "<f8"), TIME)


def test_rsoxs_reads_images_as_pages_of_a_tiff(get: Get) -> None:
    place = f"/api/v1/array/full/raw/{IMAGES}/primary/data/saxs_image?format=tif{RSOXS}"
    pages = tifffile.imread(io.BytesIO(get(f"{place}&slice=:,0,0:8:2,1:8:1")))
    np.testing.assert_array_equal(pages, STACK[:, 0, 0:8:2, 1:8:1])
    frame = tifffile.imread(io.BytesIO(get(f"{place}&slice=2,0,0:6:1,0:8:1")))
    np.testing.assert_array_equal(frame, STACK[2, 0])
