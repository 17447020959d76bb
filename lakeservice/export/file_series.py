"""Numbered files as one pattern: ``frame_%04d.tif``, from which their names can be made again."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class FileSeries:
    """Addresses that differ in a number that counts up."""

    folder: str
    """What they have in common, with the slash at its end."""
    template: str
    """Name of a file, in the notation of ``printf``."""
    start: int
    """Number of the first."""


def series_of(addresses: Sequence[str]) -> FileSeries | None:
    """Return the series that files are; None where they are none, or only one file."""
    if len(addresses) < 2:
        return None
    folder = addresses[0][: addresses[0].rfind("/") + 1]
    name = addresses[0][len(folder) :]
    for number in _NUMBER.finditer(name):
        start, width = int(number.group()), len(number.group())
        before, after = name[: number.start()], name[number.end() :]
        counted = (f"{folder}{before}{start + n:0{width}d}{after}" for n in range(len(addresses)))
        if all(one == other for one, other in zip(counted, addresses, strict=True)):
            return FileSeries(folder, f"{_literal(before)}%0{width}d{_literal(after)}", start)
    return None


def _literal(text: str) -> str:
    return text.replace("%", "%%")
