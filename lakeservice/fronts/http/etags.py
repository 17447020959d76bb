"""Entity tags: made from versions, so that an unchanged answer costs no read."""

from __future__ import annotations

import hashlib

WEAK = 'W/"'


class NotModifiedError(Exception):
    """The client has this answer already; raised to end the work on it."""

    def __init__(self, tag: str) -> None:
        super().__init__(tag)
        self.tag = tag


def entity_tag(*parts: object) -> str:
    """Return the tag of whatever these parts determine: ids, versions, a query, a format.

    It is weak, because the same answer may be sent compressed or not; it becomes
    strong where the answer is sent as it is.
    """
    digest = hashlib.blake2b(digest_size=12)
    for part in parts:
        text = str(part).encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(text) + text)
    return f'{WEAK}{digest.hexdigest()}"'


def has_tag(if_none_match: str | None, tag: str) -> bool:
    """Tell whether an If-None-Match header names the tag; quotes may be missing."""
    if if_none_match is None:
        return False
    wanted = _opaque(tag)
    return any(part.strip() == "*" or _opaque(part) == wanted for part in if_none_match.split(","))


def as_sent(if_none_match: str | None, tag: str) -> str:
    """Return the tag as the client holds it: strong, where it got the bytes as they are."""
    strong = tag.removeprefix("W/")
    sent = [part.strip() for part in (if_none_match or "").split(",")]
    return strong if strong in sent else tag


def _opaque(tag: str) -> str:
    return tag.strip().removeprefix("W/").strip('"')
