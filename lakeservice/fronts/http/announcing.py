"""What the routes that write tell to subscribers: the data as it was sent, and its place."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from lakeservice.fronts.http.call import media_type_of
from lakeservice.fronts.http.regions import in_parts
from lakeservice.service.events import PAYLOAD_BYTES, Delivery
from schemas.errors import ErrorKind, InvalidRequestError, TooLargeError

if TYPE_CHECKING:
    from lakeservice.fronts.http.call import Call
    from schemas.entry import Node

OCTETS = "application/octet-stream"
ANNOUNCED_BYTES = 64 << 20
"""Largest body that can be announced without being kept."""


def keeps(call: Call) -> bool:
    """Tell whether a write is to be kept; with ``persist=false`` it is only announced."""
    return call.flag("persist", True)


def delivery_of(
    call: Call,
    *,
    shape: tuple[int | None, ...] | None = None,
    offset: tuple[int, ...] | None = None,
    block: tuple[int, ...] | None = None,
    origin: tuple[int, ...] | None = None,
    partition: int | None = None,
    append: bool = False,
    media_type: str = OCTETS,
) -> Delivery:
    """Return what subscribers are told of this request's data, once it is committed.

    A short body goes to them as it is; of a longer one they are told where to read it.

    Parameters
    ----------
    media_type
        What the body is where the request does not say.
    """
    brief = call.body.brief
    return Delivery(
        media_type=media_type_of(call.headers.get("content-type")) or media_type,
        payload=brief if brief is not None and len(brief) <= PAYLOAD_BYTES else None,
        shape=shape,
        offset=offset,
        block=block,
        origin=origin,
        partition=partition,
        append=append,
    )


def announce_only(
    call: Call,
    node: Node,
    delivery: Delivery,
    item_bytes: int | None = None,
) -> None:
    """Tell subscribers of the data in this request, and keep nothing of it.

    Parameters
    ----------
    item_bytes
        Of an array: bytes of one element. More data than fits into one message then goes
        out in several, each with the offset of its part.

    Raises
    ------
    InvalidRequestError
        ``bad-body``: more or fewer bytes than the array takes.
    TooLargeError
        ``too-large``: more than `ANNOUNCED_BYTES`; or more than one message holds, of data
        that cannot be told in parts.
    """
    brief = call.body.brief
    if item_bytes is None:
        if brief is None or len(brief) > PAYLOAD_BYTES:
            raise TooLargeError(
                ErrorKind.TOO_LARGE,
                f"with persist=false at most {PAYLOAD_BYTES} bytes are sent at a time, and their "
                "number is told in Content-Length",
            )
        call.service.live.announce(node, [replace(delivery, payload=brief)])
        return
    payload = call.body.whole(ANNOUNCED_BYTES) if brief is None else brief
    shape = tuple(length or 0 for length in delivery.shape or ())
    if len(payload) != math.prod(shape) * item_bytes:
        raise InvalidRequestError(
            ErrorKind.BAD_BODY,
            f"{len(payload)} bytes sent, but shape {shape} takes {math.prod(shape) * item_bytes}",
        )
    if len(payload) <= PAYLOAD_BYTES:
        call.service.live.announce(node, [replace(delivery, payload=payload)])
        return
    whole = replace(delivery, payload=payload)
    call.service.live.announce(node, list(in_parts(whole, max(1, PAYLOAD_BYTES // item_bytes))))
