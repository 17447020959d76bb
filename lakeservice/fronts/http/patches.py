"""Patches of documents: JSON Merge Patch (RFC 7396) and JSON Patch (RFC 6902)."""

from __future__ import annotations

import copy
from typing import Any

import msgspec

from schemas.errors import ErrorKind, InvalidRequestError

MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
MAX_OPERATIONS = 10_000
"""Most operations in one JSON Patch."""
MAX_COPIED_BYTES = 16 << 20
"""Most that the copies of one JSON Patch may add, as JSON: copies of copies grow without end."""


def merge_patched(document: Any, patch: Any) -> Any:
    """Return a document with a merge patch applied: null removes a key, the rest replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patched(result.get(key), value)
    return result


def json_patched(document: Any, operations: Any) -> Any:
    """Return a document with the operations of a JSON Patch applied, all or none.

    Raises
    ------
    InvalidRequestError
        ``bad-metadata``: not a list of operations, a place that is not there, a
        test that fails; the message names the operation by its number.
    """
    if not isinstance(operations, list) or len(operations) > MAX_OPERATIONS:
        raise _bad(f"a JSON Patch is a list of at most {MAX_OPERATIONS} operations")
    result = copy.deepcopy(document)
    copied_bytes = 0
    for number, operation in enumerate(operations):
        try:
            copied_bytes += _copied_bytes(result, operation)
            if copied_bytes > MAX_COPIED_BYTES:
                raise ValueError(f"the copies add more than {MAX_COPIED_BYTES} bytes")
            result = _applied(result, operation)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            reason = error.args[0] if error.args else "it cannot be applied"
            raise _bad(f"operation {number} of the patch: {reason}") from None
    return result


def _applied(document: Any, operation: Any) -> Any:
    if not isinstance(operation, dict):
        raise TypeError("it is not an object")
    name = operation.get("op")
    path = _pointer(operation, "path")
    match name:
        case "add":
            return _added(document, path, copy.deepcopy(_value(operation)))
        case "remove":
            return _removed(document, path)
        case "replace":
            _found(document, path)
            return _replaced(document, path, copy.deepcopy(_value(operation)))
        case "move":
            source = _pointer(operation, "from")
            if path[: len(source)] == source and path != source:
                raise ValueError("a value cannot be moved into itself")
            value = _found(document, source)
            return _added(_removed(document, source), path, value)
        case "copy":
            value = _found(document, _pointer(operation, "from"))
            return _added(document, path, copy.deepcopy(value))
        case "test":
            if not _same(_found(document, path), _value(operation)):
                raise ValueError(f"the value at {operation['path']!r} is another")
            return document
    raise ValueError(f"no operation {str(name)[:40]!r}")


def _copied_bytes(document: Any, operation: Any) -> int:
    if not isinstance(operation, dict) or operation.get("op") != "copy":
        return 0
    return len(msgspec.json.encode(_found(document, _pointer(operation, "from"))))


def _value(operation: dict[str, Any]) -> Any:
    if "value" not in operation:
        raise ValueError("it has no value")
    return operation["value"]


def _pointer(operation: dict[str, Any], name: str) -> list[str]:
    """Return the segments of a JSON Pointer (RFC 6901)."""
    text = operation.get(name)
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise ValueError(f"{name!r} must be a text that begins with a slash")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _found(document: Any, path: list[str]) -> Any:
    for segment in path:
        if isinstance(document, list):
            document = document[_index(segment, len(document) - 1)]
        elif isinstance(document, dict) and segment in document:
            document = document[segment]
        else:
            raise KeyError(f"there is nothing at {segment[:80]!r}")
    return document


def _added(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    holder, last = _found(document, path[:-1]), path[-1]
    if isinstance(holder, list):
        holder.insert(len(holder) if last == "-" else _index(last, len(holder)), value)
    elif isinstance(holder, dict):
        holder[last] = value
    else:
        raise TypeError(f"nothing can be added below {last[:80]!r}")
    return document


def _replaced(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    holder, last = _found(document, path[:-1]), path[-1]
    holder[int(last) if isinstance(holder, list) else last] = value
    return document


def _removed(document: Any, path: list[str]) -> Any:
    if not path:
        raise ValueError("the whole document cannot be removed")
    _found(document, path)
    holder, last = _found(document, path[:-1]), path[-1]
    del holder[int(last) if isinstance(holder, list) else last]
    return document


def _index(segment: str, last: int) -> int:
    if not (segment.isascii() and segment.isdigit()) or (segment != "0" and segment[0] == "0"):
        raise ValueError(f"{segment[:80]!r} is not a position in a list")
    if len(segment) > 9 or int(segment) > last:
        raise IndexError(f"position {segment[:20]} is past the end of the list")
    return int(segment)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_METADATA, message)
