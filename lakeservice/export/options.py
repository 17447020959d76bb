"""Options of a request, read and checked: they come as text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakeservice.export.sources import Source


def flag_of(source: Source, name: str, *, default: bool) -> bool:
    """Return an option that is true or false."""
    text = source.options.get(name)
    if text is None:
        return default
    match text.strip().lower():
        case "true" | "1" | "yes" | "on" | "":
            return True
        case "false" | "0" | "no" | "off":
            return False
    raise _bad(name, text, "write true or false")


def choice_of(source: Source, name: str, known: Sequence[str]) -> str | None:
    """Return an option that is one of a few words; None where it is left out."""
    text = source.options.get(name)
    if text is None or text.strip() == "":
        return None
    word = text.strip().lower()
    if word not in known:
        raise _bad(name, text, f"write {' or '.join(known)}")
    return word


def number_of(source: Source, name: str, *, least: int, most: int) -> int | None:
    """Return an option that is a whole number; None where it is left out."""
    text = source.options.get(name)
    if text is None or text.strip() == "":
        return None
    word = text.strip()
    if word.isascii() and word.isdigit() and len(word) < 19 and least <= int(word) <= most:
        return int(word)
    raise _bad(name, text, f"write a whole number from {least} to {most}")


def numbers_of(source: Source, name: str, count: int) -> tuple[float, ...] | None:
    """Return an option that is so many numbers with commas between; None where it is left out."""
    text = source.options.get(name)
    if text is None or text.strip() == "":
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise _bad(name, text, f"write {count} numbers with commas between")
    return numbers


def _bad(name: str, text: str, advice: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_REQUEST, f"{name}={text[:40]!r}; {advice}")
