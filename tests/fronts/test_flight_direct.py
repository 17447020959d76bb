"""Direct delivery on the wire: who is told where files lie."""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from pyarrow import flight

from lakeservice.access.keys import Authenticator
from lakeservice.fronts.flight import LakeFlightServer
from lakeservice.fronts.flight.direct import host_of_peer, is_loopback
from lakeservice.service import Draft
from schemas.direct import (
    ArrayPlan,
    DirectAnswer,
    Granted,
    Hello,
    Offer,
    PlanAnswer,
    PlanArray,
    Seen,
    Unavailable,
)
from schemas.structures import ArrayStructure
from tests.fronts.conftest import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.service import Service


class Caller:
    """Calls the actions of direct delivery, as one caller."""

    def __init__(self, port: int, key: str | None) -> None:
        self.client = flight.FlightClient(f"grpc://127.0.0.1:{port}")
        headers = [(b"authorization", b"Bearer " + key.encode())] if key else []
        self.options = flight.FlightCallOptions(headers=headers)
        self.answers: list[bytes] = []

    def ask(self, action: str, document: Any, answer: Any) -> Any:
        body = msgspec.msgpack.encode(document)
        found = list(self.client.do_action(flight.Action(action, body), self.options))
        self.answers.append(found[0].body.to_pybytes())
        return msgspec.msgpack.decode(self.answers[-1], type=answer)

    def grant(self) -> bytes:
        offer = self.ask("direct", Hello(), DirectAnswer)
        assert isinstance(offer, Offer)
        proof = hashlib.sha256(Path(os.fsdecode(offer.path)).read_bytes()).digest()
        granted = self.ask("direct", Seen(token=offer.token, proof=proof), DirectAnswer)
        assert isinstance(granted, Granted)
        return granted.grant

    def plan(self, grant: bytes) -> Any:
        return self.ask("plan", PlanArray(path="a", grant=grant, pages=(0,)), PlanAnswer)


@contextmanager
def running(service: Service, **options: Any) -> Iterator[int]:
    authenticator = Authenticator(KEY, public=True, stored=service.keys)
    server = LakeFlightServer(service, authenticator, port=0, **options)
    try:
        yield server.port
    finally:
        server.shutdown()


@pytest.fixture
def lake(service: Service) -> Service:
    array = np.arange(12).reshape(4, 3)
    structure = ArrayStructure.from_numpy(array.shape, array.dtype, (1, 3))
    service.write_array(Draft("a", structure, {}), [array])
    return service


def test_a_holder_of_a_pass_is_told_the_files(lake: Service) -> None:
    with running(lake) as port:
        caller = Caller(port, KEY)
        plan = caller.plan(caller.grant())
    assert isinstance(plan, ArrayPlan)
    assert plan.head is not None
    assert Path(os.fsdecode(plan.head.root)).samefile(str(lake.lake.objects.root))


def test_without_a_pass_no_path_is_told(lake: Service) -> None:
    with running(lake) as port:
        for grant in (b"", b"x" * 80):
            with pytest.raises(flight.FlightError) as caught:
                Caller(port, KEY).plan(grant)
            assert b"bad-ticket" in caught.value.extra_info
            assert str(lake.lake.objects.root) not in str(caught.value)


def test_the_pass_of_another_key_is_refused(lake: Service) -> None:
    with running(lake) as port:
        grant = Caller(port, KEY).grant()
        anybody = Caller(port, None)
        with pytest.raises(flight.FlightError, match="somebody else was given this pass"):
            anybody.plan(grant)


def test_nobody_is_told_anything_where_it_is_turned_off(lake: Service) -> None:
    with running(lake) as port:
        grant = Caller(port, KEY).grant()
    with running(lake, direct="never") as port:
        caller = Caller(port, KEY)
        assert isinstance(caller.ask("direct", Hello(), DirectAnswer), Unavailable)
        assert isinstance(caller.plan(grant), Unavailable)
        folder = os.fsencode(str(lake.lake.objects.root))
        assert not any(folder in answer for answer in caller.answers)


@pytest.mark.parametrize(("policy", "answer"), [("auto", Unavailable), ("always", Offer)])
def test_a_server_that_listens_everywhere(lake: Service, policy: str, answer: type) -> None:
    with running(lake, host="0.0.0.0", direct=policy) as port:
        assert isinstance(Caller(port, KEY).ask("direct", Hello(), DirectAnswer), answer)


def test_nonsense_is_refused_by_kind(lake: Service) -> None:
    with running(lake) as port:
        caller = Caller(port, KEY)
        for action in ("direct", "plan"):
            for body in (b"", b"\xc1", b"\x81\xa2do\xa1x"):
                with pytest.raises(flight.FlightError) as caught:
                    list(caller.client.do_action(flight.Action(action, body), caller.options))
                assert b"bad-request" in caught.value.extra_info


@pytest.mark.parametrize(
    ("peer", "near"),
    [
        ("ipv4:127.0.0.1:50632", True),
        ("ipv4:127.8.9.1:1", True),
        ("ipv4:192.0.2.7:50632", False),
        ("ipv6:%5B::1%5D:49660", True),
        ("ipv6:[::1]:49660", True),
        ("ipv6:%5B::ffff:127.0.0.1%5D:49660", True),
        ("ipv6:%5B::ffff:192.0.2.7%5D:49660", False),
        ("ipv6:%5Bfe80::1%25eth0%5D:49660", False),
        ("unix:/tmp/socket", False),
        ("", False),
        ("localhost", False),
    ],
)
def test_only_addresses_of_this_machine_are_near(peer: str, near: bool) -> None:
    assert is_loopback(host_of_peer(peer)) is near


@pytest.mark.parametrize(
    ("host", "near"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_a_server_that_listens_to_this_machine_only_is_near(host: str, near: bool) -> None:
    assert is_loopback(host) is near
