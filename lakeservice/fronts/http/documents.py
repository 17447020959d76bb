"""Documents: JSON or MessagePack, as the client asks, with the exact content types it knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from lakeservice.fronts.http.call import Reply

if TYPE_CHECKING:
    from lakeservice.fronts.http.call import Call

JSON = "application/json"
MSGPACK = "application/x-msgpack"
_MSGPACK_INTEGERS = range(-(1 << 63), 1 << 64)


def document_type(accept: str | None) -> str:
    """Return the media type for a document: the first one accepted of the two, else JSON."""
    for part in (accept or "").split(","):
        media_type = part.partition(";")[0].strip().lower()
        if media_type in (JSON, MSGPACK):
            return media_type
    return JSON


def document(call: Call, content: Any, status: int = 200) -> Reply:
    """Return a reply that carries a document."""
    if document_type(call.headers.get("accept")) == JSON:
        return Reply(msgspec.json.encode(content), JSON, status)
    return Reply(packed(content), MSGPACK, status)


def packed(content: Any) -> bytes:
    """Return content as MessagePack."""
    try:
        return msgspec.msgpack.encode(content)
    except OverflowError:
        return msgspec.msgpack.encode(_packable(content))


def _packable(content: Any) -> Any:
    """Return content with integers beyond 64 bits as floats: MessagePack has none so large."""
    if isinstance(content, dict):
        return {key: _packable(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_packable(value) for value in content]
    if isinstance(content, int) and content not in _MSGPACK_INTEGERS:
        return float(content) if abs(content) < 1 << 1023 else str(content)
    return content
