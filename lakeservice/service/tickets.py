"""Tickets and receipts: documents that leave the server signed and come back unchanged."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from typing import TYPE_CHECKING, Any

import msgspec

from schemas.commit import Append, Create
from schemas.direct import Offered, Pass
from schemas.errors import AccessError, ErrorKind, InvalidRequestError
from schemas.ticket import Ticket

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from schemas.entry import Node
    from schemas.ticket import ReadRequest

_DIGEST = hashlib.sha256
_SIZE = _DIGEST().digest_size


class Receipt(msgspec.Struct, frozen=True):
    """Data that was written and waits for a commit to make it visible."""

    mutation: Create | Append
    expires: float


class Signer:
    """Signs with one key; what another key signed, or what was changed, is refused.

    Parameters
    ----------
    key
        Shared by all servers that accept each other's tickets; None makes a random one.
    clock
        Seconds since 1970.
    lasts_s
        How long a ticket or a receipt is good for, in seconds.
    """

    def __init__(
        self,
        key: bytes | None = None,
        clock: Callable[[], float] = time.time,
        *,
        lasts_s: float = 3600,
    ) -> None:
        self._lasts_s = lasts_s
        self._key = key or secrets.token_bytes(32)
        self._clock = clock
        self._tickets: msgspec.msgpack.Decoder[Ticket] = msgspec.msgpack.Decoder(Ticket)
        self._receipts: msgspec.msgpack.Decoder[Receipt] = msgspec.msgpack.Decoder(Receipt)
        self._offers: msgspec.msgpack.Decoder[Offered] = msgspec.msgpack.Decoder(Offered)
        self._passes: msgspec.msgpack.Decoder[Pass] = msgspec.msgpack.Decoder(Pass)

    def expiry(self, seconds: float) -> float:
        """Return the time so many seconds from now."""
        return self._clock() + seconds

    def tickets(
        self,
        request: ReadRequest,
        node: Node,
        parts: Sequence[tuple[int, int] | None],
        principal: str,
    ) -> list[bytes]:
        """Return a signed ticket for each part of a read."""
        expires = self.expiry(self._lasts_s)
        return [
            self.ticket(
                Ticket(
                    request=request,
                    id=node.id,
                    version=node.version,
                    expires=expires,
                    principal=principal,
                    rows=part,
                )
            )
            for part in parts
        ]

    def stage(self, mutation: Create | Append) -> bytes:
        """Return a receipt for data that is written but not committed."""
        return self.receipt(Receipt(mutation=mutation, expires=self.expiry(self._lasts_s)))

    def redeem(self, receipts: Sequence[bytes]) -> list[Create | Append]:
        """Return the mutations that receipts stand for."""
        return [self.open_receipt(receipt).mutation for receipt in receipts]

    def ticket(self, ticket: Ticket) -> bytes:
        """Return the signed form of a ticket."""
        return self._sign(b"t", msgspec.msgpack.encode(ticket))

    def receipt(self, receipt: Receipt) -> bytes:
        """Return the signed form of a receipt."""
        return self._sign(b"r", msgspec.msgpack.encode(receipt))

    def open_ticket(self, signed: bytes) -> Ticket:
        """Return a ticket that this server, or one with the same key, has signed.

        Raises
        ------
        InvalidRequestError
            ``bad-ticket``: not signed with our key, or changed since.
        AccessError
            ``ticket-expired``.
        """
        what = "ticket; ask for the flight info again"
        ticket: Ticket = self._open(b"t", signed, self._tickets, what)
        return ticket

    def open_receipt(self, signed: bytes) -> Receipt:
        """Return a receipt; raises as `open_ticket` does."""
        receipt: Receipt = self._open(b"r", signed, self._receipts, "receipt; write the data again")
        return receipt

    def offer(self, offered: Offered) -> bytes:
        """Return the signed form of an offer of direct delivery."""
        return self._sign(b"o", msgspec.msgpack.encode(offered))

    def open_offer(self, signed: bytes, principal: str) -> Offered:
        """Return an offer that this principal was made; raises as `open_ticket` does."""
        what = "offer of direct delivery; ask for another"
        offered: Offered = self._open(b"o", signed, self._offers, what)
        _refuse_others(offered.principal, principal, what)
        return offered

    def grant(self, principal: str) -> bytes:
        """Return a pass for direct delivery, for one principal."""
        granted = Pass(principal=principal, expires=self.expiry(self._lasts_s))
        return self._sign(b"p", msgspec.msgpack.encode(granted))

    def open_grant(self, signed: bytes, principal: str) -> Pass:
        """Return a pass that this principal was given; raises as `open_ticket` does."""
        what = "pass for direct delivery; ask for another"
        granted: Pass = self._open(b"p", signed, self._passes, what)
        _refuse_others(granted.principal, principal, what)
        return granted

    def _sign(self, purpose: bytes, payload: bytes) -> bytes:
        body = purpose + payload
        # The purpose comes first: what is signed never begins as a JSON document does.
        return body + hmac.digest(self._key, body, _DIGEST)

    def _open(self, purpose: bytes, signed: bytes, decoder: Any, what: str) -> Any:
        body, digest = signed[:-_SIZE], signed[-_SIZE:]
        expected = hmac.digest(self._key, body, _DIGEST)
        if body[:1] != purpose or not hmac.compare_digest(digest, expected):
            raise InvalidRequestError(ErrorKind.BAD_TICKET, f"this server did not sign this {what}")
        document = decoder.decode(body[1:])
        if document.expires < self._clock():
            raise AccessError(ErrorKind.TICKET_EXPIRED, f"expired {what}")
        return document


def _refuse_others(owner: str, principal: str, what: str) -> None:
    if owner != principal:
        raise InvalidRequestError(ErrorKind.BAD_TICKET, f"somebody else was given this {what}")
