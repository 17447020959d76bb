"""What is signed comes back as it left, in time, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeservice.service.tickets import Receipt, Signer
from schemas.commit import Create
from schemas.entry import Node
from schemas.errors import AccessError, ErrorKind, InvalidRequestError
from schemas.ticket import ReadArray, Ticket


def ticket(expires: float = 100.0) -> Ticket:
    return Ticket(
        request=ReadArray(path="a/b", selection="1,:"),
        id="x1",
        version=3,
        expires=expires,
        principal="key",
        rows=(2, 5),
    )


def test_a_ticket_comes_back_as_it_left() -> None:
    signer = Signer(b"secret", clock=lambda: 50.0)
    assert signer.open_ticket(signer.ticket(ticket())) == ticket()


def test_servers_with_one_key_accept_each_others_tickets() -> None:
    signed = Signer(b"secret", clock=lambda: 1.0).ticket(ticket())
    assert Signer(b"secret", clock=lambda: 2.0).open_ticket(signed) == ticket()


def test_an_expired_ticket_is_refused_by_kind() -> None:
    signer = Signer(clock=lambda: 101.0)
    with pytest.raises(AccessError) as caught:
        signer.open_ticket(signer.ticket(ticket()))
    assert caught.value.kind is ErrorKind.TICKET_EXPIRED


@given(position=st.integers(0, 300), change=st.integers(1, 255), cut=st.integers(0, 40))
def test_no_changed_or_cut_ticket_is_accepted(position: int, change: int, cut: int) -> None:
    signer = Signer(b"secret", clock=lambda: 1.0)
    signed = bytearray(signer.ticket(ticket()))
    signed[position % len(signed)] ^= change
    with pytest.raises(InvalidRequestError) as caught:
        signer.open_ticket(bytes(signed[: len(signed) - cut]))
    assert caught.value.kind is ErrorKind.BAD_TICKET


def test_a_receipt_is_no_ticket() -> None:
    signer = Signer(clock=lambda: 1.0)
    receipt = Receipt(mutation=Create(node=Node(path="a", id="b")), expires=9.0)
    assert signer.open_receipt(signer.receipt(receipt)) == receipt
    with pytest.raises(InvalidRequestError):
        signer.open_ticket(signer.receipt(receipt))


def test_no_ticket_begins_as_a_json_document_does() -> None:
    signer = Signer(b"k")
    request = ReadArray(path="a")
    for version in range(600):
        ticket = Ticket(request=request, id="n", version=version, expires=9e9, principal="p")
        assert signer.ticket(ticket)[:1] != b"{"
