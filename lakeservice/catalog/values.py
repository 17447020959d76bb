"""What metadata values mean to a search: their kinds, when two are the same, their words."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NUMBER, TEXT, BOOLEAN, NULL, LIST, OBJECT = range(6)
"""Kinds of values, in their order when sorted; only the first three can be sorted by."""
ELEMENT = 8
"""Added to the kind of a scalar that is an element of a list."""
KIND_BITS = 4
"""Bits of an attribute number below those of its key."""
MAX_LEVELS = 64
"""Deepest nesting that is searched; what lies deeper is kept and answered, but not found."""

EXACT = 2**53
"""Integers are floats exactly up to here; beyond, a number may have a rest (see `halves`)."""
_SHORT = 64
_WORD = re.compile(r"[^\W_]+")


def kind_of(value: Any) -> int:
    """Return the kind of a JSON value."""
    if isinstance(value, bool):
        return BOOLEAN
    if isinstance(value, int | float):
        return NUMBER
    if isinstance(value, str):
        return TEXT
    if value is None:
        return NULL
    return OBJECT if isinstance(value, dict) else LIST


def halves(value: float) -> tuple[float, float]:
    """Return a number as the nearest float and what is missing to it.

    Pairs compare as the numbers do. A float holds integers exactly up to 2**53
    only, and times in nanoseconds or ids are larger; the pair holds 106 bits.
    """
    if -EXACT <= value <= EXACT or isinstance(value, float):
        return float(value), 0.0
    try:
        number = float(value)
        return number, float(value - int(number))
    except OverflowError:
        return (float("inf") if value > 0 else float("-inf")), 0.0


def whole(number: float, rest: float) -> int | float:
    """Return the number that `halves` took apart, as an integer where it is integral."""
    return int(number) + int(rest) if number.is_integer() else number


def same(left: Any, right: Any) -> bool:
    """Tell whether two JSON values are equal; 1 equals 1.0, but not True."""
    kind = kind_of(left)
    if kind != kind_of(right):
        return False
    if kind == NUMBER:
        return halves(left) == halves(right)
    if kind == LIST:
        return len(left) == len(right) and all(map(same, left, right))
    if kind == OBJECT:
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return bool(left == right)


def digest(values: Sequence[Any]) -> str:
    """Return a text that two lists share if and only if they are the `same`."""
    parts: list[str] = []
    _spell_list(values, parts)
    text = "".join(parts)
    if len(text) <= _SHORT:
        return text
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _spell_list(values: Sequence[Any], parts: list[str]) -> None:
    """Write values one after another so that no other values give the same text."""
    parts.append("[")
    for value in values:
        if type(value) is str:
            parts.append(f"{len(value)}:{value}")
        elif isinstance(value, bool) or value is None:
            parts.append(f"{value},")
        elif isinstance(value, int | float):
            number, rest = halves(value)
            # Adding 0 makes -0.0 the 0.0 that it equals.
            parts.append(f"{number + 0.0!r}{rest:+},")
        elif isinstance(value, dict):
            pairs = sorted(value.items())
            parts.append("{")
            _spell_list([name for name, _ in pairs], parts)
            _spell_list([inner for _, inner in pairs], parts)
        else:
            _spell_list(value, parts)
    parts.append("]")


def words(text: str) -> frozenset[str]:
    """Return the words of a text: runs of letters and digits, in one case."""
    return frozenset(_WORD.findall(text.casefold()))


def texts_in(value: Any, levels: int = MAX_LEVELS) -> Iterator[str]:
    """Yield every text value inside a value; keys are none."""
    if isinstance(value, str):
        yield value
    elif levels and isinstance(value, dict):
        for inner in value.values():
            yield from texts_in(inner, levels - 1)
    elif levels and isinstance(value, list | tuple):
        for inner in value:
            yield from texts_in(inner, levels - 1)


_MISSING: Any = object()


def value_at(metadata: dict[str, Any], key: str) -> tuple[bool, Any]:
    """Return whether there is a value at a dotted key, and the value.

    A key of the metadata may hold dots itself: ``{"a.b": 1}`` and
    ``{"a": {"b": 1}}`` both have the key ``a.b``, and the first one counts.
    """
    found = _walk(metadata, key, MAX_LEVELS)
    return (False, None) if found is _MISSING else (True, found)


def _walk(metadata: dict[str, Any], key: str, levels: int) -> Any:
    for name, value in metadata.items():
        if name == key:
            return value
        if levels > 1 and isinstance(value, dict) and key.startswith(name + "."):
            found = _walk(value, key[len(name) + 1 :], levels - 1)
            if found is not _MISSING:
                return found
    return _MISSING
