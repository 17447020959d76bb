"""Tables over Arrow Flight as any client sees them: endpoints that are ranges of rows."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyarrow import flight

import lakeservice
from lakeservice.config import Limits, Secret, Serve
from lakeservice.server import Server
from lakeservice.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "akeyofthetests"
ROWS = 500_000
OPTIONS = flight.FlightCallOptions(headers=[(b"authorization", f"Bearer {KEY}".encode())])
TABLE = pa.table({"n": np.arange(ROWS), "x": np.random.default_rng(4).normal(size=ROWS)})


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, flight.FlightClient]]:
    limits = Limits(endpoint_bytes=2 << 20)
    serve = Serve(port=0, flight_port=0, api_key=Secret(KEY))
    folder = str(tmp_path_factory.mktemp("lake"))
    with (
        Service.open(folder, create=True, limits=limits) as service,
        Server(service, serve) as server,
        lakeservice.connect(server.url, KEY) as made,
        flight.FlightClient(f"grpc://127.0.0.1:{server.flight_port}") as client,
    ):
        made.write_table("t", TABLE.slice(0, 300_000)).append(TABLE.slice(300_000))
        yield made, client


@pytest.fixture
def client(lake: tuple[Any, flight.FlightClient]) -> flight.FlightClient:
    return lake[1]


def planned(client: flight.FlightClient, path: str = "t", **asked: Any) -> flight.FlightInfo:
    command = json.dumps({"do": "read-table", "path": path, **asked}).encode()
    return client.get_flight_info(flight.FlightDescriptor.for_command(command), OPTIONS)


def fetched(client: flight.FlightClient, info: flight.FlightInfo) -> list[pa.Table]:
    return [client.do_get(endpoint.ticket, OPTIONS).read_all() for endpoint in info.endpoints]


def rows_told(info: flight.FlightInfo) -> list[tuple[int, int]]:
    return [tuple(json.loads(endpoint.app_metadata)["rows"]) for endpoint in info.endpoints]


def test_a_large_table_is_planned_in_ranges_that_are_all_of_it(
    client: flight.FlightClient,
) -> None:
    info = planned(client)
    told = rows_told(info)
    assert len(told) > 2
    assert (told[0][0], told[-1][1], info.total_records) == (0, ROWS, ROWS)
    assert all(before[1] == after[0] for before, after in pairwise(told))
    parts = fetched(client, info)
    assert [part.num_rows for part in parts] == [stop - start for start, stop in told]
    assert pa.concat_tables(parts).equals(TABLE)


def test_endpoints_end_where_row_groups_or_parts_do(client: flight.FlightClient) -> None:
    ends = {*range(0, 300_000, 122_880), *range(300_000, ROWS, 122_880), ROWS}
    assert {stop for _, stop in rows_told(planned(client))} <= ends


def test_a_plan_is_of_the_columns_that_are_wanted(client: flight.FlightClient) -> None:
    few, many = planned(client, columns=["n"]), planned(client)
    assert 1 < len(few.endpoints) < len(many.endpoints)
    assert pa.concat_tables(fetched(client, few)).equals(TABLE.select(["n"]))


def test_conditions_hold_in_every_endpoint(client: flight.FlightClient) -> None:
    info = planned(client, where="x > 1")
    assert len(info.endpoints) > 2
    assert info.total_records == -1
    truth = TABLE.filter(pc.field("x") > 1)
    assert pa.concat_tables(fetched(client, info)).equals(truth)


def test_what_a_condition_rules_out_is_planned_as_nothing(client: flight.FlightClient) -> None:
    info = planned(client, where="n >= 400000 AND n < 400010")
    assert len(info.endpoints) == 1
    assert fetched(client, info)[0]["n"].to_pylist() == list(range(400_000, 400_010))


def test_a_range_of_rows_is_planned_alone(client: flight.FlightClient) -> None:
    info = planned(client, rows=[100_000, 450_000])
    told = rows_told(info)
    assert len(told) > 1
    assert (told[0][0], told[-1][1]) == (100_000, 450_000)
    assert pa.concat_tables(fetched(client, info)).equals(TABLE.slice(100_000, 350_000))


@pytest.mark.parametrize("where", [None, "n >= 250000"])
def test_a_limit_is_one_endpoint(client: flight.FlightClient, where: str | None) -> None:
    info = planned(client, limit=70_000, where=where)
    (part,) = fetched(client, info)
    assert part.equals(TABLE.slice(250_000 if where else 0, 70_000))


def test_a_partition_is_planned_alone(client: flight.FlightClient) -> None:
    parts = fetched(client, planned(client, partition=1))
    assert pa.concat_tables(parts).equals(TABLE.slice(300_000))


def test_a_table_without_rows_is_one_endpoint_with_its_schema(
    lake: tuple[Any, flight.FlightClient],
) -> None:
    made, client = lake
    made.write_table("empty", TABLE.slice(0, 0))
    info = planned(client, "empty")
    (part,) = fetched(client, info)
    assert part.num_rows == 0
    assert part.schema.names == info.schema.names == ["n", "x"]


def test_tickets_of_a_table_that_changed_are_refused(
    lake: tuple[Any, flight.FlightClient],
) -> None:
    made, client = lake
    node = made.write_table("changing", TABLE)
    info = planned(client, "changing")
    first = client.do_get(info.endpoints[0].ticket, OPTIONS).read_all()
    assert first.num_rows
    node.append(TABLE.slice(0, 1))
    with pytest.raises(flight.FlightServerError) as caught:
        client.do_get(info.endpoints[1].ticket, OPTIONS).read_all()
    assert json.loads(caught.value.extra_info)["kind"] == "revision-conflict"
