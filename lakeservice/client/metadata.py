"""Metadata on its way out: what JSON can carry, and how a change is merged in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import numpy as np

from schemas.entry import Spec
from schemas.errors import ErrorKind, InvalidRequestError


def plain(value: Any, where: str = "metadata") -> Any:
    """Return a value as JSON can carry it.

    NumPy scalars become numbers, arrays lists, dates ISO 8601 text, and floats that
    are not finite the text ``nan``, ``inf`` or ``-inf``, which JSON has no number for.

    Raises
    ------
    InvalidRequestError
        ``bad-metadata``: a value with no such form, named by its key.
    """
    if value is None or isinstance(value, str | bool | int):
        return value if type(value) in (str, int, bool, type(None)) else _base(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else repr(float(value))
    if isinstance(value, Mapping):
        return {_key(key, where): plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, np.datetime64 | np.timedelta64):
        return str(value)
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist(), where)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item, where) for item in value]
    try:
        return msgspec.to_builtins(value)
    except (TypeError, ValueError):
        raise InvalidRequestError(
            ErrorKind.BAD_METADATA,
            f"{where} is a {type(value).__name__}; metadata holds text, numbers, true and false, "
            "None, dates, lists and dicts",
        ) from None


def _base(value: Any) -> Any:
    """Return the number or text in a subclass of one (an enumeration, a unit)."""
    if isinstance(value, str):
        return str.__str__(value)
    return int(value)


def _key(key: Any, where: str) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    raise InvalidRequestError(
        ErrorKind.BAD_METADATA, f"the key {key!r} in {where} is not text; metadata keys are"
    )


def document(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return metadata as a document to send; None is an empty one."""
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise InvalidRequestError(
            ErrorKind.BAD_METADATA, f"metadata is a dict, not a {type(metadata).__name__}"
        )
    cleaned: dict[str, Any] = plain(metadata)
    return cleaned


def merged(present: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata with a change merged in, as JSON Merge Patch (RFC 7396) does it.

    Dicts are merged key by key, at any depth; None removes a key; anything else replaces.
    """
    result = dict(present)
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            below = result.get(key)
            result[key] = merged(below if isinstance(below, Mapping) else {}, value)
        else:
            result[key] = value
    return result


def spec_list(specs: Iterable[Spec | str | tuple[str, str | None]]) -> tuple[Spec, ...]:
    """Return specs given as `Spec`, as names, or as pairs of name and version."""
    if isinstance(specs, str | Spec):
        specs = (specs,)
    found = []
    for spec in specs:
        if isinstance(spec, Spec):
            found.append(spec)
        elif isinstance(spec, str):
            found.append(Spec(spec))
        else:
            found.append(Spec(*spec))
    return tuple(found)
