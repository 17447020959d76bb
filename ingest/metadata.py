"""Values of a file's header as JSON values, in one way for all formats."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LONGEST_LIST = 64
"""Elements of an array that still counts as metadata."""
LONGEST_TEXT = 4096
"""Characters of a text that still counts as metadata."""
_WORDS = {"true": True, "false": False}


class TooLong(Exception):  # noqa: N818 - control flow between this module and its callers
    """A value is data, not metadata: leave it out."""


def json_value(value: Any) -> Any:
    """Return a value as JSON can hold it.

    NumPy scalars become Python's, bytes become text (UTF-8, else Latin-1), what
    is not finite becomes ``"nan"``, ``"inf"`` or ``"-inf"``, complex numbers a
    pair, arrays lists.

    Raises
    ------
    TooLong
        More than `LONGEST_LIST` elements or `LONGEST_TEXT` characters.
    """
    if isinstance(value, np.ndarray | np.generic):
        if value.size > LONGEST_LIST:
            raise TooLong
        value = value.item() if value.ndim == 0 else value.tolist()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if -(1 << 63) <= value < 1 << 64 else str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, bytes | bytearray | memoryview):
        value = text_of(bytes(value))
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            raise TooLong
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, complex):
        return [json_value(value.real), json_value(value.imag)]
    if isinstance(value, dict):
        return json_object(value)
    if isinstance(value, list | tuple | set | frozenset):
        if len(value) > LONGEST_LIST:
            raise TooLong
        return [json_value(one) for one in value]
    return json_value(str(value))


def json_object(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a mapping with JSON values; what is too long is left out."""
    kept: dict[str, Any] = {}
    for key, value in values.items():
        try:
            kept[str(json_value(str(key)))] = json_value(value)
        except TooLong:
            continue
    return kept


def text_of(payload: bytes) -> str:
    """Return bytes as text: UTF-8, else Latin-1, without trailing zeros."""
    payload = payload.rstrip(b"\0")
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return payload.decode("latin-1")


def word_value(text: str) -> Any:
    """Return a word of a header as the number or truth value that it spells, else as text."""
    text = text.strip()
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for number in (int, float):
        try:
            return json_value(number(text.replace("_", "?")))
        except ValueError:
            continue
    return text


def assignments(lines: Iterable[str]) -> dict[str, Any]:
    """Return the ``key: value`` and ``key = value`` lines as a dict, others left out."""
    values: dict[str, Any] = {}
    for line in lines:
        cut = min((at for at in (line.find("="), line.find(":")) if at > 0), default=-1)
        key = line[:cut].strip() if cut > 0 else ""
        if key and len(key) <= 64 and line[cut + 1 :].strip():
            values[key] = word_value(line[cut + 1 :])
    return json_object(values)
