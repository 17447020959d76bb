"""Passes and pages of direct delivery, and what is told to whom."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from lakeservice.service import Service
from lakeservice.service.direct import Direct
from lakeservice.service.tickets import Signer
from lakeservice.storage.check import check
from lakeservice.storage.files import FileReader
from schemas.direct import (
    PAGE_CHUNKS,
    ArrayPlan,
    Granted,
    Offer,
    PlanArray,
    Seen,
    Unavailable,
    Unchanged,
)
from schemas.errors import AccessError, ErrorKind, InvalidRequestError, UnavailableError
from schemas.structures import ArrayStructure

if TYPE_CHECKING:
    from collections.abc import Iterator

from lakeservice.service import Draft


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Service.open(str(tmp_path / "lake"), create=True) as opened:
        yield opened


def offered(service: Service, principal: str = "me") -> Offer:
    offer = service.direct.offer(principal)
    assert isinstance(offer, Offer)
    return offer


def seen(offer: Offer) -> Seen:
    payload = Path(os.fsdecode(offer.path)).read_bytes()
    return Seen(token=offer.token, proof=hashlib.sha256(payload).digest())


def granted(service: Service, principal: str = "me") -> bytes:
    answer = service.direct.grant(seen(offered(service, principal)), principal)
    assert isinstance(answer, Granted)
    return answer.grant


def written(service: Service, rows: int, chunk: int = 1) -> Any:
    array = np.arange(rows * 2).reshape(rows, 2)
    structure = ArrayStructure.from_numpy(array.shape, array.dtype, (chunk, 2))
    service.write_array(Draft("a", structure, {}), [array])
    return service.describe("a")


def test_a_lake_that_can_be_written_to_no_more_is_still_read_directly_and_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise UnavailableError(ErrorKind.STORE_UNAVAILABLE, "the lake's disk refuses: read-only")

    with Service.open(str(tmp_path / "lake"), create=True) as service:
        before, after = offered(service), offered(service)
        monkeypatch.setattr(service.direct, "_offered", dict.fromkeys(service.direct._offered, 0.0))
        monkeypatch.setattr(service.lake.objects, "delete", refused)
        assert isinstance(service.direct.grant(seen(before), "me"), Granted)
        monkeypatch.setattr(service.lake.objects, "put", refused)
        assert isinstance(service.direct.offer("me"), Unavailable)
        assert isinstance(service.direct.grant(seen(after), "me"), Unavailable)


def test_who_reads_the_file_back_gets_a_pass_and_the_file_goes(service: Service) -> None:
    offer = offered(service)
    path = Path(os.fsdecode(offer.path))
    assert path.is_file()
    answer = service.direct.grant(seen(offer), "me")
    assert isinstance(answer, Granted)
    assert not path.exists()
    service.direct.admit(answer.grant, "me")


def test_each_offer_is_another_and_is_good_once(service: Service) -> None:
    first, second = seen(offered(service)), seen(offered(service))
    assert first.proof != second.proof
    assert isinstance(service.direct.grant(first, "me"), Granted)
    assert isinstance(service.direct.grant(first, "me"), Unavailable)


def test_a_wrong_proof_gets_no_pass_and_no_second_try(service: Service) -> None:
    offer = offered(service)
    right = seen(offer)
    wrong = msgspec.structs.replace(right, proof=bytes(32))
    assert isinstance(service.direct.grant(wrong, "me"), Unavailable)
    assert isinstance(service.direct.grant(right, "me"), Unavailable)


def test_offers_and_passes_of_others_are_refused(service: Service) -> None:
    offer = seen(offered(service, "me"))
    with pytest.raises(InvalidRequestError, match="somebody else was given this offer") as caught:
        service.direct.grant(offer, "you")
    assert caught.value.kind is ErrorKind.BAD_TICKET
    grant = granted(service, "me")
    with pytest.raises(InvalidRequestError, match="somebody else was given this pass") as caught:
        service.direct.admit(grant, "you")
    assert caught.value.kind is ErrorKind.BAD_TICKET


@pytest.mark.parametrize("position", [0, 31, 32, 40, -1])
def test_a_changed_pass_is_refused(service: Service, position: int) -> None:
    grant = bytearray(granted(service))
    grant[position] ^= 1
    with pytest.raises(InvalidRequestError) as caught:
        service.direct.admit(bytes(grant), "me")
    assert caught.value.kind is ErrorKind.BAD_TICKET


def test_an_offer_is_no_pass(service: Service) -> None:
    with pytest.raises(InvalidRequestError):
        service.direct.admit(offered(service).token, "me")


def test_an_expired_pass_is_refused_by_kind(service: Service) -> None:
    signer = Signer(b"k", clock=lambda: 10.0, lasts_s=5)
    objects, files = service.lake.objects, FileReader()
    direct = Direct(objects, service.reader, files, signer)
    grant = signer.grant("me")
    direct.admit(grant, "me")
    later = Signer(b"k", clock=lambda: 16.0)
    with pytest.raises(AccessError) as caught:
        Direct(objects, service.reader, files, later).admit(grant, "me")
    assert caught.value.kind is ErrorKind.TICKET_EXPIRED


def test_offers_that_nobody_takes_are_few_and_go_with_the_server(tmp_path: Path) -> None:
    with Service.open(str(tmp_path / "lake"), create=True) as service:
        answers = [service.direct.offer("me") for _ in range(70)]
        assert [isinstance(answer, Offer) for answer in answers].count(True) == 64
        assert "too many" in str(answers[-1])
        report = check(service.lake, clean=True, older_than_s=3600)
        assert report.ok
        assert not report.temporary
    assert not list((tmp_path / "lake" / "tmp").glob("direct-*"))


def test_a_lake_that_is_not_on_a_disk_offers_nothing() -> None:
    with Service.open("memory://", create=True) as service:
        assert isinstance(service.direct.offer("me"), Unavailable)


def test_a_page_tells_where_each_of_its_chunks_lies(service: Service, tmp_path: Path) -> None:
    node = written(service, PAGE_CHUNKS + 3)
    ask = PlanArray(path="a", grant=b"", pages=(1, 7))
    plan = service.direct.plan(ask, node)
    assert isinstance(plan, ArrayPlan)
    assert (plan.id, plan.version) == (node.id, node.version)
    assert plan.head is not None
    assert plan.head.structure == node.structure
    (page,) = plan.pages
    assert page.number == 1
    numbers = np.frombuffer(page.file, "<i4")
    assert len(numbers) == 3
    for row, number in enumerate(numbers):
        path = tmp_path / "lake" / os.fsdecode(page.files[number].path)
        assert path.match(f"c/{PAGE_CHUNKS + row}/0")
        assert path.is_file()
    assert np.frombuffer(page.required, "u1").all()


def test_a_version_that_is_known_is_one_short_answer(service: Service) -> None:
    node = written(service, 4)
    ask = PlanArray(path="a", grant=b"", id=node.id, version=node.version)
    assert service.direct.plan(ask, node) == Unchanged(fresh_s=1.0)
    older = msgspec.structs.replace(ask, version=node.version - 1)
    assert isinstance(service.direct.plan(older, node), ArrayPlan)
    more = service.direct.plan(msgspec.structs.replace(ask, pages=(0,)), node)
    assert isinstance(more, ArrayPlan)
    assert more.head is None
