"""Reductions over HTTP in every form, and over Flight; both refuse what cannot be."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pyarrow import flight

from lakeservice.access.keys import Authenticator
from lakeservice.fronts.flight.server import LakeFlightServer
from lakeservice.service import reducing
from lakeservice.service.writing import Draft
from schemas.structures import ArrayStructure
from tests.fronts.conftest import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.testclient import TestClient

    from lakeservice.service.service import Service

STACK = np.random.default_rng(1).poisson(30, (6, 9, 10)).astype("<u2")
ROUTE = "/api/v1/array/reduce/stack"


@pytest.fixture(autouse=True)
def stack(service: Service) -> None:
    structure = ArrayStructure.from_numpy(STACK.shape, STACK.dtype, (2, 4, 10), ("t", "y", "x"))
    service.write_array(Draft("stack", structure, {"sample": "Fe"}), [STACK])


def array_of(answer: Any) -> np.ndarray[Any, Any]:
    assert answer.status_code == 200, answer.text
    found: np.ndarray[Any, Any] = np.load(io.BytesIO(answer.content))
    return found


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("do=mean&axis=0", STACK.mean(0)),
        ("do=sum", STACK.sum()),
        ("do=max&axis=-2,-1&keepdims=true", STACK.max((1, 2), keepdims=True)),
        ("do=std&axis=0&ddof=1", STACK.std(0, ddof=1)),
        ("do=sum&axis=1,2&slice=:,2:5,::3", STACK[:, 2:5, ::3].sum((1, 2))),
        ("bin=1,3,5", STACK.reshape(6, 3, 3, 2, 5).mean((2, 4))),
        ("bin=1,3,5&do=min", STACK.reshape(6, 3, 3, 2, 5).min((2, 4))),
    ],
)
def test_the_answer_is_numpys(http: TestClient, asked: str, expected: Any) -> None:
    found = array_of(http.get(f"{ROUTE}?{asked}&format=npy"))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert (found.shape, found.dtype) == (np.shape(expected), expected.dtype)


def test_a_mean_frame_is_a_picture_a_tiff_a_table_and_json(http: TestClient) -> None:
    picture = http.get(f"{ROUTE}?do=mean&axis=0&format=png&cmap=viridis")
    assert picture.content.startswith(b"\x89PNG")
    tiff = http.get(f"{ROUTE}?do=mean&axis=0", headers={"accept": "image/tiff"})
    assert tiff.headers["content-type"] == "image/tiff"
    rows = http.get(f"{ROUTE}?do=sum&axis=0&format=csv").text.splitlines()
    assert [int(number) for number in rows[3].split(",")] == STACK.sum(0)[3].tolist()
    assert http.get(f"{ROUTE}?do=max&axis=0&format=json").json() == STACK.max(0).tolist()
    assert http.get(f"{ROUTE}?do=max&format=json").json() == STACK.max()


def test_a_part_of_a_large_answer_is_made_alone(
    http: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lakeservice.service.reduced_source.WHOLE_BYTES", 100)
    monkeypatch.setattr(reducing, "BLOCK_BYTES", 64)
    for asked in ("do=mean&axis=0", "do=sum&axis=1&keepdims=1", "bin=4,4,4"):
        whole = http.get(f"{ROUTE}?{asked}").content
        part = http.get(f"{ROUTE}?{asked}", headers={"range": "bytes=100-299"})
        assert part.status_code == 206
        assert part.content == whole[100:300]
        nested = http.get(f"{ROUTE}?{asked}&format=json").json()
        assert np.array(nested).size * 8 == len(whole)
    assert http.get(f"{ROUTE}?do=mean&axis=0&format=png").content.startswith(b"\x89PNG")


def test_a_histogram_is_a_table(http: TestClient) -> None:
    counts, edges = np.histogram(STACK, 5, (10, 50))
    rows = http.get(f"{ROUTE}?histogram=5&range=10,50&format=json").json()
    assert rows == {
        "low": edges[:-1].tolist(),
        "high": edges[1:].tolist(),
        "count": counts.tolist(),
    }
    lines = http.get(f"{ROUTE}?histogram=0,20,100&format=csv").text.splitlines()
    assert lines[0] == "low,high,count"
    assert [line.split(",")[2] for line in lines[1:]] == [
        str(count) for count in np.histogram(STACK, [0, 20, 100])[0]
    ]


def test_what_the_client_has_is_not_sent_again(http: TestClient, service: Service) -> None:
    asked = f"{ROUTE}?do=mean&axis=0"
    tag = http.get(asked).headers["etag"]
    assert http.get(asked, headers={"if-none-match": tag}).status_code == 304
    assert http.get(f"{ROUTE}?do=sum&axis=0").headers["etag"] != tag
    service.publish(service.changes.append_rows(service.describe("stack"), [STACK[:1]]))
    assert http.get(asked, headers={"if-none-match": tag}).status_code == 200


@pytest.mark.parametrize(
    ("asked", "status", "told"),
    [
        ("", 422, "write do=mean|sum|min|max|std|var, bin=1,4,4 or histogram=256"),
        ("do=median", 422, "there are mean, sum"),
        ("do=mean&axis=x", 422, "write whole numbers"),
        ("do=mean&axis=3", 400, "axis 3 of a selection of 3 axes; there are 0 to 2"),
        ("do=mean&axis=0,-3", 400, "asked for twice"),
        ("do=std&ddof=nan", 400, "ddof"),
        ("do=min&slice=5:5", 400, "no elements"),
        ("bin=2,2", 400, "2 factors for a selection of 3 axes"),
        ("bin=2,2,0", 400, "a factor of 0"),
        ("bin=2,2,2&axis=1", 422, "axis= means nothing beside bin="),
        ("bin=2,2,2&do=std&ddof=1", 422, "ddof= means nothing beside bin="),
        ("histogram=0", 400, "0 bins"),
        ("histogram=3,2,1", 400, "do not ascend"),
        ("histogram=5&range=9,1", 400, "the lower first"),
        ("histogram=5&range=9", 422, "2 of them"),
        ("do=sum&range=0,1", 422, "add histogram=256"),
        ("do=mean&axis=0&format=docx", 406, "cannot write"),
    ],
)
def test_what_cannot_be_is_refused_with_what_there_is(
    http: TestClient, asked: str, status: int, told: str
) -> None:
    answer = http.get(f"{ROUTE}?{asked}")
    assert (answer.status_code, told in answer.json()["detail"]) == (status, True), answer.text


@pytest.fixture
def client(service: Service) -> Iterator[flight.FlightClient]:
    server = LakeFlightServer(service, Authenticator(KEY), port=0)
    with flight.connect(f"grpc://127.0.0.1:{server.port}") as connected:
        yield connected
    server.shutdown()


CALL = flight.FlightCallOptions(headers=[(b"authorization", f"Bearer {KEY}".encode())])


def test_flight_plans_and_streams_an_answer(client: flight.FlightClient) -> None:
    command = {"do": "reduce-array", "path": "stack", "how": "mean", "axis": [0]}
    descriptor = flight.FlightDescriptor.for_command(json.dumps(command))
    info = client.get_flight_info(descriptor, CALL)
    (endpoint,) = info.endpoints
    for ticket in (endpoint.ticket, flight.Ticket(json.dumps(command))):
        table = client.do_get(ticket, CALL).read_all()
        assert table.schema == info.schema
        told = json.loads(table.schema.metadata[b"lake.array"])
        assert (told["shape"], told["dims"]) == ([9, 10], ["y", "x"])
        found = table.column("data").combine_chunks().to_numpy_ndarray()
        np.testing.assert_allclose(found, STACK.mean(0))


def test_a_ticket_for_a_node_that_has_changed_is_refused(
    client: flight.FlightClient, service: Service
) -> None:
    command = {"do": "bin-array", "path": "stack", "factors": [6, 1, 1]}
    descriptor = flight.FlightDescriptor.for_command(json.dumps(command))
    (endpoint,) = client.get_flight_info(descriptor, CALL).endpoints
    service.publish(service.changes.append_rows(service.describe("stack"), [STACK[:1]]))
    with pytest.raises(flight.FlightServerError, match="has changed since the ticket was made"):
        client.do_get(endpoint.ticket, CALL).read_all()


def test_flight_gives_a_histogram_as_rows(client: flight.FlightClient) -> None:
    command = {"do": "histogram-array", "path": "stack", "bins": 4, "selection": "0"}
    table = client.do_get(flight.Ticket(json.dumps(command)), CALL).read_all()
    assert table.column("count").to_pylist() == np.histogram(STACK[0], 4)[0].tolist()


@pytest.mark.parametrize(
    "command",
    [
        {"do": "reduce-array", "path": "stack", "how": "mean", "axis": [7]},
        {"do": "reduce-array", "path": "stack", "how": "middle"},
        {"do": "bin-array", "path": "stack", "factors": [-1, 1, 1]},
        {"do": "histogram-array", "path": "stack", "bins": 1 << 40},
    ],
)
def test_flight_refuses_before_it_reads(
    client: flight.FlightClient, command: dict[str, Any]
) -> None:
    descriptor = flight.FlightDescriptor.for_command(json.dumps(command))
    with pytest.raises(flight.FlightServerError):
        client.get_flight_info(descriptor, CALL)
    with pytest.raises(flight.FlightServerError):
        client.do_get(flight.Ticket(json.dumps(command)), CALL)
