"""Arrow Flight as any client sees it, without our own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import flight

from lakeservice.service.tickets import Signer
from lakeservice.storage.check import check
from schemas.structures import ArrayStructure
from schemas.ticket import ReadArray, Ticket
from tests.whole.conftest import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.whole.conftest import Running

STACK = np.random.default_rng(2).poisson(4, (40, 50, 60)).astype("u2")


@pytest.fixture(scope="module")
def client(running: Running) -> Iterator[flight.FlightClient]:
    if "wire" not in running.lake:
        running.lake.create_container("wire", metadata={"place": "hutch 3"})
        running.lake.write_array("wire/stack", STACK, chunks=(1, 50, 60))
        running.lake.write_table("wire/rows", {"x": np.arange(10), "y": np.arange(10) / 3})
    with flight.FlightClient(f"grpc://127.0.0.1:{running.server.flight_port}") as opened:
        yield opened


def options(key: str | None = KEY) -> flight.FlightCallOptions:
    header = [] if key is None else [(b"authorization", f"Bearer {key}".encode())]
    return flight.FlightCallOptions(headers=header)


def kind_of(error: flight.FlightError) -> str:
    kind: str = json.loads(error.extra_info)["kind"]
    return kind


def action(client: flight.FlightClient, name: str, **body: Any) -> list[Any]:
    request = flight.Action(name, json.dumps(body).encode())
    results = client.do_action(request, options())
    return [json.loads(result.body.to_pybytes()) for result in results]


@pytest.mark.parametrize("key", [None, "wrong"])
def test_a_call_without_the_key_is_refused(client: flight.FlightClient, key: str | None) -> None:
    with pytest.raises(flight.FlightUnauthenticatedError):
        list(client.list_flights(options=options(key)))


def test_a_path_answers_with_the_whole_array_as_tensors(client: flight.FlightClient) -> None:
    info = client.get_flight_info(flight.FlightDescriptor.for_path("wire", "stack"), options())
    assert info.total_records == len(STACK)
    kind = info.schema.field("data").type
    assert (kind.value_type, kind.shape) == (pa.uint16(), [50, 60])
    tables = [client.do_get(endpoint.ticket, options()).read_all() for endpoint in info.endpoints]
    column = pa.concat_tables(tables).column("data").combine_chunks()
    np.testing.assert_array_equal(column.to_numpy_ndarray(), STACK)


def test_a_command_answers_with_the_selection(client: flight.FlightClient) -> None:
    request = {"do": "read-array", "path": "wire/stack", "selection": "::-9,3,10:20"}
    reader = client.do_get(flight.Ticket(json.dumps(request).encode()), options())
    column = reader.read_all().column("data").combine_chunks()
    np.testing.assert_array_equal(column.to_numpy_ndarray(), STACK[::-9, 3, 10:20])


def test_rows_of_a_table_are_projected_and_filtered(client: flight.FlightClient) -> None:
    request = {"do": "read-table", "path": "wire/rows", "columns": ["y"], "where": "x >= 7"}
    table = client.do_get(flight.Ticket(json.dumps(request).encode()), options()).read_all()
    assert table.column_names == ["y"]
    assert table["y"].to_pylist() == [7 / 3, 8 / 3, 9 / 3]


def test_flights_are_listed_by_query_text(client: flight.FlightClient) -> None:
    found = list(client.list_flights(b"place = 'hutch 3'", options()))
    assert [info.descriptor.path for info in found] == [[b"wire"]]


def test_a_changed_ticket_is_refused(client: flight.FlightClient) -> None:
    info = client.get_flight_info(flight.FlightDescriptor.for_path("wire", "stack"), options())
    signed = bytearray(info.endpoints[0].ticket.ticket)
    signed[-3] ^= 1
    with pytest.raises(flight.FlightServerError) as caught:
        client.do_get(flight.Ticket(bytes(signed)), options()).read_all()
    assert kind_of(caught.value) == "bad-ticket"


def test_an_expired_ticket_and_somebody_elses_are_refused(
    running: Running, client: flight.FlightClient
) -> None:
    node = running.service.describe("wire/stack")
    request = ReadArray(path="wire/stack")
    kinds = []
    for principal, expires in (("key", 1.0), ("mallory", 9e9)):
        ticket = Ticket(
            request=request,
            id=node.id,
            version=node.version,
            expires=expires,
            principal=principal,
        )
        signed = running.service.signer.ticket(ticket)
        with pytest.raises(flight.FlightError) as caught:
            client.do_get(flight.Ticket(signed), options()).read_all()
        kinds.append(kind_of(caught.value))
    assert kinds == ["ticket-expired", "bad-ticket"]
    forged = Signer().ticket(
        Ticket(request=request, id=node.id, version=node.version, expires=9e9, principal="key")
    )
    with pytest.raises(flight.FlightServerError, match="did not sign"):
        client.do_get(flight.Ticket(forged), options()).read_all()


def test_a_ticket_gives_the_version_that_was_planned_or_is_refused(
    running: Running, client: flight.FlightClient
) -> None:
    node = running.lake.write_array("wire/changing", STACK[:4])
    info = client.get_flight_info(flight.FlightDescriptor.for_path("wire", "changing"), options())
    node.append(STACK[4:6])
    table = client.do_get(info.endpoints[0].ticket, options()).read_all()
    column = table.column("data").combine_chunks()
    np.testing.assert_array_equal(column.to_numpy_ndarray(), STACK[:4])
    ticket = running.service.signer.open_ticket(info.endpoints[0].ticket.ticket)
    assert json.loads(info.app_metadata) == {"id": ticket.id, "version": ticket.version}
    older = running.service.signer.ticket(msgspec.structs.replace(ticket, version=0))
    with pytest.raises(flight.FlightServerError) as caught:  # not planned here, or long ago
        client.do_get(flight.Ticket(older), options()).read_all()
    assert kind_of(caught.value) == "revision-conflict"


def test_a_ticket_with_a_bit_flipped_or_a_byte_missing_is_refused(
    client: flight.FlightClient,
) -> None:
    info = client.get_flight_info(flight.FlightDescriptor.for_path("wire", "stack"), options())
    ticket = info.endpoints[0].ticket.ticket
    forged = [
        bytes(old ^ (1 << byte % 8 if number == byte else 0) for number, old in enumerate(ticket))
        for byte in range(len(ticket))
    ]
    forged += [ticket[:cut] for cut in range(0, len(ticket), 9)] + [ticket + b"\0", ticket * 2]
    for each in forged:
        with pytest.raises(flight.FlightServerError) as caught:
            client.do_get(flight.Ticket(each), options()).read_all()
        # what begins like JSON is no ticket, but a request
        assert kind_of(caught.value) == ("bad-request" if each[:1] == b"{" else "bad-ticket")


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        ({"do": "read-array", "path": "wire/none"}, "node-not-found"),
        ({"do": "read-array", "path": "wire/../etc"}, "bad-path"),
        ({"do": "read-array", "path": "x" * 10_000}, "bad-path"),
        ({"do": "read-array", "path": "wire/stack", "selection": "50"}, "bad-slice"),
        ({"do": "read-array", "path": "wire/stack", "selection": ":,:,:,:"}, "bad-slice"),
        ({"do": "read-array", "path": "wire/stack", "selection": "; DROP"}, "bad-slice"),
        ({"do": "read-array", "path": "wire"}, "wrong-family"),
        ({"do": "read-table", "path": "wire/stack"}, "wrong-family"),
        ({"do": "read-table", "path": "wire/rows", "columns": ["z"]}, "unknown-column"),
        ({"do": "read-table", "path": "wire/rows", "where": "z > 1"}, "unknown-column"),
        ({"do": "read-table", "path": "wire/rows", "where": "x > 'a'"}, "bad-query"),
        ({"do": "read-table", "path": "wire/rows", "where": "x >"}, "bad-query"),
        ({"do": "read-array", "path": "wire/stack", "delivery": "carrier pigeon"}, "bad-request"),
        ({"do": "nothing"}, "bad-request"),
    ],
)
def test_a_bad_request_is_told_by_kind(
    client: flight.FlightClient, request_: dict[str, Any], kind: str
) -> None:
    with pytest.raises(flight.FlightError) as caught:
        client.do_get(flight.Ticket(json.dumps(request_).encode()), options()).read_all()
    assert kind_of(caught.value) == kind


def put(client: flight.FlightClient, request: dict[str, Any], array: pa.Array) -> Any:
    batch = pa.record_batch([array], ["data"])
    descriptor = flight.FlightDescriptor.for_command(json.dumps(request).encode())
    writer, answers = client.do_put(descriptor, batch.schema, options())
    with writer:
        writer.write_batch(batch)
        writer.done_writing()
        return json.loads(answers.read().to_pybytes())


def line_of(count: int) -> dict[str, Any]:
    structure = ArrayStructure.from_numpy((count,), np.dtype("f8"))
    return {
        "do": "write-array",
        "path": "wire/line",
        "structure": {
            "family": "array",
            "data_type": {"kind": "f", "itemsize": 8, "endianness": "little"},
            "shape": [count],
            "chunks": list(structure.chunks),
        },
    }


@pytest.mark.parametrize(
    ("request_", "sent", "kind"),
    [
        (line_of(5), pa.array([1.0, 2.0]), "bad-body"),
        (line_of(1), pa.array([1.0, 2.0]), "bad-body"),
        (line_of(2), pa.array([1, 2]), "bad-body"),
        (line_of(2), pa.array([1.0, None]), "bad-body"),
        ({**line_of(2), "path": "wire/stack"}, pa.array([1.0, 2.0]), "path-taken"),
        ({**line_of(2), "path": "wire/stack/below"}, pa.array([1.0, 2.0]), "parent-not-container"),
        ({**line_of(2), "path": "nowhere/line"}, pa.array([1.0, 2.0]), "node-not-found"),
        ({**line_of(2), "structure": {"family": "container"}}, pa.array([1.0]), "bad-structure"),
        ({"do": "append", "path": "wire/rows"}, pa.array([1.0, 2.0]), "bad-body"),
        ({"do": "append", "path": "wire"}, pa.array([1.0, 2.0]), "wrong-family"),
    ],
)
def test_a_bad_write_is_refused_and_leaves_nothing(
    running: Running,
    client: flight.FlightClient,
    request_: dict[str, Any],
    sent: pa.Array,
    kind: str,
) -> None:
    with pytest.raises(flight.FlightError) as caught:
        put(client, request_, sent)
    assert kind_of(caught.value) == kind
    assert "wire/line" not in running.lake
    report = check(running.service.lake, older_than_s=0)
    assert (report.broken, report.garbage, report.temporary) == ((), (), ())


def test_a_repeated_write_gets_its_first_answer(
    running: Running, client: flight.FlightClient
) -> None:
    request = {**line_of(2), "path": "wire/once", "key": "the-key-of-once"}
    first = put(client, request, pa.array([1.0, 2.0]))
    again = put(client, request, pa.array([1.0, 2.0]))
    assert first == again
    running.lake["wire/once"].delete()


def test_client_mutations_cannot_point_at_data_or_files(client: flight.FlightClient) -> None:
    source = {
        "mimetype": "application/x-npy",
        "assets": [{"data_uri": "file://localhost/etc/passwd"}],
    }
    node = {"path": "wire/steal", "id": "abc", "data_sources": [source]}
    with pytest.raises(flight.FlightUnauthorizedError) as caught:
        action(client, "commit", mutations=[{"op": "create", "node": node}])
    assert kind_of(caught.value) == "forbidden"
    assert "passwd" not in str(caught.value)


def test_a_lost_chunk_is_an_error_in_the_stream_and_never_zeros(
    running: Running, client: flight.FlightClient
) -> None:
    node = running.lake.write_array("wire/lost", STACK, chunks=(1, 50, 60))
    stored = running.service.describe("wire/lost").data_sources[0].storage
    name = f"{stored.location.parts[0].name}/c/20/0/0"  # type: ignore[union-attr]
    running.service.lake.objects.delete([name])
    for delivery in ("decoded", "encoded"):
        request = {"do": "read-array", "path": "wire/lost", "delivery": delivery}
        with pytest.raises(flight.FlightError) as caught:
            client.do_get(flight.Ticket(json.dumps(request).encode()), options()).read_all()
        assert kind_of(caught.value) == "corrupt-chunk"
        assert running.service.lake.uri not in str(caught.value)
    node.delete()


def test_a_bug_of_ours_tells_nothing_but_a_number(
    running: Running, client: flight.FlightClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("/secret/path and password")

    monkeypatch.setattr(running.service, "describe", broken)
    with pytest.raises(flight.FlightInternalError) as caught:
        action(client, "describe", path="wire")
    assert "secret" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_unknown_actions_and_bodies_that_do_not_decode_are_told(
    client: flight.FlightClient,
) -> None:
    with pytest.raises(flight.FlightServerError, match="there are about, commit"):
        action(client, "dance")
    with pytest.raises(flight.FlightServerError) as caught:
        list(client.do_action(flight.Action("describe", b"{]"), options()))
    assert kind_of(caught.value) == "bad-request"


def test_several_mutations_become_visible_together_or_not_at_all(
    running: Running, client: flight.FlightClient
) -> None:
    create = {"op": "create", "node": {"path": "wire/together", "id": ""}}
    clash = {"op": "create", "node": {"path": "wire/stack", "id": ""}}
    with pytest.raises(flight.FlightServerError) as caught:
        action(client, "commit", mutations=[create, clash])
    assert kind_of(caught.value) == "path-taken"
    assert "wire/together" not in running.lake
