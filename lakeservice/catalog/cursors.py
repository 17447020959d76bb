"""Cursors: where a page of a listing ended, as a text that clients send back."""

from __future__ import annotations

import base64
import zlib
from typing import TYPE_CHECKING, Annotated

import msgspec

from lakeservice.catalog.sort_columns import Rank
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.query import SortKey


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """The values that the last node of a page is sorted by, and its place in time.

    It names a place between values and not a node, so it stays good when nodes
    come and go, in another index, and on another server.
    """

    order: int
    """Checksum of the keys: a cursor is of use for its own order only."""
    ranks: tuple[Rank | None, ...]
    """By key; None where the node has no value to sort by."""
    seq: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]

    @classmethod
    def at(cls, sort: Sequence[SortKey], ranks: Sequence[Rank | None], seq: int) -> Cursor:
        """Return the cursor of a place in an order."""
        return cls(_order_of(sort), tuple(ranks), seq)

    @classmethod
    def from_text(cls, text: str, sort: Sequence[SortKey]) -> Cursor:
        """Read a cursor.

        Raises
        ------
        InvalidRequestError
            ``bad-cursor``: not one of ours, or of another order.
        """
        try:
            padded = text + "=" * (-len(text) % 4)
            cursor = msgspec.json.decode(base64.urlsafe_b64decode(padded), type=cls)
        except (ValueError, msgspec.MsgspecError):
            cursor = None
        if cursor is None or cursor.order != _order_of(sort) or len(cursor.ranks) != len(sort):
            raise InvalidRequestError(
                ErrorKind.BAD_CURSOR,
                "the cursor is not one of this listing and this order; begin without a cursor",
            )
        return cursor

    def to_text(self) -> str:
        """Return the text that `from_text` reads back."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")


def _order_of(sort: Sequence[SortKey]) -> int:
    return zlib.crc32(msgspec.json.encode(sort))
